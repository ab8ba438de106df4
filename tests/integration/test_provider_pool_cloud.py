"""The pool against a cloud that has bad days."""

from collections.abc import AsyncGenerator
from pathlib import Path

import anyio
import pytest

from clouds import Cloud, CloudDriver
from pools import World, context_of, running_world
from servers import NatsServer
from standin import until
from vaultlayer import events as ev
from vaultlayer import subjects
from vaultlayer.ids import JobId
from vaultlayer.job import End, Phase
from vaultlayer.messages import AbsentReply, AuditReply, Done, TerminateRequest
from vaultlayer_actors.provider_pool.watch import Watch

pytestmark = [pytest.mark.integration, pytest.mark.anyio]


@pytest.fixture
def cloud(monkeypatch: pytest.MonkeyPatch) -> Cloud:
    """A cloud that the pools of this test find by the name `cloud`."""
    made = Cloud()

    def find(_name: str) -> Cloud:
        return made

    monkeypatch.setattr("vaultlayer_actors.provider_pool.actor.find_driver", find)
    return made


@pytest.fixture
async def world(nats_server: NatsServer, tmp_path: Path) -> AsyncGenerator[World]:
    async with running_world(nats_server, tmp_path, provider="cloud") as made:
        yield made


def name_of(job: JobId) -> str:
    return f"vl-{job}-a1"


async def entry_of(world: World, job: JobId, kind: type[ev.Event]) -> ev.Event:
    """Give the job's entry of one kind."""
    entries = await world.ledger._log.read(job)  # pyright: ignore[reportPrivateUsage]
    events = [ev.decode(subjects.parse_event(one.subject)[1], one.payload) for one in entries]
    return next(event for event in events if isinstance(event, kind))


async def test_a_driver_gets_its_keys_from_the_vault_and_is_closed(
    world: World, cloud: Cloud
) -> None:
    async with world.pool():
        await world.wait_for(await world.order(), "instance")
    assert cloud.keys == ["of-cloud"]
    assert cloud.calls[-1] == "close"


async def test_orders_from_before_the_driver_had_its_keys_are_carried_out(
    world: World, cloud: Cloud
) -> None:
    world.vault_failures = 3
    job = await world.order()
    async with world.pool():
        attempt = await world.wait_for(job, "instance")
    assert attempt.instance == "i-1"
    assert cloud.keys == ["of-cloud"]


async def test_a_machine_that_came_after_the_log_had_another_is_ended_by_its_maker(
    world: World, cloud: Cloud
) -> None:
    cloud.fault = "slow"
    async with world.pool():
        job = await world.order()
        await until(lambda: "i-1" in cloud.machines)
        await world.put(job, ev.Created(attempt=1, instance="i-other"))
        cloud.go_on.set()
        await until(lambda: "terminate i-1" in cloud.calls)
    assert (await world.attempt(job)).instance == "i-other"


async def test_a_watch_takes_up_what_it_never_heard_of(world: World, cloud: Cloud) -> None:
    job = await world.order()
    made = cloud.add(name_of(job))
    await world.put(job, ev.Created(attempt=1, instance=made.instance))
    context = context_of(world, world.bus, "provider_pool-deaf")
    watch = Watch(context, CloudDriver(cloud))
    await watch.poll()
    assert (await world.attempt(job)).is_live
    del cloud.machines[made.instance]
    await watch.poll()
    assert (await world.attempt(job)).end is End.LOST


@pytest.mark.parametrize("fault", ["lost answer", "defect"])
async def test_a_machine_that_came_of_a_lost_answer_is_adopted(
    world: World, cloud: Cloud, fault: str
) -> None:
    cloud.fault = fault
    async with world.pool():
        job = await world.order()
        attempt = await world.wait_for(job, "instance")
    created = await entry_of(world, job, ev.Created)
    assert isinstance(created, ev.Created)
    assert (attempt.instance, created.adopted) == ("i-1", True)
    assert cloud.calls[:-1] == [f"create {name_of(job)}"]


async def test_a_lost_request_is_a_failed_create_only_after_looking(
    world: World, cloud: Cloud
) -> None:
    cloud.fault = "lost request"
    async with world.pool():
        job = await world.order()
        attempt = await world.wait_for(job, "gone_at")
    assert attempt.end is End.NOT_CREATED
    assert "no machine of its name is listed" in attempt.end_reason
    assert cloud.machines == {}


async def test_a_refusal_is_told_with_its_reason_and_a_pause(world: World, cloud: Cloud) -> None:
    cloud.fault = "refused"
    async with world.pool():
        job = await world.order()
        await world.wait_for(job, "gone_at")
    failed = await entry_of(world, job, ev.CreateFailed)
    assert isinstance(failed, ev.CreateFailed)
    assert (failed.code, failed.reason) == ("driver", "the cloud refused: no money")
    assert failed.cooldown_s == 120.0


