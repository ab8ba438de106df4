"""The snapshot file: raw storages behind a readable index.

    MAGIC · index length u64 · index crc32 u32 · zeros to 64 · index (JSON) · storages and the state, each
    beginning at a multiple of 64

Numbers are little-endian. The index names every tensor (paths, dtype, shape, stride and offset in elements,
storage), every storage (offset in the file, size, crc32; each written once however many tensors share it) and
the state: a marshalled tuple of plain values. Equal storages are equal bytes, so they dedupe by content.
"""

import ctypes
import json
import marshal
import os
import struct
import zlib

from vaultlayer_hooks.ghost.state import Refused

MAGIC = b"VLGSNAP1"
FORMAT = 4
HEAD = struct.Struct("<8sQI")
ALIGN_B = 64
CHUNK_B = 4 << 20


def snapshot_name(number):
    """Give the file name of snapshot `number`; the first is 1."""
    return "snap-%d.vls" % number


def aligned(size_b):
    """Round up to the next multiple of 64."""
    return -(-size_b // ALIGN_B) * ALIGN_B


def tensor_memory(tensor):
    """Give a view of a processor tensor's bytes; the caller keeps the tensor alive."""
    size_b = tensor.numel() * tensor.element_size()
    if not size_b:
        return memoryview(b"")
    return memoryview((ctypes.c_ubyte * size_b).from_address(tensor.data_ptr())).cast("B")


def write(path, index, state, storages, breathe=lambda _: None):
    """Write a snapshot whole or not at all; give its size in bytes.

    Args:
        path: where; the file appears there only when it is on the disk.
        index: plain values, without the offsets.
        state: plain values as marshal takes them.
        storages: memoryviews, in the order of their numbers.
        breathe: called after each chunk with its size, so that writing need not hurry.
    """
    parts = [*storages, memoryview(marshal.dumps(state, 2))]
    entries = [{"size": len(part), "crc32": _crc(part, breathe)} for part in parts]
    index = dict(index, format=FORMAT, storages=entries[:-1], state=entries[-1])
    # The offsets' own digits change the length of the index, so they are given room first.
    room = aligned(HEAD.size) + aligned(len(json.dumps(index)) + 40 * len(entries))
    at = room
    for entry in entries:
        entry["offset"] = at
        at += aligned(entry["size"])
    text = json.dumps(index).encode()
    head = HEAD.pack(MAGIC, len(text), zlib.crc32(text)).ljust(aligned(HEAD.size), b"\0")
    partial = path + ".tmp"
    with open(partial, "wb", buffering=0) as file:
        _put(file, memoryview((head + text).ljust(room, b"\0")), breathe)
        for part in parts:
            _put(file, part, breathe)
            _put(file, memoryview(b"\0" * (aligned(len(part)) - len(part))), breathe)
        os.fsync(file.fileno())
    os.rename(partial, path)
    _sync_directory(os.path.dirname(path))
    return at


def _crc(part, breathe):
    crc = 0
    for at in range(0, len(part), CHUNK_B):
        piece = part[at : at + CHUNK_B]
        crc = zlib.crc32(piece, crc)
        breathe(len(piece))
    return crc


def _put(file, part, breathe):
    while part:
        written = file.write(part[:CHUNK_B])
        breathe(written)
        part = part[written:]


def _sync_directory(path):
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


class Reader:
    """An open snapshot: `index` and `state` are read and checked, storages when they are asked for."""

    def __init__(self, path):
        """Open a snapshot.

        Raises:
            Refused: missing, cut short, damaged, or of another format.
        """
        self._name = os.path.basename(path)
        try:
            self._file = open(path, "rb")  # noqa: SIM115  closed by `close`
        except OSError as error:
            raise Refused("snapshot %s cannot be read" % self._name) from error
        try:
            self._read_index()
        except (OSError, ValueError, KeyError, TypeError, EOFError) as error:
            self.close()
            raise Refused("snapshot %s cannot be read" % self._name) from error
        except Refused:
            self.close()
            raise

    def _read_index(self):
        size_b = os.fstat(self._file.fileno()).st_size
        head = self._file.read(HEAD.size)
        if len(head) < HEAD.size or head[:8] != MAGIC:
            raise Refused("%s is no snapshot" % self._name)
        _, length, crc = HEAD.unpack(head)
        if length > size_b:
            raise Refused("snapshot %s is cut short" % self._name)
        self._file.seek(aligned(HEAD.size))
        text = self._file.read(length)
        if zlib.crc32(text) != crc:
            raise Refused("the index of snapshot %s is damaged" % self._name)
        self.index = json.loads(text)
        if self.index["format"] != FORMAT:
            raise Refused("snapshot format %r is not known" % self.index["format"])
        last = self.index["state"]
        if size_b < last["offset"] + last["size"]:
            raise Refused("snapshot %s is cut short" % self._name)
        self.state = marshal.loads(self._read(last))

    def storage(self, number, into):
        """Read storage `number` into a memoryview of its size, and check it."""
        entry = self.index["storages"][number]
        self._file.seek(entry["offset"])
        at = 0
        crc = 0
        while at < len(into):
            got = self._file.readinto(into[at : at + CHUNK_B])
            if not got:
                raise Refused("snapshot %s is cut short" % self._name)
            crc = zlib.crc32(into[at : at + got], crc)
            at += got
        if crc != entry["crc32"]:
            raise Refused("snapshot %s is damaged" % self._name)

    def _read(self, entry):
        self._file.seek(entry["offset"])
        data = self._file.read(entry["size"])
        if zlib.crc32(data) != entry["crc32"]:
            raise Refused("snapshot %s is damaged" % self._name)
        return data

    def close(self):
        """Close the file."""
        self._file.close()
