"""Compilation of layers to a plan, tables of plain numbers for the engine.

No layer class is named here. `spec` declares how layers describe themselves, `fusion` turns the
descriptions into an op list, `parameters` and `memory` assign offsets to weights and tensors, and
`plan` puts everything together.
"""
