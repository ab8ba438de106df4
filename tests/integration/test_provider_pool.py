"""Pools over a real nats-server and the local driver with real processes."""

import os
import random
import signal
import subprocess
import sys
from collections.abc import AsyncGenerator
from dataclasses import replace
from pathlib import Path

import anyio
import pytest

from pools import World, context_of, running_world
from servers import NatsServer
from standin import first_of, local_driver, order_of, until
from vaultlayer import events as ev
from vaultlayer import subjects
from vaultlayer.bus.nats import open_bus
from vaultlayer.driver import Need, OfferList
from vaultlayer.errors import VaultLayerError
from vaultlayer.ids import ActorId, JobId
from vaultlayer.job import End, Phase
from vaultlayer.messages import (
    AbsentReply,
    Done,
    ProbeReply,
    ProbeRequest,
    TerminateRequest,
)
from vaultlayer_actors.dispatcher.offers import COMES_S, GLANCE_S, PATIENT_S, Offers
from vaultlayer_actors.drivers.local.driver import LocalDriver
from vaultlayer_actors.drivers.local.processes import is_alive, send
from vaultlayer_actors.provider_pool.actor import build

pytestmark = [pytest.mark.integration, pytest.mark.anyio]


@pytest.fixture
async def world(nats_server: NatsServer, tmp_path: Path) -> AsyncGenerator[World]:
    """An installation whose instances are all ended with the test."""
    async with running_world(nats_server, tmp_path) as made:
        yield made
    driver = driver_of(tmp_path)
    for instance in await driver.list():
        await driver.terminate(instance.instance)
    await driver.close()


def driver_of(path: Path) -> LocalDriver:
    """Give a driver on the same state as the pools'."""
    return local_driver(path / "home" / "drivers")


def name_of(job: JobId) -> str:
    return f"vl-{job}-a1"


async def test_an_order_becomes_a_machine_and_the_log_tells_it(world: World) -> None:
    async with world.pool():
        job = await world.order()
        attempt = await world.wait_for(job, "instance")
    assert attempt.phase is Phase.BOOTING
    assert attempt.price_usd_h == 0.5
    assert await world.kinds(job) == ["submitted", "ordered", "create_claimed", "created"]
    await until(lambda: world.starts() == [name_of(job)])


async def test_an_order_from_before_the_pool_is_carried_out(world: World) -> None:
    job = await world.order()
    async with world.pool():
        await world.wait_for(job, "instance")


async def test_two_pools_make_one_machine_for_each_of_twenty_orders(world: World) -> None:
    async with world.pool("provider_pool-one"), world.pool("provider_pool-two"):
        jobs = [await world.order() for _ in range(20)]
        for job in jobs:
            await world.wait_for(job, "instance", timeout_s=60.0)
        await until(lambda: len(world.starts()) >= 20)
    assert world.starts() == sorted(name_of(job) for job in jobs)
    for job in jobs:
        assert (await world.kinds(job)).count("created") == 1


async def test_a_pool_that_died_before_the_call_is_replaced(world: World) -> None:
    job = await world.order()
    await world.put(job, ev.CreateClaimed(attempt=1, claim_s=0.3))
    async with world.pool():
        await world.wait_for(job, "instance")
        await until(lambda: world.starts() == [name_of(job)])
    assert (await world.kinds(job))[2:] == ["create_claimed", "create_claimed", "created"]


async def test_a_machine_whose_maker_died_before_it_said_so_is_adopted(world: World) -> None:
    job = await world.order()
    await world.put(job, ev.CreateClaimed(attempt=1, claim_s=0.3))
    driver = driver_of(world.path)
    await driver.create(order_of(job))
    first = first_of(world.path / "home" / "drivers", name_of(job))
    async with world.pool():
        attempt = await world.wait_for(job, "instance")
    assert attempt.instance == name_of(job)
    assert is_alive(first)
    assert world.starts() == []
    entries = await world.ledger._log.read(job)  # pyright: ignore[reportPrivateUsage]
    entry = ev.decode("created", entries[-1].payload)
    assert isinstance(entry, ev.Created)
    assert entry.adopted
    await driver.close()


async def test_a_claim_of_a_living_pool_is_respected(world: World) -> None:
    job = await world.order()
    await world.put(job, ev.CreateClaimed(attempt=1, claim_s=600.0))
    async with world.pool():
        other = await world.order()
        await world.wait_for(other, "instance")
        await anyio.sleep(0.3)
    assert (await world.kinds(job))[2:] == ["create_claimed"]


