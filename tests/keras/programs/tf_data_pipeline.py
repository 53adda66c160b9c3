"""Train on a pipeline that shuffles, batches and scales the data."""

import numpy as np

from nnfast.keras import tf

(x_train, y_train), (x_test, y_test) = tf.keras.datasets.mnist.load_data()


def normalize_img(image, label):
    return tf.cast(image, tf.float32) / 255.0, label


ds_train = tf.data.Dataset.from_tensor_slices((x_train, y_train))
ds_train = ds_train.map(normalize_img, num_parallel_calls=tf.data.AUTOTUNE)
ds_train = ds_train.cache()
ds_train = ds_train.shuffle(len(x_train))
ds_train = ds_train.batch(32)
ds_train = ds_train.prefetch(tf.data.AUTOTUNE)

ds_test = tf.data.Dataset.from_tensor_slices((x_test, y_test))
ds_test = ds_test.map(normalize_img, num_parallel_calls=tf.data.AUTOTUNE)
ds_test = ds_test.batch(32).cache().prefetch(tf.data.AUTOTUNE)

for images, labels in ds_train.take(1):
    print(images.shape, labels.numpy()[:5])

model = tf.keras.models.Sequential(
    [
        tf.keras.layers.Flatten(input_shape=(28, 28)),
        tf.keras.layers.Dense(64, activation="relu"),
        tf.keras.layers.Dense(10),
    ]
)
model.compile(
    optimizer=tf.keras.optimizers.Adam(0.001),
    loss=tf.keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    metrics=[tf.keras.metrics.SparseCategoricalAccuracy()],
)
history = model.fit(ds_train, epochs=5, validation_data=ds_test)
loss, accuracy = model.evaluate(ds_test)

ds_repeated = tf.data.Dataset.from_tensor_slices((x_train / 255.0, y_train)).shuffle(100).repeat()
model.fit(ds_repeated.batch(32), epochs=2, steps_per_epoch=10, verbose=0)
predictions = np.argmax(model.predict(ds_test), axis=1)
