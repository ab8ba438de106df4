"""What the dead run recorded after the snapshot, against what this run computes now."""

import marshal
import math
import re
import sys
from collections import deque

from vaultlayer_hooks.ghost import boundary, pulse
from vaultlayer_hooks.ghost.state import run

TOLERANCE = 1e-2
# Bytes of saved tensors may hold addresses, and what is in them shows in the values.
SILENT = ("S", "saved", "pickled")
# Text and arrays that came of tensors; elsewhere text and bytes are exact.
TEXTS, ARRAYS = ("repr", "format"), ("numpy", "array")
NUMBER = re.compile(r"[-+]?(?:\d+\.\d*|\.\d+|\d+(?=[eE][-+]?\d))(?:[eE][-+]?\d+)?")


class Tail:
    """Compares events as they are recorded; the first that differs ends the attempt.

    The numbers of the pulse are compared in their own order: on a GPU they are written down some steps late,
    and how late depends on the snapshots that were tried meanwhile.
    """

    def __init__(self, events):
        self._pulse = deque(e for e in events if e[0] in pulse.KINDS)
        self._rest = deque(e for e in events if e[0] not in pulse.KINDS and e[0] not in SILENT)
        self.of = len(self._pulse) + len(self._rest)
        self.equal = 0
        self.near = 0

    def peek(self):
        """Give the next event of the script's own that is to be compared, or None."""
        return self._rest[0] if self._rest else None

    def check(self, event):
        """Compare the next event."""
        events = self._pulse if event[0] in pulse.KINDS else self._rest
        if event[0] in SILENT or not events:
            return
        wanted = events.popleft()
        if _same(wanted, event):
            self.equal += 1
        elif may_differ() and _close(wanted, event):
            self.near += 1
        else:
            at = self.of - len(self._pulse) - len(self._rest)
            run.diverge("event %d after going live: %.80r, and was %.80r" % (at, event, wanted))
        if not self._pulse and not self._rest:
            run.verified(self)


def may_differ():
    """Whether kernels may add in another order each time: on a GPU, unless the script forbids it."""
    torch = run.torch
    if not run.on_gpu or torch.are_deterministic_algorithms_enabled():
        return False
    return any(p.is_cuda for p in boundary.parameters().values())


def _same(a, b):
    # When the gradients that there are are said to have changed depends on when garbage was swept, too.
    if a[0] == b[0] == "backward":
        a, b = a[1][1:], b[1][1:]
    return marshal.dumps(a, 2) == marshal.dumps(b, 2)


def _close(a, b):
    """Whether two events differ only as kernels that add in another order do."""
    if a[0] != b[0]:
        return False
    if a[0] in TEXTS and type(a[1]) is type(b[1]) is str:
        words = ["".join(NUMBER.sub("#", text).split()) for text in (a[1], b[1])]
        return words[0] == words[1] and _near(*[_read(text) for text in (a[1], b[1])])
    if a[0] in ARRAYS and a[1][:1] == b[1][:1] == ("array",):
        return a[1][1:3] == b[1][1:3] and _near(_numbers(a[1]), _numbers(b[1]))
    return _near(a[1], b[1])


def _read(text):
    return list(map(float, NUMBER.findall(text)))


def _numbers(packed):
    """Give the numbers of an array that `pack_array` gave."""
    _, dtype, _, data = packed
    return sys.modules["numpy"].frombuffer(data, dtype).tolist()


def _near(a, b):
    if isinstance(a, (tuple, list)) and type(a) is type(b):
        return len(a) == len(b) and all(_near(x, y) for x, y in zip(a, b))
    if type(a) is complex and type(b) is complex:
        return _near((a.real, a.imag), (b.real, b.imag))
    if type(a) is float and type(b) is float:
        return (
            a == b
            or abs(a - b) <= TOLERANCE * max(abs(a), abs(b))
            or (math.isnan(a) and math.isnan(b))
        )
    return a == b
