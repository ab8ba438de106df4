"""What is peculiar to RunPod, each trap by name; the simulator speaks the vendor's words."""

import shlex
import subprocess
from collections.abc import AsyncGenerator
from importlib import resources
from pathlib import Path
from typing import Any

import anyio
import httpx
import msgspec
import pytest

from vaultlayer.driver import Need
from vaultlayer.errors import (
    AuthError,
    BalanceError,
    CapacityError,
    DriverError,
    ThrottledError,
)
from vaultlayer_actors.drivers import cloud as bootstrap
from vaultlayer_actors.drivers.cloud.bootstrap import first_stage, pieces
from vaultlayer_actors.drivers.cloud.reply import Reply
from vaultlayer_actors.drivers.conformance import Case, Rig
from vaultlayer_actors.drivers.conformance.case import rig_of
from vaultlayer_actors.drivers.runpod import DRIVER
from vaultlayer_actors.drivers.runpod.driver import RunpodDriver
from vaultlayer_actors.drivers.runpod.market import catalogue
from vaultlayer_actors.drivers.runpod.reading import STATES, classify, instance_of, offers_of
from vaultlayer_actors.drivers.runpod.simulator import NO_CAPACITY, RunpodSimulator
from vaultlayer_actors.drivers.runpod.wire import GpuType, Pod
from vaultlayer_actors.simulator.machine import State

NEED = Need(gpu="RTX4090", gpu_count=1)
CASE = Case(kind=DRIVER, simulator=RunpodSimulator, need=NEED)
GPU = "NVIDIA GeForce RTX 4090"


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncGenerator[Rig]:
    async with rig_of(CASE, tmp_path) as made:
        yield made


def sim_of(rig: Rig) -> RunpodSimulator:
    assert isinstance(rig.sim, RunpodSimulator)
    return rig.sim


def row(gpu: str = GPU, **fields: Any) -> GpuType:
    shown = {**catalogue()[gpu], "availability": "HIGH", **fields}
    return msgspec.convert(shown, GpuType)


def reply(status: int, body: str, call: str = "create") -> Reply:
    return Reply(
        provider="runpod", call=call, status=status, headers={}, body=body.encode(), text=body
    )


# Refusals of a create -------------------------------------------------------------------------------


@pytest.mark.anyio
@pytest.mark.parametrize(
    "text",
    [
        NO_CAPACITY,
        "There are no longer any instances available with the request specifications.",
        "There are no instances available with the request specifications. Please try again later.",
        "There are no longer any instances available with enough disk space.",
        "There are not enough free GPUs on the host machine to start this pod.",
    ],
)
async def test_no_capacity_has_no_code_and_is_read_from_the_text(rig: Rig, text: str) -> None:
    rig.sim.faults.add("no_capacity", "create", text=text)
    with pytest.raises(CapacityError, match="no such machine"):
        await rig.driver.create(await rig.order())


@pytest.mark.anyio
async def test_words_that_nobody_knows_send_the_order_to_the_next_offer(rig: Rig) -> None:
    rig.sim.faults.add("no_capacity", "create", text="the moon is full")
    with pytest.raises(CapacityError, match="refused the order"):
        await rig.driver.create(await rig.order())
    assert (await rig.made()).instance in rig.sim.fleet.machines


@pytest.mark.anyio
async def test_the_same_unknown_words_at_every_offer_make_the_order_suspect(rig: Rig) -> None:
    rig.sim.faults.add("no_capacity", "create", times=-1, text="image name is malformed")
    offers = (await rig.driver.offers(NEED)).offers
    offers += (await rig.driver.offers(Need(gpu="A100_80", gpu_count=1))).offers
    for offer in offers[:2]:
        with pytest.raises(CapacityError):
            await rig.driver.create(await rig.order(offer))
    with pytest.raises(DriverError, match="the order is at fault") as caught:
        await rig.driver.create(await rig.order(offers[2]))
    assert not isinstance(caught.value, CapacityError)
    assert "malformed" in caught.value.why


