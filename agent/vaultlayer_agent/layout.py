"""Where an attempt's files stand on this machine, and how room is made for them."""

import tempfile
from pathlib import Path

from vaultlayer.errors import DiskError


class Layout:
    """The directories of one attempt.

    Args:
        work: the script's working directory, the same in every attempt.
        state: the agent's own directory.
        outputs: more directories to keep, relative to `work` or absolute.
    """

    def __init__(self, *, work: Path, state: Path, outputs: list[str]) -> None:
        self.work = work
        self.state = state
        self.cache = state / "cache"
        self.spool = state / "spool"
        self.outputs = {
            f"out{number}": path
            for number, name in enumerate(outputs)
            if not is_within(path := Path(work, name), work)
        }

    @property
    def places(self) -> dict[str, Path]:
        """Where each root of a checkpoint stands."""
        return {"work": self.work, **self.outputs}

    @property
    def staging(self) -> Path:
        """Where hard links to complete checkpoints wait: beside the working directory if it must be."""
        existing = next(path for path in (self.work, *self.work.parents) if path.exists())
        if existing.stat().st_dev == self.state.stat().st_dev:
            return self.state / "staging"
        return self.work.with_name(f".{self.work.name}.vaultlayer-staging")

    def make_room(self, attempt: int, *, first: bool) -> list[Path]:
        """Move aside what an earlier attempt left in the way; give where it went.

        An output directory outside the working directory may be the user's own, with content that the
        job is to find: it is left alone (`first`) unless a checkpoint that holds it is to be restored.
        """
        moved: list[Path] = []
        for root, path in self.places.items():
            if root == "work" or not first:
                moved += _aside(path, attempt)
            _make(path)
        return moved


def is_within(path: Path, parent: Path) -> bool:
    """Whether `path` is `parent` or below it, dots resolved."""
    return path.resolve().is_relative_to(parent.resolve())


def _aside(path: Path, attempt: int) -> list[Path]:
    """Rename a directory that is not empty; an older one of its kind is left where it is."""
    try:
        if not path.is_dir() or not any(path.iterdir()):
            return []
        target = path.with_name(f"{path.name}.before-a{attempt}")
        number = 1
        while target.exists():
            number += 1
            target = path.with_name(f"{path.name}.before-a{attempt}-{number}")
        path.rename(target)
    except OSError as error:
        raise DiskError(
            f"cannot move {path} out of the way", why=error.strerror or str(error)
        ) from error
    return [target]


def _make(path: Path) -> None:
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DiskError(f"cannot make {path}", why=error.strerror or str(error)) from error


def socket_directory() -> Path:
    """Make a directory whose path is short enough for a unix socket's 107 bytes; mode 0700."""
    return Path(tempfile.mkdtemp(prefix="vl-", dir="/tmp"))
