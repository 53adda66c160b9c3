"""Compilation of layers into a plan: tables of plain numbers for the engine.

The modules of this folder name no layer class. `spec` declares how layers describe themselves,
`fusion` turns the descriptions into an op list, `parameters` and `memory` assign offsets to weights
and tensors, and `plan` puts everything together.
"""