@pytest.mark.anyio
async def test_an_order_that_was_taken_clears_the_suspicion(rig: Rig) -> None:
    offers = list((await rig.driver.offers(NEED)).offers)
    offers += (await rig.driver.offers(Need(gpu="A100_80", gpu_count=1))).offers
    rig.sim.faults.add("no_capacity", "create", times=2, text="the moon is full")
    for offer in offers[:2]:
        with pytest.raises(CapacityError):
            await rig.driver.create(await rig.order(offer))
    await rig.driver.create(await rig.order(offers[2]))
    rig.sim.faults.add("no_capacity", "create", text="the moon is full")
    with pytest.raises(CapacityError):
        await rig.driver.create(await rig.order(offers[3]))


@pytest.mark.anyio
async def test_no_capacity_at_every_offer_never_makes_the_order_suspect(rig: Rig) -> None:
    rig.sim.faults.add("no_capacity", "create", times=-1)
    offers = (await rig.driver.offers(NEED)).offers
    for offer in [*offers, *(await rig.driver.offers(Need(gpu="L40S", gpu_count=1))).offers]:
        with pytest.raises(CapacityError):
            await rig.driver.create(await rig.order(offer))


@pytest.mark.anyio
async def test_a_broken_contract_is_never_sent_again(rig: Rig) -> None:
    offer = await rig.offer()
    order = msgspec.structs.replace(await rig.order(offer), offer=msgspec.structs.replace(
        offer, offer_id=f"1x/{GPU}/MOON/"
    ))  # fmt: skip
    with pytest.raises(DriverError, match="refused create") as caught:
        await rig.driver.create(order)
    assert not caught.value.retryable
    assert rig.calls("create") == 1


@pytest.mark.anyio
async def test_an_account_without_the_pool_skips_the_offer_and_keeps_the_key(rig: Rig) -> None:
    rig.sim.faults.add("no_pool", "create")
    with pytest.raises(CapacityError, match="may not use"):
        await rig.driver.create(await rig.order())
    assert classify(reply(403, '{"detail": "pool"}', "list")) is None


@pytest.mark.anyio
async def test_402_is_the_balance_and_403_the_key(rig: Rig) -> None:
    rig.sim.faults.add("balance", "create")
    with pytest.raises(BalanceError, match="account is empty"):
        await rig.driver.create(await rig.order())
    rig.sim.faults.add("forbidden", "list")
    with pytest.raises(AuthError):
        await rig.driver.list()


@pytest.mark.anyio
async def test_retry_after_is_waited_for_and_an_hours_quota_is_not(rig: Rig) -> None:
    sim_of(rig).retry_after_s = 17
    rig.sim.faults.add("429", "list")
    began_s = rig.clock.now_s()
    await rig.driver.list()
    assert rig.clock.now_s() - began_s >= 17
    sim_of(rig).retry_after_s = 1800
    rig.sim.faults.add("429", "list", times=-1)
    began_s = rig.clock.now_s()
    with pytest.raises(ThrottledError):
        await rig.driver.list()
    assert rig.clock.now_s() - began_s < 300


# What is sent ---------------------------------------------------------------------------------------


@pytest.mark.anyio
async def test_a_create_is_within_the_contract_and_places_what_the_offer_says(rig: Rig) -> None:
    for offer in (await rig.driver.offers(NEED)).offers:
        made = await rig.driver.create(await rig.order(offer))
        sent: Any = rig.sim.fleet.machines[made.instance].spec["body"]
        assert sent["gpu"] == {"id": GPU, "count": 1, "minCudaVersion": "12.8"}
        assert sent["cloud"] in offer.offer_id
        assert sent["disk"] == 64
        assert not {"cpu", "mounts", "dataCenterIds"} & set(sent)


def test_the_arguments_are_one_string_that_a_shell_takes_apart(tmp_path: Path) -> None:
    args = shlex.join(["sh", "-c", first_stage()])
    env = {**pieces(f"echo told >{tmp_path}/out\nrm -f $0"), "PATH": "/usr/bin:/bin"}
    subprocess.run(shlex.split(args), env=env, check=True)
    assert (tmp_path / "out").read_text() == "told\n"


