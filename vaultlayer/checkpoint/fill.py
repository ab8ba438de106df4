"""Brings pieces into files that are being filled: from this machine where they lie, else from the bucket."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import msgspec
from anyio import CapacityLimiter, to_thread

from vaultlayer.checkpoint.manifest import FileEntry, Manifest, Piece
from vaultlayer.checkpoint.pack import Span, spans
from vaultlayer.checkpoint.parallel import task_group
from vaultlayer.checkpoint.placing import is_piece, read_piece, write_at
from vaultlayer.errors import CheckpointError, StoreMissingError
from vaultlayer.store.faults import is_bucket_missing
from vaultlayer.store.protocol import Store

STREAMS = 8
"""Ranged reads at a time; each holds at most one span (16 MiB) in memory."""

WRITERS = 4


class Target(msgspec.Struct, frozen=True, kw_only=True):
    """A file to be filled: `part` exists with full size and becomes `path`."""

    entry: FileEntry
    path: Path
    part: Path


class Local(msgspec.Struct, frozen=True):
    """A piece that lies in a file of this machine, perhaps."""

    path: Path
    offset_b: int


Wanted = dict[str, list[tuple[Path, int]]]
"""For each piece's digest the places (part, offset) that it is written to."""


async def fill(
    store: Store, manifest: Manifest, targets: Sequence[Target], local: Mapping[str, Local]
) -> int:
    """Write every piece of every target, verified; gives how many bytes came from the bucket.

    Raises:
        CheckpointError: a pack is gone, too short, or holds other bytes than the manifest says.
        DiskFullError: there is no room.
        StoreError: the bucket refuses or does not answer.
    """
    wanted: Wanted = {}
    pieces: dict[str, Piece] = {}
    for target in targets:
        offset = 0
        for piece in target.entry.pieces:
            wanted.setdefault(piece.sha256, []).append((target.part, offset))
            pieces[piece.sha256] = piece
            offset += piece.length_b
    threads = CapacityLimiter(WRITERS)
    missing = await _copy_local(pieces, wanted, local, threads)
    todo = spans(missing, manifest.packs)
    queue = iter(todo)
    async with task_group() as group:
        for _ in range(min(STREAMS, len(todo))):
            group.start_soon(_fetch, store, queue, wanted, threads)
    return sum(span.length_b for span in todo)


async def _copy_local(
    pieces: Mapping[str, Piece],
    wanted: Wanted,
    local: Mapping[str, Local],
    threads: CapacityLimiter,
) -> list[Piece]:
    """Copy what is on this machine; gives the pieces that are not, or not any more."""
    missing: list[Piece] = []

    async def copy(piece: Piece, place: Local) -> None:
        if not await to_thread.run_sync(
            _copy_piece, piece, place, wanted[piece.sha256], limiter=threads
        ):
            missing.append(piece)

    queue = iter(pieces.items())

    async def work() -> None:
        for digest, piece in queue:
            place = local.get(digest)
            if place is None:
                missing.append(piece)
            else:
                await copy(piece, place)

    async with task_group() as group:
        for _ in range(WRITERS):
            group.start_soon(work)
    return missing


def _copy_piece(piece: Piece, place: Local, places: Sequence[tuple[Path, int]]) -> bool:
    data = read_piece(place.path, place.offset_b, piece)
    if data is None:
        return False
    for part, offset in places:
        write_at(part, [(offset, data)])
    return True


async def _fetch(
    store: Store, queue: Iterable[Span], wanted: Wanted, threads: CapacityLimiter
) -> None:
    for span in queue:
        try:
            data = await store.get_range(span.key, span.offset_b, span.length_b)
        except StoreMissingError as error:
            if is_bucket_missing(error):
                raise
            raise CheckpointError(f"{span.key} is damaged", why=error.why) from error
        await to_thread.run_sync(_write_span, span, data, wanted, limiter=threads)


def _write_span(span: Span, data: memoryview, wanted: Wanted) -> None:
    """Verify each piece in memory, and only then write it wherever it belongs."""
    writes: dict[Path, list[tuple[int, memoryview]]] = {}
    for piece in span.pieces:
        start = piece.offset_b - span.offset_b
        found = data[start : start + piece.length_b]
        if not is_piece(found, piece):
            raise CheckpointError(
                f"{span.key} is damaged",
                why=f"{piece.length_b} bytes at {piece.offset_b} are not what the manifest says",
            )
        for part, offset in wanted[piece.sha256]:
            writes.setdefault(part, []).append((offset, found))
    for part, found_writes in writes.items():
        write_at(part, found_writes)
