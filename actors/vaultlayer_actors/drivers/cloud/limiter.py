"""Calls of one credential, spaced as its provider demands: one limiter for all drivers that use the key."""

import hashlib
from collections.abc import Mapping

from vaultlayer.driver import Clock


class Limiter:
    """Least intervals between calls, by name of the call.

    Args:
        intervals_s: call → seconds from one to the next; `*` is the interval between any two calls.
        clock: where time comes from.
    """

    def __init__(self, intervals_s: Mapping[str, float], clock: Clock) -> None:
        self._intervals_s = dict(intervals_s)
        self._clock = clock
        self._free_at_s: dict[str, float] = {}

    async def wait(self, call: str) -> None:
        """Wait for the call's turn; turns are given in the order of asking."""
        now_s = self._clock.now_s()
        keys = (call, "*")
        turn_s = max([now_s, *(self._free_at_s.get(key, now_s) for key in keys)])
        for key in keys:
            self._free_at_s[key] = max(
                self._free_at_s.get(key, now_s), turn_s + self._intervals_s.get(key, 0.0)
            )
        if turn_s > now_s:
            await self._clock.sleep(turn_s - now_s)

    def hold(self, call: str, pause_s: float) -> None:
        """Give this call no turn for a while: the provider has said that it came too often."""
        free_at_s = self._clock.now_s() + pause_s
        self._free_at_s[call] = max(self._free_at_s.get(call, free_at_s), free_at_s)


_SHARED: dict[tuple[str, int], Limiter] = {}


def shared_limiter(
    endpoint: str, credential: str, intervals_s: Mapping[str, float], clock: Clock
) -> Limiter:
    """Give the one limiter of a credential at an endpoint in this process.

    Processes do not share it; what they exceed together comes back as 429 and is waited for.
    """
    digest = hashlib.sha256(f"{endpoint}\0{credential}".encode()).hexdigest()
    return _SHARED.setdefault((digest, id(clock)), Limiter(intervals_s, clock))
