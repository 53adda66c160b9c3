"""What convolutions and poolings have in common: arguments, sizes, errors."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import ClassVar

from nnfast._plan.spec import Window
from nnfast._utils.checks import Shape, entries, integer
from nnfast._utils.registry import choose
from nnfast.layers.layer import Layer

Sizes = int | Sequence[int]

LARGEST_IMAGE = 2**30  # of which the engine counts the numbers in 32 bits
LARGEST = 2**31 - 1  # so that the engine's integers hold them, and a few of their products

AXES = {1: ("steps", "channels"), 2: ("height", "width", "channels")}


def sizes(name: str, value: object, rank: int) -> tuple[int, ...]:
    """Return `rank` integers, all at least 1, from one or from as many."""
    if not isinstance(value, Sequence) or isinstance(value, str):
        return (integer(name, value, minimum=1, maximum=LARGEST),) * rank
    if len(value) != rank:
        raise ValueError(f"{name} must be an integer or {rank} of them; received {value!r}")
    each = f"each entry of {name}"
    return tuple(integer(each, size, minimum=1, maximum=LARGEST) for size in entries(name, value))


def channels_last(data_format: str | None) -> str:
    """Return the only layout of images that there is."""
    if data_format is not None and str(data_format) != "channels_last":
        raise ValueError(
            "data_format must be 'channels_last', images as (height, width, channels); received "
            f"{data_format!r}"
        )
    return "channels_last"


class Windowed(Layer):
    """Base of the layers that move a window over images, or over sequences."""

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
                "strides > 1 and dilation_rate > 1 do not go together; received strides="
                f"{self.strides} and dilation_rate={self.dilation_rate}"
            )

    def _label(self) -> str:
        return f"{type(self).__name__} layer {self.name!r}"

    def _check_images(self, shape: Shape) -> None:
        """Refuse samples of another number of axes, and empty ones."""
        if len(shape) != self.rank + 1 or 0 in shape:
            raise ValueError(
                f"{self._label()} expects samples of shape ({', '.join(AXES[self.rank])}), all at "
                f"least 1; received shape {shape}"
            )

    def _window(self, shape: Shape, channels: int, groups: int = 1) -> Window:
        """Return the window over samples of `shape` that makes outputs of so many channels."""
        self._check_images(shape)
        out, before, reached = [], [], []
        for size, kernel, stride, rate in zip(
            shape, self._kernel, self.strides, self.dilation_rate, strict=False
        ):
            reach = (kernel - 1) * rate + 1
            if self.padding == "valid":
                out.append((size - reach) // stride + 1)
                before.append(0)
            elif self.padding == "causal":
                out.append((size - 1) // stride + 1)
                before.append(reach - 1)
            else:
                out.append((size - 1) // stride + 1)
                before.append(max(0, (out[-1] - 1) * stride + reach - size) // 2)
            reached.append(max(before[-1] + size, (out[-1] - 1) * stride + reach))
        if min(out) < 1:
            dilated = f" with dilation {self.dilation_rate}" if max(self.dilation_rate) > 1 else ""
            raise ValueError(
                f"{self._label()} has a window of {self._kernel}{dilated}, larger than its input "
                f"of shape {shape}: take a smaller one or padding='same'"
            )
        if max(math.prod(reached) * shape[-1], math.prod(out) * channels) > LARGEST_IMAGE:
            raise ValueError(
                f"{self._label()} makes samples of shape {(*out, channels)} from padded ones of "
                f"shape {(*reached, shape[-1])}; the engine takes up to {LARGEST_IMAGE} numbers "
                "in one"
            )

        def two(values: Sequence[int], missing: int = 1) -> tuple[int, int]:
            row, column = (missing,) * (2 - self.rank) + tuple(values)
            return row, column

        return Window(
            *two(shape[:-1]),
            shape[-1],
            *two(out),
            channels,
            *two(self._kernel),
            *two(self.strides),
            *two(self.dilation_rate),
            *two(before, 0),
            groups,
        )

    def _outputs(self, win: Window) -> Shape:
        return (win.out_h, win.out_w, win.out_c)[2 - self.rank :]
