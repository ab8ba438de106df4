"""Where a file is cut into pieces: at tensor edges where they can be known, else at fixed lengths. Pure.

Edges are hints: whatever a header claims, the pieces cover the file exactly, so a broken or hostile header
costs deduplication and nothing else. The cut depends on the file alone, never on link or machine, for a
piece that is cut otherwise next time is not found again.
"""

import io
import itertools
import zipfile
from collections.abc import Callable, Iterable, Sequence

import msgspec

from vaultlayer.checkpoint.manifest import PIECE_MOST_B

PIECE_LEAST_B = 16 * 1024
"""Neighbouring records below this share a piece: a piece costs about 100 bytes of manifest."""

HEADER_MOST_B = 32 * 1024 * 1024
"""A header above this is not read; the file is cut at fixed lengths."""

TORCH_SUFFIXES = (".pt", ".pth", ".bin", ".ckpt", ".distcp", ".tar")

Read = Callable[[int, int], bytes]
"""`read(offset_b, length_b)` gives at most so many bytes of the file."""


def cut(name: str, size_b: int, read: Read) -> list[int]:
    """Give the lengths of the pieces of a file, in order; they add up to `size_b`.

    Args:
        name: its name; the suffix tells the format.
        size_b: its size.
        read: gives bytes of its header or directory; called only for files larger than one small piece.
    """
    edges: Sequence[int] = ()
    if size_b > PIECE_LEAST_B:
        if name.endswith(".safetensors"):
            edges = safetensors_edges(size_b, read)
        elif name.endswith(TORCH_SUFFIXES):
            edges = zip_edges(size_b, read)
    return lengths(edges, size_b)


def lengths(edges: Iterable[int], size_b: int) -> list[int]:
    """Turn edges (offsets, in any order, some perhaps nonsense) into piece lengths.

    Records shorter than PIECE_LEAST_B join their short neighbours; a long record always begins a piece
    of its own, so that it stays the same piece whatever happens around it. None is above PIECE_MOST_B.
    """
    places = sorted({0, size_b, *(edge for edge in edges if 0 < edge < size_b)})
    merged: list[int] = []
    joining = False
    for start, end in itertools.pairwise(places):
        length = end - start
        short = length < PIECE_LEAST_B
        if short and joining and merged[-1] + length <= PIECE_MOST_B:
            merged[-1] += length
        else:
            merged.append(length)
        joining = short and merged[-1] < PIECE_LEAST_B
    return [part for length in merged for part in _capped(length)]


def _capped(length_b: int) -> Iterable[int]:
    for start in range(0, length_b, PIECE_MOST_B):
        yield min(PIECE_MOST_B, length_b - start)


class _Tensor(msgspec.Struct):
    data_offsets: tuple[int, int]


def safetensors_edges(size_b: int, read: Read) -> Sequence[int]:
    """Give where tensors begin and end by the header; nothing when it is not as it should be."""
    length_b = int.from_bytes(read(0, 8), "little")
    if not 2 <= length_b <= min(HEADER_MOST_B, size_b - 8):
        return ()
    try:
        header = msgspec.json.decode(read(8, length_b), type=dict[str, msgspec.Raw])
        header.pop("__metadata__", None)
        tensors = [msgspec.json.decode(raw, type=_Tensor) for raw in header.values()]
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return ()
    base = 8 + length_b
    return [base, *(base + edge for tensor in tensors for edge in tensor.data_offsets)]


def zip_edges(size_b: int, read: Read) -> Sequence[int]:
    """Give where a zip's records begin, and its directory: what `torch.save` writes."""
    if read(0, 4) != b"PK\x03\x04":
        return ()
    try:
        with zipfile.ZipFile(_Window(size_b, read)) as archive:
            return [*(info.header_offset for info in archive.infolist()), archive.start_dir]
    except (zipfile.BadZipFile, ValueError, EOFError, OverflowError, RuntimeError, OSError):
        return ()


class _Window(io.RawIOBase):
    """A file object over `read`, which refuses to read more than a directory can need."""

    def __init__(self, size_b: int, read: Read) -> None:
        super().__init__()
        self._size_b, self._read, self._at = size_b, read, 0

    def seekable(self) -> bool:
        """Yes."""
        return True

    def readable(self) -> bool:
        """Yes."""
        return True

    def tell(self) -> int:
        """Give the place."""
        return self._at

    def seek(self, offset: int, whence: int = 0) -> int:
        """Go to a place; before the beginning is an error, as in a file."""
        place = offset + (0, self._at, self._size_b)[whence]
        if place < 0:
            raise ValueError("before the beginning")
        self._at = place
        return place

    def read(self, size: int = -1) -> bytes:
        """Read from the place on."""
        left = max(0, self._size_b - self._at)
        length_b = left if size < 0 else min(size, left)
        if length_b > HEADER_MOST_B:
            raise ValueError("more than a directory can need")
        data = self._read(self._at, length_b)
        self._at += len(data)
        return data
