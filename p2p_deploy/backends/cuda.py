"""Whether there is an NVIDIA GPU, asked of the driver itself, so that no package has to be installed to find out."""

from __future__ import annotations

import ctypes
import functools
import sys

_DRIVER = "nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1"


@functools.cache
def device_count() -> int:
    """Number of GPUs the NVIDIA driver offers; 0 without a driver. Never raises, and loads no CUDA runtime."""
    try:
        driver = ctypes.CDLL(_DRIVER)
    except OSError:
        return 0
    count = ctypes.c_int(0)
    if driver.cuInit(0) != 0 or driver.cuDeviceGetCount(ctypes.byref(count)) != 0:
        return 0
    return count.value


def device_name(index: int) -> str:
    """Name and compute capability of a GPU, e.g. ``NVIDIA L4 (8.9)``; ``index`` must be below ``device_count()``."""
    driver, name = ctypes.CDLL(_DRIVER), ctypes.create_string_buffer(256)
    driver.cuDeviceGetName(name, len(name), _handle(driver, index))
    return f"{name.value.decode(errors='replace')} ({compute_capability(index)})"


def compute_capability(index: int) -> str:
    """Compute capability of a GPU, e.g. ``8.9``; ``index`` must be below ``device_count()``."""
    driver, value = ctypes.CDLL(_DRIVER), ctypes.c_int(0)
    numbers = []
    for attribute in (75, 76):  # CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR and _MINOR
        driver.cuDeviceGetAttribute(ctypes.byref(value), attribute, _handle(driver, index))
        numbers.append(str(value.value))
    return ".".join(numbers)


def _handle(driver: ctypes.CDLL, index: int) -> ctypes.c_int:
    device = ctypes.c_int(0)
    driver.cuDeviceGet(ctypes.byref(device), index)
    return device
