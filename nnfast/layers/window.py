"""The sliding window of convolutions and poolings: its arguments and the resulting sizes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import ClassVar

from nnfast._plan.spec import Window
from nnfast._utils.checks import Shape, entries, integer
from nnfast._utils.registry import choose
from nnfast.layers.layer import Layer

Sizes = int | Sequence[int]

LARGEST_IMAGE = 2**30  # elements per sample; the engine counts them with 32-bit integers
# Largest window size, stride or dilation. The product of two fits in a 64-bit integer.
LARGEST = 2**31 - 1

AXES = {1: ("steps", "channels"), 2: ("height", "width", "channels")}


def sizes(name: str, value: object, rank: int, minimum: int = 1) -> tuple[int, ...]:
    """Return `rank` integers ≥ `minimum` from one integer or from a sequence of `rank` integers."""
    if not isinstance(value, Sequence) or isinstance(value, str):
        return (integer(name, value, minimum, LARGEST),) * rank
    if len(value) != rank:
        raise ValueError(
            f"{name} must be an integer or a sequence of {rank} of them; received {value!r}"
        )
    each = f"each entry of {name}"
    return tuple(integer(each, size, minimum, LARGEST) for size in entries(name, value))


def span(size: int, kernel: int, stride: int, rate: int, padding: str) -> tuple[int, int, int]:
    """Return (number of outputs, leading zeros, padded length) for a window along one axis.

    The padded length extends from the first padding zero to the end of the input or of the last
    window, whichever is further.

    Examples
    --------
    >>> span(10, 3, 1, 1, "valid"), span(10, 3, 2, 1, "same"), span(10, 3, 1, 2, "causal")
    ((8, 0, 10), (5, 0, 11), (10, 4, 14))
    """
    reach = (kernel - 1) * rate + 1
    out = (size - reach if padding == "valid" else size - 1) // stride + 1
    covered = (out - 1) * stride + reach
    before = {"valid": 0, "causal": reach - 1, "same": max(0, covered - size) // 2}[padding]
    return out, before, max(before + size, covered)


def channels_last(data_format: str | None) -> str:
    """Return "channels_last", the only supported image layout; raise ValueError for any other."""
    if data_format is not None and str(data_format) != "channels_last":
        raise ValueError(
            "data_format must be 'channels_last', that is (height, width, channels); received "
            f"{data_format!r}"
        )
    return "channels_last"


class Windowed(Layer):
    """Base class of the layers that move a window over images or sequences."""

    rank: ClassVar[int] = 2
    _paddings: ClassVar[tuple[str, ...]] = ("valid", "same")

    def _set_window(
        self,
        kernel_size: Sizes,
        strides: Sizes,
        padding: str,
        data_format: str | None,
        dilation_rate: Sizes = 1,
        kernel_name: str = "kernel_size",
    ) -> None:
        self._kernel = sizes(kernel_name, kernel_size, self.rank)
        self.strides = sizes("strides", strides, self.rank)
        self.dilation_rate = sizes("dilation_rate", dilation_rate, self.rank)
        self.padding = choose("padding", str(padding).lower(), {p: p for p in self._paddings})
        self.data_format = channels_last(data_format)
        if max(self.strides) > 1 and max(self.dilation_rate) > 1:
            raise ValueError(
                "strides > 1 and dilation_rate > 1 cannot be combined; received strides="
                f"{self.strides} and dilation_rate={self.dilation_rate}"
            )

    def _label(self) -> str:
        return f"{type(self).__name__} layer {self.name!r}"

    def _check_images(self, shape: Shape) -> None:
        """Raise ValueError if samples are empty or have the wrong number of axes."""
        if len(shape) != self.rank + 1 or 0 in shape:
            raise ValueError(
                f"{self._label()} expects samples of shape ({', '.join(AXES[self.rank])}), every "
                f"axis at least 1; received shape {shape}"
            )

    def _window(self, shape: Shape, channels: int, groups: int = 1) -> Window:
        """Return the window over samples of `shape`, with `channels` output channels."""
        self._check_images(shape)
        axes = zip(shape[:-1], self._kernel, self.strides, self.dilation_rate, strict=True)
        out, before, padded = zip(*(span(*axis, self.padding) for axis in axes), strict=True)
        self._check_spans(shape, (*out, channels), (*padded, shape[-1]))
        return Window(
            *self._two(shape[:-1]),
            shape[-1],
            *self._two(out),
            channels,
            *self._two(self._kernel),
            *self._two(self.strides),
            *self._two(self.dilation_rate),
            *self._two(before, missing=0),
            groups,
        )

    def _check_spans(self, shape: Shape, out: Shape, padded: Shape) -> None:
        """Raise ValueError if the window exceeds the sample, or the sample the engine's limit."""
        if min(out) < 1:
            dilated = f" with dilation {self.dilation_rate}" if max(self.dilation_rate) > 1 else ""
            raise ValueError(
                f"{self._label()} has a window of {self._kernel}{dilated}, which is larger than "
                f"its input of shape {shape}: use a smaller window or padding='same'"
            )
        if max(math.prod(padded), math.prod(out)) > LARGEST_IMAGE:
            raise ValueError(
                f"{self._label()} computes samples of shape {out} from padded samples of shape "
                f"{padded}; a sample may have at most {LARGEST_IMAGE} elements"
            )

    def _two(self, values: tuple[int, ...], missing: int = 1) -> tuple[int, int]:
        """Return the values for rows and columns; a sequence is treated as a one-row image."""
        row, column = (missing,) * (2 - self.rank) + values
        return row, column

    def _outputs(self, win: Window) -> Shape:
        return (win.out_h, win.out_w, win.out_c)[2 - self.rank :]
