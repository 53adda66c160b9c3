"""Classify small colour pictures, which a generator shifts and flips."""

from nnfast.keras.datasets import cifar10
from nnfast.keras.layers import Activation, Conv2D, Dense, Flatten, MaxPooling2D
from nnfast.keras.models import Sequential
from nnfast.keras.preprocessing.image import ImageDataGenerator
from nnfast.keras.utils import to_categorical

batch_size = 32
num_classes = 10
epochs = 5

(x_train, y_train), (x_test, y_test) = cifar10.load_data()
print("x_train shape:", x_train.shape)
y_train = to_categorical(y_train, num_classes)
y_test = to_categorical(y_test, num_classes)

model = Sequential()
model.add(Conv2D(8, (3, 3), padding="same", input_shape=x_train.shape[1:]))
model.add(Activation("relu"))
model.add(MaxPooling2D(pool_size=(2, 2)))
model.add(Conv2D(16, (3, 3), padding="same"))
model.add(Activation("relu"))
model.add(MaxPooling2D(pool_size=(2, 2)))
model.add(Flatten())
model.add(Dense(32))
model.add(Activation("relu"))
model.add(Dense(num_classes))
model.add(Activation("softmax"))
model.compile(loss="categorical_crossentropy", optimizer="adam", metrics=["accuracy"])

x_train = x_train.astype("float32") / 255
x_test = x_test.astype("float32") / 255

datagen = ImageDataGenerator(
    featurewise_center=False,
    rotation_range=5,
    width_shift_range=0.1,
    height_shift_range=0.1,
    horizontal_flip=True,
    vertical_flip=False,
)
datagen.fit(x_train)
history = model.fit(
    datagen.flow(x_train, y_train, batch_size=batch_size),
    epochs=epochs,
    validation_data=(x_test, y_test),
)
scores = model.evaluate(x_test, y_test, verbose=1)
print("Test accuracy:", scores[1])