@pytest.mark.anyio
async def test_a_data_centre_is_asked_for_where_the_options_name_one(tmp_path: Path) -> None:
    case = Case(kind=DRIVER, simulator=RunpodSimulator, need=NEED, options={"regions": ["EU-RO-1"]})
    async with rig_of(case, tmp_path) as rig:
        offers = (await rig.driver.offers(NEED)).offers
        assert {one.region for one in offers} == {"EU-RO-1"}
        made = await rig.made()
        sent: Any = rig.sim.fleet.machines[made.instance].spec["body"]
        assert sent["dataCenterIds"] == ["EU-RO-1"]


# Offers ---------------------------------------------------------------------------------------------


@pytest.mark.anyio
async def test_a_stock_is_asked_for_by_product_and_by_cloud(rig: Rig) -> None:
    found = (await rig.driver.offers(NEED)).offers
    assert [one.parts.machine_usd_h for one in found if one.parts] == [0.31, 0.44]
    asked = [httpx.URL(seen.path).params for seen in rig.sim.requests]
    assert [(one["product"], one["cloud"]) for one in asked] == [
        ("POD", "SECURE"),
        ("POD", "COMMUNITY"),
    ]


def test_the_price_is_for_one_gpu_and_a_machine_has_so_many_at_most() -> None:
    need = Need(gpu="RTX4090", gpu_count=4)
    (offer,) = offers_of(row(), need, cloud="COMMUNITY", disk_gb=73.0, regions=())
    assert offer.price_usd_h == pytest.approx(4 * 0.31 + 73 * 0.10 / 730)
    need = Need(gpu="RTX4090", gpu_count=5)
    assert offers_of(row(), need, cloud="COMMUNITY", disk_gb=73.0, regions=()) == []
    assert len(offers_of(row(), need, cloud="SECURE", disk_gb=73.0, regions=())) == 1


@pytest.mark.parametrize(
    "fields", [{"availability": "NONE"}, {"secure": False}, {"memory": 12}, {"id": "NVIDIA New"}]
)
def test_rows_that_cannot_be_had_or_judged_are_passed_over(fields: dict[str, Any]) -> None:
    assert offers_of(row(**fields), NEED, cloud="SECURE", disk_gb=64.0, regions=()) == []


@pytest.mark.parametrize(
    ("gpu", "name", "variant"),
    [
        ("NVIDIA A100 80GB PCIe", "A100_80", "pcie"),
        ("NVIDIA A100-SXM4-80GB", "A100_80", "sxm"),
        ("NVIDIA H100 80GB HBM3", "H100_80", "sxm"),
        ("NVIDIA H100 NVL", "H100_94", "nvl"),
        ("NVIDIA RTX 6000 Ada Generation", "RTX6000ADA", ""),
        ("NVIDIA H200", "H200", "sxm"),
    ],
)
def test_an_id_of_a_gpu_has_its_canonical_name(gpu: str, name: str, variant: str) -> None:
    need = Need(gpu=name, gpu_count=1)
    (offer,) = offers_of(row(gpu), need, cloud="SECURE", disk_gb=0.0, regions=())
    assert (offer.gpu, offer.variant, offer.spot) == (name, variant, False)


@pytest.mark.anyio
async def test_there_is_no_spot_and_asking_for_it_alone_is_refused(tmp_path: Path) -> None:
    case = Case(kind=DRIVER, simulator=RunpodSimulator, need=NEED, options={"spot": "only"})
    async with rig_of(case, tmp_path) as rig:
        found = await rig.driver.offers(NEED)
        assert found.offers == []
        assert found.refusal


