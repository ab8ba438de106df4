"""The working directory as it is sent with a job: what belongs to it, and that it is not too large."""

import os
import stat
from collections import Counter
from pathlib import Path

import msgspec

from vaultlayer.checkpoint.source import SourceFile, walk
from vaultlayer.errors import DiskError, WorkdirTooLargeError
from vaultlayer.settings import Home
from vaultlayer_cli.ignore import Ignored
from vaultlayer_cli.units import size_text

ENTRIES_MAX = 50_000
"""Files and directories; above this somebody stands in the wrong directory."""

NAMED_MAX = 5
ROOT = "work"


class Workdir(msgspec.Struct, frozen=True, kw_only=True):
    """What will be sent."""

    path: Path
    files: list[SourceFile]
    ignored: Ignored

    @property
    def size_b(self) -> int:
        """Bytes of all files."""
        return sum(file.size_b for file in self.files)

    @property
    def names(self) -> set[str]:
        """Names relative to the directory."""
        return {file.name for file in self.files}


def scan(path: Path, *, max_b: int, home: Home | None = None) -> Workdir:
    """Look at everything that will be sent from `path`.

    Args:
        path: the working directory.
        max_b: bytes above which it is refused.
        home: our own directories, which are left out when they lie below.

    The file into which this command's own output is redirected is no part of it.

    Raises:
        WorkdirTooLargeError: the largest entries are named.
        DiskError: it is no directory, or something in it cannot be read.
        InputError: an ignore file cannot be used.
    """
    top = path.absolute()
    if not top.is_dir():
        raise DiskError(f"{path} is no directory")
    never = frozenset({home.config, home.state} if home else ())
    ignored = Ignored(top, never)
    outputs = _own_outputs()
    files: list[SourceFile] = []
    for file in walk(top, ROOT, ignored.accept):
        if outputs and _is_among(file.path, outputs):
            continue
        files.append(file)
        if len(files) > ENTRIES_MAX:
            raise _too_many(top, files)
    workdir = Workdir(path=top, files=files, ignored=ignored)
    if workdir.size_b > max_b:
        raise _too_large(workdir, max_b)
    return workdir


def _own_outputs() -> set[tuple[int, int]]:
    """Give the files that this command itself writes its output into: they grow while they would be sent."""
    found: set[tuple[int, int]] = set()
    for descriptor in (1, 2):
        try:
            held = os.fstat(descriptor)
        except OSError:
            continue
        if stat.S_ISREG(held.st_mode):
            found.add(_identity(held))
    return found


def _is_among(path: Path, outputs: set[tuple[int, int]]) -> bool:
    try:
        return _identity(path.lstat()) in outputs
    except OSError:
        return False


def _identity(held: os.stat_result) -> tuple[int, int]:
    return held.st_dev, held.st_ino


def largest(files: list[SourceFile], most: int = NAMED_MAX) -> list[tuple[str, int]]:
    """Give the entries that weigh most, as (name, bytes): files, and directories by their first name."""
    sizes: Counter[str] = Counter()
    for file in files:
        head, slash, _ = file.name.partition("/")
        sizes[head + slash] += file.size_b
    return [(name, size) for name, size in sizes.most_common(most) if size]


_MEND = "add what is no code to .vaultlayerignore, or raise [run] workdir_max_mb"


def _too_large(workdir: Workdir, max_b: int) -> WorkdirTooLargeError:
    named = ", ".join(f"{name} {size_text(size)}" for name, size in largest(workdir.files))
    return WorkdirTooLargeError(
        f"the working directory holds {size_text(workdir.size_b)}, more than {size_text(max_b)}",
        why=f"largest: {named}",
        mend=_MEND,
    )


def _too_many(top: Path, files: list[SourceFile]) -> WorkdirTooLargeError:
    counts = Counter(file.name.partition("/")[0] for file in files)
    named = ", ".join(f"{name} ({count})" for name, count in counts.most_common(NAMED_MAX))
    return WorkdirTooLargeError(
        f"{top} holds more than {ENTRIES_MAX} files", why=f"most are in: {named}", mend=_MEND
    )
