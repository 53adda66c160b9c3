"""Gradients for the caller: of the loss, of the output, and steps along the caller's own."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nnfast import _engine
from nnfast._data import arrays
from nnfast._data.samples import Samples
from nnfast._runtime.trainer import Program
from nnfast.models.compiled import Compiled

Array = NDArray[Any]


class Gradients(Compiled):
    """A compiled model that hands its gradients out, and takes others'."""

    def loss_and_grad(
        self, x: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None
    ) -> tuple[float, list[Array]]:
        """Return the loss and its gradient, in inference mode.

        Parameters
        ----------
        x, y, sample_weight
            As in `fit`.

        Returns
        -------
        loss : float
            Σ wᵢ·lᵢ / n.
        gradients : list of ndarray
            One for each array of `trainable_weights`, in that order.

        Raises
        ------
        TypeError, ValueError
            If an argument is not as described.

        Examples
        --------
        >>> from nnfast import Sequential
        >>> from nnfast.layers import Dense
        >>> model = Sequential([Dense(1, input_dim=1, kernel_initializer="zeros")])
        >>> model.compile("sgd", "mse")
        >>> model.loss_and_grad([[2.0]], [1.0])
        (1.0, [array([[-4.]], dtype=float32), array([-2.], dtype=float32)])
        """
        program, samples = self._prepare("loss_and_grad", x, y, sample_weight)
        version, plan = program.version, program.plan  # in the other order than they are set
        loss, gradient = self._loss_and_grad(program, samples, version)
        return loss, list(plan.trained_views(gradient))

    @staticmethod
    def _loss_and_grad(program: Program, samples: Samples, version: int) -> tuple[float, Array]:
        """Return the loss and its gradient, flat."""
        if not samples.for_function:
            return program.engine.loss_and_gradient(samples.data(), False, version)
        loss, dout = program.function_loss(samples)
        data = _engine.Data(samples.x, dout)
        return loss, program.engine.loss_and_gradient(data, True, version)[1]

    def loss_and_grad_flat(
        self,
        theta: ArrayLike,
        x: ArrayLike,
        y: ArrayLike,
        sample_weight: ArrayLike | None = None,
    ) -> tuple[float, NDArray[np.float64]]:
        """Set all weights to `theta`; return the loss and its gradient as one vector.

        In this form ``scipy.optimize.minimize(model.loss_and_grad_flat,
        model.get_flat_weights(), args=(x, y), jac=True)`` takes it; pass its result to
        `set_flat_weights`.

        Parameters
        ----------
        theta : array_like (n_params,)
            As `get_flat_weights` gives it.
        x, y, sample_weight
            As in `fit`.

        Returns
        -------
        loss : float
        gradient : ndarray (n_params,) float64
        """
        program, samples = self._prepare("loss_and_grad_flat", x, y, sample_weight)
        self.set_flat_weights(theta)
        loss, gradient = self._loss_and_grad(program, samples, program.version)
        return loss, self._flat(gradient)

    def input_gradient(self, x: ArrayLike, y: ArrayLike | None = None) -> Array:
        """Return how the loss, or the output, of each sample changes with its input.

        In inference mode. As a picture, the absolute values are a saliency map (Simonyan,
        Vedaldi and Zisserman, 2013).

        Parameters
        ----------
        x : array_like (n, ...)
        y : array_like, optional
            As in `fit`: row i of the result is then ∂lᵢ/∂xᵢ. Without, it is the gradient of the
            output where the model has one, and of each sample's largest output where it has
            several: the score of the class that it predicts.

        Returns
        -------
        ndarray
            Of the shape of `x` and of the model's dtype.

        Raises
        ------
        TypeError, ValueError
            If an argument is not as described; with `y`, if the model has no loss.

        Examples
        --------
        >>> from nnfast import Sequential
        >>> from nnfast.layers import Dense
        >>> model = Sequential([Dense(1, input_dim=2)])
        >>> model.layers[0].set_weights([[[3.0], [-1.0]], [0.0]])
        >>> model.input_gradient([[0.0, 5.0]])
        array([[ 3., -1.]], dtype=float32)
        """
        given, version = False, -1
        if y is not None:
            program, samples = self._prepare("input_gradient", x, y)
            engine, version = program.engine, program.version
            rows, data, given = samples.x, samples.data(), samples.for_function
            if given:
                _, gradient = program.function_loss(samples)
                data = _engine.Data(rows, gradient * len(rows))
        else:
            x = self._built_for(x)
            assert self._one is not None
            rows = arrays.features("x", x, self._one, self._np_dtype)
            data, engine = _engine.Data(rows), self._built_engine()
            self._pull()
        out = np.empty(rows.shape, self._np_dtype)
        engine.input_gradient(data, out, given, version)
        return out.reshape(len(rows), *(self._one or ()))

    def train_on_gradient(self, x: ArrayLike, dout: ArrayLike) -> None:
        """Take one optimizer step along a gradient of your own, as reinforcement learning needs.

        Parameters
        ----------
        x : array_like (n, ...)
        dout : array_like
            ∂L/∂outputs, of the outputs' shape: the weights' gradient is the sum over the rows.
            L is what you minimize; a mean over rows has its 1/n in `dout`. Regularizers add
            their own.

        Raises
        ------
        TypeError, ValueError
            If an argument is not as described, or the model is not compiled.

        Warns
        -----
        RuntimeWarning
            If the gradient is not finite; the weights are as before then.

        Examples
        --------
        >>> import numpy as np
        >>> from nnfast import Sequential
        >>> from nnfast.layers import Dense
        >>> model = Sequential([Dense(1, input_dim=1, kernel_initializer="zeros")])
        >>> model.compile("sgd")
        >>> x = np.ones((4, 1))
        >>> for _ in range(500):
        ...     model.train_on_gradient(x, model(x) - 3.0)
        >>> model(x[:1]).round(2)
        array([[3.]], dtype=float32)
        """
        program = self._compiled("train_on_gradient", x)
        plan = program.plan
        rows = arrays.features("x", x, plan.input_shape, self._np_dtype)
        if len(rows) == 0:
            raise ValueError("x must have at least one row in train_on_gradient(); received none")
        arrays.check_order("x", len(rows))
        gradient = arrays.output_gradient(
            "dout", dout, len(rows), plan.output_shape, self._np_dtype
        )
        self._step(program, _engine.Data(rows, gradient), len(rows), None, given=True)