@pytest.mark.anyio
async def test_the_balance_is_told_by_the_old_api_alone_and_may_be_missing(rig: Rig) -> None:
    assert isinstance(rig.driver, RunpodDriver)
    told = await rig.driver.account()
    assert (told.balance_usd, told.strange_gpus) == (435.85, ["NVIDIA Novelty 9000"])
    for fault in ("forbidden", "garbage_after"):
        rig.sim.faults.add(fault, "graphql")
        assert (await rig.driver.account()).balance_usd is None


# Lives ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", STATES)
def test_each_status_is_read(status: str) -> None:
    found = instance_of(Pod(id="p", name="vl-x", status=status, cost=0.0))
    assert found.state == STATES[status]
    assert found.detail == ("" if status == "RUNNING" else status.lower())


@pytest.mark.anyio
async def test_a_pod_that_has_exited_is_stopped_and_costs_nothing_but_is_listed(rig: Rig) -> None:
    made = await rig.made()
    rig.sim.interrupt(made.instance)
    (found,) = await rig.driver.list()
    assert (found.state, found.price_usd_h) == ("stopped", 0.0)


@pytest.mark.anyio
async def test_an_exited_pod_may_be_started_again_until_it_is_ended(rig: Rig) -> None:
    made = await rig.made()
    rig.sim.interrupt(made.instance)
    rig.sim.fleet.resurrect(made.instance)
    assert (await rig.driver.get(made.instance)).state == "running"
    await rig.driver.terminate(made.instance)
    rig.sim.fleet.resurrect(made.instance)
    assert (await rig.driver.get(made.instance)).state == "gone"


@pytest.mark.anyio
async def test_an_ended_pod_is_no_longer_listed_and_its_end_is_404(rig: Rig) -> None:
    made = await rig.made()
    await rig.driver.terminate(made.instance)
    assert await rig.driver.list() == []
    await rig.driver.terminate(made.instance)
    statuses = [seen.status for seen in rig.sim.requests if seen.call == "terminate"]
    assert statuses == [204, 404]


@pytest.mark.anyio
async def test_a_pod_of_a_cluster_resists_its_end_and_that_is_said(rig: Rig) -> None:
    made = await rig.made()
    rig.sim.faults.add("cluster", "terminate")
    with pytest.raises(DriverError, match="refused terminate") as caught:
        await rig.driver.terminate(made.instance)
    assert "cluster" in caught.value.why


@pytest.mark.anyio
async def test_names_are_not_unique_and_there_is_no_filter(rig: Rig) -> None:
    order = await rig.order()
    for _ in range(3):
        rig.sim.fleet.make(order.name, 0.44)
    rig.sim.fleet.make("vl-jabcdefgh2-a99", 0.44)
    made = await rig.driver.create(order)
    same = [one for one in await rig.driver.list() if one.name == order.name]
    assert [one.instance for one in same] == [made.instance]
    assert len(await rig.driver.list()) == 2
    assert rig.calls("create") == 0


@pytest.mark.anyio
async def test_an_account_without_balance_loses_its_pods(rig: Rig) -> None:
    made = await rig.made()
    rig.sim.fleet.vanish(made.instance)
    assert (await rig.driver.get(made.instance)).state == "gone"
    assert await rig.driver.list() == []


@pytest.mark.anyio
async def test_a_pod_can_end_itself_with_its_own_key_and_no_other(rig: Rig, tmp_path: Path) -> None:
    one, other = await rig.made(), await rig.made()
    environ = rig.sim.machine_environment(rig.sim.fleet.machines[one.instance])
    text = resources.files(bootstrap).joinpath("bootstrap.sh").read_text()
    own = text[text.index("say() {") : text.index("# The pieces of this script")]
    script = f"vl_state={tmp_path} vl_vm=0\n{own}\nfinish 0\n"
    for target, left in ((other.instance, 2), (one.instance, 1)):
        told = {**environ, "RUNPOD_POD_ID": target, "PATH": "/usr/bin:/bin"}
        await anyio.run_process(["sh", "-c", script], env=told, check=False)
        live = [m for m in rig.sim.fleet.machines.values() if m.state is not State.GONE]
        assert len(live) == left
