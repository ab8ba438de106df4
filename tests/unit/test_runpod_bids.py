"""Bids at RunPod: off by default, through an API that is being taken away, over pods that REST v2 ends."""

from collections.abc import AsyncGenerator
from pathlib import Path

import pytest

from vaultlayer.driver import Need
from vaultlayer.errors import (
    AmbiguousCreateError,
    BalanceError,
    CapacityError,
    DriverError,
)
from vaultlayer_actors.drivers.conformance import Case, Rig
from vaultlayer_actors.drivers.conformance.case import is_told, rig_of
from vaultlayer_actors.drivers.runpod import DRIVER
from vaultlayer_actors.drivers.runpod.bids import BidType, Lowest, Word, bid_of, literal
from vaultlayer_actors.drivers.runpod.graphql import parse, pick
from vaultlayer_actors.drivers.runpod.simulator import RunpodSimulator

NEED = Need(gpu="RTX4090", gpu_count=2)
OPTIONS = {"bids": True, "spot": "only"}
CASE = Case(kind=DRIVER, simulator=RunpodSimulator, need=NEED, options=OPTIONS)


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncGenerator[Rig]:
    async with rig_of(CASE, tmp_path) as made:
        yield made


def sim_of(rig: Rig) -> RunpodSimulator:
    assert isinstance(rig.sim, RunpodSimulator)
    return rig.sim


@pytest.mark.anyio
async def test_bids_are_off_until_they_are_asked_for(tmp_path: Path) -> None:
    case = Case(kind=DRIVER, simulator=RunpodSimulator, need=NEED)
    async with rig_of(case, tmp_path) as rig:
        assert not any(one.spot for one in (await rig.driver.offers(NEED)).offers)
        assert rig.calls("graphql") == 0
        assert not rig.driver.manifest.can_spot


@pytest.mark.anyio
async def test_a_bid_lies_over_the_floor_and_its_pod_is_seen_and_ended_by_rest(rig: Rig) -> None:
    offer = await rig.offer()
    assert (offer.spot, offer.gpu_count) == (True, 2)
    assert offer.floor_usd_h == pytest.approx(2 * 0.155)
    assert offer.parts is not None
    assert offer.parts.machine_usd_h == pytest.approx(2 * round(0.155 * 1.15, 4))
    order = await rig.order(offer)
    made = await rig.driver.create(order)
    machine = rig.sim.fleet.machines[made.instance]
    assert machine.spec["bid"] == pytest.approx(round(0.155 * 1.15, 4))
    assert is_told(machine, order)
    assert [one.instance for one in await rig.driver.list()] == [made.instance]
    rig.sim.interrupt(made.instance)
    assert (await rig.driver.get(made.instance)).state == "stopped"
    await rig.driver.terminate(made.instance)
    assert (await rig.driver.get(made.instance)).state == "gone"


@pytest.mark.anyio
async def test_both_kinds_stand_side_by_side(tmp_path: Path) -> None:
    case = Case(kind=DRIVER, simulator=RunpodSimulator, need=NEED, options={"bids": True})
    async with rig_of(case, tmp_path) as rig:
        offers = (await rig.driver.offers(NEED)).offers
        assert [one.spot for one in offers] == [True, True, False, False]
        assert len({one.offer_id for one in offers}) == 4


@pytest.mark.anyio
async def test_a_mutation_that_was_taken_away_is_said_with_what_to_do(rig: Rig) -> None:
    order = await rig.order()
    sim_of(rig).legacy.takes_bids = False
    with pytest.raises(DriverError, match="no bids any more") as caught:
        await rig.driver.create(order)
    assert not isinstance(caught.value, (AmbiguousCreateError, CapacityError))
    assert "bids = false" in caught.value.mend


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("There are no instances available with the request specifications.", CapacityError),
        ("Your balance is too low to rent this pod.", BalanceError),
        ("Something went wrong.", AmbiguousCreateError),
    ],
)
async def test_errors_come_with_200_and_are_read_from_the_text(
    rig: Rig, text: str, kind: type[DriverError]
) -> None:
    order = await rig.order()
    sim_of(rig).legacy.refuses = text
    with pytest.raises(kind):
        await rig.driver.create(order)
    assert rig.sim.requests[-1].status == 200
    assert rig.ours() == []


@pytest.mark.anyio
async def test_a_bid_whose_answer_is_lost_is_found_by_its_name(rig: Rig) -> None:
    order = await rig.order()
    rig.sim.faults.add("drop_after", "graphql")
    made = await rig.driver.create(order)
    assert [one.id for one in rig.ours()] == [made.instance]


@pytest.mark.parametrize(
    "lowest",
    [
        None,
        Lowest(),
        Lowest(minimum_bid=0.2, on_demand=0.4),
        Lowest(minimum_bid=0.39, on_demand=0.4, stock="High"),
        Lowest(minimum_bid=None, on_demand=0.4, stock="High"),
    ],
)
def test_bids_that_are_no_use_are_passed_over(lowest: Lowest | None) -> None:
    row = BidType(id="NVIDIA GeForce RTX 4090", memory_gb=24, lowest=lowest)
    assert bid_of(row, NEED, cloud="SECURE", disk_gb=64, factor=1.15) is None


def test_values_are_written_as_graphql_and_read_back() -> None:
    value = {"name": 'a "quoted" \\ word', "count": 2, "kind": Word("ALL"), "list": [{"key": "A"}]}
    text = literal(value)
    assert "kind: ALL" in text
    (field,) = parse(f"mutation {{ make(input: {text}) {{ id env {{ key }} }} }}")
    assert field.arguments["input"] == {**value, "kind": "ALL"}
    assert [one.name for one in field.fields] == ["id", "env"]
    row = {"id": 1, "env": [{"key": "A", "value": "x"}], "more": 2}
    assert pick(row, field.fields) == {"id": 1, "env": [{"key": "A"}]}


@pytest.mark.parametrize("text", ["query {", "{ a(b: } }", "mutation"])
def test_what_cannot_be_read_is_no_answer(text: str) -> None:
    with pytest.raises(ValueError, match=r"Syntax Error|Expecting"):
        parse(text)
