"""A generator learns to draw points on a ring from a discriminator that it tries to deceive."""

import numpy as np

import nnfast
from nnfast.layers import Dense, Input
from nnfast.optimizers import Adam

rng = np.random.default_rng(0)
nnfast.set_seed(0)


def ring(n):
    """Return n points at distances of about 1 from the origin."""
    angle, radius = rng.uniform(0, 2 * np.pi, n), rng.normal(1, 0.05, n)
    return np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1)


generator = nnfast.Sequential(
    [Input((4,)), Dense(32, activation="relu"), Dense(32, activation="relu"), Dense(2)]
)
discriminator = nnfast.Sequential(
    [
        Input((2,)),
        *(Dense(64, activation="relu"), Dense(64, activation="relu")),
        Dense(1, activation="sigmoid"),
    ]
)
discriminator.compile(Adam(0.001, beta_1=0.5), loss="binary_crossentropy")
code = Input((4,))
gan = nnfast.Model(code, discriminator(generator(code)))
gan.compile(Adam(0.001, beta_1=0.5), loss="binary_crossentropy")

n = 64
real, fake = np.ones((n, 1)), np.zeros((n, 1))
for _ in range(4000):
    discriminator.trainable = True
    points = np.concatenate([ring(n), generator.predict(rng.normal(size=(n, 4)))])
    discriminator.train_on_batch(points, np.concatenate([real, fake]))
    # The generator is trained to be taken for real, by a discriminator that stays as it is.
    discriminator.trainable = False
    gan.train_on_batch(rng.normal(size=(n, 4)), real)

points = generator.predict(rng.normal(size=(1000, 4)))
distance = np.linalg.norm(points, axis=1)
angle = np.arctan2(points[:, 1], points[:, 0])
quarters = np.bincount(np.floor(angle / (np.pi / 2)).astype(int) + 2, minlength=4)[:4]
print(f"distance from the origin: {distance.mean():.2f} ± {distance.std():.2f}")
print(f"points in each quarter: {quarters.tolist()}")
