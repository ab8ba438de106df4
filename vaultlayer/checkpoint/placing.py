"""Puts entries in their place on disk, and never through a link: the file system side of a restore.

Every path is looked at part by part below the place, for both the manifest and what already lies there
may hold links that lead elsewhere.
"""

import errno
import hashlib
import os
import shutil
import stat
from collections.abc import Generator, Iterable, Sequence
from contextlib import contextmanager
from pathlib import Path

from vaultlayer.checkpoint.manifest import FileEntry, Piece
from vaultlayer.checkpoint.names import unspell
from vaultlayer.checkpoint.source import TEMP_PREFIX
from vaultlayer.errors import DiskError, DiskFullError

_OPEN = os.O_NOFOLLOW | os.O_CLOEXEC


@contextmanager
def disk_errors(path: Path, need_b: int = 0) -> Generator[None]:
    """Turn an OSError into DiskFullError or DiskError that name the path."""
    try:
        yield
    except OSError as error:
        if error.errno in {errno.ENOSPC, errno.EDQUOT}:
            raise disk_full(path, need_b) from error
        raise DiskError(f"cannot write {path}", why=str(error.strerror or error)) from error


def disk_full(path: Path, need_b: int, free_b: int | None = None) -> DiskFullError:
    """Say that there is no room."""
    known = "" if free_b is None else f", {free_b} are free"
    return DiskFullError(
        f"no space is left for {path}",
        why=f"{need_b} bytes are needed{known}",
        mend="free some space, or ask for a machine with a larger disk",
    )


def check_room(place: Path, need_b: int) -> None:
    """Raise DiskFullError when the file system of `place` has no room for so many bytes."""
    found = os.statvfs(place)
    free_b = found.f_bavail * found.f_frsize
    if need_b > free_b:
        raise disk_full(place, need_b, free_b)


def path_of(place: Path, entry: FileEntry) -> Path:
    """Give where an entry belongs."""
    return place / unspell(entry.name)


def temp_of(path: Path) -> Path:
    """Give the name under which a file is filled; the same each time, so that none pile up."""
    digest = hashlib.sha256(os.fsencode(path.name)).hexdigest()[:24]
    return path.with_name(f"{TEMP_PREFIX}{digest}")


def make_directory(path: Path) -> bool:
    """Make one directory in an existing one, and see that we can write to it; tells whether it is new.

    A file or link in its place is removed: a path below it must never lead through a link.
    """
    with disk_errors(path):
        try:
            path.mkdir(mode=0o755)
        except FileExistsError:
            found = path.lstat()
            if stat.S_ISDIR(found.st_mode):
                if found.st_mode & 0o700 != 0o700:
                    path.chmod(stat.S_IMODE(found.st_mode) | 0o700)
                return False
            path.unlink()
            path.mkdir(mode=0o755)
    return True


def create_part(path: Path, size_b: int) -> Path:
    """Make the file that is to be filled, of full size; gives its path."""
    part = temp_of(path)
    with disk_errors(path, size_b):
        part.unlink(missing_ok=True)
        handle = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _OPEN, 0o600)
        try:
            os.truncate(handle, size_b)
        finally:
            os.close(handle)
    return part


def write_at(part: Path, writes: Iterable[tuple[int, memoryview]]) -> None:
    """Write (offset, bytes) into a file that is being filled."""
    with disk_errors(part):
        handle = os.open(part, os.O_WRONLY | _OPEN)
        try:
            for offset, data in writes:
                done = 0
                while done < len(data):
                    done += os.pwrite(handle, data[done:], offset + done)
        finally:
            os.close(handle)


def finish(part: Path, path: Path, entry: FileEntry, *, sync: bool) -> None:
    """Give a filled file its mode and time, and its name."""
    with disk_errors(path, entry.size_b):
        handle = os.open(part, os.O_RDONLY | _OPEN)
        try:
            os.fchmod(handle, entry.mode)
            os.utime(handle, ns=(entry.mtime_ns, entry.mtime_ns))
            if sync:
                os.fsync(handle)
        finally:
            os.close(handle)
        _clear_directory(path)
        part.replace(path)


def restamp(path: Path, entry: FileEntry) -> None:
    """Give mode and time to a file or directory that already has its content."""
    with disk_errors(path):
        path.chmod(entry.mode)
        os.utime(path, ns=(entry.mtime_ns, entry.mtime_ns))


def make_link(path: Path, entry: FileEntry) -> None:
    """Make a symbolic link as it is, wherever it leads."""
    part = temp_of(path)
    with disk_errors(path):
        part.unlink(missing_ok=True)
        part.symlink_to(unspell(entry.target))
        os.utime(part, ns=(entry.mtime_ns, entry.mtime_ns), follow_symlinks=False)
        _clear_directory(path)
        part.replace(path)


def _clear_directory(path: Path) -> None:
    """Remove an empty directory that is in the way; a full one is an error of the caller."""
    if path.is_dir() and not path.is_symlink():
        path.rmdir()


def move(source: Path, part: Path) -> None:
    """Move a file, over file systems too."""
    with disk_errors(part):
        part.unlink(missing_ok=True)
        try:
            source.rename(part)
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise
            shutil.copyfile(source, part, follow_symlinks=False)
            source.unlink()


def copy(source: Path, part: Path) -> None:
    """Copy a file's bytes."""
    with disk_errors(part):
        part.unlink(missing_ok=True)
        shutil.copyfile(source, part, follow_symlinks=False)


def sync_directory(path: Path) -> None:
    """Make names in a directory durable."""
    with disk_errors(path):
        handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY | _OPEN)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def holds(path: Path, size_b: int, pieces: Sequence[Piece]) -> bool:
    """Tell whether a plain file has exactly this content, by reading it."""
    try:
        handle = os.open(path, os.O_RDONLY | _OPEN | os.O_NONBLOCK)
    except OSError:
        return False
    try:
        found = os.fstat(handle)
        if not stat.S_ISREG(found.st_mode) or found.st_size != size_b:
            return False
        at = 0
        for piece in pieces:
            if not is_piece(os.pread(handle, piece.length_b, at), piece):
                return False
            at += piece.length_b
    except OSError:
        return False
    finally:
        os.close(handle)
    return True


def read_piece(path: Path, offset_b: int, piece: Piece) -> memoryview | None:
    """Read a piece from a local file; None when it is not there any more."""
    try:
        handle = os.open(path, os.O_RDONLY | _OPEN | os.O_NONBLOCK)
        try:
            data = os.pread(handle, piece.length_b, offset_b)
        finally:
            os.close(handle)
    except OSError:
        return None
    return memoryview(data) if is_piece(data, piece) else None


def is_piece(data: bytes | memoryview, piece: Piece) -> bool:
    """Tell whether these are the piece's bytes."""
    return len(data) == piece.length_b and hashlib.sha256(data).hexdigest() == piece.sha256
