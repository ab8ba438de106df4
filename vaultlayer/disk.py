"""Room on the disks of this machine, and what the system says when there is none."""

import errno
import shutil
from pathlib import Path

from vaultlayer.errors import DiskError, DiskFullError

ROOM_B = 64_000_000
"""With less than this free, a broker is not started: it could not keep what it acknowledges."""


def free_b(path: Path) -> int:
    """Give the bytes that are free where `path` lies, or will lie."""
    place = next((p for p in (path, *path.parents) if p.exists()), Path("/"))
    return shutil.disk_usage(place).free


def check_room(path: Path, need_b: int) -> None:
    """Pass when `need_b` bytes are free where `path` lies.

    Raises:
        DiskFullError: they are not.
    """
    found_b = free_b(path)
    if found_b < need_b:
        raise DiskFullError(
            f"the disk of {path} is full",
            why=f"{found_b // 1_000_000} MB are free, {need_b // 1_000_000} MB are needed",
            mend="free some space there",
        )


def disk_error(error: OSError, what: str) -> DiskError:
    """Give our error for what the system says: that there is no room, or something else."""
    why = error.strerror or str(error)
    if error.errno in {errno.ENOSPC, errno.EDQUOT}:
        return DiskFullError(what, why=why, mend="free some space on that disk")
    return DiskError(what, why=why)
