"""What the pools offer for a need, asked at most every few seconds."""

from collections.abc import Sequence

import anyio

from vaultlayer import subjects
from vaultlayer.driver import Need, OfferList
from vaultlayer.errors import VaultLayerError
from vaultlayer_actors.context import ActorContext

FRESH_S = 15.0
"""A marketplace list is older than that by the time a person has read it."""

ANSWER_S = 2.0
NEEDS_MAX = 256


class Offers:
    """The newest answers, by need."""

    def __init__(self, context: ActorContext) -> None:
        self._context = context
        self._known: dict[Need, tuple[float, list[OfferList]]] = {}

    async def of(self, need: Need, *, fresh: bool = False) -> list[OfferList]:
        """Ask every allowed provider; one that does not answer is listed with the reason."""
        now_s = self._context.mono_s()
        asked_at, lists = self._known.get(need, (float("-inf"), []))
        if not fresh and now_s - asked_at < FRESH_S:
            return lists
        lists = await self._ask(need, self._context.settings.allowed)
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
                answers[provider] = await self._context.bus.request(
                    subjects.pool(provider, "offers"), need, OfferList, timeout_s=ANSWER_S
                )
            except VaultLayerError as error:
                answers[provider] = OfferList(provider=provider, refusal=error.what)

        async with anyio.create_task_group() as group:
            for provider in providers:
                group.start_soon(one, provider)
        return [answers[provider] for provider in providers]
