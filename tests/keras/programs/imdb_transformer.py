"""Tell positive from negative film reviews with a transformer block."""

import numpy as np

from nnfast import keras
from nnfast.keras import layers
from nnfast.keras.datasets import imdb

vocab_size = 1000
maxlen = 32
(x_train, y_train), (x_val, y_val) = imdb.load_data(num_words=vocab_size)
x_train = keras.utils.pad_sequences(x_train, maxlen=maxlen)
x_val = keras.utils.pad_sequences(x_val, maxlen=maxlen)


def with_positions(x):
    return [x, np.tile(np.arange(maxlen), (len(x), 1))]


def transformer_block(x, embed_dim, num_heads, ff_dim):
    attention = layers.MultiHeadAttention(num_heads=num_heads, key_dim=embed_dim)
    out1 = layers.LayerNormalization(epsilon=1e-6)(x + attention(x, x))
    ffn_output = layers.Dense(ff_dim, activation="relu")(out1)
    ffn_output = layers.Dense(embed_dim)(ffn_output)
    return layers.LayerNormalization(epsilon=1e-6)(out1 + ffn_output)


embed_dim = 32
num_heads = 2
ff_dim = 32

tokens = layers.Input(shape=(maxlen,), dtype="int32")
positions = layers.Input(shape=(maxlen,), dtype="int32")
token_embedding = layers.Embedding(input_dim=vocab_size, output_dim=embed_dim)(tokens)
position_embedding = layers.Embedding(input_dim=maxlen, output_dim=embed_dim)(positions)
x = layers.Add()([token_embedding, position_embedding])
x = transformer_block(x, embed_dim, num_heads, ff_dim)
x = layers.GlobalAveragePooling1D()(x)
x = layers.Dense(20, activation="relu")(x)
outputs = layers.Dense(2, activation="softmax")(x)
model = keras.Model(inputs=[tokens, positions], outputs=outputs)
model.summary()

model.compile(optimizer="adam", loss="sparse_categorical_crossentropy", metrics=["accuracy"])
history = model.fit(
    with_positions(x_train),
    y_train,
    batch_size=32,
    epochs=3,
    validation_data=(with_positions(x_val), y_val),
)
probabilities = model.predict(with_positions(x_val))
loss, accuracy = model.evaluate(with_positions(x_val), y_val)
