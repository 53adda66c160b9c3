"""Open axes: axes of samples whose size is known only when arrays are passed.

A shape has None for an open axis. Layers describe themselves for samples of known shapes alone.
What they do with open axes is found by trying: an axis of the output is open if its size differs
between two sizes of the input's open axes, and weights must not differ.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from nnfast._plan.spec import LayerSpec, OpenShape, Shape, Weight


class Size(int):
    """A size that is tried for an open axis; messages show it as None."""

    def __repr__(self) -> str:
        return "None"

    __str__ = __repr__

    def __format__(self, spec: str) -> str:
        return "None"


# The sizes that are tried. They have many divisors, for layers that divide an axis. Small ones
# suffice for images, whose sizes are limited, and large ones for large windows.
SIZES = tuple(map(Size, (60, 120, 2520, 5040, 55440, 110880)))


def is_open(shapes: Iterable[OpenShape]) -> bool:
    """Return whether one of the shapes has an open axis."""
    return any(None in shape for shape in shapes)


def filled(shape: OpenShape, size: int) -> Shape:
    """Return a shape with a size for each open axis.

    Examples
    --------
    >>> filled((None, 3), 5)
    (5, 3)
    """
    return tuple(size if entry is None else entry for entry in shape)


def fits(shape: OpenShape, expected: OpenShape) -> bool:
    """Return whether a shape has the sizes that another one requires.

    Examples
    --------
    >>> fits((7, 3), (None, 3)), fits((None, 3), (7, 3))
    (True, False)
    """
    return len(shape) == len(expected) and all(
        wanted in (None, size) for size, wanted in zip(shape, expected, strict=True)
    )


def probed_shapes(
    infer: Callable[..., list[Shape]], shapes: Sequence[OpenShape]
) -> list[OpenShape]:
    """Return the output shapes of a layer with open axes.

    Parameters
    ----------
    infer : callable
        Returns the output shapes for known shapes.
    shapes : sequence of tuple of (int or None)
        The shapes of the inputs.

    Raises
    ------
    ValueError
        If the layer accepts none of the sizes that are tried.
    """
    if not is_open(shapes):
        return [*infer(*shapes)]
    found, error = _tried(infer, shapes, SIZES)
    if not found:  # perhaps an open axis must have the size of another one
        known = dict.fromkeys(size for shape in shapes for size in shape if size is not None)
        found, _ = _tried(infer, shapes, list(known))
    if not found:
        assert error is not None
        raise error
    return [tuple(map(_common, *each)) for each in zip(*found, strict=True)]


def _common(*sizes: int) -> int | None:
    """Return the size that an axis has in all shapes, None if it varies."""
    return sizes[0] if len(set(sizes)) == 1 else None


def _tried(
    infer: Callable[..., list[Shape]], shapes: Sequence[OpenShape], sizes: Sequence[int]
) -> tuple[list[list[Shape]], ValueError | None]:
    """Return the output shapes for the sizes that fit, and the first error."""
    found: list[list[Shape]] = []
    first: ValueError | None = None
    for size in sizes:
        try:
            found.append(infer(*(filled(shape, size) for shape in shapes)))
        except ValueError as error:
            first = first or error
    return found, first


def fixed_weights(layer: LayerSpec, shape: OpenShape) -> list[Weight]:
    """Return the descriptions of a layer's weights for an input with open axes.

    Raises
    ------
    ValueError
        If the shape of a weight depends on the size of an open axis.
    """
    if None not in shape:
        return layer.weight_specs(shape)
    one, other = (layer.weight_specs(filled(shape, size)) for size in SIZES[:2])
    if [weight.shape for weight in one] != [weight.shape for weight in other]:
        name = next(a.name for a, b in zip(one, other, strict=True) if a.shape != b.shape)
        raise ValueError(
            f"{type(layer).__name__} layer {layer.name!r} has a {name} whose shape depends on an "
            f"axis of unknown size; received samples of shape {shape}: give Input this size"
        )
    return one
