"""The ordered log of one process: segments of framed, checked batches of plain values.

A segment is `MAGIC`, then frames: length and crc32 (little-endian u32 each) and a marshalled list of
`(kind, value)`. Segment n holds the events between snapshot n and snapshot n + 1 (the first is 0), so a
snapshot's position in the log is always the end of a segment. Marshal version 2 writes equal values as equal
bytes, which is what comparing them needs.
"""

import marshal
import os
import struct
import time
import zlib

from vaultlayer_hooks.ghost.state import OFF, Refused, run

MAGIC = b"VLGLOG1\n"
FRAME = struct.Struct("<II")
FLUSH_S = 0.1
FRAME_MOST_B = 1 << 30
MARSHAL = 2

now_s = time.perf_counter
"""Not the clock that the script reads: that one is wrapped, and slower."""


def segment_name(number):
    """Give the file name of segment `number`."""
    return "log-%d.seg" % number


def encode(events):
    """Give a frame: header and marshalled events.

    Raises:
        ValueError: they are larger than a frame may be.
    """
    payload = marshal.dumps(events, MARSHAL)
    if len(payload) > FRAME_MOST_B:
        raise ValueError("%d MB left tensors at once" % (len(payload) >> 20))
    return FRAME.pack(len(payload), zlib.crc32(payload)) + payload


def decode(data, closed):
    """Give the events of a segment's bytes.

    An open segment may end in a torn frame, which is left out; a closed one must be whole.

    Raises:
        Refused: no log, a frame whose checksum is wrong, or a closed segment cut short.
    """
    if data[: len(MAGIC)] != MAGIC:
        if not closed and MAGIC.startswith(data[: len(MAGIC)]):
            return []
        raise Refused("a log segment does not begin as one")
    events = []
    at = len(MAGIC)
    while at < len(data):
        whole = at + FRAME.size <= len(data)
        length, crc = FRAME.unpack_from(data, at) if whole else (0, 0)
        payload = data[at + FRAME.size : at + FRAME.size + length]
        if not whole or len(payload) < length:
            if closed or (whole and length > FRAME_MOST_B):
                raise Refused("a log segment is cut short")
            break
        if zlib.crc32(payload) != crc:
            raise Refused("a log segment is damaged")
        try:
            events.extend(marshal.loads(payload))
        except (ValueError, EOFError, TypeError) as error:
            raise Refused("a log segment cannot be read") from error
        at += FRAME.size + length
    return events


def read_segment(directory, number, closed):
    """Read segment `number`; a missing open segment is an empty one."""
    try:
        with open(os.path.join(directory, segment_name(number)), "rb") as file:
            data = file.read()
    except FileNotFoundError:
        if closed:
            raise Refused("log segment %d is missing" % number) from None
        return []
    return decode(data, closed)


class Writer:
    """Appends events to the open segment; what is appended survives the death of the process."""

    def __init__(self, directory, number, count):
        """`count`: events in all segments before this one."""
        self._directory = directory
        self.pending = []
        self.before = count
        self.closed_b = 0
        self._open(number)

    def _open(self, number):
        self.number = number
        path = os.path.join(self._directory, segment_name(number))
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND
        self._fd = os.open(path, flags, 0o600)
        os.write(self._fd, MAGIC)
        self.size_b = len(MAGIC)
        self.due_s = now_s() + FLUSH_S

    @property
    def count(self):
        """How many events there are in all segments, this one included."""
        return self.before + len(self.pending)

    def append(self, event):
        """Add an event; it is on its way to the disk at the latest `FLUSH_S` and one event later."""
        self.pending.append(event)
        if now_s() >= self.due_s:
            self.flush()

    def flush(self):
        """Write what is pending."""
        self.due_s = now_s() + FLUSH_S
        if self.pending:
            events, self.pending = self.pending, []
            self.before += len(events)
            data = memoryview(encode(events))
            self.size_b += len(data)
            while data:
                data = data[os.write(self._fd, data) :]

    def rotate(self, number):
        """Close the segment and open the next; give the closed one's size in bytes."""
        # Not synced: the agent reads it from this machine while it lives, or nobody does.
        self.flush()
        os.close(self._fd)
        size_b = self.size_b
        self.closed_b += size_b
        self._open(number)
        return size_b

    def close(self):
        """Write the rest and close."""
        if self._fd >= 0:
            self.flush()
            os.close(self._fd)
            self._fd = -1


def note(kind, value=None):
    """Record an event; after a replay it is compared with what the dead run recorded there."""
    if run.mode == OFF:
        return
    event = (kind, value)
    writer = run.writer
    # What `Writer.append` does, without a call: this runs for every value that leaves a tensor.
    writer.pending.append(event)
    if now_s() >= writer.due_s:
        try:
            writer.flush()
        except (OSError, ValueError) as failure:
            run.give_up("the log cannot be written: %s" % failure)
            return
    if run.tail is not None:
        run.tail.check(event)


def take(kind):
    """Give the value of the next recorded event.

    Raises:
        Diverged: the script asks for something else than it did, or for more than was recorded.
    """
    events, cursor = run.events, run.cursor
    if cursor >= run.end:
        run.diverge("the script goes on where the recorded run stood: it asked for %r" % kind)
    recorded, value = events[cursor]
    if recorded != kind:
        run.diverge("event %d: recorded %r, but the script asked for %r" % (cursor, recorded, kind))
    run.cursor = cursor + 1
    return value


def peek():
    """Give the kind of the next recorded event, or None at the end."""
    return run.events[run.cursor][0] if run.cursor < run.end else None
