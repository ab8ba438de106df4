"""What is peculiar to CloudRift, each trap by name: above all, machines that have no names."""

import subprocess
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import pytest
from aiohttp import web

from vaultlayer.driver import Instance, Need, Order
from vaultlayer.errors import AmbiguousCreateError, BalanceError, CapacityError, DriverError
from vaultlayer_actors.drivers.cloud.bootstrap import one_line
from vaultlayer_actors.drivers.cloudrift import DRIVER
from vaultlayer_actors.drivers.cloudrift.book import INTENT_S, Book
from vaultlayer_actors.drivers.cloudrift.reading import instance_of, plans_of
from vaultlayer_actors.drivers.cloudrift.simulator import IMAGE, CloudRiftSimulator
from vaultlayer_actors.drivers.cloudrift.wire import InstanceType, Row, Variant, Vm
from vaultlayer_actors.drivers.conformance import Case, Rig
from vaultlayer_actors.drivers.conformance.case import rig_of
from vaultlayer_actors.simulator.clock import VirtualClock

NEED = Need(gpu="RTX4090", gpu_count=1)
CASE = Case(kind=DRIVER, simulator=CloudRiftSimulator, need=NEED, has_names=False)
GIB = 1024**3


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncGenerator[Rig]:
    async with rig_of(CASE, tmp_path) as made:
        yield made


def simulator(rig: Rig) -> CloudRiftSimulator:
    assert isinstance(rig.sim, CloudRiftSimulator)
    return rig.sim


def stranger(rig: Rig) -> str:
    """Somebody makes a machine of their own in the same account."""
    spec: dict[str, object] = {"variant": "rtx49-10c-kn.1"}
    return rig.sim.fleet.make("somebody-elses", 0.4, spec=spec).id


# Machines without names ---------------------------------------------------------------------------


@pytest.mark.anyio
async def test_nothing_that_the_provider_answers_has_a_name(rig: Rig) -> None:
    made = await rig.made()
    row: dict[str, Any] = simulator(rig)._row(rig.sim.fleet.machines[made.instance])  # pyright: ignore[reportPrivateUsage]
    assert "vl-" not in repr(row)
    assert [one.name for one in await rig.driver.list()] == [made.name]


@pytest.mark.anyio
async def test_a_strangers_machine_is_neither_listed_nor_taken_for_a_lost_one(rig: Rig) -> None:
    before = stranger(rig)
    order = await rig.order()
    rig.sim.faults.add("drop_after", "create")
    made = await rig.driver.create(order)
    after = stranger(rig)
    assert made.instance not in {before, after}
    assert [(one.instance, one.name) for one in await rig.driver.list()] == [
        (made.instance, order.name)
    ]


@pytest.mark.anyio
async def test_a_lost_create_is_found_by_another_process_of_this_home(rig: Rig) -> None:
    order = await rig.order()
    rig.sim.fleet.knobs.listing_lag_s = 60.0
    rig.sim.faults.add("drop_after", "create")
    with pytest.raises(AmbiguousCreateError):
        await rig.driver.create(order)
    rig.clock.advance(60.0)
    other = rig.build()
    assert [one.name for one in await other.list()] == [order.name]
    await other.close()


@pytest.mark.anyio
async def test_two_creates_at_once_never_take_each_others_machine(rig: Rig) -> None:
    offers = (await rig.driver.offers(NEED)).offers
    orders = [await rig.order(offers[0]) for _ in range(3)]
    rig.sim.faults.add("drop_after", "create", skip=1)
    made: dict[str, Instance] = {}

    async def create(order: Order) -> None:
        made[order.name] = await rig.driver.create(order)

    async with anyio.create_task_group() as group:
        for order in orders:
            group.start_soon(create, order)
    names = {one.id: one.name for one in rig.sim.fleet.machines.values()}
    assert {made[order.name].instance for order in orders} == set(names)
    assert {one.instance: one.name for one in made.values()} == names


class Counting(CloudRiftSimulator):
    """Answers a create late, and counts how many are on their way at once."""

    in_flight = most = 0

    async def _rent(self, request: web.Request) -> web.Response:
        self.in_flight += 1
        self.most = max(self.most, self.in_flight)
        answer = await super()._rent(request)
        for _ in range(20):
            await anyio.lowlevel.checkpoint()
        self.in_flight -= 1
        return answer


