"""Where an attempt's files stand on this machine, and how room is made for them."""

import shutil
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
        return self._near("staging")

    @property
    def ghost(self) -> Path:
        """Where the hooks keep the ghost's log and snapshots."""
        return self._near("ghost")

    @property
    def image(self) -> Path:
        """Where the files of a snapshot's moment wait until a replay has come to it."""
        return self._near("image")

    @property
    def base(self) -> Path:
        """A copy of the files that lie beside the code when a recorded run begins."""
        return self._near("base")

    def _near(self, name: str) -> Path:
        """Give a directory of ours on the working directory's file system, so that links to it work."""
        existing = next(path for path in (self.work, *self.work.parents) if path.exists())
        if existing.stat().st_dev == self.state.stat().st_dev:
            return self.state / name
        return self.work.with_name(f".{self.work.name}.vaultlayer-{name}")

    def clear(self) -> None:
        """Empty the working directory and our own beside it, for another start in this attempt.

        An output directory outside the working directory is left as it is.
        """
        for path in (self.work, self.ghost, self.image, self.base):
            _make(path)
            try:
                for child in path.iterdir():
                    if child.is_dir() and not child.is_symlink():
                        shutil.rmtree(child)
                    else:
                        child.unlink()
            except OSError as error:
                why = error.strerror or str(error)
                raise DiskError(f"cannot empty {path}", why=why) from error

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


def copy_below(source: Path, target: Path) -> None:
    """Copy a tree of ours into a place, over what is there, with modes, times and links as they are."""
    if source.is_dir():
        shutil.copytree(source, target, symlinks=True, dirs_exist_ok=True)


def copy_entry(source: Path, target: Path, name: str) -> None:
    """Copy one file, link or directory (without what it holds) from below one place to below another."""
    path, to = source / name, target / name
    to.parent.mkdir(parents=True, exist_ok=True)
    if path.is_dir() and not path.is_symlink():
        to.mkdir(exist_ok=True)
    else:
        shutil.copy2(path, to, follow_symlinks=False)


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
