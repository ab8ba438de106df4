"""What is peculiar to Vast.ai, each trap by name; the simulator speaks the vendor's words."""

from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import pytest

from vaultlayer.driver import BootPayload, Need, Offer, Order
from vaultlayer.errors import AuthError, CapacityError, OfferGoneError, ThrottledError
from vaultlayer_actors.drivers.cloud.bootstrap import first_stage, pieces, script_of
from vaultlayer_actors.drivers.cloud.reply import Reply
from vaultlayer_actors.drivers.conformance import Case, Rig
from vaultlayer_actors.drivers.conformance.case import rig_of
from vaultlayer_actors.drivers.vast import DRIVER
from vaultlayer_actors.drivers.vast.market import MARKET
from vaultlayer_actors.drivers.vast.reading import classify, instance_of, offer_of
from vaultlayer_actors.drivers.vast.simulator import VastSimulator
from vaultlayer_actors.drivers.vast.wire import Ask, Row
from vaultlayer_actors.simulator.machine import State

NEED = Need(gpu="RTX4090", gpu_count=1)
CASE = Case(kind=DRIVER, simulator=VastSimulator, need=NEED)


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncGenerator[Rig]:
    async with rig_of(CASE, tmp_path) as made:
        yield made


def ask(**fields: Any) -> Ask:
    row = {key: value for key, value in MARKET[0].items() if key in Ask.__struct_fields__}
    return Ask(**{**row, **fields})


def reply(status: int, body: str, **headers: str) -> Reply:
    return Reply(
        provider="vast", call="x", status=status, headers=headers, body=body.encode(), text=body
    )


# Creating -----------------------------------------------------------------------------------------


@pytest.mark.anyio
async def test_a_contract_hidden_in_an_error_is_destroyed(rig: Rig) -> None:
    order = await rig.order()
    rig.sim.faults.add("hidden_contract", "create")
    with pytest.raises(CapacityError, match="refused the bid"):
        await rig.driver.create(order)
    (machine,) = rig.sim.fleet.machines.values()
    assert machine.state is State.GONE
    assert rig.sim.fleet.ledger.billed() == []


@pytest.mark.anyio
async def test_a_bid_that_has_become_too_low_leaves_nothing(rig: Rig) -> None:
    offer = await rig.offer()
    assert offer.spot
    sim = rig.sim
    assert isinstance(sim, VastSimulator)
    sim.asks[int(offer.offer_id.partition(":")[0])]["min_bid"] = 99.0
    with pytest.raises(CapacityError):
        await rig.driver.create(await rig.order(offer))
    assert rig.ours() == []


@pytest.mark.anyio
async def test_an_offer_that_somebody_else_took_is_gone(rig: Rig) -> None:
    order = await rig.order()
    sim = rig.sim
    assert isinstance(sim, VastSimulator)
    sim.asks.clear()
    with pytest.raises(OfferGoneError):
        await rig.driver.create(order)


@pytest.mark.anyio
async def test_on_demand_sends_no_price_and_a_bid_sends_the_machines_own(rig: Rig) -> None:
    for offer in (await rig.driver.offers(NEED)).offers:
        made = await rig.driver.create(await rig.order(offer))
        sent: Any = rig.sim.fleet.machines[made.instance].spec["body"]
        assert offer.parts is not None
        assert sent["price"] == (offer.parts.machine_usd_h if offer.spot else None)
        assert (sent["disk"], sent["runtype"]) == (64.0, "args")
        break


def test_the_boot_script_fits_the_limits_of_arguments_and_environment() -> None:
    boot = BootPayload(
        job="jabcdefgh2",
        attempt=1234,
        incarnation="k2m4p6r8",
        provider="vast",
        bus_urls=[f"wss://bus-{n}.a-long-name.example.org:443" for n in range(5)],
        enrol_jwt="".join(chr(97 + n * 7 % 26) for n in range(2000)),
        enrol_seed="S" * 58,
        work_path="/workspace/jabcdefgh2",
        version="0.1.0",
    )
    offer = Offer(provider="vast", offer_id="1", gpu="RTX4090", gpu_count=1)
    order = Order(name="vl-jabcdefgh2-a1234", offer=offer, boot=boot)
    env = pieces(script_of(order, is_vm=False, wheels_url=f"https://bucket/{'x' * 900}"))
    assert max(map(len, env.values())) <= 256
    assert sum(len(key) + len(value) for key, value in env.items()) <= 32768 // 2
    assert len(first_stage()) <= 400


# Reading ------------------------------------------------------------------------------------------


@pytest.mark.anyio
async def test_null_with_200_is_gone(rig: Rig) -> None:
    assert (await rig.driver.get("424242")).state == "gone"
    assert rig.sim.requests[-1].status == 200


@pytest.mark.parametrize(
    ("row", "state", "detail"),
    [
        ({"actual_status": None}, "booting", ""),
        ({"actual_status": "loading"}, "booting", "loading"),
        ({"actual_status": "running", "cur_state": "running"}, "running", ""),
        ({"actual_status": "stopped", "is_bid": True}, "stopped", "outbid"),
        ({"actual_status": "exited"}, "stopped", "exited: what it ran has ended"),
        ({"actual_status": "offline"}, "unknown", "offline"),
        ({"actual_status": "unknown"}, "unknown", "unknown"),
        ({"actual_status": "frozen"}, "unknown", "frozen"),
        ({"actual_status": "running", "cur_state": "unloaded"}, "gone", ""),
    ],
)
def test_each_status_is_read(row: dict[str, Any], state: str, detail: str) -> None:
    found = instance_of(Row(id=1, **row))
    assert (found.state, found.detail) == (state, detail)


