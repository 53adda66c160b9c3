"""From layers to a plan, tables of plain numbers for the engine: no layer is known here by name.

`spec` is what a layer says, `fusion` makes a list of ops of it, `parameters` and `memory` give
offsets to weights and tensors, and `plan` puts them together.
"""
