"""What the pools offer for a need, asked at most every few seconds."""

from collections.abc import Sequence

import anyio
import msgspec

from vaultlayer import subjects
from vaultlayer.driver import Need, OfferList
from vaultlayer.errors import BrokerDownError, BusTimeoutError, VaultLayerError
from vaultlayer_actors.context import ActorContext

FRESH_S = 15.0
"""A marketplace list is older than that by the time a person has read it."""

ANSWER_S = 3.0
"""How long an order waits for a slow provider; its pool goes on asking, so next time the list is there."""

GLANCE_S = 1.2
"""How long a person who looks waits; whoever has not answered by then is named."""

PATIENT_S = 15.0
"""How long a submission waits before it is refused only because a provider was slow."""

ON_THE_WAY_S = 0.4
COMES_S = 0.2
"""How long between two looks for a pool that nobody runs yet: it is starting, or starts again."""

NEEDS_MAX = 256


class Offers:
    """The newest answers, by need."""

    def __init__(self, context: ActorContext) -> None:
        self._context = context
        self._known: dict[Need, tuple[float, list[OfferList]]] = {}

    async def of(self, need: Need) -> list[OfferList]:
        """Give the lists of a moment ago, or ask anew; for orders."""
        now_s = self._context.mono_s()
        asked_at, lists = self._known.get(need, (float("-inf"), []))
        if now_s - asked_at < FRESH_S:
            return lists
        return await self.ask(need, ANSWER_S)

    async def ask(
        self, need: Need, wait_s: float, providers: Sequence[str] | None = None
    ) -> list[OfferList]:
        """Ask every allowed provider; one that does not answer within `wait_s` is listed with the reason.

        A pool that nobody runs is waited for only with the patience of a submission.
        """
        now_s = self._context.mono_s()
        allowed = self._context.settings.allowed
        wanted = [name for name in allowed if not providers or name in providers]
        lists = await self._ask(msgspec.structs.replace(need, wait_s=wait_s), wanted)
        if wanted != allowed:
            return lists
        if len(self._known) >= NEEDS_MAX:
            self._known.clear()
        self._known[need] = (now_s, lists)
        return lists

    def forget(self) -> None:
        """Something changed at a provider: ask anew next time."""
        self._known.clear()

    async def _ask(self, need: Need, providers: Sequence[str]) -> list[OfferList]:
        answers: dict[str, OfferList] = {}

        async def one(provider: str) -> None:
            try:
                answers[provider] = await self._answer(provider, need)
            except BrokerDownError as error:
                answers[provider] = OfferList(provider=provider, refusal=error.what, late=True)
            except BusTimeoutError:
                refusal = f"its pool did not answer in {need.wait_s:g} s"
                answers[provider] = OfferList(provider=provider, refusal=refusal, late=True)
            except VaultLayerError as error:
                answers[provider] = OfferList(provider=provider, refusal=error.what)

        async with anyio.create_task_group() as group:
            for provider in providers:
                group.start_soon(one, provider)
        return [answers[provider] for provider in providers]

    async def _answer(self, provider: str, need: Need) -> OfferList:
        until_s = self._context.mono_s() + (need.wait_s if need.wait_s >= PATIENT_S else 0.0)
        while True:
            try:
                return await self._context.bus.request(
                    subjects.pool(provider, "offers"),
                    need,
                    OfferList,
                    timeout_s=need.wait_s + ON_THE_WAY_S,
                )
            except BrokerDownError:
                if self._context.mono_s() >= until_s:
                    raise
            await anyio.sleep(COMES_S)
