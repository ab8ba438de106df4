"""A provider's offers, remembered: asked once, never waited for too long, never too old. In virtual time."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import anyio
import anyio.lowlevel
import pytest

from clouds import Cloud, CloudDriver
from vaultlayer.driver import Manifest, Need, Offer, OfferList
from vaultlayer.errors import DriverError
from vaultlayer.logging import get_logger
from vaultlayer_actors.provider_pool import catalogue as cat
from vaultlayer_actors.provider_pool.catalogue import Catalogue

pytestmark = pytest.mark.anyio
NEED = Need(gpu="A100_40", gpu_count=1, wait_s=0.05)


class Market(CloudDriver):
    """Answers when it is let; each answer has its number."""

    def __init__(self) -> None:
        super().__init__(Cloud())
        self.asked = 0
        self.opened = anyio.Event()
        self.fault: Exception | None = None

    @property
    def manifest(self) -> Manifest:
        return Manifest(name="market", poll_s=15.0)

    async def offers(self, need: Need) -> OfferList:  # noqa: ARG002
        self.asked += 1
        number = self.asked
        if self.fault is not None:
            raise self.fault
        await self.opened.wait()
        return OfferList(
            provider="market", offers=[Offer(provider="market", offer_id=f"o{number}")]
        )


class Clock:
    now_s = 1000.0


@asynccontextmanager
async def shop() -> AsyncGenerator[tuple[Catalogue, Market, Clock]]:
    market, clock = Market(), Clock()
    async with anyio.create_task_group() as group:
        yield (
            Catalogue(market, mono_s=lambda: clock.now_s, group=group, logger=get_logger()),
            market,
            clock,
        )
        group.cancel_scope.cancel()


def ids(answer: OfferList) -> list[str]:
    return [offer.offer_id for offer in answer.offers]


async def settle() -> None:
    for _ in range(5):
        await anyio.lowlevel.checkpoint()


async def test_a_fresh_list_is_given_without_asking_again() -> None:
    async with shop() as (catalogue, market, clock):
        market.opened.set()
        assert ids(await catalogue.of(NEED)) == ["o1"]
        clock.now_s += 9.0
        answer = await catalogue.of(NEED)
        assert (ids(answer), answer.age_s, market.asked) == (["o1"], 9.0, 1)
        clock.now_s += 2.0
        assert ids(await catalogue.of(NEED)) == ["o2"]


async def test_who_stops_waiting_leaves_the_answer_for_the_next() -> None:
    async with shop() as (catalogue, market, _):
        first = await catalogue.of(NEED)
        assert (first.late, ids(first)) == (True, [])
        assert "did not answer" in first.refusal
        market.opened.set()
        await settle()
        assert ids(await catalogue.of(NEED)) == ["o1"]
        assert market.asked == 1


async def test_a_hung_provider_gives_its_older_list_with_its_age_and_in_the_end_none() -> None:
    async with shop() as (catalogue, market, clock):
        market.opened.set()
        await catalogue.of(NEED)
        market.opened = anyio.Event()
        clock.now_s += 60.0
        answer = await catalogue.of(NEED)
        assert (ids(answer), answer.age_s, answer.late) == (["o1"], 60.0, False)
        clock.now_s += cat.STALE_S
        assert (await catalogue.of(NEED)).late


async def test_many_who_ask_at_once_are_one_question() -> None:
    async with shop() as (catalogue, market, _):
        answers: list[OfferList] = []

        async def ask(wait_s: float) -> None:
            answers.append(await catalogue.of(Need(gpu="A100_40", gpu_count=1, wait_s=wait_s)))

        async with anyio.create_task_group() as group:
            for wait_s in (5.0, 6.0, 7.0):
                group.start_soon(ask, wait_s)
            await settle()
            market.opened.set()
        assert [ids(answer) for answer in answers] == [["o1"]] * 3
        assert market.asked == 1


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (DriverError("the market refused", why="401"), "the market refused (401)"),
        (KeyError("hunter2"), "its driver failed: KeyError"),
    ],
)
async def test_a_failure_is_told_now_and_asked_again_next_time(
    fault: Exception, words: str
) -> None:
    async with shop() as (catalogue, market, _):
        market.fault = fault
        assert (await catalogue.of(NEED)).refusal == words
        market.fault = None
        market.opened.set()
        assert ids(await catalogue.of(NEED)) == ["o2"]


async def test_needs_that_nobody_asks_for_any_more_are_forgotten() -> None:
    async with shop() as (catalogue, market, clock):
        market.opened.set()
        for number in range(cat.NEEDS_MAX + 10):
            clock.now_s += 0.001
            await catalogue.of(Need(gpu=f"G{number}", wait_s=1.0))
        asked = market.asked
        await catalogue.of(Need(gpu=f"G{cat.NEEDS_MAX + 9}", wait_s=1.0))
        assert market.asked == asked
        await catalogue.of(Need(gpu="G0", wait_s=1.0))
        assert market.asked == asked + 1
