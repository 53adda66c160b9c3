"""Preparation of sequences, as in ``keras.preprocessing.sequence``."""

from nnfast.keras.preprocessing.sampling_table import make_sampling_table
from nnfast.keras.preprocessing.skip_grams import skipgrams
from nnfast.keras.preprocessing.timeseries import TimeseriesGenerator
from nnfast.keras.utils.sequences import pad_sequences

__all__ = ["TimeseriesGenerator", "make_sampling_table", "pad_sequences", "skipgrams"]
