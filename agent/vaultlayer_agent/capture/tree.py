"""What lies below a directory at one moment: names and what `lstat` says of each, no content."""

from collections.abc import Iterable, Iterator
from pathlib import PurePosixPath
from typing import NamedTuple, Protocol

from vaultlayer.checkpoint.source import TEMP_PREFIX

EXCLUDED_NAMES = frozenset({".git", "__pycache__", ".venv", "node_modules", ".vaultlayer"})
EXCLUDED_ENDINGS = (".tmp", ".part", ".incomplete")


class Entry(NamedTuple):
    """One name: `kind` is `file`, `symlink` or `dir`; `size_b` is 0 for all but files."""

    kind: str
    size_b: int
    mtime_ns: int
    inode: int
    mode: int


Tree = dict[str, Entry]
"""Relative posix path → entry; directories are listed as well as what they hold."""


class Reader(Protocol):
    """Reads parts of the files of one tree; raises OSError when a file is gone."""

    def head(self, name: str, size_b: int) -> bytes:
        """Give the first bytes."""
        ...

    def tail(self, name: str, size_b: int) -> bytes:
        """Give the last bytes."""
        ...


def is_excluded(name: str) -> bool:
    """Whether a file or directory of that name is never part of a checkpoint."""
    return name in EXCLUDED_NAMES or name.endswith(EXCLUDED_ENDINGS) or name.startswith(TEMP_PREFIX)


def parent_of(name: str) -> str:
    """Give the directory of a relative path, "" for the top."""
    return name.rpartition("/")[0]


def base_of(name: str) -> str:
    """Give the last part of a relative path."""
    return PurePosixPath(name).name


def below(tree: Tree, directory: str) -> Tree:
    """Give what lies below a directory, by names relative to it."""
    start = f"{directory}/" if directory else ""
    return {name[len(start) :]: entry for name, entry in tree.items() if name.startswith(start)}


def files_of(tree: Tree) -> Iterator[tuple[str, Entry]]:
    """Give the regular files."""
    return ((name, entry) for name, entry in tree.items() if entry.kind == "file")


def changed(before: Tree, after: Tree) -> set[str]:
    """Give the names that are new or differ; a directory's own times do not count."""
    return {
        name for name, entry in after.items() if entry.kind != "dir" and before.get(name) != entry
    }


def newest_ns(entries: Iterable[Entry]) -> int:
    """Give the latest modification time, 0 for nothing."""
    return max((entry.mtime_ns for entry in entries), default=0)
