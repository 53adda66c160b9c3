"""A layer that draws from normal distributions, for variational autoencoders."""

from __future__ import annotations

from typing import NamedTuple, Unpack

from nnfast._plan.spec import Op
from nnfast._utils.checks import Shape
from nnfast.layers.layer import LayerOptions
from nnfast.layers.merging import Merge
from nnfast.layers.resampling import check_seed

__all__ = ["Sampling"]


class SamplingSettings(NamedTuple):
    """The settings of a draw; if not `seeded`, the model's seed is the key of the stream."""

    seeded: bool = False
    seed: int = 0


class Sampling(Merge):
    """Draw from normal distributions: return z_mean + exp(z_log_var / 2)·ε with standard normal ε.

    It is called on a list of two tensors of equal shapes, the means and the logarithms of the
    variances. Gradients are those of this formula (the reparametrization trick; Kingma and
    Welling, 2014).

    In training, ε depends only on the model's seed, the epoch, the call of the layer, and the
    sample's position in the epoch. In inference the layer draws, too, as in Keras' example of a
    variational autoencoder. There, ε depends only on the model's seed, the call of the layer, and
    the sample's position in the array or stream. The same call therefore gives the same result,
    whatever the number of threads and however the rows are divided into batches.

    Parameters
    ----------
    seed : int, optional
        Makes the draws independent of the model's seed and of the layer's position in the model.
    **options
        See `Layer`.

    Examples
    --------
    >>> import nnfast
    >>> x = nnfast.Input((4,))
    >>> z_mean, z_log_var = nnfast.layers.Dense(2)(x), nnfast.layers.Dense(2)(x)
    >>> Sampling()([z_mean, z_log_var]).shape
    (None, 2)
    """

    n_inputs = 2
    _fields = ("seed",)

    def __init__(self, seed: int | None = None, **options: Unpack[LayerOptions]) -> None:
        super().__init__(**options)
        self.seed = check_seed(seed)

    def infer_shape(self, input_shape: Shape, *others: Shape) -> Shape:
        if others != (input_shape,):
            raise ValueError(
                f"Sampling layer {self.name!r} requires means and log-variances of equal shapes; "
                f"received samples of shapes {[input_shape, *others]}"
            )
        return input_shape

    def ops(self, input_shape: Shape, *others: Shape) -> list[Op]:
        settings = SamplingSettings(self.seed is not None, self.seed or 0)
        return [Op("sampling", settings=settings, operands=(0, 1))]
