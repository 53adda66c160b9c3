"""Preparation of texts, as in ``keras.preprocessing.text`` of Keras 2."""

from nnfast.keras.preprocessing.tokenizer import Tokenizer, tokenizer_from_json
from nnfast.keras.preprocessing.words import hashing_trick, one_hot, text_to_word_sequence

__all__ = ["Tokenizer", "hashing_trick", "one_hot", "text_to_word_sequence", "tokenizer_from_json"]
