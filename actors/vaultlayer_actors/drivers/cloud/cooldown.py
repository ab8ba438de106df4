"""Offers and machines that have just failed are left alone for a while."""

from vaultlayer.driver import Clock, Offer

OFFER_S = 120.0
MACHINE_S = 3600.0


class Cooldown:
    """What this process has seen fail; it forgets when it ends, and then learns anew."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._until_s: dict[tuple[str, str], float] = {}

    def offer_failed(self, offer: Offer, pause_s: float = OFFER_S) -> None:
        """An offer was refused: it is sold, or the provider has no machine of that kind."""
        self._note(("offer", offer.offer_id), pause_s)

    def machine_failed(self, machine: str, pause_s: float = MACHINE_S) -> None:
        """A physical machine did not come up, or came up broken."""
        if machine:
            self._note(("machine", machine), pause_s)

    def left_s(self, offer: Offer) -> float:
        """Give for how long an offer must still be left alone; 0 for one that may be taken."""
        keys = [("offer", offer.offer_id), *([("machine", offer.machine)] if offer.machine else [])]
        now_s = self._clock.now_s()
        return max([0.0, *(self._until_s.get(key, now_s) - now_s for key in keys)])

    def _note(self, key: tuple[str, str], pause_s: float) -> None:
        now_s = self._clock.now_s()
        self._until_s = {
            known: until_s for known, until_s in self._until_s.items() if until_s > now_s
        }
        self._until_s[key] = max(now_s + pause_s, self._until_s.get(key, 0.0))
