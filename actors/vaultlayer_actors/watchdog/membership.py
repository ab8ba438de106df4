"""Which watchdogs live, so that they can share the slots among themselves without a leader."""

import contextlib
from collections.abc import Callable

import anyio
import msgspec

from vaultlayer.bus.protocol import Bus
from vaultlayer.errors import BrokerError
from vaultlayer.ids import ActorId, JobId, slot_of
from vaultlayer.messages import ActorBeat
from vaultlayer.subjects import actor_beat
from vaultlayer_actors.watchdog.core import rank_of

BEAT_EVERY_S = 2.0
MEMBER_S = 7.0
"""Seen within so long, a watchdog is a member: three beats, and a little."""


class Membership:
    """The live watchdogs as this one hears them; it always counts itself."""

    def __init__(self, me: ActorId, clock: Callable[[], float]) -> None:
        self._me = me
        self._clock = clock
        self._heard: dict[str, float] = {}
        self._ranks: dict[str, int] = {}

    @property
    def members(self) -> frozenset[str]:
        """Everybody heard within `MEMBER_S`, and this one."""
        now_s = self._clock()
        live = {actor for actor, at in self._heard.items() if now_s - at <= MEMBER_S}
        return frozenset(live | {self._me})

    def rank(self, job: JobId) -> int:
        """Give this watchdog's rank in the job's slot."""
        slot = slot_of(job)
        if slot not in self._ranks:
            self._ranks[slot] = rank_of(self._me, slot, self.members)
        return self._ranks[slot]

    def heard(self, beat: ActorBeat) -> None:
        """Take in another watchdog's beat."""
        if beat.actor == self._me:
            return
        if beat.leaving:
            self._heard.pop(beat.actor, None)
        else:
            self._heard[beat.actor] = self._clock()
        self._ranks.clear()

    def expire(self) -> None:
        """Drop who has not been heard of; ranks are worked out anew."""
        live = self.members
        if gone := [actor for actor in self._heard if actor not in live]:
            for actor in gone:
                del self._heard[actor]
            self._ranks.clear()

    async def run(self, bus: Bus) -> None:
        """Tell of oneself and hear of the others until cancelled."""
        subject = actor_beat("watchdog")
        async with anyio.create_task_group() as group:
            group.start_soon(self._tell, bus, subject)
            async with bus.subscribe(subject) as messages:
                async for message in messages:
                    if (beat := _decode(message.payload)) is not None:
                        self.heard(beat)

    async def _tell(self, bus: Bus, subject: str) -> None:
        try:
            while True:
                # A beat that is not sent costs nothing: the others take this one for dead.
                with contextlib.suppress(BrokerError):
                    await bus.publish(subject, ActorBeat(actor=self._me))
                self.expire()
                await anyio.sleep(BEAT_EVERY_S)
        finally:
            with anyio.move_on_after(0.5, shield=True), contextlib.suppress(BrokerError):
                await bus.publish(subject, ActorBeat(actor=self._me, leaving=True))


def _decode(payload: bytes) -> ActorBeat | None:
    try:
        return msgspec.json.decode(payload, type=ActorBeat)
    except msgspec.MsgspecError:
        return None
