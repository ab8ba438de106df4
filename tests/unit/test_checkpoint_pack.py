"""Packs hold each new piece once, and reads fetch each needed byte once."""

import hashlib

from hypothesis import given
from hypothesis import strategies as st

from vaultlayer.checkpoint.manifest import (
    PACK_MOST_B,
    PIECE_MOST_B,
    FileEntry,
    Manifest,
    Pack,
    Piece,
)
from vaultlayer.checkpoint.pack import SPAN_MOST_B, PackPlan, places_of, spans

JOB = "j234567892"
PREFIX = f"jobs/{JOB}/a1-abc/"


def digest(number: int) -> str:
    return hashlib.sha256(str(number).encode()).hexdigest()


def planned(plan: PackPlan, contents: list[list[tuple[int, int]]]) -> list[Pack]:
    """Run (piece number, length) lists, a file each, through the plan; gives the packs it closed."""
    closed: list[Pack] = []
    for file in contents:
        for number, length in file:
            if not plan.knows(digest(number)) and (pack := plan.add(digest(number), length)):
                closed.append(pack)
    if last := plan.close():
        closed.append(last)
    return closed


def manifest_of(plan: PackPlan, contents: list[list[tuple[int, int]]]) -> Manifest:
    files, packs = plan.resolve([[digest(n) for n, _ in file] for file in contents])
    entries = tuple(
        FileEntry(
            root="work",
            name=f"f{n}",
            kind="file",
            mode=0o644,
            mtime_ns=0,
            size_b=sum(piece.length_b for piece in pieces),
            pieces=pieces,
            target="",
        )
        for n, pieces in enumerate(files)
    )
    return Manifest(
        format=1,
        job=JOB,
        attempt=1,
        incarnation="abc",
        seq=1,
        step=None,
        parent="",
        created_ms=0,
        files=entries,
        packs=packs,
        meta={},
    )


LENGTHS = {n: 1 + (n * 7919 * 1009) % PIECE_MOST_B for n in range(40)}
CONTENTS = st.lists(
    st.lists(st.integers(0, 39).map(lambda n: (n, LENGTHS[n])), max_size=8), max_size=8
)


@given(CONTENTS, st.integers(PIECE_MOST_B, PACK_MOST_B))
def test_every_piece_lies_in_exactly_one_pack_and_packs_stay_in_bounds(
    contents: list[list[tuple[int, int]]], pack_b: int
) -> None:
    plan = PackPlan(PREFIX, [], pack_b=pack_b)
    closed = planned(plan, contents)
    manifest = manifest_of(plan, contents)
    distinct = {number for file in contents for number, _ in file}
    assert sum(pack.size_b for pack in closed) == sum(LENGTHS[n] for n in distinct) == plan.new_b
    assert all(pack.size_b <= pack_b for pack in closed)
    assert set(manifest.packs) == set(closed)
    taken: dict[str, list[tuple[int, int]]] = {}
    for place in places_of(manifest).values():
        taken.setdefault(place.pack.key, []).append((place.offset_b, place.length_b))
    for pack in closed:
        end = 0
        for offset, length in sorted(taken[pack.key]):
            assert offset == end
            end += length
        assert end == pack.size_b


@given(CONTENTS, CONTENTS)
def test_what_a_parent_holds_is_not_sent_again(
    first: list[list[tuple[int, int]]], second: list[list[tuple[int, int]]]
) -> None:
    plan = PackPlan(PREFIX, [])
    planned(plan, first)
    parent = manifest_of(plan, first)
    child_plan = PackPlan(f"jobs/{JOB}/a2-xyz/", [parent])
    planned(child_plan, second)
    child = manifest_of(child_plan, second)
    old = {number for file in first for number, _ in file}
    new = {number for file in second for number, _ in file}
    assert child_plan.new_b == sum(LENGTHS[n] for n in new - old)
    known = places_of(parent)
    for sha256, place in places_of(child).items():
        if sha256 in known:
            assert place == known[sha256]


def test_the_same_pieces_in_the_same_order_make_the_same_packs() -> None:
    contents = [[(n, LENGTHS[n]) for n in range(40)]]
    assert planned(PackPlan(PREFIX, []), contents) == planned(PackPlan(PREFIX, []), contents)


@given(st.lists(st.integers(1, PIECE_MOST_B), min_size=1, max_size=12), st.data())
def test_reads_cover_each_wanted_piece_once_and_not_a_byte_more(
    sizes: list[int], data: st.DataObject
) -> None:
    pack = Pack(key="k", size_b=sum(sizes))
    pieces = [Piece(0, sum(sizes[:n]), size, digest(n)) for n, size in enumerate(sizes)]
    wanted = data.draw(st.lists(st.sampled_from(pieces), min_size=1))
    found = spans(wanted, [pack])
    read = [piece for span in found for piece in span.pieces]
    assert sorted(read, key=lambda p: p.offset_b) == sorted(set(wanted), key=lambda p: p.offset_b)
    assert sum(span.length_b for span in found) == sum(piece.length_b for piece in set(wanted))
    assert all(span.length_b <= SPAN_MOST_B for span in found)
