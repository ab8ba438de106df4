"""Brings a checkpoint back: fetch, verify, write beside the place, and rename when all of it is there."""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import msgspec
from anyio import CapacityLimiter, to_thread

from vaultlayer.checkpoint import placing
from vaultlayer.checkpoint.cache import FileCache
from vaultlayer.checkpoint.fill import Target, fill
from vaultlayer.checkpoint.manifest import FileEntry, Manifest, decode_manifest, manifest_id
from vaultlayer.checkpoint.parallel import task_group
from vaultlayer.checkpoint.source import KnownFiles, identity_of
from vaultlayer.errors import CheckpointError, StoreMissingError
from vaultlayer.store.faults import is_bucket_missing
from vaultlayer.store.protocol import Store

T = TypeVar("T")
THREADS = 4


class Restored(msgspec.Struct, frozen=True, kw_only=True):
    """What it took: bytes from the bucket, bytes that were here already, files in all."""

    fetched_b: int
    reused_b: int
    files: int
    seconds: float


async def fetch_manifest(store: Store, key: str, identity: str) -> Manifest:
    """Read a manifest that the log names.

    Raises:
        CheckpointError: it is gone, its digest is not `identity`, or it cannot be used.
        StoreError: the bucket refuses or does not answer.
    """
    try:
        data = (await store.get(key)).data
    except StoreMissingError as error:
        if is_bucket_missing(error):
            raise
        raise CheckpointError(f"{key} is damaged", why=error.why) from error
    if manifest_id(data) != identity:
        raise CheckpointError(f"{key} is damaged", why="its digest is not the one in the log")
    return decode_manifest(data, key)


async def restore(
    store: Store,
    manifest: Manifest,
    places: Mapping[str, Path],
    *,
    cache: FileCache | Path | None = None,
    known: KnownFiles | None = None,
    sync: bool = True,
) -> Restored:
    """Put all files of a checkpoint in their places, bit for bit, with modes and times.

    Nothing appears under its own name before every byte is here and verified. What the manifest does not
    name is not touched, except that a file or link in the way of a directory is removed.

    Args:
        store: may read below `jobs/<job>/`.
        manifest: from `fetch_manifest`.
        places: a directory for each root that the manifest names; those of others are made, and stay empty.
        cache: what was prefetched; its files are moved out of it.
        known: learns the files, so that the next upload need not read them.
        sync: whether to wait until the disk has it.

    Raises:
        CheckpointError: an object is gone or damaged (it is named), or a root has no place.
        DiskFullError: there is no room; nothing was changed.
        DiskError: something cannot be written.
        StoreError: the bucket refuses or does not answer.
    """
    started_s = time.monotonic()
    held = FileCache(cache) if isinstance(cache, Path) else cache
    run = _Restore(manifest, await to_thread.run_sync(_real_places, manifest, places), held, sync)
    try:
        await to_thread.run_sync(run.make_directories)
        targets = await run.sort_files()
        await to_thread.run_sync(run.create_parts, targets)
        local = await to_thread.run_sync(held.pieces) if held else {}
        fetched_b = await fill(store, manifest, targets, local)
        await run.put_in_place(targets)
    except BaseException:
        run.undo()
        raise
    if known is not None:
        await to_thread.run_sync(run.teach, known)
    return Restored(
        fetched_b=fetched_b,
        reused_b=max(0, manifest.size_b - fetched_b),
        files=len(manifest.files),
        seconds=time.monotonic() - started_s,
    )


async def prefetch(store: Store, manifest: Manifest, cache: FileCache) -> Restored:
    """Fetch a checkpoint's files into a cache, and drop from it what this checkpoint does not name.

    Raises:
        CheckpointError, DiskFullError, DiskError, StoreError: as `restore`.
    """
    started_s = time.monotonic()
    entries = {entry.digest: entry for entry in manifest.files if entry.kind == "file"}
    absent = [
        entry
        for entry, here in zip(
            entries.values(), await _each(cache.has, entries.values()), strict=True
        )
        if not here
    ]
    await to_thread.run_sync(placing.check_room, cache.path, sum(one.size_b for one in absent))
    local = await to_thread.run_sync(cache.pieces)
    targets = [
        Target(entry=entry, path=path, part=placing.temp_of(path))
        for entry in absent
        for path in [cache.place(entry)]
    ]
    try:
        await _each(lambda target: placing.create_part(target.path, target.entry.size_b), targets)
        fetched_b = await fill(store, manifest, targets, local)
    except BaseException:
        for target in targets:
            target.part.unlink(missing_ok=True)
        raise

    def finish(target: Target) -> None:
        placing.finish(target.part, target.path, target.entry, sync=False)
        cache.wrote(target.entry)

    await _each(finish, targets)
    await to_thread.run_sync(cache.settle, manifest)
    return Restored(
        fetched_b=fetched_b,
        reused_b=max(0, manifest.size_b - fetched_b),
        files=len(manifest.files),
        seconds=time.monotonic() - started_s,
    )


def _real_places(manifest: Manifest, places: Mapping[str, Path]) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for root in {entry.root for entry in manifest.files} - set(places):
        raise CheckpointError(f"the checkpoint's root {root!r} has no place on this machine")
    for root in places:
        with placing.disk_errors(places[root]):
            places[root].mkdir(parents=True, exist_ok=True)
            found[root] = places[root].resolve()
    return found


