"""Reads the tree below a directory, and parts of its files. No content is read while scanning."""

import os
import stat
from collections.abc import Iterable
from pathlib import Path

from vaultlayer_agent.capture.tree import Entry, Tree, is_excluded


def scan(place: Path, *, skip: Iterable[Path] = ()) -> Tree:
    """Give the tree below a directory; an empty one where there is none.

    Sockets, devices and what `is_excluded` names are left out, and so is whatever vanishes meanwhile.
    A link is listed and never followed.

    Args:
        place: the directory.
        skip: directories below it that are not its own, such as another place.
    """
    tree: Tree = {}
    skipped = {os.fspath(path) for path in skip}
    waiting = [("", os.fspath(place))]
    while waiting:
        prefix, directory = waiting.pop()
        try:
            with os.scandir(directory) as found:
                children = list(found)
        except (FileNotFoundError, NotADirectoryError, PermissionError):
            continue
        for child in children:
            if is_excluded(child.name) or child.path in skipped:
                continue
            name = prefix + child.name
            entry = _entry_of(child)
            if entry is None:
                continue
            tree[name] = entry
            if entry.kind == "dir":
                waiting.append((f"{name}/", child.path))
    return tree


def _entry_of(child: os.DirEntry[str]) -> Entry | None:
    try:
        found = child.stat(follow_symlinks=False)
    except OSError:
        return None
    return entry_of(found)


def entry_of(found: os.stat_result) -> Entry | None:
    """Turn what `lstat` says into an entry; None for what no checkpoint holds."""
    mode = stat.S_IMODE(found.st_mode)
    if stat.S_ISREG(found.st_mode):
        return Entry("file", found.st_size, found.st_mtime_ns, found.st_ino, mode)
    if stat.S_ISDIR(found.st_mode):
        return Entry("dir", 0, found.st_mtime_ns, found.st_ino, mode)
    if stat.S_ISLNK(found.st_mode):
        return Entry("symlink", 0, found.st_mtime_ns, found.st_ino, mode)
    return None


class FileReader:
    """Reads parts of the files below a directory."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def head(self, name: str, size_b: int) -> bytes:
        """Give the first bytes."""
        with (self._directory / name).open("rb") as file:
            return file.read(size_b)

    def tail(self, name: str, size_b: int) -> bytes:
        """Give the last bytes."""
        with (self._directory / name).open("rb") as file:
            file.seek(-min(size_b, file.seek(0, os.SEEK_END)), os.SEEK_END)
            return file.read()
