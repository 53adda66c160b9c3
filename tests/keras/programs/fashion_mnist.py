"""Classify pictures of clothing: logits, a loss on logits and a softmax for predictions."""

import numpy as np

from nnfast.keras import tf

class_names = ["T-shirt", "Trouser", "Pullover", "Dress", "Coat"]
class_names += ["Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"]

fashion_mnist = tf.keras.datasets.fashion_mnist
(train_images, train_labels), (test_images, test_labels) = fashion_mnist.load_data()
train_images = train_images / 255.0
test_images = test_images / 255.0

model = tf.keras.Sequential(
    [
        tf.keras.layers.Flatten(input_shape=(28, 28)),
        tf.keras.layers.Dense(64, activation="relu"),
        tf.keras.layers.Dense(10),
    ]
)
model.compile(
    optimizer="adam",
    loss=tf.keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    metrics=["accuracy"],
)
model.fit(train_images, train_labels, epochs=5)
test_loss, test_acc = model.evaluate(test_images, test_labels, verbose=2)
print("\nTest accuracy:", test_acc)

logits = model.predict(test_images)
probabilities = np.array(tf.keras.activations.softmax(logits))
for row in range(5):
    guess = np.argmax(probabilities[row])
    percent = 100 * np.max(probabilities[row])
    print(f"{class_names[guess]} {percent:2.0f}% ({class_names[test_labels[row]]})")

# One picture is a batch of one.
img = np.expand_dims(test_images[1], 0)
prediction = int(np.argmax(model.predict(img)[0]))
