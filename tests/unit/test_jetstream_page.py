"""A batched read counts only when no message of it was lost on the way."""

import anyio
import pytest
from nats.aio.client import Client
from nats.aio.msg import Msg

from vaultlayer.bus.inbox import Answers
from vaultlayer.bus.jetstream import Page, StreamError, page_of
from vaultlayer.errors import BrokerDownError, BusTimeoutError

pytestmark = pytest.mark.anyio


def entry(seq: int, previous: int, pending: int = 0) -> Msg:
    headers = {
        "Nats-Sequence": str(seq),
        "Nats-Subject": "vl.job.d3.jabcdefghj.cleared",
        "Nats-Last-Sequence": str(previous),
        "Nats-Num-Pending": str(pending),
    }
    return Msg(_client=Client(), subject="i.1", data=b"{}", headers=headers)


def mark(status: int, previous: int = 0, pending: int = 0) -> Msg:
    headers = {
        "Status": str(status),
        "Nats-Last-Sequence": str(previous),
        "Nats-Num-Pending": str(pending),
    }
    return Msg(_client=Client(), subject="i.1", headers=headers)


async def page(*messages: Msg) -> Page:
    answers = Answers("i.1", "$JS.API.DIRECT.GET.JOBS-0")
    for message in messages:
        answers.push(message)
    with anyio.fail_after(1):
        return await page_of("JOBS-0", answers)


async def test_a_whole_page_is_taken_in_order() -> None:
    got = await page(entry(3, 0), entry(7, 3), entry(8, 7), mark(204, 8, pending=5))
    assert [one.seq for one in got.entries] == [3, 7, 8]
    assert got.pending == 5


async def test_no_entries_are_an_empty_page() -> None:
    assert await page(mark(404)) == Page([])


@pytest.mark.parametrize(
    "messages",
    [
        [entry(7, 3), mark(204, 7)],
        [entry(3, 0), entry(8, 7), mark(204, 8)],
        [entry(3, 0), mark(204, 7)],
        [mark(204, 7)],
    ],
    ids=["the first lost", "one in the middle lost", "the last lost", "all lost"],
)
async def test_a_page_with_a_gap_is_no_page(messages: list[Msg]) -> None:
    with pytest.raises(BusTimeoutError):
        await page(*messages)


async def test_a_refusal_is_told() -> None:
    with pytest.raises(BrokerDownError):
        await page(mark(503))
    with pytest.raises(StreamError, match="413"):
        await page(mark(413))
