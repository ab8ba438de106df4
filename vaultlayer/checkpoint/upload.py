"""Saves files: read and hash once, send what the bucket lacks in packs, then the manifest."""

import hashlib
import os
import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import anyio
import msgspec
from anyio import CapacityLimiter, to_thread
from anyio.abc import TaskGroup

from vaultlayer.checkpoint.cut import cut
from vaultlayer.checkpoint.manifest import (
    FORMAT,
    PACK_MOST_B,
    PIECE_MOST_B,
    FileEntry,
    Manifest,
    Pack,
    decode_manifest,
    encode_manifest,
    manifest_id,
    manifest_key,
)
from vaultlayer.checkpoint.names import spell
from vaultlayer.checkpoint.pack import PackPlan
from vaultlayer.checkpoint.parallel import ByteBudget, task_group
from vaultlayer.checkpoint.source import Identity, KnownFiles, SourceFile, check_source, identity_of
from vaultlayer.errors import CheckpointError, DiskError, SourceChangedError, StoreConflictError
from vaultlayer.store.protocol import Store

IN_FLIGHT_B = 256 * 1024 * 1024
STREAMS = 8
READERS = 4
WINDOW_B = PIECE_MOST_B


class Uploaded(msgspec.Struct, frozen=True, kw_only=True):
    """What was saved. `manifest` is the checkpoint's id; it is no checkpoint before the log says so."""

    manifest: str
    key: str
    size_b: int
    new_b: int
    files: int
    content: Manifest
    seconds: float = 0.0


class Origin(msgspec.Struct, frozen=True, kw_only=True):
    """Whose checkpoint it is, and below which prefix it is written."""

    prefix: str
    job: str
    attempt: int
    incarnation: str
    seq: int
    step: int | None = None


async def upload(
    store: Store,
    files: Sequence[SourceFile],
    *,
    prefix: str,
    job: str,
    attempt: int,
    incarnation: str,
    seq: int,
    parent: Manifest | None = None,
    step: int | None = None,
    meta: Mapping[str, str] | None = None,
    known: KnownFiles | None = None,
    pack_b: int = PACK_MOST_B,
    in_flight_b: int = IN_FLIGHT_B,
) -> Uploaded:
    """Save files as one checkpoint: packs first, the manifest last.

    Args:
        store: may write below `prefix`.
        files: what to save, as captured.
        prefix: the attempt's own (`ids.prefix_of`), or `jobs/<job>/code/`.
        job: the job.
        attempt: the attempt; 0 for code.
        incarnation: of the attempt; empty for code.
        seq: number of the checkpoint within the attempt.
        parent: the checkpoint this one follows; its pieces are not sent again.
        step: for people.
        meta: what else is worth knowing: framework, world size, versions.
        known: remembers unchanged files from one upload to the next.
        pack_b: size of a pack, 16 to 64 MiB; about three seconds of the link is right.
        in_flight_b: most bytes of files in memory; raised to two packs and two pieces where it is less,
            for an open pack must never keep the next piece from being read.

    Raises:
        SourceChangedError: a file was written to meanwhile; nothing but packs is left in the bucket.
        DiskError: a file cannot be read.
        StoreError: the bucket refuses, or does not answer after several tries.
    """
    origin = Origin(
        prefix=prefix, job=job, attempt=attempt, incarnation=incarnation, seq=seq, step=step
    )
    plan = PackPlan(prefix, [parent] if parent else [], pack_b=pack_b)
    budget = ByteBudget(max(in_flight_b, 2 * (pack_b + WINDOW_B)))
    run = _Run(store, plan, known or KnownFiles(), budget)
    ordered = sorted(files, key=lambda one: (one.root, one.name))
    return await _upload(run, origin, ordered, parent, meta or {})


async def _upload(
    run: "_Run",
    origin: Origin,
    files: Sequence[SourceFile],
    parent: Manifest | None,
    meta: Mapping[str, str],
) -> Uploaded:
    started_s = time.monotonic()
    async with task_group() as group:
        await run.send(group, files)
    manifest = _manifest(origin, files, run, parent, meta)
    data = encode_manifest(manifest)
    identity = manifest_id(data)
    key = manifest_key(origin.prefix, identity)
    decode_manifest(data, key)
    await _put_manifest(run.store, key, data)
    run.known.turn()
    return Uploaded(
        manifest=identity,
        key=key,
        size_b=manifest.size_b,
        new_b=run.plan.new_b,
        files=len(manifest.files),
        content=manifest,
        seconds=time.monotonic() - started_s,
    )


