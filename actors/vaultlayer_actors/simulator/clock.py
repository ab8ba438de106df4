"""Time for simulations: real, or moved on by whoever waits."""

import anyio
import anyio.lowlevel


class VirtualClock:
    """Nobody waits: a sleep moves the clock on for all who share it."""

    def __init__(self, start_s: float = 1_800_000_000.0) -> None:
        self._now_s = start_s

    def now_s(self) -> float:
        """Give the simulated time, in seconds."""
        return self._now_s

    def advance(self, pause_s: float) -> None:
        """Let time pass."""
        self._now_s += max(0.0, pause_s)

    async def sleep(self, pause_s: float) -> None:
        """Let time pass, and others run."""
        self.advance(pause_s)
        await anyio.lowlevel.checkpoint()
