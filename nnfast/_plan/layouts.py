"""The layouts of tensors: how the elements of a sample lie in memory.

Most ops read a sample as one row of contiguous elements. Ops on the last axis read it as several
rows, called steps, so that the rows of a batch are at one constant stride. If a tensor is read in
another layout than the one in which it is written, `Layouts` makes a copy where one is needed.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

from nnfast._plan.spec import BlockSettings, Op, Shape

# The number of float32 elements per cache line.
LINE = 16


# `append(op, tensor, n_in, n_out)` appends an op that reads a tensor, and returns the number of
# the tensor that it writes.
Append = Callable[[Op, int, int, int], int]


class Layout(NamedTuple):
    """A sample of `steps` rows, which have `width` elements each."""

    steps: int
    width: int

    @property
    def row(self) -> int:
        """The stride of a step's rows: whole cache lines, because kernels write whole vectors."""
        return LINE * max(1, -(-self.width // LINE))

    @property
    def is_contiguous(self) -> bool:
        return self.steps == 1 or self.row == self.width


def in_one_row(shape: Shape, times: int = 1) -> Layout:
    """Return the layout in which each of `times` entries of this shape is one row."""
    return Layout(times, math.prod(shape))


def in_steps(shape: Shape) -> Layout:
    """Return the layout in which the rows are the last axis of a sample of this shape.

    Examples
    --------
    >>> in_steps((4, 3, 10)), in_steps((10,)), in_one_row((4, 3, 10))
    (Layout(steps=12, width=10), Layout(steps=1, width=10), Layout(steps=1, width=120))
    """
    return Layout(math.prod(shape[:-1]), shape[-1])


class Layouts:
    """The layouts of tensors, and copies of them in other layouts.

    Attributes
    ----------
    unpadded : set of int
        Sizes of samples whose stride is their size, because they are read in several layouts.
    """

    def __init__(self) -> None:
        self._layouts: dict[int, Layout] = {}
        self._copies: dict[tuple[int, Layout], int] = {}
        self.unpadded: set[int] = set()

    def of(self, tensor: int) -> Layout:
        """Return the layout in which a tensor is written."""
        return self._layouts[tensor]

    def note(self, tensor: int, layout: Layout) -> None:
        """Store the layout in which a tensor is written."""
        self._layouts[tensor] = layout

    def read(self, tensor: int, layout: Layout, append: Append) -> int:
        """Return the number of the tensor, or of a copy, that can be read in a layout.

        No copy is needed between layouts in which the elements of a sample are contiguous.
        """
        own = self._layouts[tensor]
        if own == layout:
            return tensor
        if own.is_contiguous and layout.is_contiguous:
            self.unpadded.add(own.steps * own.width)
            return tensor
        if own.steps > 1 and layout.steps > 1:
            row = Layout(1, own.steps * own.width)
            if not own.is_contiguous:
                return self.read(self.read(tensor, row, append), layout, append)
            self.unpadded.add(row.width)
            own = row
        if (tensor, layout) not in self._copies:
            self._copies[tensor, layout] = self._copy(tensor, own, layout, append)
        return self._copies[tensor, layout]

    def _copy(self, tensor: int, own: Layout, layout: Layout, append: Append) -> int:
        """Append an op that adds or removes the padding between the steps of a sample."""
        padded = own if own.steps > 1 else layout
        x_stride, y_stride = (
            part.row if part.steps > 1 else padded.width for part in (own, layout)
        )
        blocks = BlockSettings(padded.steps, padded.width, 0, x_stride, 0, y_stride, covers_x=True)
        self.unpadded.add(padded.steps * padded.row)
        n_in, n_out = padded.steps * x_stride, padded.steps * y_stride
        copy = append(Op("copy_blocks", settings=blocks), tensor, n_in, n_out)
        self.note(copy, layout)
        return copy
