"""Puts files aside under staging, so that deletion and rewriting cannot reach them under the upload.

A hard link costs nothing and survives deletion and rename, but not a rewrite in place; the upload checks size
and time once more and drops a checkpoint that changed. So what is likely to be rewritten in place or appended
to is copied, as a reflink where the file system can.
"""

import fcntl
import os
from pathlib import Path
from typing import Literal

import msgspec

from vaultlayer_agent.capture.scan import entry_of
from vaultlayer_agent.capture.tree import Entry

FICLONE = 0x40049409
CHUNK_B = 8 << 20

How = Literal["link", "copy"]


class Staged(msgspec.Struct, frozen=True, kw_only=True):
    """A file put aside.

    `linked`: it shares its bytes with the original. `torn`: the original changed under the copy, other than
    by growing.
    """

    path: Path
    size_b: int
    mtime_ns: int
    linked: bool = False
    torn: bool = False


def stage_file(source: Path, target: Path, entry: Entry, how: How) -> Staged | None:
    """Put a file aside as it was when `entry` was read; None when it has vanished or been replaced.

    Args:
        source: the file.
        target: where it goes; its directory is made.
        entry: what the scan saw.
        how: `link` falls back to a copy where the file system refuses links.

    Raises:
        OSError: the disk is full or fails.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        if how == "link" and _link(source, target):
            return _check_link(target, entry)
        return _copy(source, target, entry)
    except FileNotFoundError:
        return None


def link_again(staged: Path, target: Path) -> Staged | None:
    """Put a file aside once more that is ours already; None when it is gone or links are refused."""
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        if not _link(staged, target):
            return None
    except FileNotFoundError:
        return None
    found = target.lstat()
    return Staged(path=target, size_b=found.st_size, mtime_ns=found.st_mtime_ns)


def _link(source: Path, target: Path) -> bool:
    try:
        os.link(source, target, follow_symlinks=False)
    except FileNotFoundError:
        raise
    except OSError:
        # Another file system, a layer of an overlay, or a policy: a copy does it too.
        return False
    return True


def _check_link(target: Path, entry: Entry) -> Staged | None:
    found = entry_of(target.lstat())
    if found is None or found[:4] != entry[:4]:
        target.unlink()
        return None
    return Staged(path=target, size_b=found.size_b, mtime_ns=found.mtime_ns, linked=True)


def _copy(source: Path, target: Path, entry: Entry) -> Staged | None:
    descriptor = os.open(source, os.O_RDONLY | os.O_NOFOLLOW)
    try:
        before = os.fstat(descriptor)
        if before.st_ino != entry.inode:
            return None
        size_b = before.st_size
        with target.open("wb") as out:
            if size_b < CHUNK_B or not _reflink(descriptor, out.fileno()):
                size_b = _copy_bytes(descriptor, out.fileno(), size_b)
        after = os.fstat(descriptor)
    finally:
        os.close(descriptor)
    os.utime(target, ns=(before.st_mtime_ns, before.st_mtime_ns))
    return Staged(
        path=target,
        size_b=target.stat().st_size,
        mtime_ns=before.st_mtime_ns,
        torn=_is_torn(before, after) or size_b < before.st_size,
    )


def _is_torn(before: os.stat_result, after: os.stat_result) -> bool:
    if after.st_mtime_ns == before.st_mtime_ns and after.st_size == before.st_size:
        return False
    # A log that has grown is whole up to the length that was taken.
    return after.st_size <= before.st_size


def _reflink(source: int, target: int) -> bool:
    try:
        fcntl.ioctl(target, FICLONE, source)
    except OSError:
        return False
    return True


def _copy_bytes(source: int, target: int, size_b: int) -> int:
    done_b = 0
    while done_b < size_b:
        data = os.read(source, min(CHUNK_B, size_b - done_b))
        if not data:
            break
        view = memoryview(data)
        while view:
            view = view[os.write(target, view) :]
        done_b += len(data)
    return done_b
