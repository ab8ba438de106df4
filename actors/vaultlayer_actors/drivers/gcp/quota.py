"""Quotas that are used up: their region, or every region, rests, and not one zone after another."""

from vaultlayer.driver import Clock, Offer
from vaultlayer.errors import DriverError

WHAT = "the quota of the gcp project is used up"
EVERYWHERE = "GPUS_ALL_REGIONS"
REST_S = 600.0

Key = tuple[str, str, bool]


class Quotas:
    """What this process has seen used up; spot machines have quotas of their own."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._until_s: dict[Key, float] = {}

    def note(self, offer: Offer, error: DriverError) -> None:
        """Let offers rest when a create failed by a quota."""
        if error.what != WHAT:
            return
        is_global = EVERYWHERE in (error.why or "")
        key = ("", "*", False) if is_global else (offer.gpu, offer.region, offer.spot)
        self._until_s[key] = self._clock.now_s() + REST_S

    def allow(self, offer: Offer) -> bool:
        """Whether an offer does not rest."""
        keys: list[Key] = [("", "*", False), (offer.gpu, offer.region, offer.spot)]
        return all(self._until_s.get(key, 0.0) <= self._clock.now_s() for key in keys)
