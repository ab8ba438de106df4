"""The staging directory: one folder a cut, and the last good copy of every checkpoint that is one file.

A script that rewrites `ckpt.pt` in place may die half-way; the copy kept here then stands in for it, so that
no later checkpoint lacks what an earlier one had.
"""

import errno
import itertools
import os
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path

import msgspec

from vaultlayer.checkpoint.source import SourceFile
from vaultlayer.errors import DiskFullError
from vaultlayer_agent.capture.formats import is_whole
from vaultlayer_agent.capture.plan import Item
from vaultlayer_agent.capture.scan import FileReader
from vaultlayer_agent.capture.stage import Staged, link_again, stage_file
from vaultlayer_agent.capture.tree import Entry

FULL = (errno.ENOSPC, errno.EDQUOT)

Place = tuple[str, str]
"""Root and name of a file."""


class Shelved(msgspec.Struct, frozen=True, kw_only=True):
    """What was put aside.

    `dropped`: units that vanished meanwhile. `torn`: singles of which no whole copy exists.
    """

    files: list[SourceFile]
    dropped: list[Place] = []
    torn: list[str] = []


class Kept(msgspec.Struct, frozen=True):
    """The last good copy of one file, and what the original was then."""

    entry: Entry
    path: Path


class Shelf:
    """Puts files aside below one directory; what an earlier process left there is removed.

    Args:
        staging: the directory, best on the file system of the places.
    """

    def __init__(self, staging: Path) -> None:
        self._staging = staging
        self._kept: dict[Place, Kept] = {}
        self._numbers = itertools.count(1)
        shutil.rmtree(staging, ignore_errors=True)
        staging.mkdir(parents=True, exist_ok=True)

    def put(
        self,
        number: int,
        items: Iterable[Item],
        places: Mapping[str, Path],
        carried: Iterable[Place],
    ) -> Shelved:
        """Put a plan's files aside; safe to call from a worker thread.

        Args:
            number: the cut, whose folder is made.
            items: the plan.
            places: directory of each root.
            carried: singles that are not whole now; their kept copies are taken.

        Raises:
            DiskFullError: no space is left for the copies.
        """
        try:
            return self._put(number, items, places, carried)
        except OSError as error:
            self.drop(number)
            if error.errno in FULL:
                raise self._full() from error
            raise

    def add(self, number: int, items: Iterable[Item], place: Path) -> list[SourceFile]:
        """Put more files aside for a cut; safe to call from a worker thread.

        Args:
            number: the cut.
            items: the plan; a file that is gone is an error here.
            place: directory of their root.

        Raises:
            DiskFullError: no space is left for the copies.
            FileNotFoundError: one has vanished or was replaced.
        """
        folder = self._staging / str(number)
        free_b = shutil.disk_usage(self._staging).free
        files: list[SourceFile] = []
        try:
            for item in items:
                found = self._take(folder, item, place, free_b)
                if found is None:
                    raise FileNotFoundError(errno.ENOENT, "it is gone", str(place / item.name))
                files.append(found)
        except OSError as error:
            if error.errno in FULL:
                raise self._full() from error
            raise
        return files

    def drop(self, number: int) -> None:
        """Remove a cut's folder."""
        shutil.rmtree(self._staging / str(number), ignore_errors=True)

    def _full(self) -> DiskFullError:
        return DiskFullError(
            "a checkpoint cannot be put aside",
            why=f"no space is left below {self._staging}",
            mend="choose a larger disk with --disk, or let the script keep fewer checkpoints",
        )

    def keep_only(self, places: Iterable[Place]) -> None:
        """Forget the kept copies of all other files."""
        for place in set(self._kept) - set(places):
            self._kept.pop(place).path.unlink(missing_ok=True)

    def _put(
        self,
        number: int,
        items: Iterable[Item],
        places: Mapping[str, Path],
        carried: Iterable[Place],
    ) -> Shelved:
        folder = self._staging / str(number)
        folder.mkdir(exist_ok=True)
        free_b = shutil.disk_usage(self._staging).free
        files: list[tuple[str, SourceFile]] = []
        dropped: set[Place] = set()
        torn: list[str] = []
        for item in items:
            found = self._take(folder, item, places[item.root], free_b)
            if found is not None:
                files.append((item.unit, found))
            elif item.unit:
                dropped.add((item.root, item.unit))
            elif item.single:
                torn += self._carry(folder, item.root, item.name, files)
        for root, name in carried:
            torn += self._carry(folder, root, name, files)
        return Shelved(
            files=[file for unit, file in files if (file.root, unit) not in dropped],
            dropped=sorted(dropped),
            torn=torn,
        )

    def _take(self, folder: Path, item: Item, place: Path, free_b: int) -> SourceFile | None:
        source = place / item.name
        if item.entry.kind == "dir":
            return _describe(item, source, item.entry.mtime_ns, 0)
        if item.entry.kind == "symlink":
            try:
                target = os.readlink(source)  # noqa: PTH115  the text, not a path
            except OSError:
                return None
            return _describe(item, source, item.entry.mtime_ns, 0, target)
        staged = self._stage(folder / item.root / item.name, item, source, free_b)
        return _describe(item, staged.path, staged.mtime_ns, staged.size_b) if staged else None

    def _stage(self, target: Path, item: Item, source: Path, free_b: int) -> Staged | None:
        kept = self._kept.get((item.root, item.name)) if item.single else None
        if kept is not None and kept.entry == item.entry:
            staged = link_again(kept.path, target)
            if staged is not None:
                return staged
        roomy = item.entry.size_b < free_b // 2
        staged = stage_file(source, target, item.entry, item.how if roomy else "link")
        if staged is None or not item.single:
            return staged
        if staged.torn or not _is_whole(staged.path):
            staged.path.unlink()
            return None
        if not staged.linked:
            self._keep(item, staged)
        return staged

    def _keep(self, item: Item, staged: Staged) -> None:
        path = self._staging / "kept" / str(next(self._numbers))
        path.parent.mkdir(exist_ok=True)
        try:
            os.link(staged.path, path)
        except OSError:
            return
        entry = item.entry._replace(size_b=staged.size_b, mtime_ns=staged.mtime_ns)
        before = self._kept.get((item.root, item.name))
        self._kept[item.root, item.name] = Kept(entry, path)
        if before is not None:
            before.path.unlink(missing_ok=True)

    def _carry(
        self, folder: Path, root: str, name: str, files: list[tuple[str, SourceFile]]
    ) -> list[str]:
        """Take the kept copy; give the name back when there is none."""
        kept = self._kept.get((root, name))
        staged = link_again(kept.path, folder / root / name) if kept else None
        if kept is None or staged is None:
            return [f"{root}:{name}"]
        item = Item(root, name, kept.entry, "link", single=True)
        files.append(("", _describe(item, staged.path, staged.mtime_ns, staged.size_b)))
        return []


def _describe(item: Item, path: Path, mtime_ns: int, size_b: int, target: str = "") -> SourceFile:
    return SourceFile(
        path=path,
        root=item.root,
        name=item.name,
        kind=item.entry.kind,
        mode=item.entry.mode & 0o777,
        mtime_ns=mtime_ns,
        size_b=size_b,
        target=target,
    )


def _is_whole(path: Path) -> bool:
    read = FileReader(path.parent)
    size_b = path.stat().st_size
    name = path.name
    whole = is_whole(
        name, size_b, lambda most: read.head(name, most), lambda most: read.tail(name, most)
    )
    return whole is not False and size_b > 0
