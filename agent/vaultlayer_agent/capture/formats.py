"""Whether a file is whole, by the format's own marks; pure functions over a file's first and last bytes.

safetensors: the header names the last byte. Zip (torch, Keras, npz): the record of the directory is written
last. HDF5: the superblock names the end of the file. Old torch files (plain pickles) bear no mark.
"""

from collections.abc import Callable
from typing import Any, cast

import msgspec

HEADER_MOST_B = 100_000_000
ZIP_END_B = 22
ZIP_COMMENT_B = 65_557
ZIP_ENDING = (".pt", ".pth", ".ckpt", ".keras", ".npz", ".pth.tar", ".pt.tar")
HDF5_ENDING = (".h5", ".hdf5")
HDF5_MAGIC = b"\x89HDF\r\n\x1a\n"
ZIP_MAGIC = b"PK\x03\x04"
ZIP_END = b"PK\x05\x06"

Read = Callable[[int], bytes]


def is_safetensors_whole(size_b: int, head: Read) -> bool:
    """Whether header and data are there to the last byte."""
    length_b = int.from_bytes(head(8)[:8], "little")
    if not 0 < length_b <= min(HEADER_MOST_B, size_b - 8):
        return False
    try:
        header = msgspec.json.decode(head(8 + length_b)[8:], type=dict[str, dict[str, Any]])
        ends = [
            cast("list[int]", header[name]["data_offsets"])[1]
            for name in header
            if name != "__metadata__"
        ]
    except (msgspec.DecodeError, KeyError, IndexError, TypeError):
        return False
    return size_b == 8 + length_b + max(ends, default=0)


def is_zip_whole(size_b: int, tail: Read) -> bool:
    """Whether the archive's end record is there and its directory lies where it says."""
    if size_b < ZIP_END_B:
        return False
    end = tail(ZIP_END_B)
    if not end.startswith(ZIP_END):
        data = tail(min(size_b, ZIP_COMMENT_B))
        at = data.rfind(ZIP_END)
        if at < 0 or len(data) - at < ZIP_END_B:
            return False
        end = data[at : at + ZIP_END_B]
    directory_b, offset = int.from_bytes(end[12:16], "little"), int.from_bytes(end[16:20], "little")
    return offset == 0xFFFFFFFF or offset + directory_b <= size_b - ZIP_END_B


def is_hdf5_whole(size_b: int, head: Read) -> bool:
    """Whether the file reaches as far as its superblock says."""
    block = head(64)
    if not block.startswith(HDF5_MAGIC) or len(block) < 48:
        return False
    version = block[8]
    at = {0: 40, 1: 44, 2: 28, 3: 28}.get(version)
    return at is not None and int.from_bytes(block[at : at + 8], "little") <= size_b


def is_torch_file(name: str) -> bool:
    """Whether the name is one that people give to files of `torch.save`."""
    return name.endswith((".pt", ".pth", ".ckpt", ".pth.tar", ".pt.tar"))


def is_whole(name: str, size_b: int, head: Read, tail: Read) -> bool | None:
    """Whether a file is whole: None when its format bears no mark."""
    if name.endswith(".safetensors"):
        return is_safetensors_whole(size_b, head)
    if name.endswith(HDF5_ENDING):
        return is_hdf5_whole(size_b, head)
    if not name.endswith((*ZIP_ENDING, ".bin")):
        return None
    if size_b == 0:
        return False
    return is_zip_whole(size_b, tail) if head(4) == ZIP_MAGIC else None
