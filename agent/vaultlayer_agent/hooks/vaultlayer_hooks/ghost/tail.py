"""What the dead run recorded after the snapshot, against what this run computes now."""

import marshal
import math

from vaultlayer_hooks.ghost import boundary
from vaultlayer_hooks.ghost.state import run

TOLERANCE = 1e-2
SILENT = ("S",)


class Tail:
    """Compares events as they are recorded; the first that differs ends the attempt."""

    def __init__(self, events):
        self._events = [e for e in events if e[0] not in SILENT]
        self._at = 0
        self.equal = 0
        self.near = 0

    @property
    def of(self):
        """How many values there are to compare."""
        return len(self._events)

    def peek(self):
        """Give the next event that is to be compared, or None."""
        return self._events[self._at] if self._at < len(self._events) else None

    def check(self, event):
        """Compare the next event."""
        if event[0] in SILENT or self._at >= len(self._events):
            return
        wanted = self._events[self._at]
        self._at += 1
        if _same(wanted, event):
            self.equal += 1
        elif may_differ() and _close(wanted, event):
            self.near += 1
        else:
            run.diverge(
                "event %d after going live: %.80r, and was %.80r" % (self._at, event, wanted)
            )
        if self._at == len(self._events):
            run.verified(self)


def may_differ():
    """Whether kernels may add in another order each time: on a GPU, unless the script forbids it."""
    torch = run.torch
    if not run.on_gpu or torch.are_deterministic_algorithms_enabled():
        return False
    return any(p.is_cuda for p in boundary.parameters())


def _same(a, b):
    return marshal.dumps(a, 2) == marshal.dumps(b, 2)


def _close(a, b):
    """Whether two events differ only as kernels that add in another order do."""
    return a[0] == b[0] and _near(a[1], b[1])


def _near(a, b):
    if isinstance(a, (tuple, list)) and type(a) is type(b):
        return len(a) == len(b) and all(_near(x, y) for x, y in zip(a, b))
    if type(a) is float and type(b) is float:
        return (
            a == b
            or abs(a - b) <= TOLERANCE * max(abs(a), abs(b))
            or (math.isnan(a) and math.isnan(b))
        )
    return a == b
