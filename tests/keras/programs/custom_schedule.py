"""Train with a learning-rate schedule of one's own: a warm-up, then a decay."""

import math

import numpy as np

from nnfast import keras


class WarmUp(keras.optimizers.schedules.LearningRateSchedule):
    def __init__(self, peak, warmup_steps):
        super().__init__()
        self.peak = peak
        self.warmup_steps = warmup_steps

    def __call__(self, step):
        step = float(step) + 1.0
        return self.peak * min(step / self.warmup_steps, math.sqrt(self.warmup_steps / step))

    def get_config(self):
        return {"peak": self.peak, "warmup_steps": self.warmup_steps}


rng = np.random.default_rng(0)
x = rng.normal(size=(300, 5))
y = np.tanh(x[:, 0] + x[:, 1]) + 0.5 * x[:, 2]

learning_rate = WarmUp(0.02, warmup_steps=40)
optimizer = keras.optimizers.Adam(learning_rate, beta_1=0.9, beta_2=0.98, epsilon=1e-9)
model = keras.Sequential(
    [keras.Input((5,)), keras.layers.Dense(16, activation="relu"), keras.layers.Dense(1)]
)
model.compile(optimizer=optimizer, loss="mse")
history = model.fit(x, y, batch_size=30, epochs=30, verbose=0)
again = WarmUp.from_config(learning_rate.get_config())
rates = [float(again(step)) for step in (0, 39, 159)]
r2 = 1 - model.evaluate(x, y, verbose=0) / np.var(y)