async def test_pools_that_are_killed_at_any_moment_leave_one_machine_an_order(
    world: World,
) -> None:
    code = "import pools; pools.main()"
    root = Path(__file__).parent.parent
    places = f"{root}:{root.parent / 'actors'}:{root.parent}"
    environ = {"PYTHONPATH": places, "PATH": os.environ["PATH"]}

    def start(number: int) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [
                sys.executable,
                "-c",
                code,
                world.server.url,
                str(world.path),
                f"provider_pool-p{number}",
            ],
            env=environ,
        )

    jobs: list[JobId] = []
    dice = random.Random(7)
    for number in range(4):
        process = start(number)
        try:
            before = len(jobs)
            jobs += [await world.order() for _ in range(5)]
            await world.wait_for(jobs[before], "claim_cmd")
            await anyio.sleep(dice.uniform(0.0, 0.15))
        finally:
            process.kill()
            process.wait()
    last = start(9)
    try:
        # A claim of a killed pool holds the others off for the local driver's `create_s`.
        for job in jobs:
            await world.wait_for(job, "instance", timeout_s=60.0)
        await until(lambda: len(world.starts()) >= len(jobs))
    finally:
        last.kill()
        last.wait()
    assert world.starts() == sorted(name_of(job) for job in jobs)


async def test_an_order_that_was_released_before_the_call_makes_nothing(world: World) -> None:
    job = await world.order()
    await world.put(job, ev.Released(attempt=1, reason="cancelled"))
    async with world.pool():
        attempt = await world.wait_for(job, "gone_at")
    assert (attempt.phase, attempt.end) == (Phase.GONE, End.RELEASED)
    assert (await world.kinds(job))[-1] == "create_failed"
    assert world.starts() == []


async def test_a_full_machine_is_a_failed_create_with_its_reason(world: World) -> None:
    world.options["slots"] = 1
    async with world.pool():
        first = await world.order()
        await world.wait_for(first, "instance")
        second = await world.order()
        attempt = await world.wait_for(second, "gone_at")
    assert attempt.end is End.NOT_CREATED
    assert "all 1 slots of this machine are in use" in attempt.end_reason


async def test_an_order_waits_for_a_vault_that_refuses(world: World) -> None:
    world.vault_failures = 2
    async with world.pool():
        job = await world.order()
        await world.wait_for(job, "instance")
    assert world.vault_failures == 0
    assert (await world.kinds(job))[2:] == ["create_claimed", "created"]


@pytest.mark.parametrize("phase", ["booting", "ready", "active"])
async def test_a_machine_that_dies_is_lost_within_moments(world: World, phase: str) -> None:
    async with world.pool():
        job = await world.order()
        await world.wait_for(job, "instance")
        if phase != "booting":
            await world.put(job, ev.Ready(attempt=1))
        if phase == "active":
            await world.put(job, ev.Takeover(attempt=1))
        send(first_of(world.path / "home" / "drivers", name_of(job)), signal.SIGKILL)
        attempt = await world.wait_for(job, "ended_at", timeout_s=5.0)
    assert attempt.end is End.LOST
    assert attempt.end_reason == "provider: gone (its processes are gone)"


async def test_a_machine_that_died_while_no_pool_ran_is_lost(world: World) -> None:
    async with world.pool():
        job = await world.order()
        await world.wait_for(job, "instance")
    send(first_of(world.path / "home" / "drivers", name_of(job)), signal.SIGKILL)
    async with world.pool("provider_pool-two"):
        attempt = await world.wait_for(job, "ended_at", timeout_s=5.0)
    assert attempt.end is End.LOST


async def test_a_frozen_machine_is_not_called_lost_by_its_provider(world: World) -> None:
    async with world.pool():
        job = await world.order()
        await world.wait_for(job, "instance")
        await world.put(job, ev.DrillRequested(attempt=1, verb="freeze"))
        with anyio.fail_after(10):
            while "drilled" not in await world.kinds(job):
                await anyio.sleep(0.02)
        await anyio.sleep(0.6)
        assert (await world.attempt(job)).is_live


async def test_a_kill_drill_is_carried_out_told_and_seen(world: World) -> None:
    async with world.pool(), world.pool("provider_pool-two"):
        job = await world.order()
        await world.wait_for(job, "instance")
        await world.put(job, ev.DrillRequested(attempt=1, verb="kill"))
        attempt = await world.wait_for(job, "ended_at")
        with anyio.fail_after(10):
            while "drilled" not in await world.kinds(job):
                await anyio.sleep(0.02)
    assert attempt.end is End.LOST
    assert (await world.kinds(job)).count("drilled") == 1