def _manifest(
    origin: Origin,
    files: Sequence[SourceFile],
    run: "_Run",
    parent: Manifest | None,
    meta: Mapping[str, str],
) -> Manifest:
    pieces, packs = run.plan.resolve(
        [digest for digest, _ in run.contents.get(number, ())] for number in range(len(files))
    )
    entries = tuple(
        FileEntry(
            root=file.root,
            name=spell(file.name),
            kind=file.kind,
            mode=file.mode & 0o777,
            mtime_ns=file.mtime_ns,
            size_b=file.size_b if file.kind == "file" else 0,
            pieces=found,
            target=spell(file.target) if file.kind == "symlink" else "",
        )
        for file, found in zip(files, pieces, strict=True)
    )
    return Manifest(
        format=FORMAT,
        job=origin.job,
        attempt=origin.attempt,
        incarnation=origin.incarnation,
        seq=origin.seq,
        step=origin.step,
        parent=manifest_id(encode_manifest(parent)) if parent else "",
        created_ms=int(time.time() * 1000),
        files=entries,
        packs=packs,
        meta=dict(meta),
    )


async def _put_manifest(store: Store, key: str, data: bytes) -> None:
    """Write the manifest where none is; finding our own, after a lost reply, is as good."""
    try:
        await store.put(key, data, only_if_absent=True)
    except StoreConflictError:
        if (await store.get(key)).data != data:
            raise CheckpointError(
                f"{key} holds something else", why="somebody wrote there"
            ) from None


@dataclass
class _Window:
    """A run of whole pieces of one file that is read at once: its place, and then what was read."""

    number: int
    source: SourceFile
    offset_b: int
    lengths: list[int]
    last: bool
    done: anyio.Event = field(default_factory=anyio.Event)
    digests: list[str] = field(default_factory=list[str])
    data: bytes = b""
    identity: Identity | None = None

    @property
    def size_b(self) -> int:
        return sum(self.lengths)


@dataclass
class _Hold:
    """Bytes of the budget that are given back when the last pack that needs them is sent."""

    size_b: int
    users: int = 0


