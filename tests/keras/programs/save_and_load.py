"""Save weights during training and afterwards, save a whole model, and load it again."""

import os

import numpy as np

from nnfast.keras import tf

(train_images, train_labels), (test_images, test_labels) = tf.keras.datasets.mnist.load_data()
train_labels = train_labels[:400]
test_labels = test_labels[:200]
train_images = train_images[:400].reshape(-1, 28 * 28) / 255.0
test_images = test_images[:200].reshape(-1, 28 * 28) / 255.0


def create_model():
    model = tf.keras.Sequential(
        [
            tf.keras.layers.Dense(64, activation="relu", input_shape=(784,)),
            tf.keras.layers.Dense(10),
        ]
    )
    model.compile(
        optimizer="adam",
        loss=tf.keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=[tf.keras.metrics.SparseCategoricalAccuracy()],
    )
    return model


model = create_model()
checkpoint_path = "training/cp.weights.h5"
cp_callback = tf.keras.callbacks.ModelCheckpoint(
    filepath=checkpoint_path, save_weights_only=True, verbose=1
)
model.fit(
    train_images,
    train_labels,
    epochs=6,
    validation_data=(test_images, test_labels),
    callbacks=[cp_callback],
    verbose=0,
)
print(os.listdir(os.path.dirname(checkpoint_path)))

untrained = create_model()
_, before = untrained.evaluate(test_images, test_labels, verbose=0)
untrained.load_weights(checkpoint_path)
_, restored = untrained.evaluate(test_images, test_labels, verbose=0)

best_only = tf.keras.callbacks.ModelCheckpoint(
    "training/best-{epoch:02d}.weights.h5",
    monitor="val_loss",
    save_best_only=True,
    save_weights_only=True,
)
model.fit(
    train_images,
    train_labels,
    epochs=3,
    validation_data=(test_images, test_labels),
    callbacks=[best_only],
    verbose=0,
)
model.save_weights("checkpoint.weights.h5")
model.save("my_model.keras")
new_model = tf.keras.models.load_model("my_model.keras")
new_model.summary()
loss, acc = new_model.evaluate(test_images, test_labels, verbose=2)
same = np.array_equal(new_model.predict(test_images), model.predict(test_images))

copy = tf.keras.models.clone_model(model)
copy.set_weights(model.get_weights())
again = tf.keras.models.model_from_json(model.to_json())
