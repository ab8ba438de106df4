"""Which pieces go into which pack on the way up, and which bytes of it are read on the way down. Pure."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import msgspec

from vaultlayer.checkpoint.manifest import (
    PACK_MOST_B,
    PIECE_MOST_B,
    Manifest,
    Pack,
    Piece,
    chain_digest,
    pack_key,
)

SPAN_MOST_B = PIECE_MOST_B
"""One ranged read; larger ones cost more CPU (a fresh mapping each time), measured."""


class Place(msgspec.Struct, frozen=True):
    """Where a piece's bytes lie."""

    pack: Pack
    offset_b: int
    length_b: int


@dataclass
class PackDraft:
    """A pack that is being filled."""

    digests: list[str] = field(default_factory=list[str])
    offsets: list[int] = field(default_factory=list[int])
    size_b: int = 0

    def add(self, sha256: str, length_b: int) -> None:
        """Put a piece at the end."""
        self.digests.append(sha256)
        self.offsets.append(self.size_b)
        self.size_b += length_b


class PackPlan:
    """Decides for each piece, in file order, whether it is known, and else which pack it goes into.

    Args:
        prefix: below it the packs are written.
        parents: manifests whose packs may be referred to.
        pack_b: a pack is closed before it would grow above this.
    """

    def __init__(
        self, prefix: str, parents: Sequence[Manifest], *, pack_b: int = PACK_MOST_B
    ) -> None:
        assert PIECE_MOST_B <= pack_b <= PACK_MOST_B
        self._prefix = prefix
        self._pack_b = pack_b
        self._places = {
            digest: place for one in parents for digest, place in places_of(one).items()
        }
        self._pending: set[str] = set()
        self._draft = PackDraft()
        self.new_b = 0

    def knows(self, sha256: str) -> bool:
        """Tell whether a piece needs no bytes: it is in the bucket, or in a pack of this plan."""
        return sha256 in self._places or sha256 in self._pending

    def add(self, sha256: str, length_b: int) -> Pack | None:
        """Take a piece that is not known; gives the pack that had to be closed before it, if any."""
        assert not self.knows(sha256)
        closed = self.close() if self._draft.size_b + length_b > self._pack_b else None
        self._draft.add(sha256, length_b)
        self._pending.add(sha256)
        self.new_b += length_b
        return closed

    def close(self) -> Pack | None:
        """Close the pack being filled; None when it is empty."""
        draft = self._draft
        if not draft.digests:
            return None
        pack = Pack(key=pack_key(self._prefix, chain_digest(draft.digests)), size_b=draft.size_b)
        ends = [*draft.offsets[1:], draft.size_b]
        for digest, offset, end in zip(draft.digests, draft.offsets, ends, strict=True):
            self._places[digest] = Place(pack, offset, end - offset)
        self._pending.clear()
        self._draft = PackDraft()
        return pack

    def resolve(
        self, contents: Iterable[Sequence[str]]
    ) -> tuple[list[tuple[Piece, ...]], tuple[Pack, ...]]:
        """Give each file's pieces and the packs they name, once all packs are closed.

        Args:
            contents: for each file the digests of its pieces, in order.
        """
        assert not self._pending
        numbers: dict[str, int] = {}
        packs: list[Pack] = []
        files: list[tuple[Piece, ...]] = []
        for digests in contents:
            pieces: list[Piece] = []
            for digest in digests:
                place = self._places[digest]
                number = numbers.setdefault(place.pack.key, len(packs))
                if number == len(packs):
                    packs.append(place.pack)
                pieces.append(Piece(number, place.offset_b, place.length_b, digest))
            files.append(tuple(pieces))
        return files, tuple(packs)


def places_of(manifest: Manifest) -> dict[str, Place]:
    """Give where each piece of a manifest lies, by digest."""
    return {
        piece.sha256: Place(manifest.packs[piece.pack], piece.offset_b, piece.length_b)
        for entry in manifest.files
        for piece in entry.pieces
    }


class Span(msgspec.Struct, frozen=True):
    """One ranged read: neighbouring pieces of one pack, in order."""

    key: str
    offset_b: int
    length_b: int
    pieces: tuple[Piece, ...]


def spans(
    pieces: Iterable[Piece], packs: Sequence[Pack], *, most_b: int = SPAN_MOST_B
) -> list[Span]:
    """Give the reads that fetch each of the pieces once, with no byte between them."""
    found: list[Span] = []
    run: list[Piece] = []
    wanted = {(piece.pack, piece.offset_b, piece.length_b, piece.sha256): piece for piece in pieces}
    for piece in [wanted[place] for place in sorted(wanted)]:
        joins = (
            bool(run)
            and run[-1].pack == piece.pack
            and run[-1].offset_b + run[-1].length_b == piece.offset_b
            and piece.offset_b + piece.length_b - run[0].offset_b <= most_b
        )
        if run and not joins:
            found.append(_span(run, packs))
            run = []
        run.append(piece)
    if run:
        found.append(_span(run, packs))
    return found


def _span(run: Sequence[Piece], packs: Sequence[Pack]) -> Span:
    start, last = run[0].offset_b, run[-1]
    return Span(packs[run[0].pack].key, start, last.offset_b + last.length_b - start, tuple(run))
