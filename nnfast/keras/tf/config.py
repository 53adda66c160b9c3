"""Devices, as in ``tf.config``: there is one CPU and no GPU."""

from __future__ import annotations

from types import SimpleNamespace
from typing import NamedTuple

from nnfast._engine import get_num_threads, set_num_threads

__all__ = [
    "PhysicalDevice",
    "experimental",
    "list_logical_devices",
    "list_physical_devices",
    "set_visible_devices",
    "threading",
]


class PhysicalDevice(NamedTuple):
    """A device of the machine."""

    name: str
    device_type: str


_CPU = PhysicalDevice("/physical_device:CPU:0", "CPU")


def list_physical_devices(device_type: str | None = None) -> list[PhysicalDevice]:
    """Return the devices of a type: the CPU, and no others.

    Examples
    --------
    >>> list_physical_devices("GPU")
    []
    """
    return [_CPU] if device_type in (None, "CPU") else []


list_logical_devices = list_physical_devices


def set_memory_growth(device: PhysicalDevice, enable: bool) -> None:
    """Do nothing: memory is allocated when it is needed, and freed with the model."""


def set_visible_devices(devices: object, device_type: str | None = None) -> None:
    """Do nothing if the devices are the CPU or no GPUs; raise a ValueError otherwise."""
    given = devices if isinstance(devices, (list, tuple)) else [devices]
    if any(device != _CPU for device in given):
        raise ValueError(f"devices must be of list_physical_devices(); received {devices!r}")


experimental = SimpleNamespace(
    list_physical_devices=list_physical_devices,
    set_memory_growth=set_memory_growth,
    set_visible_devices=set_visible_devices,
)
threading = SimpleNamespace(
    get_intra_op_parallelism_threads=get_num_threads,
    set_intra_op_parallelism_threads=set_num_threads,
)
