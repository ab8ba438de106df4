"""What is peculiar to Hyperstack, each trap by name; the simulator speaks the vendor's words."""

from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import httpx
import pytest

from vaultlayer.driver import Need
from vaultlayer.errors import (
    AmbiguousCreateError,
    BalanceError,
    CapacityError,
    DriverError,
    ThrottledError,
)
from vaultlayer_actors.drivers.cloud.reply import Reply
from vaultlayer_actors.drivers.conformance import Case, Rig
from vaultlayer_actors.drivers.conformance.case import rig_of
from vaultlayer_actors.drivers.hyperstack import DRIVER
from vaultlayer_actors.drivers.hyperstack.reading import classify, instance_of
from vaultlayer_actors.drivers.hyperstack.simulator import NO_CAPACITY, HyperstackSimulator
from vaultlayer_actors.drivers.hyperstack.wire import Row

NEED = Need(gpu="A100_80", gpu_count=1)
CASE = Case(kind=DRIVER, simulator=HyperstackSimulator, need=NEED)


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncGenerator[Rig]:
    async with rig_of(CASE, tmp_path) as made:
        yield made


def simulator(rig: Rig) -> HyperstackSimulator:
    assert isinstance(rig.sim, HyperstackSimulator)
    return rig.sim


def with_options(**options: object) -> Case:
    return Case(kind=DRIVER, simulator=HyperstackSimulator, need=NEED, options=options)


def body_of(rig: Rig, instance: str) -> Any:
    return rig.sim.fleet.machines[instance].spec["body"]


# Offers -------------------------------------------------------------------------------------------


@pytest.mark.anyio
async def test_the_price_is_that_of_each_gpu_and_of_the_address(rig: Rig) -> None:
    for count in (1, 2):
        offers = (await rig.driver.offers(Need(gpu="A100_80", gpu_count=count))).offers
        assert {one.price_usd_h for one in offers} == {round(1.35 * count + 0.00672, 6)}


@pytest.mark.anyio
async def test_without_an_address_none_is_paid_for(tmp_path: Path) -> None:
    async with rig_of(with_options(public_ip=False), tmp_path) as rig:
        offer = await rig.offer()
        assert offer.price_usd_h == 1.35
        made = await rig.driver.create(await rig.order(offer))
        assert body_of(rig, made.instance)["assign_floating_ip"] is False


@pytest.mark.anyio
async def test_a_spot_flavour_is_never_taken_for_a_fixed_one(rig: Rig) -> None:
    offers = (await rig.driver.offers(Need(gpu="H100_80", gpu_count=1))).offers
    assert [one.offer_id for one in offers] == ["n3-H100x1@CANADA-1"]


@pytest.mark.anyio
async def test_what_is_not_in_stock_or_has_no_price_is_not_offered(rig: Rig) -> None:
    assert (await rig.driver.offers(Need(gpu="H100_80", gpu_count=8))).offers == []
    del simulator(rig).prices["L40"]
    assert (await rig.driver.offers(Need(gpu="L40", gpu_count=1))).offers == []


@pytest.mark.anyio
@pytest.mark.parametrize(("root", "fits"), [("/workspace", False), ("/ephemeral/workspace", True)])
async def test_the_large_disk_counts_only_where_the_jobs_stand_on_it(
    tmp_path: Path, root: str, fits: bool
) -> None:
    async with rig_of(with_options(work_root=root), tmp_path) as rig:
        need = Need(gpu="A100_80", gpu_count=1, disk_b=500 * 10**9)
        assert bool((await rig.driver.offers(need)).offers) is fits


# Creating -----------------------------------------------------------------------------------------


@pytest.mark.anyio
async def test_the_environment_is_that_of_the_offers_region(rig: Rig) -> None:
    for offer in (await rig.driver.offers(NEED)).offers:
        made = await rig.driver.create(await rig.order(offer))
        body = body_of(rig, made.instance)
        assert body["environment_name"] == f"default-{offer.region}"
        assert (body["count"], body["labels"]) == (1, ["vaultlayer"])


@pytest.mark.anyio
async def test_a_key_pair_that_is_missing_is_no_lack_of_machines(tmp_path: Path) -> None:
    async with rig_of(with_options(key_name="nobody"), tmp_path) as rig:
        with pytest.raises(DriverError, match="refused the create") as caught:
            await rig.made()
        assert not isinstance(caught.value, (CapacityError, AmbiguousCreateError))
        assert "key_name" in caught.value.mend


@pytest.mark.anyio
async def test_a_name_that_is_taken_may_be_our_own_machine(rig: Rig) -> None:
    simulator(rig).has_unique_names = True
    order = await rig.order()
    made = await rig.driver.create(order)
    created_s = rig.sim.fleet.machines[made.instance].created_s
    rig.clock.advance(1.0)
    rig.sim.fleet.knobs.listing_lag_s = rig.clock.now_s() - created_s + 10.0
    again = await rig.driver.create(order)
    assert again.instance == made.instance
    assert 409 in {seen.status for seen in rig.sim.requests}


