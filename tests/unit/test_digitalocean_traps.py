"""What is peculiar to DigitalOcean, each trap by name; the simulator speaks the vendor's words."""

from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import httpx
import pytest

from vaultlayer.driver import Need
from vaultlayer.errors import AmbiguousCreateError, BalanceError, CapacityError, DriverError
from vaultlayer_actors.drivers.cloud.reply import Reply
from vaultlayer_actors.drivers.conformance import Case, Rig
from vaultlayer_actors.drivers.conformance.case import rig_of
from vaultlayer_actors.drivers.digitalocean import DRIVER
from vaultlayer_actors.drivers.digitalocean.reading import classify, gpu_of, instance_of
from vaultlayer_actors.drivers.digitalocean.simulator import NO_CAPACITY, DigitalOceanSimulator
from vaultlayer_actors.drivers.digitalocean.wire import Droplet, GpuInfo, Size, Vram

NEED = Need(gpu="H100_80", gpu_count=1)
CASE = Case(kind=DRIVER, simulator=DigitalOceanSimulator, need=NEED)


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncGenerator[Rig]:
    async with rig_of(CASE, tmp_path) as made:
        yield made


def simulator(rig: Rig) -> DigitalOceanSimulator:
    assert isinstance(rig.sim, DigitalOceanSimulator)
    return rig.sim


def reply(status: int, body: str, call: str = "create") -> Reply:
    return Reply(
        provider="digitalocean",
        call=call,
        status=status,
        headers={},
        body=body.encode(),
        text=body,
        is_safe=call != "create",
    )


# Listing ------------------------------------------------------------------------------------------


@pytest.mark.anyio
async def test_the_default_listing_hides_machines_with_gpus_and_ours_does_not(rig: Rig) -> None:
    made = await rig.made()
    async with httpx.AsyncClient(base_url=rig.sim.url) as client:
        headers = {"Authorization": f"Bearer {rig.sim.key}"}
        plain = (await client.get("/v2/droplets", headers=headers)).json()
    assert plain["droplets"] == []
    assert [one.instance for one in await rig.driver.list()] == [made.instance]


@pytest.mark.anyio
async def test_a_droplet_named_as_ours_without_our_tag_is_a_strangers(rig: Rig) -> None:
    made = await rig.made()
    body: Any = rig.sim.fleet.machines[made.instance].spec["body"]
    rig.sim.fleet.make("vl-jabcdefgh9-a7", 1.0, spec={"body": {**body, "tags": ["prod"]}})
    assert [one.instance for one in await rig.driver.list()] == [made.instance]


@pytest.mark.parametrize(
    ("status", "state"),
    [
        ("new", "booting"),
        ("active", "running"),
        ("off", "stopped"),
        ("archive", "gone"),
        ("migrating", "unknown"),
    ],
)
def test_each_status_is_read(status: str, state: str) -> None:
    assert instance_of(Droplet(id=1, status=status)).state == state


@pytest.mark.anyio
async def test_a_droplet_that_is_off_is_dead_and_billed_in_full_until_it_is_destroyed(
    rig: Rig,
) -> None:
    made = await rig.made()
    rig.sim.interrupt(made.instance)
    seen = await rig.driver.get(made.instance)
    assert (seen.state, seen.is_alive) == ("stopped", False)
    began_usd = rig.sim.fleet.ledger.total_usd(rig.clock.now_s())
    rig.clock.advance(3600.0)
    spent_usd = rig.sim.fleet.ledger.total_usd(rig.clock.now_s()) - began_usd
    assert spent_usd == pytest.approx(3.39)
    await rig.driver.terminate(made.instance)
    assert rig.sim.fleet.ledger.billed() == []


# Offers -------------------------------------------------------------------------------------------


@pytest.mark.anyio
async def test_each_region_of_a_size_is_an_offer_and_a_size_without_regions_is_none(
    rig: Rig,
) -> None:
    offers = (await rig.driver.offers(NEED)).offers
    assert {one.region for one in offers} == {"nyc2", "tor1", "atl1"}
    simulator(rig).sizes["gpu-h100x1-80gb"]["regions"] = []
    rig.clock.advance(60.0)
    assert (await rig.driver.offers(NEED)).offers == []