@pytest.mark.anyio
async def test_only_one_create_is_on_its_way_at_a_time(tmp_path: Path) -> None:
    case = Case(kind=DRIVER, simulator=Counting, need=NEED, has_names=False)
    async with rig_of(case, tmp_path) as rig:
        orders = [await rig.order() for _ in range(3)]
        others = [rig.build() for _ in orders]
        async with anyio.create_task_group() as group:
            for driver, order in zip(others, orders, strict=True):
                group.start_soon(driver.create, order)
        for driver in others:
            await driver.close()
        assert isinstance(rig.sim, Counting)
        assert (rig.sim.most, len(rig.ours())) == (1, 3)


@pytest.mark.anyio
async def test_a_machine_that_is_not_shown_yet_keeps_its_name(rig: Rig) -> None:
    rig.sim.fleet.knobs.get_lag_s = 30.0
    made = await rig.made()
    assert (await rig.driver.get(made.instance)).state == "gone"
    await rig.made()
    rig.clock.advance(31.0)
    assert (await rig.driver.get(made.instance)).name == made.name


@pytest.mark.anyio
async def test_what_the_provider_calls_inactive_is_forgotten(rig: Rig, tmp_path: Path) -> None:
    rig.sim.fleet.knobs.gone_kept_s = 600.0
    made = await rig.made()
    await rig.driver.terminate(made.instance)
    assert (await rig.driver.get(made.instance)).state == "gone"
    other = await rig.made()
    names = Book(tmp_path / "machines.json", rig.clock)
    assert [names.name_of(one.instance) for one in (made, other)] == ["", other.name]


def test_what_nobody_knows_is_said_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    book = Book(tmp_path / "machines.json", VirtualClock())
    for _ in range(2):
        book.tell_strangers(["i-strange"])
    printed = capsys.readouterr()
    assert (printed.out + printed.err).count("i-strange") == 1


@pytest.mark.anyio
async def test_a_lost_request_claims_nothing_that_is_made_later(tmp_path: Path) -> None:
    unix_s = 1_800_000_000.0
    book = Book(tmp_path / "machines.json", VirtualClock(), lambda: unix_s)
    book.intend("vl-jabcdefgh2-a1", ["a"])
    book.judge(["a"])
    assert book.has_intents()
    unix_s += INTENT_S + 1
    book.judge(["a", "b"])
    assert (book.name_of("b"), book.has_intents()) == ("", False)


def test_the_newest_create_that_came_before_a_machine_gets_it(tmp_path: Path) -> None:
    book = Book(tmp_path / "machines.json", VirtualClock())
    book.intend("vl-jabcdefgh2-a1", ["a"])
    book.intend("vl-jabcdefgh3-a1", ["a", "b"])
    book.judge(["a", "b", "c"])
    assert [book.name_of(one) for one in "abc"] == ["", "vl-jabcdefgh2-a1", "vl-jabcdefgh3-a1"]


@pytest.mark.anyio
async def test_a_machine_whose_book_was_lost_can_still_be_looked_at_and_ended(
    rig: Rig, tmp_path: Path
) -> None:
    made = await rig.made()
    (tmp_path / "machines.json").unlink()
    assert await rig.driver.list() == []
    assert (await rig.driver.get(made.instance)).state == "running"
    await rig.driver.terminate(made.instance)
    assert rig.sim.fleet.ledger.billed() == []


# Creating -----------------------------------------------------------------------------------------


@pytest.mark.anyio
async def test_success_without_any_machine_is_no_capacity(rig: Rig) -> None:
    order = await rig.order()
    for _, row in simulator(rig).variants.values():
        row["available_nodes_per_dc"] = {}
    with pytest.raises(CapacityError, match="no such machine"):
        await rig.driver.create(order)
    assert await rig.driver.list() == []


@pytest.mark.anyio
async def test_words_that_nobody_knows_say_nothing_about_the_machine(rig: Rig) -> None:
    order = await rig.order()
    rig.sim.faults.add("offer_gone", "create", value=400, text="gremlins")
    with pytest.raises(AmbiguousCreateError):
        await rig.driver.create(order)