def test_the_same_400_means_several_things() -> None:
    def judged(text: str, status: int = 400) -> type:
        body = f'{{"status": false, "message": "{text}", "error_reason": "bad_request"}}'
        reply = Reply(
            provider="hyperstack",
            call="create",
            status=status,
            headers={},
            body=body.encode(),
            text=body,
            is_safe=False,
        )
        return type(classify(reply))

    assert judged(NO_CAPACITY) is CapacityError
    assert judged("Insufficient credit to create the virtual machine") is BalanceError
    assert judged("Environment doesn't exist") is DriverError
    assert judged("gremlins") is type(None)
    assert judged("A machine of that name is in the environment", 409) is AmbiguousCreateError


@pytest.mark.anyio
async def test_words_that_nobody_knows_say_nothing_about_the_machine(rig: Rig) -> None:
    order = await rig.order()
    rig.sim.faults.add("offer_gone", "create", text="gremlins")
    with pytest.raises(AmbiguousCreateError):
        await rig.driver.create(order)


# Listing ------------------------------------------------------------------------------------------


@pytest.mark.anyio
@pytest.mark.parametrize("first", [0, 1])
async def test_every_page_is_read_wherever_the_vendor_begins_to_count(rig: Rig, first: int) -> None:
    sim = simulator(rig)
    sim.page_max, sim.first_page = 2, first
    made = {(await rig.made()).instance for _ in range(5)}
    assert {one.instance for one in await rig.driver.list()} == made


@pytest.mark.anyio
async def test_a_machine_named_as_ours_without_our_label_is_a_strangers(rig: Rig) -> None:
    made = await rig.made()
    spec = {**rig.sim.fleet.machines[made.instance].spec}
    spec["body"] = {**body_of(rig, made.instance), "labels": []}
    rig.sim.fleet.make("vl-jabcdefgh9-a7", 1.0, spec=spec)
    assert [one.instance for one in await rig.driver.list()] == [made.instance]


@pytest.mark.parametrize(
    ("status", "vm_state", "state"),
    [
        ("CREATING", "building", "booting"),
        ("BUILD", None, "booting"),
        ("STARTING", None, "booting"),
        ("HARD_REBOOT", None, "booting"),
        ("ACTIVE", "active", "running"),
        ("ACTIVE", "ACTIVE", "running"),
        ("ACTIVE", None, "running"),
        ("ACTIVE", "building", "booting"),
        ("STOPPING", None, "stopped"),
        ("SHUTOFF", "stopped", "stopped"),
        ("HIBERNATED", None, "stopped"),
        ("ERROR", None, "stopped"),
        ("DELETING", None, "stopped"),
        ("LEVITATING", None, "unknown"),
        (None, None, "unknown"),
    ],
)
def test_each_status_is_read(status: str | None, vm_state: str | None, state: str) -> None:
    assert instance_of(Row(id=1, status=status, vm_state=vm_state)).state == state


@pytest.mark.anyio
async def test_a_machine_that_is_shut_off_is_dead_and_billed_until_it_is_deleted(rig: Rig) -> None:
    made = await rig.made()
    rig.sim.interrupt(made.instance)
    assert (await rig.driver.get(made.instance)).state == "stopped"
    assert rig.sim.fleet.ledger.charges[-1].usd_h == pytest.approx(1.35672)
    await rig.driver.terminate(made.instance)
    assert rig.sim.fleet.ledger.billed() == []


@pytest.mark.anyio
async def test_a_429_without_a_word_on_when_is_waited_for_and_then_said(rig: Rig) -> None:
    rig.sim.faults.add("429", "list", times=-1)
    began_s = rig.clock.now_s()
    with pytest.raises(ThrottledError):
        await rig.driver.list()
    assert rig.clock.now_s() - began_s >= 15.0


# Ending -------------------------------------------------------------------------------------------


@pytest.mark.anyio
async def test_an_end_is_refused_while_the_machine_is_created_and_may_be_asked_again(
    rig: Rig,
) -> None:
    rig.sim.fleet.knobs.boot_s = 30.0
    made = await rig.made()
    with pytest.raises(DriverError, match="still creating") as caught:
        await rig.driver.terminate(made.instance)
    assert caught.value.retryable
    assert (await rig.driver.get(made.instance)).is_alive
    rig.clock.advance(31.0)
    await rig.driver.terminate(made.instance)
    assert rig.ours() == []


@pytest.mark.anyio
async def test_an_end_of_what_is_ending_is_done(rig: Rig) -> None:
    made = await rig.made()
    rig.sim.fleet.knobs.end_s = 60.0
    await rig.driver.terminate(made.instance)
    await rig.driver.terminate(made.instance)
    ends = [seen.status for seen in rig.sim.requests if seen.call == "terminate"]
    assert ends == [200, 409]


@pytest.mark.anyio
async def test_gets_that_change_something_are_never_called(rig: Rig) -> None:
    made = await rig.made()
    async with httpx.AsyncClient(base_url=rig.sim.url) as client:
        headers = {"api_key": rig.sim.key}
        await client.get(f"/core/virtual-machines/{made.instance}/stop", headers=headers)
    assert (await rig.driver.get(made.instance)).state == "stopped"
    for call in (rig.driver.list, lambda: rig.driver.drill(made.instance, "kill", 0.0)):
        await call()
    paths = [seen.path for seen in rig.sim.requests if seen.call != "stop"]
    changing = ("/start", "/stop", "/hibernate", "/hard-reboot", "/hibernate-restore")
    assert not [path for path in paths if path.endswith(changing)]
