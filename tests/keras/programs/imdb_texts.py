"""Tell positive from negative film reviews: text files, TextVectorization and an Embedding."""

import re
import string

import matplotlib.pyplot as plt
import numpy as np

from nnfast import keras
from nnfast.keras import layers, losses, tf

batch_size = 8
seed = 42

raw_train_ds = keras.utils.text_dataset_from_directory(
    "aclImdb/train", batch_size=batch_size, validation_split=0.2, subset="training", seed=seed
)
raw_val_ds = keras.utils.text_dataset_from_directory(
    "aclImdb/train", batch_size=batch_size, validation_split=0.2, subset="validation", seed=seed
)
raw_test_ds = keras.utils.text_dataset_from_directory("aclImdb/test", batch_size=batch_size)
for text_batch, label_batch in raw_train_ds.take(1):
    print("Review", text_batch.numpy()[0] if hasattr(text_batch, "numpy") else text_batch[0])
    print("Label", raw_train_ds.class_names[label_batch[0]])


def custom_standardization(input_data):
    lowercase = tf.strings.lower(input_data)
    stripped_html = tf.strings.regex_replace(lowercase, "<br />", " ")
    return tf.strings.regex_replace(stripped_html, f"[{re.escape(string.punctuation)}]", "")


max_features = 500
sequence_length = 40

vectorize_layer = layers.TextVectorization(
    standardize=custom_standardization,
    max_tokens=max_features,
    output_mode="int",
    output_sequence_length=sequence_length,
)
train_text = raw_train_ds.map(lambda x, y: x)
vectorize_layer.adapt(train_text)


def vectorize_text(text, label):
    text = tf.expand_dims(text, -1)
    return vectorize_layer(text), label


vocabulary = vectorize_layer.get_vocabulary()
train_ds = raw_train_ds.map(vectorize_text).cache().prefetch(buffer_size=tf.data.AUTOTUNE)
val_ds = raw_val_ds.map(vectorize_text).cache().prefetch(buffer_size=tf.data.AUTOTUNE)
test_ds = raw_test_ds.map(vectorize_text).cache().prefetch(buffer_size=tf.data.AUTOTUNE)

model = keras.Sequential(
    [
        layers.Embedding(max_features, 16),
        layers.Dropout(0.2),
        layers.GlobalAveragePooling1D(),
        layers.Dropout(0.2),
        layers.Dense(1, activation="sigmoid"),
    ]
)
model.compile(
    loss=losses.BinaryCrossentropy(),
    optimizer=keras.optimizers.Adam(0.01),
    metrics=[keras.metrics.BinaryAccuracy(threshold=0.5)],
)
history = model.fit(train_ds, validation_data=val_ds, epochs=10)
loss, accuracy = model.evaluate(test_ds)

history_dict = history.history
epochs = range(1, len(history_dict["binary_accuracy"]) + 1)
plt.plot(epochs, history_dict["val_binary_accuracy"], "b", label="Validation acc")
plt.savefig("accuracy.png")
plt.close()

export_model = keras.Sequential(
    [keras.Input((1,), dtype="string"), vectorize_layer, model], name="export"
)
export_model.compile(loss=losses.BinaryCrossentropy(), optimizer="adam", metrics=["accuracy"])
exported_loss, exported_accuracy = export_model.evaluate(raw_test_ds)
examples = np.array(["A wonderful film, great and moving!", "Awful. Boring and bad.<br />Bad!"])
predictions = export_model.predict(examples[:, None])