async def test_a_machine_that_shows_up_after_its_create_was_given_up_is_ended(
    world: World, cloud: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vaultlayer_actors.provider_pool.sweep.SWEEP_S", 0.05)
    cloud.fault = "lost answer"
    cloud.unlisted = {"i-1"}
    async with world.pool():
        job = await world.order()
        await world.wait_for(job, "gone_at")
        assert cloud.states() == {"i-1": "running"}
        cloud.unlisted = set()
        await until(lambda: cloud.machines == {})
    assert "terminate i-1" in cloud.calls


async def test_a_second_machine_of_one_name_is_ended_and_the_first_kept(
    world: World, cloud: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vaultlayer_actors.provider_pool.sweep.SWEEP_S", 0.05)
    async with world.pool():
        job = await world.order()
        await world.wait_for(job, "instance")
        cloud.add(name_of(job))
        cloud.add("somebody-elses-machine")
        await until(lambda: "i-2" not in cloud.machines)
        await anyio.sleep(0.2)
    assert cloud.states() == {"i-1": "running", "i-3": "running"}


async def test_an_unknown_machine_is_ended_only_when_seen_as_often_as_the_provider_needs(
    world: World, cloud: Cloud
) -> None:
    cloud.add("vl-jzzzzzzzzz-a1")
    async with world.pool():
        await world.wait_for(await world.order(), "instance")
        await anyio.sleep(0.2)
        assert "i-1" in cloud.machines


async def test_an_outbid_machine_is_lost_at_once(world: World, cloud: Cloud) -> None:
    async with world.pool():
        job = await world.order()
        await world.wait_for(job, "instance")
        cloud.stop("i-1")
        attempt = await world.wait_for(job, "ended_at", timeout_s=5.0)
    assert (attempt.end, attempt.end_reason) == (End.LOST, "provider: stopped (outbid)")


async def test_a_machine_that_a_listing_forgets_but_the_provider_knows_is_not_lost(
    world: World, cloud: Cloud
) -> None:
    async with world.pool():
        job = await world.order()
        await world.wait_for(job, "instance")
        await anyio.sleep(0.2)
        cloud.unlisted = {"i-1"}
        await anyio.sleep(0.4)
        assert (await world.attempt(job)).is_live


async def test_a_machine_made_for_an_attempt_that_ended_meanwhile_is_left_to_the_fencer(
    world: World, cloud: Cloud
) -> None:
    job = await world.order()
    await world.put(job, ev.CreateClaimed(attempt=1, claim_s=0.2))
    cloud.add(name_of(job))
    await world.put(job, ev.Released(attempt=1, reason="cancelled"))
    async with world.pool():
        attempt = await world.wait_for(job, "instance")
    assert (attempt.phase, attempt.instance) == (Phase.ENDED, "i-1")
    assert cloud.states() == {"i-1": "running"}


async def test_absence_is_looked_for_as_often_as_the_provider_needs(
    world: World, cloud: Cloud
) -> None:
    async with world.pool():
        job = await world.order()
        await world.wait_for(job, "instance")
        machine = TerminateRequest(job=job, attempt=1, instance="i-1")
        # Unlisted is not absent: `get` still knows it.
        cloud.unlisted = {"i-1"}
        subject = subjects.pool("cloud", "absent")
        still = await world.bus.request(subject, machine, AbsentReply)
        assert not still.absent
        del cloud.machines["i-1"]
        began_s = anyio.current_time()
        gone = await world.bus.request(subject, machine, AbsentReply)
        assert gone.absent
        assert anyio.current_time() - began_s >= 0.1


async def test_a_new_key_is_taken_up_without_a_restart(world: World, cloud: Cloud) -> None:
    async with world.pool():
        await world.wait_for(await world.order(), "instance")
        await world.bus.publish(subjects.pool("cloud", "rekeyed"), Done())
        await until(lambda: len(cloud.keys) == 2)
        assert "close" in cloud.calls
        attempt = await world.wait_for(await world.order(), "instance")
    assert attempt.instance == "i-2"


async def test_an_audit_shows_our_machines_alone_and_says_which_nobody_wants(
    world: World, cloud: Cloud
) -> None:
    async with world.pool():
        job = await world.order()
        await world.wait_for(job, "instance")
        cloud.add("vl-j7777777aa-a3")
        cloud.add("somebody-elses-database")
        reply = await world.bus.request(subjects.pool("cloud", "audit"), Done(), AuditReply)
    told = {row.name: row.unknown for row in reply.rows}
    assert told == {name_of(job): "", "vl-j7777777aa-a3": "the log has no such job"}
    assert cloud.states()["i-3"] == "running"
