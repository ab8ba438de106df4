"""Fencers over a real nats-server, with a pool and a vault that answer what the test wants."""

from collections.abc import AsyncGenerator

import anyio
import msgspec
import pytest

from actor_rig import Provider, Rig, running_rig, until
from histories import History
from servers import NatsServer
from vaultlayer import events as ev
from vaultlayer import subjects
from vaultlayer.ids import Attempt, JobId, job_id
from vaultlayer.job import Phase
from vaultlayer.lease import LeaseTerms
from vaultlayer.messages import ControlMessage, RevokeRequest, TerminateRequest
from vaultlayer_actors.fencer.actor import build

pytestmark = [pytest.mark.integration, pytest.mark.anyio]

LOST = ev.Lost(attempt=1, evidence="lease")


@pytest.fixture
async def rig(nats_server: NatsServer) -> AsyncGenerator[Rig]:
    async with running_rig(nats_server, LeaseTerms()) as made:
        yield made


async def is_gone(rig: Rig, job: JobId, number: int = 1) -> bool:
    return (await rig.attempt(job, number)).phase is Phase.GONE


async def test_a_lost_machine_is_told_revoked_terminated_and_seen_gone(rig: Rig):
    job = await rig.tell(History().active())
    told = subjects.control(job, Attempt(1), "fenced")
    async with (
        Provider().serving(rig.bus) as provider,
        rig.agent(job) as agent,
        agent.bus.subscribe(told) as heard,
        rig.actor(build, "fencer-a"),
    ):
        await rig.put(job, LOST)
        await until(lambda: is_gone(rig, job))
        message = await anext(heard)
    assert provider.calls == ["revoke", "terminate", "absent"]
    assert provider.asked[0] == RevokeRequest(user_keys=["U1"])
    assert provider.asked[1] == TerminateRequest(job=job, attempt=1, instance="i1")
    assert msgspec.json.decode(message.payload, type=ControlMessage).reason == "lease"
    assert (await rig.kinds(job))[-3:] == ["lost", "fenced", "gone"]


async def test_the_bill_is_in_the_log(rig: Rig):
    job = await rig.tell(History().active())
    async with Provider().serving(rig.bus), rig.actor(build, "fencer-a"):
        await rig.put(job, LOST)
        await until(lambda: is_gone(rig, job))
    attempt = await rig.attempt(job)
    assert attempt.billed_s == pytest.approx(attempt.gone_at - attempt.created_at, abs=0.5)
    assert attempt.cost_usd == pytest.approx(attempt.billed_s / 3600.0)


async def test_what_ended_before_the_fencer_started_is_ended_too(rig: Rig):
    job = await rig.tell(History().active().add(LOST))
    async with Provider().serving(rig.bus), rig.actor(build, "fencer-a"):
        await until(lambda: is_gone(rig, job))


async def test_a_pool_that_is_down_does_not_keep_the_machine_connected(rig: Rig):
    job = await rig.tell(History().active().add(LOST))
    async with Provider().serving(rig.bus, "revoke") as provider, rig.actor(build, "fencer-a"):
        await until(lambda: called(provider, "revoke", 2))
        assert (await rig.attempt(job)).phase is Phase.ENDED
        async with provider.serving(rig.bus, "terminate", "absent"):
            await until(lambda: is_gone(rig, job))


async def test_a_vault_that_is_down_does_not_keep_the_machine_billing(rig: Rig):
    job = await rig.tell(History().active().add(LOST))
    async with (
        Provider().serving(rig.bus, "terminate", "absent") as provider,
        rig.actor(build, "fencer-a"),
    ):
        await until(lambda: called(provider, "terminate", 2))
        assert (await rig.attempt(job)).phase is Phase.ENDED
        async with provider.serving(rig.bus, "revoke"):
            await until(lambda: is_gone(rig, job))


