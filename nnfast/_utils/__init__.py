"""Helpers without dependencies on the rest of the package, which every module may import."""
