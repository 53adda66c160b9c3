"""Data: checked once, at the door."""
