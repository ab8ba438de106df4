"""Proves that the promised GPUs compute: memory is written, read back and compared on each of them.

Run as `python -m vaultlayer_agent.gpu_proof` in a process of its own, because a broken driver can hang
or crash whoever calls it. It speaks to the driver's library (libcuda) and nothing else, so it needs no CUDA
toolkit and no torch. Prints one JSON object; the names and calls are NVIDIA's CUDA Driver API.
"""

import ctypes
import json
import sys

LIBRARY = "libcuda.so.1"
BYTES = 1 << 24
PATTERN = 0x5EEDC0DE
NAME_B = 100


class CudaError(Exception):
    """A call of the driver failed."""


class Cuda:
    """The few calls of the driver that the proof needs."""

    def __init__(self) -> None:
        try:
            self._library = ctypes.CDLL(LIBRARY)
        except OSError as error:
            raise CudaError(f"{LIBRARY} cannot be loaded: {error}") from error
        self.call("cuInit", 0)

    def call(self, name: str, *arguments: object) -> None:
        """Call a function; raises CudaError for every result but CUDA_SUCCESS."""
        result = getattr(self._library, name)(*arguments)
        if result != 0:
            raise CudaError(f"{name} failed with CUDA error {result}")

    def count(self) -> int:
        """Count the devices."""
        number = ctypes.c_int()
        self.call("cuDeviceGetCount", ctypes.byref(number))
        return number.value

    def device(self, index: int) -> dict[str, object]:
        """Give name and memory of a device, after it has computed."""
        device, context = ctypes.c_int(), ctypes.c_void_p()
        self.call("cuDeviceGet", ctypes.byref(device), index)
        name, memory_b = ctypes.create_string_buffer(NAME_B), ctypes.c_size_t()
        self.call("cuDeviceGetName", name, NAME_B, device)
        self.call("cuDeviceTotalMem_v2", ctypes.byref(memory_b), device)
        self.call("cuCtxCreate_v2", ctypes.byref(context), 0, device)
        try:
            self._compute()
        finally:
            self.call("cuCtxDestroy_v2", context)
        return {"name": name.value.decode(errors="replace"), "memory_b": memory_b.value}

    def _compute(self) -> None:
        pointer = ctypes.c_uint64()
        words = BYTES // 4
        self.call("cuMemAlloc_v2", ctypes.byref(pointer), ctypes.c_size_t(BYTES))
        try:
            self.call("cuMemsetD32_v2", pointer, ctypes.c_uint(PATTERN), ctypes.c_size_t(words))
            self.call("cuCtxSynchronize")
            back = (ctypes.c_uint32 * words)()
            self.call("cuMemcpyDtoH_v2", back, pointer, ctypes.c_size_t(BYTES))
        finally:
            self.call("cuMemFree_v2", pointer)
        if bytes(back) != PATTERN.to_bytes(4, sys.byteorder) * words:
            raise CudaError("what was read back is not what was written")


def prove() -> dict[str, object]:
    """Give the devices that have computed, or what failed."""
    try:
        cuda = Cuda()
        return {"gpus": [cuda.device(index) for index in range(cuda.count())], "error": ""}
    except (CudaError, AttributeError) as error:
        return {"gpus": [], "error": str(error)}


if __name__ == "__main__":
    sys.stdout.write(json.dumps(prove()) + "\n")
