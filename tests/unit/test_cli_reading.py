"""Readers of a job show each entry and each byte once, whatever overlaps, doubles or is lost."""

import random

import msgspec
import pytest

from vaultlayer import events as ev
from vaultlayer.messages import LogChunk, StoredEvent, StoredLog
from vaultlayer_cli.reading import (
    AGENT,
    EventReader,
    Lines,
    LogReader,
    Printed,
    Voices,
    is_echo,
    tail,
)

SUBMITTED = ev.Submitted(job="j234567abc", at=1.0, spec=ev.JobSpec(command=["python", "t.py"]))
FINISHED = ev.Finished(job="j234567abc", outcome="succeeded")


def stored(seq: int, event: ev.Event) -> StoredEvent:
    return StoredEvent(seq=seq, kind=ev.kind_of(event), body=msgspec.Raw(ev.encode(event)))


def chunk(seq: int, offset: int, text: str, *, attempt: int = 1, of: str = "i1") -> StoredLog:
    return StoredLog(
        seq=seq, attempt=attempt, chunk=LogChunk(incarnation=of, offset=offset, text=text)
    )


def test_entries_are_given_once_and_in_order_however_pages_overlap() -> None:
    reader = EventReader()
    pages = [[stored(3, SUBMITTED)], [stored(3, SUBMITTED), stored(9, FINISHED)], []]
    assert [entry.seq for page in pages for entry in reader.take(page)] == [3, 9]
    assert reader.is_over


def test_an_entry_of_a_kind_that_is_not_known_is_shown_and_not_folded() -> None:
    reader = EventReader()
    odd = StoredEvent(seq=4, kind="levitated", body=msgspec.Raw(b'{"type":"levitated"}'))
    found = reader.take([stored(3, SUBMITTED), odd])
    assert [(entry.kind, entry.event is None) for entry in found] == [
        ("submitted", False),
        ("levitated", True),
    ]
    assert not reader.is_over


def test_doubled_and_overlapping_chunks_are_shown_once() -> None:
    reader = LogReader()
    page = [chunk(1, 0, "abc"), chunk(2, 0, "abc"), chunk(5, 2, "cde"), chunk(6, 5, "f")]
    assert "".join(p.text for p in reader.take(page)) == "abcdef"
    assert reader.take(page) == []


def test_attempts_and_incarnations_have_offsets_of_their_own() -> None:
    reader = LogReader()
    page = [chunk(1, 0, "a"), chunk(2, 0, "b", attempt=2), chunk(3, 0, "c", of="i2")]
    assert [p.text for p in reader.take(page)] == ["a", "b", "c"]


def test_offsets_count_bytes_not_characters() -> None:
    reader = LogReader()
    page = [chunk(1, 0, "äß"), chunk(2, 2, "ß€"), chunk(3, 7, "!")]
    printed = reader.take(page)
    assert "".join(p.text for p in printed) == "äß€!"
    assert all(p.missing_b == 0 for p in printed)


def test_a_hole_is_told_with_its_size() -> None:
    reader = LogReader()
    assert [p.missing_b for p in reader.take([chunk(1, 0, "ab"), chunk(2, 7, "x")])] == [0, 5]


def test_a_reader_who_began_late_misses_nothing() -> None:
    reader = LogReader(seq=10, is_late=True)
    assert [p.missing_b for p in reader.take([chunk(11, 500, "x"), chunk(12, 502, "y")])] == [0, 1]


def test_any_storm_of_doubles_gives_the_text_itself() -> None:
    for seed in range(50):
        dice = random.Random(seed)
        text = "".join(dice.choice("aé€\n") for _ in range(200))
        data, at, seq, page = text.encode(), 0, 0, list[StoredLog]()
        while at < len(text):
            size = dice.randint(1, 20)
            piece, offset = text[at : at + size], len(text[:at].encode())
            for _ in range(dice.randint(1, 3)):
                seq += 1
                page.append(chunk(seq, offset, piece))
            at += dice.randint(1, size)
        shown = "".join(p.text for p in LogReader().take(page))
        assert shown.encode() == data, f"seed {seed}"


@pytest.mark.parametrize(
    ("pieces", "lines", "partial"),
    [
        (["a\nb"], ["a"], "b"),
        (["a", "b\n"], ["ab"], ""),
        (["10%\r20%\r30%"], [], "30%"),
        (["10%\r", "20%\n"], ["20%"], ""),
        (["windows\r\n"], ["windows"], ""),
        (["windows\r", "\n"], ["windows"], ""),
        (["a\r"], [], "a"),
        (["\n\n"], ["", ""], ""),
    ],
)
def test_a_screen_line_is_what_its_carriage_returns_leave(
    pieces: list[str], lines: list[str], partial: str
) -> None:
    cutter = Lines()
    assert [line for piece in pieces for line in cutter.feed(piece)] == lines
    assert cutter.partial == partial


def test_the_agents_lines_are_told_apart_and_the_scripts_are_unchanged() -> None:
    text = f"one\n{AGENT}hello\ntwo [vaultlayer] x\n{AGENT}there\n[vault\nend"
    for size in range(1, 12):
        voices, script, agent = Voices(), "", list[str]()
        pieces = [text[at : at + size] for at in range(0, len(text), size)]
        parts = [part for piece in pieces for part in voices.feed(piece)] + voices.flush()
        for is_agent, words in parts:
            if is_agent:
                agent.append(words)
            else:
                script += words
        assert agent == ["hello", "there"], size
        assert script == "one\ntwo [vaultlayer] x\n[vault\nend", size


def test_what_the_log_says_too_is_an_echo() -> None:
    assert is_echo("[vaultlayer] attempt 1 on local prepares")
    assert is_echo("tier A: HF Trainer")
    assert not is_echo("[vaultlayer] 12 bytes of output were given up while the broker was away")


def test_a_tail_has_the_last_lines_across_chunks() -> None:
    printed = [
        Printed(attempt=1, offset=0, text="a\nb\nc"),
        Printed(attempt=1, offset=5, text="d\ne\n"),
    ]
    assert "".join(p.text for p in tail(printed, 1)) == "e\n"
    assert "".join(p.text for p in tail(printed, 2)) == "cd\ne\n"
    assert [p.offset for p in tail(printed, 1)] == [7]
    assert "".join(p.text for p in tail(printed, 99)) == "a\nb\ncd\ne\n"
    assert tail(printed, 0) == []


def test_a_tail_does_not_count_what_the_agent_says() -> None:
    printed = [Printed(attempt=1, offset=0, text=f"a\nb\n{AGENT}hello\n")]
    assert tail(printed, 1)[0].text == f"b\n{AGENT}hello\n"