async def test_a_drill_on_what_is_over_is_refused_in_the_log(world: World) -> None:
    async with world.pool():
        job = await world.order()
        await world.wait_for(job, "instance")
        await world.put(job, ev.Released(attempt=1, reason="cancelled"))
        await world.put(job, ev.DrillRequested(attempt=1, verb="kill"))
        with anyio.fail_after(10):
            while "drilled" not in await world.kinds(job):
                await anyio.sleep(0.02)
    entries = await world.ledger._log.read(job)  # pyright: ignore[reportPrivateUsage]
    entry = ev.decode("drilled", entries[-1].payload)
    assert isinstance(entry, ev.Drilled)
    assert entry.detail == "refused: attempt 1 is over"


async def test_the_sweeper_ends_what_the_log_does_not_know_and_nothing_else(world: World) -> None:
    driver = driver_of(world.path)
    claimed = await world.order()
    await world.put(claimed, ev.CreateClaimed(attempt=1, claim_s=600.0))
    await driver.create(order_of(claimed))
    stranger = JobId("jzzzzzzzzz")
    await driver.create(order_of(stranger))
    async with world.pool():
        with anyio.fail_after(10):
            while (await driver.get(name_of(stranger))).state != "gone":
                await anyio.sleep(0.02)
    assert [one.name for one in await driver.list()] == [name_of(claimed)]
    await driver.close()


async def test_the_services_tell_offers_look_end_and_absence(world: World) -> None:
    async with world.pool():
        job = await world.order()
        attempt = await world.wait_for(job, "instance")
        offers = await world.bus.request(subjects.pool("local", "offers"), Need(), OfferList)
        assert offers.manifest is not None
        assert offers.manifest.work_root.endswith("/local/work")
        assert [offer.provider for offer in offers.offers] == ["local"]
        machine = TerminateRequest(job=job, attempt=1)
        probe = ProbeRequest(instance=attempt.instance)
        here = await world.bus.request(subjects.pool("local", "probe"), probe, ProbeReply)
        assert (here.vanished, here.instance.state) == (False, "running")
        still = await world.bus.request(subjects.pool("local", "absent"), machine, AbsentReply)
        assert not still.absent
        assert "running" in still.detail
        # Without an instance the machine is found by its name.
        await world.bus.request(subjects.pool("local", "terminate"), machine, Done)
        gone = await world.bus.request(subjects.pool("local", "probe"), probe, ProbeReply)
        assert gone.vanished
        over = await world.bus.request(subjects.pool("local", "absent"), machine, AbsentReply)
        assert over.absent


async def test_a_provider_that_cannot_be_used_says_why_and_stops_nobody(world: World) -> None:
    world.options["slots"] = 0
    async with world.pool():
        with anyio.fail_after(10):
            while True:
                try:
                    offers = await world.bus.request(
                        subjects.pool("local", "offers"), Need(), OfferList
                    )
                    break
                except VaultLayerError:
                    await anyio.sleep(0.05)
    assert "Expected `int` >= 1 - at `$.slots`" in offers.refusal


# Questions --------------------------------------------------------------------------------------


async def test_a_submission_waits_for_a_pool_that_is_just_starting(world: World) -> None:
    offers = Offers(context_of(world, world.bus, "dispatcher-one"))
    (glance,) = await offers.ask(Need(gpu_count=0), GLANCE_S)
    assert (glance.offers, glance.late) == ([], True)
    assert "nobody serves" in glance.refusal
    found: list[OfferList] = []

    async def ask() -> None:
        found.extend(await offers.ask(Need(gpu_count=0), PATIENT_S))

    async with anyio.create_task_group() as group:
        group.start_soon(ask)
        # It has found nobody by then; what follows would end the wait at once otherwise.
        await anyio.sleep(2 * COMES_S)
        assert not found
        async with world.pool():
            await until(lambda: bool(found))
    assert found[0].offers


async def test_a_pool_says_when_it_serves_and_not_before(world: World) -> None:
    served, found = anyio.Event(), OfferList(provider="nobody")
    inbox = subjects.actor_inbox(ActorId("provider_pool-one"))
    async with (
        open_bus([world.server.url], None, inbox=inbox, name="provider_pool-one") as bus,
        anyio.create_task_group() as group,
    ):
        context = context_of(world, bus, "provider_pool-one")
        group.start_soon(build(replace(context, served=served.set)).run)
        with anyio.fail_after(20.0):
            await served.wait()
        found = await world.bus.request(
            subjects.pool("local", "offers"), Need(gpu_count=0), OfferList, timeout_s=10.0
        )
        group.cancel_scope.cancel()
    assert found.offers