@dataclass
class _Run:
    """One upload under way."""

    store: Store
    plan: PackPlan
    known: KnownFiles
    budget: ByteBudget
    contents: dict[int, list[tuple[str, int]]] = field(
        default_factory=dict[int, list[tuple[str, int]]]
    )
    views: list[memoryview] = field(default_factory=list[memoryview])
    holds: list[_Hold] = field(default_factory=list[_Hold])
    streams: anyio.Semaphore = field(default_factory=lambda: anyio.Semaphore(STREAMS))

    async def send(self, group: TaskGroup, files: Sequence[SourceFile]) -> None:
        """Read the files in order, a few windows ahead, and send packs as they fill."""
        outbox, inbox = anyio.create_memory_object_stream[_Window](READERS)
        group.start_soon(self._read_ahead, group, files, outbox)
        async with inbox:
            async for window in inbox:
                await window.done.wait()
                self._take(group, window)
        self._close(group, self.plan.close())

    async def _read_ahead(
        self,
        group: TaskGroup,
        files: Sequence[SourceFile],
        outbox: anyio.abc.ObjectSendStream[_Window],
    ) -> None:
        threads = CapacityLimiter(READERS)
        async with outbox:
            async for window in self._windows(files):
                await self.budget.take(window.size_b)
                group.start_soon(_read, window, threads)
                await outbox.send(window)

    async def _windows(self, files: Sequence[SourceFile]) -> AsyncIterator[_Window]:
        for number, source in enumerate(files):
            if source.kind != "file":
                continue
            lengths = await to_thread.run_sync(self._recall_or_cut, number, source)
            for window in _split(number, source, lengths):
                yield window

    def _recall_or_cut(self, number: int, source: SourceFile) -> list[int]:
        """Give the lengths to read, none when every piece of the unchanged file is in the bucket."""
        try:
            with source.path.open("rb", buffering=0) as file:
                found = os.fstat(file.fileno())
                check_source(source, found)
                pieces = self.known.recall(identity_of(found))
                if pieces is not None and all(self.plan.knows(digest) for digest, _ in pieces):
                    self.contents[number] = list(pieces)
                    return []
                return cut(
                    source.name, source.size_b, lambda at, most: os.pread(file.fileno(), most, at)
                )
        except OSError as error:
            raise _unreadable(source, error) from error

    def _take(self, group: TaskGroup, window: _Window) -> None:
        """Put what is new of a window into packs; what is little is copied, so that the rest is freed."""
        content = self.contents.setdefault(window.number, [])
        fresh = self._fresh(window)
        fresh_b = sum(len(view) for _, view in fresh)
        keep = fresh_b * 2 >= window.size_b
        hold = _Hold(window.size_b if keep else fresh_b)
        self.budget.give(window.size_b - hold.size_b)
        content.extend(zip(window.digests, window.lengths, strict=True))
        for digest, view in fresh:
            self._close(group, self.plan.add(digest, len(view)))
            self.views.append(view if keep else memoryview(bytes(view)))
            if not self.holds or self.holds[-1] is not hold:
                hold.users += 1
                self.holds.append(hold)
        if not hold.users:
            self.budget.give(hold.size_b)
        if window.last and window.identity:
            self.known.note(window.identity, content, now_ns=time.time_ns())

    def _fresh(self, window: _Window) -> list[tuple[str, memoryview]]:
        found: dict[str, memoryview] = {}
        at, view = 0, memoryview(window.data)
        for digest, length in zip(window.digests, window.lengths, strict=True):
            if not self.plan.knows(digest):
                found.setdefault(digest, view[at : at + length])
            at += length
        return list(found.items())

    def _close(self, group: TaskGroup, pack: Pack | None) -> None:
        if pack is not None:
            views, holds = self.views, self.holds
            self.views, self.holds = [], []
            group.start_soon(self._put, pack, views, holds)

    async def _put(self, pack: Pack, views: list[memoryview], holds: list[_Hold]) -> None:
        async with self.streams:
            await self.store.put(pack.key, views)
        for hold in holds:
            hold.users -= 1
            if not hold.users:
                self.budget.give(hold.size_b)


def _split(number: int, source: SourceFile, lengths: Sequence[int]) -> Iterator[_Window]:
    """Group the pieces of a file into windows of at most WINDOW_B (a piece is never larger)."""
    offset, run = 0, list[int]()
    for length in lengths:
        if run and sum(run) + length > WINDOW_B:
            yield _Window(number, source, offset, run, last=False)
            offset, run = offset + sum(run), []
        run.append(length)
    if run:
        yield _Window(number, source, offset, run, last=True)


async def _read(window: _Window, threads: CapacityLimiter) -> None:
    await to_thread.run_sync(_read_now, window, limiter=threads)
    window.done.set()


def _read_now(window: _Window) -> None:
    """Read and hash; the file must be the same before and after."""
    source = window.source
    try:
        with source.path.open("rb", buffering=0) as file:
            check_source(source, os.fstat(file.fileno()))
            data = _read_fully(file.fileno(), window.offset_b, window.size_b)
            after = os.fstat(file.fileno())
            check_source(source, after)
    except OSError as error:
        raise _unreadable(source, error) from error
    if len(data) < window.size_b:
        raise SourceChangedError(
            f"{source.root}:{source.name} became shorter while it was being saved"
        )
    at, view = 0, memoryview(data)
    for length in window.lengths:
        window.digests.append(hashlib.sha256(view[at : at + length]).hexdigest())
        at += length
    window.data, window.identity = data, identity_of(after)


def _read_fully(handle: int, offset_b: int, size_b: int) -> bytes:
    """Read so many bytes, or all there are; nearly always in one call, which spares a copy."""
    data = os.pread(handle, size_b, offset_b)
    while len(data) < size_b:
        more = os.pread(handle, size_b - len(data), offset_b + len(data))
        if not more:
            break
        data += more
    return data


def _unreadable(source: SourceFile, error: OSError) -> DiskError | SourceChangedError:
    what = f"{source.root}:{source.name}"
    if isinstance(error, FileNotFoundError):
        return SourceChangedError(f"{what} was deleted while it was being saved", retryable=True)
    return DiskError(f"cannot read {what}", why=str(error.strerror or error))
