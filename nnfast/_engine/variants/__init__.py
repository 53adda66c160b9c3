"""One module per instruction set and real type: the same sources, other flags."""
