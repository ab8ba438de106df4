"""What a demonstration over clouds says that it compared and paid is what the log and the providers say."""

from typing import Any

import pytest

from vaultlayer.driver import Offer, PriceParts
from vaultlayer.events import JobSpec
from vaultlayer.job import AttemptState, End, Job, Phase
from vaultlayer_cli.demo.ledger import (
    LEDGER_COLUMNS,
    OFFER_COLUMNS,
    CloudFigures,
    hops,
    ledger_cells,
    ledger_rows,
    offer_cells,
    offer_rows,
    with_ledger,
)
from vaultlayer_cli.demo.story import figures

BID = Offer(
    provider="vast",
    offer_id="1:bid",
    price_usd_h=1.1,
    spot=True,
    parts=PriceParts(machine_usd_h=1.0, disk_usd_h=0.1),
)
POD = Offer(provider="runpod", offer_id="2", price_usd_h=2.0)


def attempt(number: int, offer: Offer, **fields: Any) -> AttemptState:
    return AttemptState(
        number=number, incarnation="a", provider=offer.provider, offer=offer,
        phase=Phase.GONE, **fields,
    )  # fmt: skip


def job() -> Job:
    attempts = [
        attempt(1, BID, started_at=5.0, end=End.LOST, end_reason="outbid", billed_s=60.0,
                price_usd_h=1.1, cost_usd=0.02),
        attempt(2, POD, end=End.NOT_CREATED, end_reason="no capacity"),
        attempt(3, BID, started_at=9.0, end=End.LOST),
        attempt(4, POD, started_at=12.0, end=End.EXITED, billed_s=30.0, price_usd_h=2.0),
    ]  # fmt: skip
    return Job(job="j", spec=JobSpec(command=["x"]), attempts={a.number: a for a in attempts})


def told(digest: str = "d", **states: Any) -> CloudFigures:
    plain = figures(job(), {}, {}, bare="d", resumed=digest, began_at=0.0, now_s=9.0)
    return with_ledger(plain, job(), [POD, BID], states)


def test_the_price_table_has_the_cheapest_first_and_its_parts() -> None:
    cheap, dear = offer_rows([POD, BID])
    assert (cheap.provider, cheap.machine_usd_h, cheap.disk_usd_h) == ("vast", 1.0, 0.1)
    assert (dear.provider, dear.machine_usd_h) == ("runpod", 2.0)
    assert len(offer_cells(cheap)) == len(OFFER_COLUMNS)


def test_the_ledger_has_a_line_for_every_order_also_where_no_machine_came_of_it() -> None:
    rows = ledger_rows(job())
    assert [row.attempt for row in rows] == [1, 2, 3, 4]
    assert (rows[0].billed_s, rows[0].cost_usd, rows[0].ended) == (60.0, 0.02, "lost: outbid")
    cells = ledger_cells(rows[1])
    assert len(cells) == len(LEDGER_COLUMNS)
    assert "no machine" in cells


def test_a_hop_is_a_start_of_the_script_elsewhere() -> None:
    assert hops(job()) == ["vast", "runpod"]


@pytest.mark.parametrize(
    ("figures_of", "is_good"),
    [
        (told(vast={"billed": [], "total_usd": 0.01}), True),
        (told("other", vast={"billed": []}), False),
        (told(vast={"billed": []}, runpod={"billed": ["m"]}), False),
    ],
    ids=["kept", "other weights", "a machine is left"],
)
def test_the_promise_is_kept_only_with_equal_weights_and_nothing_left(
    figures_of: CloudFigures, is_good: bool
) -> None:
    assert figures_of.is_good is is_good
