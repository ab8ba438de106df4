"""The log's frames: the whole is read, a torn end is left out, what is damaged is refused."""

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ghosts import hook_module

log = hook_module("log")
state = hook_module("state")

PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(),
    lambda inner: st.lists(inner, max_size=4).map(tuple),
    max_leaves=8,
)
EVENTS = st.lists(st.tuples(st.text(max_size=6), PLAIN), min_size=1, max_size=5)


def same(one: object, other: object) -> bool:
    return log.encode([one]) == log.encode([other])


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(EVENTS, max_size=5))
def test_what_was_written_is_read(batches: list[list[tuple[str, object]]]) -> None:
    data = log.MAGIC + b"".join(log.encode(batch) for batch in batches)
    assert same(log.decode(data, True), [event for batch in batches for event in batch])


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(EVENTS, EVENTS, st.data())
def test_a_torn_end_is_left_out_of_an_open_segment_and_refused_in_a_closed_one(
    first: list[tuple[str, object]], second: list[tuple[str, object]], data: st.DataObject
) -> None:
    whole = log.MAGIC + log.encode(first)
    torn = whole + log.encode(second)
    cut = torn[: data.draw(st.integers(len(whole) + 1, len(torn) - 1))]
    assert same(log.decode(cut, False), first)
    with pytest.raises(state.Refused):
        log.decode(cut, True)


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(EVENTS, st.data())
def test_a_flipped_bit_is_never_read_as_events(
    events: list[tuple[str, object]], data: st.DataObject
) -> None:
    body = bytearray(log.MAGIC + log.encode(events))
    at = data.draw(st.integers(0, len(body) - 1))
    body[at] ^= 1 << data.draw(st.integers(0, 7))
    with pytest.raises(state.Refused):
        log.decode(bytes(body), True)


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
