"""What is peculiar to Verda, each trap by name; the simulator speaks the vendor's words."""

from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from vaultlayer.driver import Need
from vaultlayer.errors import AuthError, CapacityError, DriverError
from vaultlayer_actors.drivers.cloud.driver import CloudDriver
from vaultlayer_actors.drivers.conformance import Case, Rig
from vaultlayer_actors.drivers.conformance.case import rig_of
from vaultlayer_actors.drivers.verda import DRIVER
from vaultlayer_actors.drivers.verda.market import TYPES
from vaultlayer_actors.drivers.verda.reading import (
    IMAGE,
    gpu_of,
    image_of,
    instance_of,
    money,
    new_id,
)
from vaultlayer_actors.drivers.verda.simulator import CLIENT, SCRIPTS_MAX, VerdaSimulator
from vaultlayer_actors.drivers.verda.wire import InstanceType, Row
from vaultlayer_actors.simulator.machine import State

NEED = Need(gpu="A100_80", gpu_count=1)
SECRETS = {"client_id": CLIENT, "client_secret": "{key}"}
CASE = Case(kind=DRIVER, simulator=VerdaSimulator, need=NEED, secrets=SECRETS)


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncGenerator[Rig]:
    async with rig_of(CASE, tmp_path) as made:
        yield made


def sim_of(rig: Rig) -> VerdaSimulator:
    assert isinstance(rig.sim, VerdaSimulator)
    return rig.sim


def body_of(rig: Rig, instance: str) -> dict[str, Any]:
    body: Any = rig.sim.fleet.machines[instance].spec["body"]
    return body


def row_of(kind: str, **fields: Any) -> InstanceType:
    known = {name: TYPES[kind][name] for name in ("instance_type", "name")}
    counts = {name: TYPES[kind][name] for name in ("gpu", "gpu_memory")}
    return msgspec.convert({**known, **counts, **fields}, InstanceType)


# Creating -----------------------------------------------------------------------------------------


@pytest.mark.anyio
async def test_a_machine_that_was_ordered_and_cannot_be_had_is_ended_and_said(rig: Rig) -> None:
    order = await rig.order()
    rig.sim.faults.add("no_capacity_later", "create")
    with pytest.raises(CapacityError):
        await rig.driver.create(order)
    (machine,) = rig.sim.fleet.machines.values()
    assert machine.state is State.GONE
    assert sim_of(rig).volumes == {}
    assert sim_of(rig).scripts == {}
    again = (await rig.driver.offers(NEED)).offers
    assert order.offer.offer_id not in {offer.offer_id for offer in again}


@pytest.mark.anyio
async def test_a_spot_machine_says_that_its_disk_goes_with_it_and_every_create_where(
    rig: Rig,
) -> None:
    offers = (await rig.driver.offers(NEED)).offers
    for offer in (next(o for o in offers if o.spot), next(o for o in offers if not o.spot)):
        body = body_of(rig, (await rig.driver.create(await rig.order(offer))).instance)
        assert body["location_code"] == offer.region
        assert (body["is_spot"], body["contract"]) == (
            (True, "SPOT") if offer.spot else (False, "PAY_AS_YOU_GO")
        )
        kept = body["os_volume"]["on_spot_discontinue"]
        assert kept == ("delete_permanently" if offer.spot else None)


@pytest.mark.anyio
async def test_a_machine_that_was_made_although_none_was_said_to_be_there_is_taken(
    rig: Rig,
) -> None:
    order = await rig.order()
    rig.sim.faults.add("unavailable_after", "create")
    made = await rig.driver.create(order)
    assert [one.id for one in rig.ours()] == [made.instance]
    assert [one["name"] for one in sim_of(rig).scripts.values()] == [order.name]


def test_the_image_is_one_that_the_machine_boots_from() -> None:
    assert image_of([]) == image_of(["debian-12", IMAGE]) == IMAGE
    others = ["ubuntu-24.04-cuda-12.6", "ubuntu-22.04-cuda-12.4-docker", "ubuntu-24.04"]
    assert image_of(others) == "ubuntu-22.04-cuda-12.4-docker"
    assert image_of(["debian-12"]) == IMAGE


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("3e7b5c3a-8a1a-4b1e-9a52-000000000001", "3e7b5c3a-8a1a-4b1e-9a52-000000000001"),
        ('"3e7b5c3a-8a1a"\n', "3e7b5c3a-8a1a"),
        ("<html>be right back</html>", ""),
        ("", ""),
        ('{"id": "1"}', ""),
    ],
)
def test_an_id_is_plain_text_and_nothing_else_is_one(text: str, found: str) -> None:
    assert new_id(text) == found


# Scripts ------------------------------------------------------------------------------------------


@pytest.mark.anyio
async def test_a_script_lives_as_long_as_its_machine(rig: Rig) -> None:
    made = await rig.made()
    assert [one["name"] for one in sim_of(rig).scripts.values()] == [made.name]
    await rig.driver.terminate(made.instance)
    assert sim_of(rig).scripts == {}


@pytest.mark.anyio
@pytest.mark.parametrize("fault", ["no_capacity", "balance"])
async def test_a_refused_create_leaves_no_script(rig: Rig, fault: str) -> None:
    order = await rig.order()
    rig.sim.faults.add(fault, "create")
    with pytest.raises(DriverError):
        await rig.driver.create(order)
    assert sim_of(rig).scripts == {}


