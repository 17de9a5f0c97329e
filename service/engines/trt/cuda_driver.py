"""Asks for the NVIDIA driver before anything that cannot live without one is touched.

TensorRT's runtime can crash the whole process where no driver answers; a missing driver has to be one line in the log.
"""

import ctypes
from collections.abc import Callable
from typing import Any

from service.errors import StartError

LIBRARY = "libcuda.so.1"


def probe_driver(load_library: Callable[[str], Any] = ctypes.CDLL) -> int:
    """Counts the GPUs this process may use.

    Args:
        load_library: loads a shared library by name; raises OSError when it can't.

    Returns:
        At least 1.

    Raises:
        StartError: no driver is installed, it does not answer, or it shows no GPU.
    """
    try:
        driver = load_library(LIBRARY)
    except OSError:
        raise StartError(
            f"GPU: no NVIDIA driver on this machine ({LIBRARY} is missing); install it, or serve an .onnx model"
        ) from None
    if status := driver.cuInit(0):
        raise StartError(f"GPU: the NVIDIA driver does not answer (cuInit gave {status}); `nvidia-smi` shows more")
    count = ctypes.c_int(0)
    if status := driver.cuDeviceGetCount(ctypes.byref(count)):
        raise StartError(f"GPU: the NVIDIA driver cannot count its GPUs (error {status}); `nvidia-smi` shows more")
    if count.value < 1:
        raise StartError("GPU: the driver shows no GPU to this process; check CUDA_VISIBLE_DEVICES and `nvidia-smi`")
    return count.value
