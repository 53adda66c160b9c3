"""Classify small colour pictures with separable convolutions and augmentation layers."""

from nnfast import keras
from nnfast.keras import layers

(x_train, y_train), (x_test, y_test) = keras.datasets.cifar10.load_data()

epochs = 15
data_augmentation = [
    layers.RandomFlip("horizontal"),
    layers.ZeroPadding2D(2),
    layers.RandomCrop(32, 32),
]
model = keras.Sequential(
    [
        keras.Input(shape=(32, 32, 3)),
        *data_augmentation,
        layers.Rescaling(1.0 / 255),
        layers.Conv2D(8, 3, strides=2, padding="same", use_bias=False),
        layers.BatchNormalization(momentum=0.9),
        layers.Activation("relu"),
        layers.SeparableConv2D(16, 3, padding="same", use_bias=False),
        layers.BatchNormalization(momentum=0.9),
        layers.Activation("relu"),
        layers.MaxPooling2D(3, strides=2, padding="same"),
        layers.SeparableConv2D(32, 3, padding="same", activation="relu"),
        layers.GlobalAveragePooling2D(),
        layers.Dropout(0.25),
        layers.Dense(10, activation="softmax"),
    ]
)
model.compile(
    optimizer=keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(0.01, 12 * epochs)),
    loss="sparse_categorical_crossentropy",
    metrics=["accuracy"],
)
history = model.fit(x_train, y_train, batch_size=32, epochs=epochs, validation_split=0.1, verbose=0)
loss, accuracy = model.evaluate(x_test, y_test, verbose=0)