@pytest.mark.anyio
async def test_scripts_that_were_left_behind_do_not_fill_the_account(rig: Rig) -> None:
    kept = await rig.made()
    scripts = sim_of(rig).scripts
    for number in range(SCRIPTS_MAX - 2):
        name = f"vl-jabcdefgh2-a{1000 + number}"
        scripts[f"left-{number}"] = {"id": f"left-{number}", "name": name, "script": "x"}
    scripts["theirs"] = {"id": "theirs", "name": "theirs", "script": "x"}
    made = await rig.made()
    assert {one["name"] for one in scripts.values()} == {kept.name, made.name, "theirs"}


# Ending -------------------------------------------------------------------------------------------


@pytest.mark.anyio
@pytest.mark.parametrize("multi_status", [True, False])
async def test_a_machine_that_is_being_made_is_ended_as_soon_as_it_lets_itself(
    rig: Rig, multi_status: bool
) -> None:
    sim_of(rig).multi_status = multi_status
    rig.sim.fleet.knobs.boot_s = 40.0
    made = await rig.made()
    await rig.driver.terminate(made.instance)
    assert rig.sim.fleet.machines[made.instance].state is State.GONE
    assert rig.calls("terminate") > 2


@pytest.mark.anyio
async def test_an_end_that_never_comes_is_an_error(rig: Rig) -> None:
    rig.sim.fleet.knobs.never_boots = True
    made = await rig.made()
    with pytest.raises(DriverError, match="does not end") as caught:
        await rig.driver.terminate(made.instance)
    assert caught.value.retryable


@pytest.mark.anyio
async def test_a_disk_goes_with_its_machine(rig: Rig) -> None:
    made = await rig.made()
    assert len(sim_of(rig).volumes) == 1
    await rig.driver.terminate(made.instance)
    assert sim_of(rig).volumes == {}


@pytest.mark.anyio
async def test_a_spot_machine_that_was_taken_is_gone_with_its_disk(rig: Rig) -> None:
    offers = (await rig.driver.offers(NEED)).offers
    offer = next(one for one in offers if one.spot)
    made = await rig.driver.create(await rig.order(offer))
    rig.sim.fleet.knobs.gone_kept_s = 600.0
    rig.sim.interrupt(made.instance)
    seen = await rig.driver.get(made.instance)
    assert (seen.state, seen.detail) == ("gone", "discontinued")
    await rig.driver.terminate(made.instance)
    assert rig.calls("terminate") == 0
    assert sim_of(rig).volumes == {}


# Reading ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "state"),
    [
        *((word, "booting") for word in ("new", "ordered", "provisioning", "validating")),
        *((word, "booting") for word in ("pending", "restoring")),
        ("running", "running"),
        *((word, "stopped") for word in ("offline", "no_capacity", "error", "deleting")),
        *((word, "gone") for word in ("discontinued", "notfound")),
        ("unknown", "unknown"),
        ("levitating", "unknown"),
    ],
)
def test_each_status_is_read(status: str, state: str) -> None:
    assert instance_of(Row(id="1", status=status)).state == state


def test_a_machine_is_ours_by_host_name_or_description() -> None:
    name = "vl-jabcdefgh2-a1"
    assert instance_of(Row(id="1", hostname=name)).name == name
    assert instance_of(Row(id="1", hostname="renamed", description=name)).name == name
    assert instance_of(Row(id="1", hostname="theirs")).name == ""


def test_prices_are_strings_or_numbers() -> None:
    assert money("2.29") == money(2.29) == 2.29
    assert money("") is money(None) is money("soon") is money("0") is None


def test_memory_is_that_of_all_gpus_and_new_names_are_passed_over() -> None:
    assert gpu_of(row_of("8V100.48V")) == ("V100_16", 8)
    assert gpu_of(row_of("2H200.141S.88V")) == ("H200", 2)
    assert gpu_of(row_of("1A100.40S.22V")) == ("A100_40", 1)
    assert gpu_of(row_of("1A100.22V")) == ("A100_80", 1)
    assert gpu_of(row_of("1GB900.36V")) is None
    assert gpu_of(row_of("CPU.4V.16G")) is None
    each = {"size_in_gigabytes": 141}
    assert gpu_of(row_of("2H200.141S.88V", gpu_memory=each)) == ("H200", 2)


@pytest.mark.anyio
async def test_disk_and_the_price_list_make_the_price(rig: Rig) -> None:
    offers = (await rig.driver.offers(NEED)).offers
    by_kind = {offer.spot: offer for offer in offers if offer.region == "FIN-01"}
    for spot, usd_h in ((False, 1.29), (True, 0.4515)):
        assert by_kind[spot].price_usd_h == pytest.approx(usd_h + 64 * 0.2 / 730)
    assert {offer.region for offer in offers} == {"FIN-01", "FIN-02", "ICE-01"}


@pytest.mark.anyio
async def test_the_account_tells_its_balance_and_gpus_that_are_new(rig: Rig) -> None:
    assert isinstance(rig.driver, CloudDriver)
    told = await rig.driver.account()
    assert (told.balance_usd, told.strange_gpus) == (42.5, ["GB900 999GB"])


# The key ------------------------------------------------------------------------------------------


@pytest.mark.anyio
async def test_an_old_token_is_replaced_and_a_refused_one_too(rig: Rig) -> None:
    await rig.driver.list()
    rig.clock.advance(3590.0)
    await rig.driver.list()
    sim_of(rig).tokens = dict.fromkeys(sim_of(rig).tokens, 0.0)
    await rig.driver.list()
    assert len(sim_of(rig).tokens) == 3
    assert [seen.status for seen in rig.sim.requests] == [200, 200, 401, 200]


@pytest.mark.anyio
async def test_a_right_that_is_missing_is_no_wrong_parameter(rig: Rig) -> None:
    order = await rig.order()
    rig.sim.faults.add("forbidden", "create")
    with pytest.raises(AuthError, match="for this"):
        await rig.driver.create(order)
    assert sim_of(rig).scripts == {}
