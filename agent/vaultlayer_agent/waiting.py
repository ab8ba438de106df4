"""Waiting longer after each failure, up to a cap, with dice, so that agents do not march in step."""

import random

import anyio

FIRST_S = 0.1
CAP_S = 5.0


class Backoff:
    """The pauses between the tries of one thing."""

    def __init__(self, *, first_s: float = FIRST_S, cap_s: float = CAP_S) -> None:
        self._first_s = first_s
        self._cap_s = cap_s
        self.tries = 0

    def next_s(self) -> float:
        """Give the next pause: doubled each time, capped, and between half and all of that."""
        self.tries += 1
        whole_s = min(self._cap_s, self._first_s * 2.0 ** min(self.tries - 1, 20))
        return whole_s * random.uniform(0.5, 1.0)

    async def wait(self) -> None:
        """Wait out the next pause."""
        await anyio.sleep(self.next_s())
