"""Tell cats from dogs: pictures in one folder per class, read and augmented by a generator."""

import matplotlib.pyplot as plt

from nnfast.keras import layers, models, optimizers
from nnfast.keras.preprocessing.image import ImageDataGenerator

train_datagen = ImageDataGenerator(rescale=1.0 / 255, horizontal_flip=True, zoom_range=0.1)
test_datagen = ImageDataGenerator(rescale=1.0 / 255)

train_generator = train_datagen.flow_from_directory(
    "cats_and_dogs/train", target_size=(32, 32), batch_size=10, class_mode="binary"
)
validation_generator = test_datagen.flow_from_directory(
    "cats_and_dogs/validation", target_size=(32, 32), batch_size=10, class_mode="binary"
)
for data_batch, labels_batch in train_generator:
    print("data batch shape:", data_batch.shape)
    print("labels batch shape:", labels_batch.shape)
    break

model = models.Sequential()
model.add(layers.Conv2D(8, (3, 3), activation="relu", input_shape=(32, 32, 3)))
model.add(layers.MaxPooling2D((2, 2)))
model.add(layers.Conv2D(16, (3, 3), activation="relu"))
model.add(layers.MaxPooling2D((2, 2)))
model.add(layers.Flatten())
model.add(layers.Dense(32, activation="relu"))
model.add(layers.Dense(1, activation="sigmoid"))
model.compile(
    loss="binary_crossentropy",
    optimizer=optimizers.RMSprop(learning_rate=1e-3),
    metrics=["acc"],
)

history = model.fit(
    train_generator,
    steps_per_epoch=len(train_generator),
    epochs=6,
    validation_data=validation_generator,
    validation_steps=len(validation_generator),
)
model.save_weights("cats_and_dogs.weights.h5")

acc = history.history["acc"]
val_acc = history.history["val_acc"]
plt.plot(range(1, len(acc) + 1), acc, "bo", label="Training acc")
plt.plot(range(1, len(acc) + 1), val_acc, "b", label="Validation acc")
plt.legend()
plt.savefig("accuracy.png")
plt.close()

test_loss, test_acc = model.evaluate(validation_generator)
classes = sorted(train_generator.class_indices, key=train_generator.class_indices.get)
