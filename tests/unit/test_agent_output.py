"""Output: offsets, batches, resending, the bounded spool."""

from pathlib import Path

import anyio
import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vaultlayer.errors import BusTimeoutError
from vaultlayer.messages import LogChunk
from vaultlayer_agent.output import CHUNK_B, ENCODED_B, Output, Spool, cut_chunk

NASTY = st.lists(
    st.one_of(st.binary(max_size=40), st.text(max_size=20).map(str.encode)), max_size=30
)


class Clock:
    now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def output(path: Path, *, clock: Clock | None = None, **sizes: int) -> Output:
    spool = Spool(path / "spool", **sizes)
    return Output(spool, incarnation="inc", wall_s=lambda: 1.0, clock_s=clock or Clock())


def read_back(chunks: list[LogChunk]) -> str:
    """Put chunks together as a reader does: what lies below the offset it has is dropped."""
    have, text = 0, ""
    for chunk in chunks:
        raw = chunk.text.encode()
        if chunk.offset + len(raw) <= have:
            continue
        text += raw[max(0, have - chunk.offset) :].decode()
        have = chunk.offset + len(raw)
    return text


def drain(out: Output) -> list[LogChunk]:
    chunks: list[LogChunk] = []
    while chunk := out.next_chunk():
        chunks.append(chunk)
        out.stored(chunk)
    return chunks


@settings(max_examples=200, deadline=None)
@given(pieces=NASTY)
def test_offsets_follow_from_the_text_alone_whatever_bytes_the_script_writes(
    pieces: list[bytes], tmp_path_factory: pytest.TempPathFactory
):
    out = output(tmp_path_factory.mktemp("o"), segment_b=64)
    told = "".join(out.feed(piece) for piece in pieces) + out.feed(b"", final=True)
    expected = 0
    chunks = drain(out)
    for chunk in chunks:
        assert chunk.offset == expected
        expected += len(chunk.text.encode())
    assert expected == out.written
    assert "".join(chunk.text for chunk in chunks) == told
    assert told == b"".join(pieces).decode(errors="replace")


@given(st.text(max_size=300), st.integers(4, 60))
def test_a_chunk_ends_between_characters_and_wastes_at_most_one(text: str, most_b: int):
    data = text.encode(errors="replace")
    head = cut_chunk(data, most_b)
    head.decode()
    assert data.startswith(head)
    assert len(head) <= most_b
    assert len(head) >= min(len(data), most_b - 3)


def test_a_chunk_of_control_characters_still_fits_one_message():
    head = cut_chunk(b"\x1b" * CHUNK_B)
    assert 0 < len(msgspec.json.encode(head.decode())) <= ENCODED_B


def test_a_character_cut_between_two_reads_arrives_whole(tmp_path: Path):
    out = output(tmp_path)
    raw = "loss → ∞".encode()
    for byte in raw:
        out.feed(bytes([byte]))
    assert read_back(drain(out)) == "loss → ∞"


def test_the_agents_own_lines_stand_on_lines_of_their_own(tmp_path: Path):
    out = output(tmp_path)
    out.say("first")
    out.feed(b"half a line")
    out.say("restored\nat step 7")
    assert read_back(drain(out)) == (
        "[vaultlayer] first\nhalf a line\n[vaultlayer] restored\n[vaultlayer] at step 7\n"
    )


def test_segments_go_a_while_after_they_are_acknowledged(tmp_path: Path):
    clock = Clock()
    out = output(tmp_path, clock=clock, segment_b=100)
    for _ in range(50):
        out.feed(b"x" * 50)
    assert len(list((tmp_path / "spool").iterdir())) == 25
    drain(out)
    assert out.acknowledged == out.written == 2500
    assert len(list((tmp_path / "spool").iterdir())) == 25
    clock.now_s += 11
    out.feed(b"y")
    drain(out)
    assert len(list((tmp_path / "spool").iterdir())) == 1


def test_what_a_crashed_server_may_have_lost_is_sent_again(tmp_path: Path):
    clock = Clock()
    out = output(tmp_path, clock=clock)
    out.feed(b"old ")
    drain(out)
    clock.now_s += 11
    out.feed(b"lost ")
    drain(out)
    out.feed(b"under way")
    chunk = out.next_chunk()
    assert chunk is not None
    out.rewind()
    out.stored(chunk)
    sent_again = drain(out)
    assert sent_again[0].offset == 4
    assert "".join(one.text for one in sent_again) == "lost under way"
    out.rewind()
    assert drain(out)[0].offset == 4
    clock.now_s += 11
    out.rewind()
    assert drain(out) == []


def test_when_too_much_waits_the_oldest_is_given_up_and_it_is_said(tmp_path: Path):
    out = output(tmp_path, segment_b=100, limit_b=500)
    for number in range(100):
        out.feed(f"line {number:04d}\n".encode() * 5)
    chunks = drain(out)
    assert chunks[0].offset == 5000 - sum(len(c.text) for c in chunks if "vault" not in c.text)
    assert "line 0099" in read_back(chunks)
    assert "line 0001" not in read_back(chunks)
    assert f"[vaultlayer] {chunks[0].offset} bytes of output were given up" in read_back(chunks)


class Broker:
    """Takes chunks, loses some, and loses the acknowledgement of others."""

    def __init__(self, faults: "list[str]") -> None:
        self.faults = faults
        self.stored: list[LogChunk] = []
        self.calls = 0

    async def store(self, chunk: LogChunk) -> None:
        self.calls += 1
        fault = self.faults.pop(0) if self.faults else ""
        if fault != "lost":
            self.stored.append(chunk)
        if fault:
            raise BusTimeoutError("no answer")


@pytest.mark.anyio
async def test_output_survives_lost_messages_and_lost_acknowledgements(tmp_path: Path):
    out, broker = output(tmp_path), Broker(["lost", "unacknowledged", "lost"])
    async with anyio.create_task_group() as group:
        group.start_soon(out.send, broker.store)
        out.feed(b"before ")
        await anyio.sleep(0.3)
        out.feed(b"while the broker is away ")
        assert await out.flush(10.0)
        out.feed(b"after")
        assert await out.flush(10.0)
        group.cancel_scope.cancel()
    assert read_back(broker.stored) == "before while the broker is away after"
    assert len(broker.stored) > len({chunk.offset for chunk in broker.stored})


@pytest.mark.anyio
async def test_small_writes_travel_together(tmp_path: Path):
    out, broker = output(tmp_path), Broker([])
    async with anyio.create_task_group() as group:
        group.start_soon(out.send, broker.store)
        for number in range(50):
            out.feed(f"{number}\n".encode())
            await anyio.lowlevel.checkpoint()
        assert await out.flush(5.0)
        group.cancel_scope.cancel()
    assert broker.calls <= 2


@pytest.mark.anyio
async def test_a_flush_gives_up_in_time(tmp_path: Path):
    out = output(tmp_path)
    out.feed(b"never sent")
    assert not await out.flush(0.05)