def test_a_bid_that_never_won_is_stopped_though_it_has_no_status() -> None:
    row = Row(
        id=1, is_bid=True, cur_state="stopped", intended_status="stopped", next_state="stopped"
    )
    assert instance_of(row).state == "stopped"


def test_a_container_that_cannot_be_made_is_no_longer_booting_and_echoes_nothing() -> None:
    text = "Error: OCI runtime create failed: exec sh -c SECRET"
    found = instance_of(Row(id=1, actual_status="created", status_msg=text))
    assert found.state == "stopped"
    assert "SECRET" not in found.detail


# Prices -------------------------------------------------------------------------------------------


def test_a_bid_lies_over_the_floor_and_under_the_price_on_demand() -> None:
    def bid(**fields: Any) -> float | None:
        offer = offer_of(ask(**fields), NEED, disk_gb=0.0, bid_factor=1.15)
        return offer.price_usd_h if offer else None

    assert bid(min_bid=0.2, dph_base=0.4) == pytest.approx(0.23)
    assert bid(min_bid=0.36, dph_base=0.4) == pytest.approx(0.38)
    assert bid(min_bid=0.39, dph_base=0.4) is None
    assert bid(min_bid=None, dph_base=0.4) is None


def test_disk_and_traffic_are_part_of_the_price() -> None:
    row = ask(dph_base=0.4, storage_cost=0.15, inet_down_cost=0.01, inet_up_cost=0.02)
    offer = offer_of(row, NEED, disk_gb=72.0, bid_factor=None)
    assert offer is not None
    assert offer.price_usd_h == pytest.approx(0.4 + 72 * 0.15 / 720 + 2 * 0.03)


@pytest.mark.parametrize("fields", [{"cpu_cores": None}, {"gpu_ram": 12000}, {"gpu_name": "New"}])
def test_asks_that_cannot_be_judged_are_passed_over(fields: dict[str, Any]) -> None:
    assert offer_of(ask(**fields), NEED, disk_gb=16.0, bid_factor=None) is None


def test_an_a100_is_told_apart_by_its_memory() -> None:
    for memory_mb, gpu in ((40536, "A100_40"), (81920, "A100_80")):
        row = ask(gpu_name="A100 SXM4", gpu_ram=memory_mb)
        offer = offer_of(row, Need(gpu=gpu, gpu_count=1), disk_gb=16.0, bid_factor=None)
        assert offer is not None
        assert (offer.gpu, offer.variant) == (gpu, "sxm")


# Errors -------------------------------------------------------------------------------------------


def test_a_bad_key_may_come_as_404() -> None:
    body = '{"success": false, "error": "not_found", "msg": "Invalid user key"}'
    assert isinstance(classify(reply(404, body)), AuthError)


def test_the_daily_quota_of_searches_is_not_waited_for() -> None:
    error = classify(reply(429, '{"error": "search_quota_exceeded"}'))
    assert isinstance(error, ThrottledError)
    assert not error.retryable


@pytest.mark.anyio
@pytest.mark.parametrize("plain", [True, False])
async def test_429_is_understood_as_plain_text_and_as_json(rig: Rig, plain: bool) -> None:
    sim = rig.sim
    assert isinstance(sim, VastSimulator)
    sim.plain_429 = plain
    sim.faults.add("429", "list", times=2)
    assert await rig.driver.list() == []
    assert rig.calls("list") == 3


@pytest.mark.anyio
async def test_destroying_what_is_gone_is_done_in_both_words(rig: Rig) -> None:
    await rig.driver.terminate("424242")
    rig.sim.faults.add("no_such_instance", "never", times=-1)
    await rig.driver.terminate("424242")
    assert [seen.status for seen in rig.sim.requests] == [404, 400]


@pytest.mark.anyio
async def test_a_machine_that_never_ran_puts_its_host_to_rest(rig: Rig) -> None:
    rig.sim.fleet.knobs.never_boots = True
    offer = await rig.offer()
    made = await rig.driver.create(await rig.order(offer))
    sim = rig.sim
    assert isinstance(sim, VastSimulator)
    await rig.driver.terminate(made.instance)
    sim.asks[int(offer.offer_id.partition(":")[0])]["rentable"] = True
    rig.clock.advance(600.0)
    again = (await rig.driver.offers(NEED)).offers
    assert again
    assert offer.machine not in {one.machine for one in again}


@pytest.mark.anyio
async def test_what_its_owner_gives_up_is_rentable_again_and_what_was_outbid_is_not(
    rig: Rig,
) -> None:
    sim = rig.sim
    assert isinstance(sim, VastSimulator)
    order = await rig.order()
    ask = sim.asks[int(order.offer.offer_id.partition(":")[0])]
    made = await rig.driver.create(order)
    assert not ask["rentable"]
    await rig.driver.terminate(made.instance)
    assert ask["rentable"]
    made = await rig.driver.create(await rig.order(order.offer))
    sim.interrupt(made.instance)
    await rig.driver.terminate(made.instance)
    assert not ask["rentable"]
