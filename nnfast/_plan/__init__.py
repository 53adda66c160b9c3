"""Compilation of graphs of layers into a plan: tables of plain numbers for the engine.

The modules of this folder name no layer class. `symbolic` has the tensors and calls that make up a
graph, and `graph` puts them in order. `spec` declares how layers describe themselves; `lowering`
and `fusion` turn the descriptions into an op list. `parameters`, `memory` and `gradients` assign
offsets to weights, tensors and gradients, and `plan` puts everything together.
"""
