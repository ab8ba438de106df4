"""The script's output: every byte has a place, and is kept until the broker has stored it.

What the script writes is first made valid UTF-8, so that a reader who has read a chunk knows the next offset
from the text alone. It then waits on this machine's disk, in segments, until the stream LOGS has
acknowledged it; the broker may be away for an hour. When more waits than `limit_b`, the oldest is given up,
and the stream says so in place.
"""

import codecs
import time
from collections import deque
from collections.abc import Awaitable, Callable
from pathlib import Path

import anyio
import msgspec

from vaultlayer.errors import VaultLayerError
from vaultlayer.logging import get_logger
from vaultlayer.messages import LogChunk

CHUNK_B = 32 * 1024
"""Raw bytes of one chunk at most."""

ENCODED_B = 56 * 1024
"""A chunk as JSON at most: control characters grow sixfold, and messages end at 64 KiB."""

EVERY_S = 0.2
"""How long output waits for company."""

SEGMENT_B = 4 * 1024 * 1024
LIMIT_B = 256 * 1024 * 1024
"""What may wait on disk while the broker is away."""

KEPT_S = 10.0
"""How long acknowledged output is kept: the stream of output may lose its last seconds in a crash."""

PREFIX = b"[vaultlayer] "


def cut_chunk(data: bytes, most_b: int = CHUNK_B, encoded_b: int = ENCODED_B) -> bytes:
    """Give the longest head of `data` that fits one message and ends between characters.

    Args:
        data: valid UTF-8.
        most_b: raw bytes at most; at least 4.
        encoded_b: bytes as a JSON string at most.
    """
    head = _whole(data[:most_b]) if len(data) > most_b else data
    while len(head) > 4 and len(msgspec.json.encode(head.decode())) > encoded_b:
        head = _whole(head[: len(head) // 2])
    return head


def _whole(data: bytes) -> bytes:
    """Cut off the beginning of a character whose end is missing."""
    for back in range(1, min(4, len(data)) + 1):
        byte = data[-back]
        if byte & 0xC0 == 0x80:
            continue
        size = 1 if byte < 0x80 else 2 if byte < 0xE0 else 3 if byte < 0xF0 else 4
        return data if back >= size else data[:-back]
    return data


class Spool:
    """Bytes with offsets on disk: append at the end, read anywhere above what was let go."""

    def __init__(self, folder: Path, *, segment_b: int = SEGMENT_B, limit_b: int = LIMIT_B) -> None:
        self._folder = folder
        self._segment_b = segment_b
        self._limit_b = limit_b
        self._segments: deque[tuple[int, Path]] = deque()
        self.begin = 0
        """Offset of the first byte that is still here."""
        self.end = 0
        """Offset after the last byte."""
        folder.mkdir(parents=True, exist_ok=True)

    def append(self, data: bytes) -> int:
        """Keep `data`; give how many unread bytes had to be given up for it."""
        if not data:
            return 0
        if not self._segments or self.end - self._segments[-1][0] >= self._segment_b:
            self._segments.append((self.end, self._folder / f"output-{self.end:016d}"))
        with self._segments[-1][1].open("ab") as file:
            file.write(data)
        self.end += len(data)
        before = self.begin
        while self.end - self.begin > self._limit_b and len(self._segments) > 1:
            self._drop_first()
        return self.begin - before

    def read(self, offset: int, most_b: int) -> bytes:
        """Read up to `most_b` bytes from `offset`, from one segment."""
        for start, path in reversed(self._segments):
            if start <= offset < self.end:
                with path.open("rb") as file:
                    file.seek(offset - start)
                    return file.read(most_b)
        return b""

    def release(self, offset: int) -> None:
        """Let go of what lies below `offset`, by whole segments."""
        while len(self._segments) > 1 and self._segments[1][0] <= offset:
            self._drop_first()
        if self._segments and offset >= self.end:
            self._drop_first()

    def _drop_first(self) -> None:
        _, path = self._segments.popleft()
        path.unlink(missing_ok=True)
        self.begin = self._segments[0][0] if self._segments else self.end


StoreChunk = Callable[[LogChunk], Awaitable[None]]
"""Has one chunk stored, and returns when that is acknowledged; may raise VaultLayerError."""


class Output:
    """Takes what the script writes and what the agent says, and has it stored."""

    def __init__(
        self,
        spool: Spool,
        *,
        incarnation: str,
        wall_s: Callable[[], float],
        clock_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._spool = spool
        self._incarnation = incarnation
        self._wall_s = wall_s
        self._clock_s = clock_s
        self._kept: deque[tuple[float, int]] = deque()
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._at_line_start = True
        self._is_flushing = False
        self._lost_b = 0
        self._signal = anyio.Event()
        self._progressed = anyio.Event()
        self.acknowledged = 0
        """Offset below which everything is stored at the broker, or given up."""

    @property
    def written(self) -> int:
        """Offset after the last byte."""
        return self._spool.end

    @property
    def unsent_b(self) -> int:
        """Bytes that are not stored yet."""
        return self.written - self.acknowledged

    def feed(self, data: bytes, *, final: bool = False) -> str:
        """Take raw output of the script; give it as text."""
        text = self._decoder.decode(data, final)
        self._write(text.encode())
        return text

    def say(self, text: str) -> None:
        """Put a line of the agent's own into the stream, on a line of its own."""
        line = PREFIX + text.replace("\n", "\n[vaultlayer] ").encode() + b"\n"
        self._write(line if self._at_line_start else b"\n" + line)

    def _write(self, data: bytes) -> None:
        if not data:
            return
        self._at_line_start = data.endswith(b"\n")
        self._lost_b += self._spool.append(data)
        self._signal.set()

    def next_chunk(self) -> LogChunk | None:
        """Cut the next chunk that is not acknowledged; None when there is none."""
        offset = max(self.acknowledged, self._spool.begin)
        data = cut_chunk(self._spool.read(offset, CHUNK_B + 4))
        if not data:
            return None
        return LogChunk(
            incarnation=self._incarnation, offset=offset, text=data.decode(), at=self._wall_s()
        )

    def stored(self, chunk: LogChunk) -> None:
        """Take note that the broker has `chunk`."""
        now_s = self._clock_s()
        if chunk.offset <= max(self.acknowledged, self._spool.begin):
            self._kept.append((now_s, self.acknowledged))
            self.acknowledged = max(self.acknowledged, chunk.offset + len(chunk.text.encode()))
        while len(self._kept) > 1 and now_s - self._kept[0][0] > KEPT_S:
            self._kept.popleft()
        self._spool.release(self._kept[0][1] if self._kept else self.acknowledged)
        self._progressed.set()
        self._progressed = anyio.Event()
        if self._lost_b:
            lost_b, self._lost_b = self._lost_b, 0
            self.say(f"{lost_b} bytes of output were given up while the broker was away")

    def rewind(self) -> None:
        """Go back over what was acknowledged lately: after a crash of the server it may be gone.

        Readers drop what they have twice.
        """
        now_s = self._clock_s()
        while self._kept and now_s - self._kept[0][0] > KEPT_S:
            self._kept.popleft()
        if self._kept:
            self.acknowledged = self._kept[0][1]
            self._kept.clear()
            self._signal.set()

    async def send(self, store: StoreChunk) -> None:
        """Send until cancelled: batches, in order, each one again until it is acknowledged."""
        while True:
            await self._gather()
            chunk = self.next_chunk()
            if chunk is None:
                continue
            delay_s = EVERY_S
            while not await _is_stored(store, chunk):
                await anyio.sleep(delay_s)
                delay_s = min(delay_s * 2, 5.0)
            self.stored(chunk)

    async def flush(self, limit_s: float) -> bool:
        """Wait until all that was written so far is stored; whether that came true in time."""
        aim = self.written
        self._is_flushing = True
        self._signal.set()
        with anyio.move_on_after(limit_s):
            while self.acknowledged < aim:
                await self._progressed.wait()
        self._is_flushing = False
        return self.acknowledged >= aim

    async def _gather(self) -> None:
        """Wait until something is unsent, then a little longer for more of it."""
        while self.acknowledged >= self.written:
            await self._next_signal()
        with anyio.move_on_after(EVERY_S):
            while self.written - self.acknowledged < CHUNK_B and not self._is_flushing:
                await self._next_signal()

    async def _next_signal(self) -> None:
        await self._signal.wait()
        self._signal = anyio.Event()


async def _is_stored(store: StoreChunk, chunk: LogChunk) -> bool:
    try:
        await store(chunk)
    except VaultLayerError as error:
        get_logger().debug("output_unsent", offset=chunk.offset, code=error.code)
        return False
    return True