@pytest.mark.anyio
async def test_an_empty_account_is_read_out_of_plain_text(rig: Rig) -> None:
    order = await rig.order()
    rig.sim.faults.add("balance", "create")
    with pytest.raises(BalanceError):
        await rig.driver.create(order)


@pytest.mark.anyio
async def test_the_machine_waits_for_the_right_time_before_it_boots(rig: Rig) -> None:
    made = await rig.made()
    data: Any = rig.sim.fleet.machines[made.instance].spec["data"]
    vm = data["config"]["VirtualMachine"]
    command = vm["cloudinit_commands"]
    assert "NTPSynchronized" in command.partition("base64")[0]
    assert "\n" not in command
    assert ": " not in command
    assert " #" not in command
    assert vm["image_url"] == IMAGE


def test_the_one_line_becomes_the_script(tmp_path: Path) -> None:
    script = f"#!/bin/sh\necho 'it'\\''s here' >{tmp_path}/out\n"
    subprocess.run(["/bin/sh", "-c", one_line(script)], check=True)
    assert (tmp_path / "out").read_text() == "it's here\n"


@pytest.mark.anyio
async def test_without_an_image_for_nvidia_nothing_is_rented_and_it_is_said(rig: Rig) -> None:
    order = await rig.order()
    simulator(rig).images = []
    with pytest.raises(DriverError, match="no VM image") as caught:
        await rig.driver.create(order)
    assert "image" in caught.value.mend
    assert rig.calls("create") == 0


# Offers -------------------------------------------------------------------------------------------


@pytest.mark.anyio
async def test_cents_are_dollars_and_only_free_nodes_are_offered(rig: Rig) -> None:
    offers = (await rig.driver.offers(NEED)).offers
    assert {one.region for one in offers} == {"us-east-nc-nr-1", "eu-west-1"}
    assert {one.price_usd_h for one in offers} == {0.39}
    assert (await rig.driver.offers(Need(gpu="RTXPRO6000", gpu_count=1))).offers == []


@pytest.mark.parametrize("vram_gib", [24, 48])
def test_memory_may_be_of_one_gpu_or_of_all(vram_gib: int) -> None:
    variant = Variant(
        name="x",
        cost_per_hour=78,
        vram=vram_gib * GIB,
        gpu_count=2,
        available_nodes_per_dc={"here": 1},
    )
    (plan,) = plans_of(InstanceType(brand_short="NVIDIA RTX 4090", variants=[variant]))
    assert (plan.gpu, plan.gpu_count, plan.gpu_memory_b) == ("RTX4090", 2, 24 * GIB)


def test_a_brand_that_nobody_knows_is_passed_over() -> None:
    variant = Variant(name="x", cost_per_hour=78, vram=24 * GIB, gpu_count=1)
    assert plans_of(InstanceType(brand_short="MI350X", variants=[variant])) == []


# Reading and ending -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "ready", "state"),
    [
        ("Initializing", None, "booting"),
        ("Active", False, "booting"),
        ("Active", True, "running"),
        ("Active", None, "running"),
        ("Deactivating", True, "stopped"),
        ("Inactive", None, "gone"),
        ("Levitating", None, "unknown"),
    ],
)
def test_each_status_is_read(status: str, ready: bool | None, state: str) -> None:
    vms = [] if ready is None else [Vm(ready=ready)]
    assert instance_of(Row(id="x", status=status, virtual_machines=vms), "").state == state


@pytest.mark.anyio
async def test_an_end_that_ends_nothing_is_looked_after(rig: Rig) -> None:
    made = await rig.made()
    await rig.driver.terminate(made.instance)
    await rig.driver.terminate(made.instance)
    assert rig.calls("terminate") == 2
    assert (await rig.driver.get(made.instance)).state == "gone"


@pytest.mark.anyio
async def test_an_end_that_the_provider_passes_over_is_said_and_may_be_repeated(rig: Rig) -> None:
    made = await rig.made()
    simulator(rig).deaf_ends = 1
    with pytest.raises(DriverError) as caught:
        await rig.driver.terminate(made.instance)
    assert caught.value.retryable
    await rig.driver.terminate(made.instance)
    assert rig.ours() == []
