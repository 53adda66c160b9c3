"""Tell cats from dogs: a dataset of the pictures in folders, and augmentation in the model."""

from nnfast import keras
from nnfast.keras import layers

image_size = (32, 32)

train_ds = keras.utils.image_dataset_from_directory(
    "cats_and_dogs/train",
    validation_split=0.2,
    subset="training",
    seed=1337,
    image_size=image_size,
    batch_size=8,
)
val_ds = keras.utils.image_dataset_from_directory(
    "cats_and_dogs/train",
    validation_split=0.2,
    subset="validation",
    seed=1337,
    image_size=image_size,
    batch_size=8,
)
class_names = train_ds.class_names
print(class_names)
for images, labels in train_ds.take(1):
    print(images.shape, labels.shape)

train_ds = train_ds.cache().prefetch(2)

model = keras.Sequential(
    [
        layers.Rescaling(1.0 / 255, input_shape=(*image_size, 3)),
        layers.RandomFlip("horizontal"),
        layers.Conv2D(8, 3, padding="same", activation="relu"),
        layers.MaxPooling2D(),
        layers.Conv2D(16, 3, padding="same", activation="relu"),
        layers.MaxPooling2D(),
        layers.Flatten(),
        layers.Dense(32, activation="relu"),
        layers.Dense(len(class_names)),
    ]
)
model.compile(
    optimizer="adam",
    loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    metrics=["accuracy"],
)
history = model.fit(train_ds, validation_data=val_ds, epochs=8)
val_acc = history.history["val_accuracy"][-1]

img = keras.utils.load_img("cats_and_dogs/validation/dogs/dog.0.jpg", target_size=image_size)
img_array = keras.utils.img_to_array(img)[None, ...]
score = model.predict(img_array)[0]
print("Most likely", class_names[score.argmax()])
