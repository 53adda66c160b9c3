"""Write logs for TensorBoard while training."""

import datetime
import os

from nnfast.keras import tf

(x_train, y_train), (x_test, y_test) = tf.keras.datasets.fashion_mnist.load_data()
x_train, x_test = x_train / 255.0, x_test / 255.0


def create_model():
    return tf.keras.models.Sequential(
        [
            tf.keras.layers.Flatten(input_shape=(28, 28), name="layers_flatten"),
            tf.keras.layers.Dense(64, activation="relu", name="layers_dense"),
            tf.keras.layers.Dropout(0.2, name="layers_dropout"),
            tf.keras.layers.Dense(10, activation="softmax", name="layers_dense_2"),
        ]
    )


model = create_model()
model.compile(optimizer="adam", loss="sparse_categorical_crossentropy", metrics=["accuracy"])
log_dir = "logs/fit/" + datetime.datetime.now().strftime("%Y%m%d-%H%M%S")
tensorboard_callback = tf.keras.callbacks.TensorBoard(log_dir=log_dir, histogram_freq=1)
model.fit(
    x=x_train,
    y=y_train,
    epochs=5,
    validation_data=(x_test, y_test),
    callbacks=[tensorboard_callback],
    verbose=0,
)
runs = sorted(os.listdir(log_dir))
accuracy = model.evaluate(x_test, y_test, verbose=0)[1]