async def _each(act: Callable[[T], object], items: Iterable[T]) -> list[object]:
    """Do something blocking for each item, a few at a time; gives the results in order."""
    limiter = CapacityLimiter(THREADS)
    todo = list(items)
    results: list[object] = [None] * len(todo)
    queue = iter(enumerate(todo))

    async def work() -> None:
        for number, item in queue:
            results[number] = await to_thread.run_sync(act, item, limiter=limiter)

    async with task_group() as group:
        for _ in range(min(THREADS, len(todo))):
            group.start_soon(work)
    return results


@dataclass
class _Restore:
    """One restore under way."""

    manifest: Manifest
    places: dict[str, Path]
    cache: FileCache | None
    sync: bool
    made: list[Path] = field(default_factory=list[Path])
    looked_at: set[Path] = field(default_factory=set[Path])
    parts: list[Path] = field(default_factory=list[Path])
    in_place: list[FileEntry] = field(default_factory=list[FileEntry])
    cached: list[FileEntry] = field(default_factory=list[FileEntry])

    def path_of(self, entry: FileEntry) -> Path:
        return placing.path_of(self.places[entry.root], entry)

    def of_kind(self, kind: str) -> list[FileEntry]:
        return [entry for entry in self.manifest.files if entry.kind == kind]

    def make_directories(self) -> None:
        """Make every directory that is needed, first, so that no path leads through a link afterwards."""
        for entry in sorted(self.of_kind("dir"), key=lambda one: one.name):
            self._make(self.places[entry.root], self.path_of(entry), itself=True)
        for entry in self.manifest.files:
            if entry.kind != "dir":
                self._make(self.places[entry.root], self.path_of(entry), itself=False)

    def _make(self, place: Path, path: Path, *, itself: bool) -> None:
        here = place
        parts = path.relative_to(place).parts
        for part in parts if itself else parts[:-1]:
            here = here / part
            if here not in self.looked_at and placing.make_directory(here):
                self.made.append(here)
            self.looked_at.add(here)

    async def sort_files(self) -> list[Target]:
        """Find out which files are in place or in the cache; gives those to be filled."""
        files = self.of_kind("file")
        targets: list[Target] = []
        for entry, where in zip(files, await _each(self._find, files), strict=True):
            path = self.path_of(entry)
            if where == "place":
                self.in_place.append(entry)
            elif where == "cache":
                self.cached.append(entry)
            else:
                targets.append(Target(entry=entry, path=path, part=placing.temp_of(path)))
        return targets

    def _find(self, entry: FileEntry) -> str:
        if placing.holds(self.path_of(entry), entry.size_b, entry.pieces):
            return "place"
        return "cache" if self.cache and self.cache.has(entry) else ""

    def create_parts(self, targets: Sequence[Target]) -> None:
        """Check that there is room, and make the files that are to be filled."""
        need_b: dict[tuple[int, Path], int] = {}
        for target in targets:
            place = self.places[target.entry.root]
            at = (place.stat().st_dev, place)
            need_b[at] = need_b.get(at, 0) + target.entry.size_b
        devices = {device for device, _ in need_b}
        for device in devices:
            same = {place: size for (other, place), size in need_b.items() if other == device}
            placing.check_room(next(iter(same)), sum(same.values()))
        for target in targets:
            self.parts.append(target.part)
            placing.create_part(target.path, target.entry.size_b)

    def undo(self) -> None:
        """Take back what an incomplete restore has made."""
        for part in self.parts:
            part.unlink(missing_ok=True)
        for path in reversed(self.made):
            try:
                path.rmdir()
            except OSError:
                continue

    async def put_in_place(self, targets: Sequence[Target]) -> None:
        """Rename all that was filled, move what was cached, make links, and stamp directories last."""
        await _each(
            lambda target: placing.finish(target.part, target.path, target.entry, sync=self.sync),
            targets,
        )
        await to_thread.run_sync(self._move_cached)
        await _each(lambda one: placing.make_link(self.path_of(one), one), self.of_kind("symlink"))
        await _each(lambda one: placing.restamp(self.path_of(one), one), self.in_place)
        await to_thread.run_sync(self._stamp_directories)

    def _move_cached(self) -> None:
        assert self.cache is not None or not self.cached
        left: dict[str, int] = {}
        for entry in self.cached:
            left[entry.digest] = left.get(entry.digest, 0) + 1
        for entry in self.cached:
            assert self.cache is not None
            path, source = self.path_of(entry), self.cache.place(entry)
            left[entry.digest] -= 1
            # Two files must never share an inode: a script that rewrites one would change the other.
            (placing.copy if left[entry.digest] else placing.move)(source, placing.temp_of(path))
            placing.finish(placing.temp_of(path), path, entry, sync=self.sync)

    def _stamp_directories(self) -> None:
        if self.sync:
            changed = {self.path_of(entry).parent for entry in self.manifest.files}
            for path in changed | {path.parent for path in self.made}:
                placing.sync_directory(path)
        for entry in sorted(self.of_kind("dir"), key=lambda one: one.name, reverse=True):
            placing.restamp(self.path_of(entry), entry)

    def teach(self, known: KnownFiles) -> None:
        """Let the next upload know what these files hold."""
        for entry in self.of_kind("file"):
            found = self.path_of(entry).lstat()
            pieces = [(piece.sha256, piece.length_b) for piece in entry.pieces]
            known.note(identity_of(found), pieces, now_ns=time.time_ns())
        known.turn()
