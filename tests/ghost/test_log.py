"""The log's frames: the whole is read, a torn end is left out, what is damaged is refused."""

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ghosts import hook_module

log = hook_module("log")
recorded = hook_module("recorded")
state = hook_module("state")

PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(),
    lambda inner: st.lists(inner, max_size=4).map(tuple),
    max_leaves=8,
)
EVENTS = st.lists(st.tuples(st.text(max_size=6), PLAIN), min_size=1, max_size=5)


def decode(data: bytes, closed: bool) -> list[tuple[str, object]]:
    frames = log.frames(io.BytesIO(data), closed)
    return [event for _, payload in frames for event in log.load(payload)]


def same(one: object, other: object) -> bool:
    return log.encode([one]) == log.encode([other])


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(EVENTS, max_size=5))
def test_what_was_written_is_read(batches: list[list[tuple[str, object]]]) -> None:
    data = log.MAGIC + b"".join(log.encode(batch) for batch in batches)
    assert same(decode(data, True), [event for batch in batches for event in batch])


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(EVENTS, EVENTS, st.data())
def test_a_torn_end_is_left_out_of_an_open_segment_and_refused_in_a_closed_one(
    first: list[tuple[str, object]], second: list[tuple[str, object]], data: st.DataObject
) -> None:
    whole = log.MAGIC + log.encode(first)
    torn = whole + log.encode(second)
    cut = torn[: data.draw(st.integers(len(whole) + 1, len(torn) - 1))]
    assert same(decode(cut, False), first)
    with pytest.raises(state.Refused):
        decode(cut, True)


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(EVENTS, st.data())
def test_a_flipped_bit_is_never_read_as_events(
    events: list[tuple[str, object]], data: st.DataObject
) -> None:
    body = bytearray(log.MAGIC + log.encode(events))
    at = data.draw(st.integers(0, len(body) - 1))
    body[at] ^= 1 << data.draw(st.integers(0, 7))
    with pytest.raises(state.Refused):
        decode(bytes(body), True)


def test_a_missing_segment_is_refused_unless_it_is_the_open_one(tmp_path: Path) -> None:
    assert log.read_segment(str(tmp_path), 3, False) == []
    with pytest.raises(state.Refused, match="segment 3 is missing"):
        log.read_segment(str(tmp_path), 3, True)


def test_a_rotated_segment_is_whole_and_the_count_goes_on(tmp_path: Path) -> None:
    writer = log.Writer(str(tmp_path), 0, 0)
    writer.append(("item", 1.5))
    size_b = writer.rotate(1)
    writer.append(("item", float("nan")))
    writer.close()
    assert writer.count == 2
    assert (tmp_path / "log-0.seg").stat().st_size == size_b
    assert log.read_segment(str(tmp_path), 0, True) == [("item", 1.5)]
    assert same(log.read_segment(str(tmp_path), 1, True), [("item", float("nan"))])


def write(directory: Path, segments: Sequence[Sequence[Sequence[tuple[str, object]]]]) -> None:
    for number, batches in enumerate(segments):
        frames = b"".join(log.encode(batch) for batch in batches)
        (directory / log.segment_name(number)).write_bytes(log.MAGIC + frames)


def read_all(pieces: Any) -> list[tuple[str, object]]:
    events: list[tuple[str, object]] = []
    while piece := pieces.more():
        events += piece
    return events


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.lists(EVENTS, max_size=4), min_size=1, max_size=4), st.integers(1, 200))
def test_pieces_of_any_size_are_the_whole_in_order(
    tmp_path_factory: pytest.TempPathFactory,
    segments: list[list[list[tuple[str, object]]]],
    piece_b: int,
) -> None:
    directory = tmp_path_factory.mktemp("log")
    write(directory, segments)
    every = [event for batches in segments for batch in batches for event in batch]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(recorded, "PIECE_B", piece_b)
        pieces = recorded.Recorded(str(directory), len(segments), frozenset(("a",)))
        assert pieces.count == len(every)
        assert same(read_all(pieces), [event for event in every if event[0] != "a"])


def test_a_piece_holds_no_more_than_a_few_frames(tmp_path: Path) -> None:
    frame = [("item", b"." * 100_000)]
    write(tmp_path, [[frame] * 50, [frame] * 50])
    pieces = recorded.Recorded(str(tmp_path), 2, frozenset())
    lengths: list[int] = []
    while piece := pieces.more():
        lengths.append(len(piece))
    assert sum(lengths) == pieces.count == 100
    assert max(lengths) == 11


def test_where_streams_began_is_known_from_the_first_moment_on(tmp_path: Path) -> None:
    seed = ("seed", ("numpy", (1, 2)))
    write(tmp_path, [[[("item", "seed")]], [[("item", 1), seed]]])
    pieces = recorded.Recorded(str(tmp_path), 2, frozenset(("seed",)))
    assert pieces.seeds == [seed[1]]
    assert read_all(pieces) == [("item", "seed"), ("item", 1)]


@pytest.mark.parametrize("damage", ["missing", "cut", "flipped"])
def test_damage_in_any_segment_is_refused_before_anything_is_replayed(
    tmp_path: Path, damage: str
) -> None:
    write(tmp_path, [[[("item", 1)]], [[("item", 2)]], [[("item", 3)]]])
    path = tmp_path / log.segment_name(1)
    data = path.read_bytes()
    if damage == "missing":
        path.unlink()
    else:
        path.write_bytes(data[:-1] if damage == "cut" else data[:-1] + bytes([data[-1] ^ 1]))
    with pytest.raises(state.Refused, match="segment"):
        recorded.Recorded(str(tmp_path), 3, frozenset())


def test_a_log_that_is_damaged_while_it_is_replayed_ends_the_replay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, [[[("item", 1)]], [[("item", 2)]]])
    pieces = recorded.Recorded(str(tmp_path), 2, frozenset())
    for name in ("events", "cursor", "end", "before", "more"):
        monkeypatch.setattr(state.run, name, getattr(state.run, name))
    told: list[str] = []
    monkeypatch.setattr(state.run, "diverge", told.append, raising=False)
    state.run.more = pieces.more
    log.refill()
    path = tmp_path / log.segment_name(1)
    path.write_bytes(path.read_bytes()[:-1])
    assert log.take("item") == 1
    assert told == ["the log cannot be read: a log segment is cut short"]