async def test_gone_is_said_only_when_nothing_is_listed_and_termination_is_repeated(rig: Rig):
    job = await rig.tell(History().active().add(LOST))
    async with (
        Provider(listed_for=2).serving(rig.bus) as provider,
        rig.actor(build, "fencer-a"),
    ):
        await until(lambda: is_gone(rig, job))
    assert provider.calls == [
        *("revoke", "terminate", "absent"),
        *("terminate", "absent"),
        *("terminate", "absent"),
    ]


async def test_an_order_that_was_never_made_is_looked_for_by_its_name(rig: Rig):
    job = await rig.tell(History().ordered().add(ev.Released(attempt=1, reason="not wanted")))
    async with Provider().serving(rig.bus) as provider, rig.actor(build, "fencer-a"):
        await until(lambda: is_gone(rig, job))
    assert provider.calls == ["terminate", "absent"]
    assert provider.asked[0] == TerminateRequest(job=job, attempt=1)
    assert (await rig.attempt(job)).cost_usd == 0.0


async def test_a_create_under_way_is_waited_for_and_its_machine_ended(rig: Rig):
    history = History().ordered().add(ev.CreateClaimed(attempt=1, claim_s=60.0), LOST)
    job = await rig.tell(history)
    other = await rig.tell(History(job_id(b"otherotherother")).active().add(LOST))
    async with Provider().serving(rig.bus) as provider, rig.actor(build, "fencer-a"):
        await until(lambda: is_gone(rig, other))
        assert (await rig.attempt(job)).phase is Phase.ENDED
        await rig.put(job, ev.Created(attempt=1, instance="late"))
        await until(lambda: is_gone(rig, job))
    asked = [a for a in provider.asked if isinstance(a, TerminateRequest) and a.job == job]
    assert {request.instance for request in asked} == {"late"}


async def test_a_claim_that_nothing_comes_of_is_given_up_when_it_ends(rig: Rig):
    history = History().ordered().add(ev.CreateClaimed(attempt=1, claim_s=1.5), LOST)
    job = await rig.tell(history)
    with anyio.fail_after(10.0):
        async with Provider().serving(rig.bus), rig.actor(build, "fencer-a"):
            await until(lambda: is_gone(rig, job))


async def test_another_fencer_finishes_what_one_began(rig: Rig):
    job = await rig.tell(History().active().add(LOST))
    async with Provider(refuses={"absent"}).serving(rig.bus) as provider:
        async with rig.actor(build, "fencer-a"):
            await until(lambda: called(provider, "absent", 1))
        assert (await rig.attempt(job)).phase is Phase.FENCED
        provider.refuses.clear()
        async with rig.actor(build, "fencer-b"):
            await until(lambda: is_gone(rig, job))


async def test_two_fencers_bill_once(rig: Rig):
    jobs = [job_id(bytes([n] * 9)) for n in range(10)]
    for job in jobs:
        await rig.tell(History(job).active().add(LOST))
    async with (
        Provider().serving(rig.bus),
        rig.actor(build, "fencer-a"),
        rig.actor(build, "fencer-b"),
    ):
        for job in jobs:
            await until(lambda j=job: is_gone(rig, j))
    for job in jobs:
        kinds = await rig.kinds(job)
        assert (kinds.count("fenced"), kinds.count("gone")) == (1, 1)


async def test_a_slow_machine_does_not_delay_the_jobs_other_machines(rig: Rig):
    job = await rig.tell(History().active().ready(2, "other"))
    async with (
        Provider(refuses={"terminate"}).serving(rig.bus) as stuck,
        Provider().serving(rig.bus, "terminate", "absent", name="other"),
        rig.actor(build, "fencer-a"),
    ):
        await rig.put(job, LOST)
        await until(lambda: called(stuck, "terminate", 1))
        await rig.put(job, ev.Released(attempt=2, reason="not wanted"))
        await until(lambda: is_gone(rig, job, 2))
        assert not await is_gone(rig, job, 1)


async def called(provider: Provider, verb: str, times: int) -> bool:
    return provider.counted(verb) >= times
