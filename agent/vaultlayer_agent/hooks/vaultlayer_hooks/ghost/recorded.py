"""The recorded log, for a replay: checked whole before it begins, then read a piece at a time.

Weeks of training leave millions of steps, each with some events; all at once they would fill gigabytes.
"""

import os

from vaultlayer_hooks.ghost import log
from vaultlayer_hooks.ghost.state import Refused

PIECE_B = 1 << 20
SEED = "seed"
_open = open
"""Scripts put another `open` into its place."""


class Recorded:
    """The events of the closed segments, in their order.

    `count`: how many there are. `seeds`: the values of those that tell where a random stream began.
    """

    def __init__(self, directory, segments, unordered):
        """`segments`: how many, from the first on; `unordered`: kinds of events that a replay does not take.

        Raises:
            Refused: a segment is missing, damaged or cut short.
        """
        self.count = 0
        self.seeds = []
        self._unordered = unordered
        self._left = [os.path.join(directory, log.segment_name(n)) for n in range(segments)]
        self._at_b = len(log.MAGIC)
        for number, path in enumerate(self._left):
            try:
                self._check(path)
            except FileNotFoundError:
                raise Refused("log segment %d is missing" % number) from None

    def _check(self, path):
        with _open(path, "rb") as file:
            for count, payload in log.frames(file, True):
                self.count += count
                if SEED.encode() in payload:
                    self.seeds += [value for kind, value in log.load(payload) if kind == SEED]

    def more(self):
        """Give the next events; none where there are no more.

        Raises:
            Refused, OSError: the files are not what they were.
        """
        events = []
        while not events and self._left:
            events = [event for event in self._piece() if event[0] not in self._unordered]
        return events

    def _piece(self):
        events, began_b = [], self._at_b
        # Opened for each piece: a script may close what it does not know.
        with _open(self._left[0], "rb") as file:
            file.seek(began_b)
            for _, payload in log.frames_on(file, True):
                events += log.load(payload)
                self._at_b += log.FRAME.size + len(payload)
                if self._at_b - began_b >= PIECE_B:
                    return events
        self._left.pop(0)
        self._at_b = len(log.MAGIC)
        return events