@pytest.mark.anyio
async def test_a_size_on_the_last_page_is_offered(rig: Rig) -> None:
    simulator(rig).page_max = 2
    assert (await rig.driver.offers(Need(gpu="L40S", gpu_count=1))).offers
    assert rig.calls("offers") == 4


@pytest.mark.parametrize(
    ("model", "count", "amount", "gpu"),
    [
        ("nvidia_h100", 1, 80, "H100_80"),
        ("nvidia_h100", 8, 640, "H100_80"),
        ("nvidia_h100", 8, 80, "H100_80"),
        ("nvidia_h100", 1, 24, None),
        ("amd_mi300x", 1, 192, None),
        ("nvidia_novelty", 1, 80, None),
    ],
)
def test_memory_may_be_of_one_gpu_or_of_all_and_amd_is_passed_over(
    model: str, count: int, amount: float, gpu: str | None
) -> None:
    info = GpuInfo(count=count, model=model, vram=Vram(amount=amount))
    found = gpu_of(Size(slug="x", gpu_info=info))
    assert (found[0] if found else None) == gpu


# Creating -----------------------------------------------------------------------------------------


@pytest.mark.anyio
async def test_what_is_sent_is_tagged_and_boots_the_image_of_its_size(rig: Rig) -> None:
    made = await rig.made()
    body: Any = rig.sim.fleet.machines[made.instance].spec["body"]
    assert body["tags"] == ["vaultlayer"]
    assert body["image"] == "gpu-h100x1-base"
    eight = await rig.driver.offers(Need(gpu="H100_80", gpu_count=8))
    made = await rig.driver.create(await rig.order(eight.offers[0]))
    body = rig.sim.fleet.machines[made.instance].spec["body"]
    assert body["image"] == "gpu-h100x8-base"
    assert len(body["user_data"].encode()) < 64 * 1024


def test_no_capacity_has_no_code_of_its_own_and_our_own_faults_are_not_it() -> None:
    def judged(text: str) -> type:
        body = f'{{"id": "unprocessable_entity", "message": "{text}"}}'
        return type(classify(reply(422, body)))

    assert judged(NO_CAPACITY) is CapacityError
    assert judged("something new") is CapacityError
    assert judged("You specified an invalid image for Droplet creation.") is DriverError
    assert judged("User data is too long (maximum is 64 KiB).") is DriverError
    assert judged("Please verify your payment method.") is BalanceError


@pytest.mark.anyio
async def test_an_image_that_does_not_exist_is_said_and_no_offer_rests(tmp_path: Path) -> None:
    case = Case(kind=DRIVER, simulator=DigitalOceanSimulator, need=NEED, options={"image": "nope"})
    async with rig_of(case, tmp_path) as rig:
        with pytest.raises(DriverError, match="refused the create") as caught:
            await rig.made()
        assert not isinstance(caught.value, CapacityError)
        assert len((await rig.driver.offers(NEED)).offers) == 3


@pytest.mark.anyio
async def test_words_that_nobody_knows_say_nothing_about_the_machine(rig: Rig) -> None:
    order = await rig.order()
    rig.sim.faults.add("offer_gone", "create", value=418, text="short and stout")
    with pytest.raises(AmbiguousCreateError):
        await rig.driver.create(order)
    assert rig.calls("list") > 2


@pytest.mark.anyio
async def test_a_burst_is_waited_for_as_long_as_is_asked(rig: Rig) -> None:
    began_s = rig.clock.now_s()
    rig.sim.faults.add("429", "list")
    await rig.driver.list()
    assert 7.0 <= rig.clock.now_s() - began_s < 10.0


# Ending -------------------------------------------------------------------------------------------


@pytest.mark.anyio
async def test_a_second_delete_is_404_and_done_and_nobody_deletes_by_tag(rig: Rig) -> None:
    made = await rig.made()
    await rig.driver.terminate(made.instance)
    await rig.driver.terminate(made.instance)
    ends = [seen for seen in rig.sim.requests if seen.call == "terminate"]
    assert [seen.status for seen in ends] == [204, 404]
    assert all("tag_name" not in seen.path for seen in rig.sim.requests)
