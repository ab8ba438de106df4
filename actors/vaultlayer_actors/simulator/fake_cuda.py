"""A CUDA driver that has no GPU behind it: becomes `sitecustomize.py` in the image of simulated machines.

`VAULTLAYER_SIM_GPU` is `<name>:<MB>:<count>`; with the count 0 the driver finds no device, and a name that
ends in `!` computes wrongly. Without the variable there is no driver.
"""

import ctypes
import os

_REAL = ctypes.CDLL
_CUDA_ERROR_NO_DEVICE = 100


class _Driver:
    def __init__(self, name: str, memory_b: int, count: int) -> None:
        self._name, self._memory_b, self._count = name.rstrip("!"), memory_b, count
        self._wrong = name.endswith("!")
        self._value = 0

    def cuInit(self, _flags):  # noqa: ANN001, ANN202, N802
        return 0 if self._count else _CUDA_ERROR_NO_DEVICE

    def cuDeviceGetCount(self, count):  # noqa: ANN001, ANN202, N802
        count._obj.value = self._count
        return 0

    def cuDeviceGetName(self, buffer, _size, _device):  # noqa: ANN001, ANN202, N802
        buffer.value = self._name.encode()
        return 0

    def cuDeviceTotalMem_v2(self, memory_b, _device):  # noqa: ANN001, ANN202, N802
        memory_b._obj.value = self._memory_b
        return 0

    def cuMemsetD32_v2(self, _pointer, value, _words):  # noqa: ANN001, ANN202, N802
        self._value = value.value ^ self._wrong
        return 0

    def cuMemcpyDtoH_v2(self, back, _pointer, size):  # noqa: ANN001, ANN202, N802
        raw = self._value.to_bytes(4, "little") * (size.value // 4)
        ctypes.memmove(back, raw, len(raw))
        return 0

    def __getattr__(self, _name: str):  # noqa: ANN204
        return lambda *_arguments: 0


def _load(name=None, *arguments, **options):  # noqa: ANN001, ANN002, ANN003, ANN202
    told = os.environ.get("VAULTLAYER_SIM_GPU", "")
    if name != "libcuda.so.1" or not told:
        return _REAL(name, *arguments, **options)
    gpu, megabytes, count = told.split(":")
    return _Driver(gpu, int(megabytes) << 20, int(count))


if os.environ.get("VAULTLAYER_SIM_GPU"):
    ctypes.CDLL = _load
