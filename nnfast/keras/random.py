"""Random numbers, as in ``keras.random``."""
