"""Event files of TensorBoard, with the contents that TensorFlow's summaries have."""

from __future__ import annotations

import io
import itertools
import os
import time
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

# Number of intervals of a histogram.
BUCKETS = 30

_TYPES = {np.dtype(np.float32): "DT_FLOAT", np.dtype(np.float64): "DT_DOUBLE"}
_number = itertools.count()


class EventFile:
    """An event file in a folder, which is created if necessary.

    Raises
    ------
    ImportError
        If tensorboardX is not installed.
    """

    def __init__(self, folder: str) -> None:
        try:
            from tensorboardX.event_file_writer import EventsWriter
        except ImportError:
            raise ImportError(
                "TensorBoard needs tensorboardX, which is not installed: "
                'pip install "nnfast[tensorboard]"'
            ) from None
        os.makedirs(folder, exist_ok=True)
        # The time in the file's name has whole seconds only.
        suffix = f".{os.getpid()}.{next(_number)}"
        self._writer = EventsWriter(os.path.join(folder, "events"), suffix)
        self._flushed = time.monotonic()

    def scalar(self, tag: str, value: ArrayLike, step: int) -> None:
        """Write a number, or several numbers under the tags ``tag/0``, ``tag/1`` and so on."""
        values = np.asarray(value, np.float32)
        if not values.ndim:
            self._write(tag, step, "scalars", values)
            return
        for i, entry in enumerate(values.ravel()):
            self._write(f"{tag}/{i}", step, "scalars", np.asarray(entry))

    def histogram(self, tag: str, values: NDArray[Any], step: int) -> None:
        """Write how many of the values are in each of `BUCKETS` intervals of equal width."""
        counts, edges = np.histogram(values, BUCKETS)
        rows = np.stack([edges[:-1], edges[1:], counts], axis=1)
        self._write(tag, step, "histograms", rows.astype(np.float64))

    def images(self, tag: str, images: NDArray[Any], step: int) -> None:
        """Write images of shape (n, height, width, channels) with values from 0 to 1."""
        height, width = images.shape[1:3]
        pictures = [_png(image) for image in images]
        self._write(tag, step, "images", [f"{width}".encode(), f"{height}".encode(), *pictures])

    def keras_model(self, json: str) -> None:
        """Write an architecture, which TensorBoard shows as a graph."""
        self._write("keras", 0, "graph_keras_model", json.encode(), b"1")

    def _write(
        self,
        tag: str,
        step: int,
        plugin: str,
        value: NDArray[Any] | list[bytes] | bytes,
        content: bytes = b"",
    ) -> None:
        """Write a tensor for one of TensorBoard's plugins; `content` is the plugin's own data."""
        from tensorboardX.proto.event_pb2 import Event

        event = Event(wall_time=time.time(), step=step)
        summary = event.summary.value.add(tag=tag)
        summary.metadata.plugin_data.plugin_name = plugin
        summary.metadata.plugin_data.content = content
        _fill(summary.tensor, value)
        self._writer.write_event(event)

    def flush(self, seconds: float = 0.0) -> None:
        """Make everything visible to TensorBoard, if the last flush is `seconds` ago or more."""
        if time.monotonic() - self._flushed >= seconds:
            self._writer.flush()
            self._flushed = time.monotonic()

    def close(self) -> None:
        self._writer.close()


def _fill(tensor: Any, value: NDArray[Any] | list[bytes] | bytes) -> None:
    """Store an array, a text or a list of texts in a message of type TensorProto."""
    from tensorboardX.proto import types_pb2

    if isinstance(value, np.ndarray):
        tensor.dtype = getattr(types_pb2, _TYPES[value.dtype])
        shape: tuple[int, ...] = value.shape
        tensor.tensor_content = value.astype(value.dtype.newbyteorder("<")).tobytes()
    else:
        tensor.dtype = types_pb2.DT_STRING
        shape = () if isinstance(value, bytes) else (len(value),)
        tensor.string_val.extend([value] if isinstance(value, bytes) else value)
    tensor.tensor_shape.SetInParent()
    for size in shape:
        tensor.tensor_shape.dim.add(size=size)


def _png(image: NDArray[Any]) -> bytes:
    """Return an image of shape (height, width, 1, 3 or 4) as a PNG file."""
    try:
        from PIL import Image
    except ImportError:
        raise ImportError(
            'Images need Pillow, which is not installed: pip install "nnfast[images]"'
        ) from None
    pixels = np.clip(np.nan_to_num(image) * 255.5, 0, 255).astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels).save(file, "png")
    return file.getvalue()
