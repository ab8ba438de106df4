"""The files that a checkpoint is made of, as they lay on disk when it was captured."""

import os
import stat
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import msgspec

from vaultlayer.errors import DiskError, SourceChangedError

TEMP_PREFIX = ".vaultlayer-part-"
"""Names of files that a restore has not finished; they are never part of a checkpoint."""

SETTLED_NS = 2_000_000_000
"""A file written to this shortly before could be written to again within one tick of its clock."""


class SourceFile(msgspec.Struct, frozen=True, kw_only=True):
    """One file, directory or symbolic link to be saved.

    `path` is where its bytes are read (perhaps a staged hard link); `root` and `name` say where it is put
    back: `name` is relative to the root, with slashes. `mtime_ns` and `size_b` are what they were when the
    checkpoint was captured; what differs at upload voids the checkpoint.
    """

    path: Path
    root: str
    name: str
    kind: str = "file"
    mode: int = 0o644
    mtime_ns: int = 0
    size_b: int = 0
    target: str = ""


def source_file(path: Path, root: str, name: str) -> SourceFile | None:
    """Look at one path now; None for what cannot be saved (sockets, pipes, devices) or is not there."""
    try:
        found = path.lstat()
        kind = _kind(found.st_mode)
        if not kind:
            return None
        target = os.readlink(path) if kind == "symlink" else ""  # noqa: PTH115  the text, not a path
    except FileNotFoundError:
        return None
    except OSError as error:
        raise DiskError(f"cannot read {path}", why=str(error.strerror)) from error
    return SourceFile(
        path=path,
        root=root,
        name=name,
        kind=kind,
        mode=stat.S_IMODE(found.st_mode) & 0o777,
        mtime_ns=found.st_mtime_ns,
        size_b=found.st_size if kind == "file" else 0,
        target=target,
    )


def walk(
    top: Path, root: str, accept: Callable[[str, bool], bool] = lambda _name, _is_dir: True
) -> Iterator[SourceFile]:
    """Give everything below `top`, sorted; links are not followed.

    Args:
        top: the directory; it is not part of what is given.
        root: the root that the names are relative to.
        accept: called with (name, whether it is a directory); a refused directory is not entered.
    """
    pending = [""]
    while pending:
        below = pending.pop()
        try:
            entries = sorted(os.scandir(top / below), key=lambda entry: entry.name)
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError as error:
            raise DiskError(f"cannot read {top / below}", why=str(error.strerror)) from error
        for entry in entries:
            name = f"{below}/{entry.name}" if below else entry.name
            is_dir = entry.is_dir(follow_symlinks=False)
            if entry.name.startswith(TEMP_PREFIX) or not accept(name, is_dir):
                continue
            if found := source_file(Path(entry.path), root, name):
                yield found
                if is_dir:
                    pending.append(name)


def _kind(mode: int) -> str:
    if stat.S_ISREG(mode):
        return "file"
    if stat.S_ISDIR(mode):
        return "dir"
    return "symlink" if stat.S_ISLNK(mode) else ""


class Identity(msgspec.Struct, frozen=True):
    """What tells that a file's content is still the same, without reading it."""

    device: int
    inode: int
    size_b: int
    mtime_ns: int


def identity_of(found: os.stat_result) -> Identity:
    """Give a file's identity. Links of one file share it; renaming and linking do not change it."""
    return Identity(found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns)


class KnownFiles:
    """Remembers in memory which pieces a file was cut into, so that it need not be read again.

    Kept by the caller from one upload to the next. Only what the last round touched is kept.
    A change that keeps size and modification time is not seen.
    """

    def __init__(self) -> None:
        self._last: dict[Identity, tuple[tuple[str, int], ...]] = {}
        self._next: dict[Identity, tuple[tuple[str, int], ...]] = {}

    def recall(self, identity: Identity) -> tuple[tuple[str, int], ...] | None:
        """Give (digest, length) of the pieces of a file, or None."""
        pieces = self._last.get(identity)
        if pieces is not None:
            self._next[identity] = pieces
        return pieces

    def note(self, identity: Identity, pieces: Sequence[tuple[str, int]], *, now_ns: int) -> None:
        """Remember a file that was just read; one that was written to a moment ago is not trusted."""
        if now_ns - identity.mtime_ns >= SETTLED_NS:
            self._next[identity] = tuple(pieces)

    def turn(self) -> None:
        """End a round: forget what it did not touch."""
        self._last, self._next = self._next, {}


def check_source(source: SourceFile, found: os.stat_result) -> None:
    """Refuse a file that is not what was captured.

    Raises:
        SourceChangedError: its size or its modification time is another.
    """
    if (found.st_size, found.st_mtime_ns) != (source.size_b, source.mtime_ns):
        raise SourceChangedError(
            f"{source.root}:{source.name} changed while it was being saved",
            why="its size or its modification time is not what it was when the checkpoint was captured",
            mend="nothing to do: this checkpoint is dropped and the next one is tried",
            retryable=True,
        )
