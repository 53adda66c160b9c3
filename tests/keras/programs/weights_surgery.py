"""Read and change weights, freeze a layer, and change the learning rate during training."""

import numpy as np

from nnfast import keras

rng = np.random.default_rng(0)
x = rng.normal(size=(200, 4)).astype("float32")
y = x @ np.array([1.0, -2.0, 0.5, 0.0], "float32") + 0.3

model = keras.Sequential(
    [
        keras.Input((4,)),
        keras.layers.Dense(8, activation="tanh", name="hidden"),
        keras.layers.Dense(1, name="out"),
    ]
)
model.compile(optimizer=keras.optimizers.Adam(learning_rate=0.01), loss="mse")
model.fit(x, y, epochs=5, verbose=0)

weights = model.get_weights()
print([w.shape for w in weights])
model.set_weights([w * 0.9 for w in weights])

kernel = np.array(model.layers[0].kernel)
model.layers[0].kernel.assign(kernel * 2.0)
doubled = np.array(model.get_layer("hidden").get_weights()[0])
model.get_layer("out").set_weights([np.ones((8, 1)), np.zeros(1)])

model.layers[0].trainable = False
model.compile(optimizer=keras.optimizers.Adam(learning_rate=0.01), loss="mse")
model.fit(x, y, epochs=3, verbose=0)
frozen = np.array(model.layers[0].kernel)
print(len(model.trainable_weights), len(model.non_trainable_weights))

model.layers[0].trainable = True
model.compile(optimizer=keras.optimizers.Adam(learning_rate=0.05), loss="mse")
model.fit(x, y, epochs=20, verbose=0)
model.optimizer.learning_rate.assign(0.005)
model.fit(x, y, epochs=10, verbose=0)
model.optimizer.learning_rate = 0.001
model.fit(x, y, epochs=3, verbose=0)
rate = float(model.optimizer.learning_rate)
steps = int(model.optimizer.iterations)
r2 = 1 - model.evaluate(x, y, verbose=0) / np.var(y)
