"""From layers to tables for the engine."""
