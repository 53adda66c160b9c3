"""The machine's resources: instruction sets and the CPU quota of control groups."""
