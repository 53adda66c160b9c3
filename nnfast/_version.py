"""The version, in its one place (setuptools reads it without importing the package)."""

__version__ = "0.1.0"
