"""Checks and conversion of the user's data, done once before it reaches the engine."""
