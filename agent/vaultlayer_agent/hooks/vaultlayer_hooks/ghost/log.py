"""The ordered log of one process: segments of framed, checked batches of plain values.

A segment is `MAGIC`, then frames: length, crc32 and number of events (little-endian u32 each), and a list of
`(kind, value)` as marshal writes it; the checksum starts from the number, and so holds it too. Segment n has
the events between snapshot n and snapshot n + 1 (the first is 0), so a snapshot's position in the log is the
end of a segment. Marshal version 2 writes equal values as equal bytes, which comparing them needs.
"""

import marshal
import os
import struct
import time
import zlib

from vaultlayer_hooks.ghost.state import OFF, Refused, run

MAGIC = b"VLGLOG2\n"
FRAME = struct.Struct("<III")
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
    return FRAME.pack(len(payload), zlib.crc32(payload, len(events)), len(events)) + payload


def read_segment(directory, number, closed):
    """Read segment `number`; a missing open segment is an empty one.

    An open segment may end in a torn frame, which is left out; a closed one must be whole.

    Raises:
        Refused: no log, a frame whose checksum is wrong, or a closed segment missing or cut short.
    """
    try:
        with open(os.path.join(directory, segment_name(number)), "rb") as file:
            return [event for _, payload in frames(file, closed) for event in load(payload)]
    except FileNotFoundError:
        if closed:
            raise Refused("log segment %d is missing" % number) from None
        return []


def first(directory):
    """Give the first event of all; another exception than `Refused` where there is none."""
    with open(os.path.join(directory, segment_name(0)), "rb") as file:
        return load(next(frames(file, False))[1])[0]


def frames(file, closed):
    """Give `(number of events, payload)` of each frame of a segment.

    Raises:
        Refused: as `read_segment`.
    """
    magic = file.read(len(MAGIC))
    if magic != MAGIC:
        if not closed and MAGIC.startswith(magic):
            return
        raise Refused("a log segment does not begin as one")
    yield from frames_on(file, closed)


def frames_on(file, closed):
    """Give what `frames` gives, of a file that stands at a frame."""
    while head := file.read(FRAME.size):
        whole = len(head) == FRAME.size
        length, crc, count = FRAME.unpack(head) if whole else (0, 0, 0)
        allowed = length <= FRAME_MOST_B
        payload = file.read(length) if allowed else b""
        if not whole or len(payload) < length:
            if closed or not allowed:
                raise Refused("a log segment is cut short")
            return
        if zlib.crc32(payload, count) != crc:
            raise Refused("a log segment is damaged")
        yield count, payload


def load(payload):
    """Give the events of a frame."""
    try:
        return marshal.loads(payload)
    except (ValueError, EOFError, TypeError) as error:
        raise Refused("a log segment cannot be read") from error


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
        at = run.before + cursor
        run.diverge("event %d: recorded %r, but the script asked for %r" % (at, recorded, kind))
    run.cursor = cursor = cursor + 1
    if cursor == run.end:
        refill()
    return value


def refill():
    """Go on to the next piece; only after the last one does the cursor stand at the end of a piece."""
    run.before += run.end
    try:
        run.events = run.more()
    except (OSError, Refused) as failure:
        run.diverge("the log cannot be read: %s" % failure)
    run.cursor, run.end = 0, len(run.events)


def peek():
    """Give the kind of the next recorded event, or None at the end."""
    return run.events[run.cursor][0] if run.cursor < run.end else None
