"""Settings and helpers, as in ``keras.backend``."""
