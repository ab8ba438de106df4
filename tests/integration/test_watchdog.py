"""Watchdogs over a real nats-server, with agents that say what the test wants."""

import time
from collections.abc import AsyncGenerator

import anyio
import anyio.to_thread
import pytest

from actor_rig import Provider, Rig, running_rig, until
from histories import History
from servers import NatsServer
from vaultlayer import events as ev
from vaultlayer import subjects
from vaultlayer.errors import BrokerError, BusTimeoutError
from vaultlayer.ids import Attempt, JobId, job_id, slot_of
from vaultlayer.job import End, Phase
from vaultlayer.lease import LeaseTerms
from vaultlayer.messages import Beat, Grant
from vaultlayer_actors.watchdog import core
from vaultlayer_actors.watchdog.actor import build

pytestmark = [pytest.mark.integration, pytest.mark.anyio]

TERMS = LeaseTerms(beat_s=1.0, suspect_s=1.5, agent_s=1.6, broker_s=2.7, orphan_s=60.0)


@pytest.fixture
async def rig(nats_server: NatsServer) -> AsyncGenerator[Rig]:
    assert TERMS.fault() == ""
    async with running_rig(nats_server, TERMS) as made:
        yield made


async def test_a_beat_is_answered_with_the_lease_and_the_order(rig: Rig):
    job = await rig.tell(History().active())
    async with rig.actor(build, "watchdog-a"), rig.agent(job) as agent:
        grant = await agent.beat()
        assert (grant.number, grant.lease_s, grant.active) == (1, 1.6, 1)
        assert grant.takeover is not None
        assert not grant.fenced


async def test_an_old_beat_is_not_answered(rig: Rig):
    job = await rig.tell(History().active())
    async with rig.actor(build, "watchdog-a"), rig.agent(job) as agent:
        await agent.beat(number=5)
        with pytest.raises(BusTimeoutError):
            await agent.beat(number=5, timeout_s=0.5)
        assert (await agent.beat(number=6)).number == 6


async def test_a_beat_that_wants_its_answer_in_anothers_inbox_is_not_answered(rig: Rig):
    job = await rig.tell(History().active())
    subject = subjects.agent(job, Attempt(1), "beat")
    async with rig.actor(build, "watchdog-a"), rig.agent(job) as agent:
        await agent.beat()
        with pytest.raises(BusTimeoutError):
            await rig.bus.request(subject, Beat(incarnation="inc1", number=9), Grant, timeout_s=0.5)


async def test_the_first_beat_after_a_takeover_says_fenced(rig: Rig):
    """Each change is handed to one watchdog only; the other one knows by the live event."""
    job = await rig.tell(History().active().ready(2))
    names = ("watchdog-a", "watchdog-b")
    async with rig.actor(build, names[0]), rig.actor(build, names[1]), rig.agent(job) as agent:
        assert [grant.fenced for grant in await agent.beat_to_all(2)] == [False, False]
        await rig.put(job, ev.Lapsed(attempt=1), ev.Takeover(attempt=2))
        await anyio.sleep(0.2)
        assert [grant.fenced for grant in await agent.beat_to_all(2)] == [True, True]


async def test_silence_is_suspected_then_lapses_and_a_beat_clears_it(rig: Rig):
    job = await rig.tell(History().active())
    async with (
        Provider().serving(rig.bus, "probe") as provider,
        rig.actor(build, "watchdog-a"),
        rig.agent(job) as agent,
    ):
        await agent.beat()
        sent_s = time.monotonic()
        await until(lambda: has(rig, job, "suspected"))
        assert time.monotonic() - sent_s >= TERMS.suspect_s
        await until(lambda: has(rig, job, "lapsed"))
        assert TERMS.broker_s <= time.monotonic() - sent_s <= TERMS.broker_s + 5.0
        assert provider.counted("probe") == 1
        assert (await rig.attempt(job)).phase is Phase.ACTIVE
        await agent.beat()
        await until(lambda: has(rig, job, "cleared"))
    assert (await rig.kinds(job)).count("suspected") == 1
    assert not (await rig.attempt(job)).is_doubted


async def test_a_machine_that_its_provider_has_lost_is_lost_before_its_lease_ends(rig: Rig):
    job = await rig.tell(History().active())
    async with (
        Provider(state="gone").serving(rig.bus, "probe"),
        rig.actor(build, "watchdog-a"),
        rig.agent(job) as agent,
    ):
        await agent.beat(number=41)
        await until(lambda: has(rig, job, "lost"))
    attempt = await rig.attempt(job)
    assert (attempt.end, attempt.end_reason) == (End.LOST, "provider: gone")
    assert attempt.last_step == 41
    assert attempt.silent_s < TERMS.broker_s
    assert "lapsed" not in await rig.kinds(job)


async def test_a_sole_machine_is_lost_at_the_end_of_its_lease(rig: Rig):
    job = await rig.tell(History().active(sole=True))
    async with rig.actor(build, "watchdog-a"), rig.agent(job) as agent:
        await agent.beat()
        await until(lambda: has(rig, job, "lost"))
    attempt = await rig.attempt(job)
    assert attempt.end_reason == "lease"
    assert attempt.silent_s >= TERMS.broker_s


async def test_an_agent_that_never_came_back_is_judged_after_a_watchdogs_restart(rig: Rig):
    job = await rig.tell(History().active())
    began_s = time.monotonic()
    async with rig.actor(build, "watchdog-a"):
        await until(lambda: has(rig, job, "lapsed"))
    assert time.monotonic() - began_s >= TERMS.broker_s


async def test_a_machine_that_never_beat_is_left_to_the_boot_deadline(rig: Rig):
    job = await rig.tell(History().booting())
    other = await rig.tell(History(job_id(b"otherotherother")).active())
    async with rig.actor(build, "watchdog-a"):
        await until(lambda: has(rig, other, "lapsed"))
    assert (await rig.attempt(job)).phase is Phase.BOOTING
    assert not (await rig.attempt(job)).is_doubted


async def test_a_booting_machine_that_vanished_is_lost(rig: Rig):
    job = await rig.tell(History().booting())
    async with (
        Provider(state="gone").serving(rig.bus, "probe"),
        rig.actor(build, "watchdog-a"),
    ):
        await until(lambda: has(rig, job, "lost"))


async def test_two_watchdogs_append_one_verdict(rig: Rig):
    job = await rig.tell(History().active())
    async with rig.actor(build, "watchdog-a"), rig.actor(build, "watchdog-b"):
        async with rig.agent(job) as agent:
            await agent.beat()
        await until(lambda: has(rig, job, "lapsed"))
        await anyio.sleep(core.STAGGER_S + 1.0)
    kinds = await rig.kinds(job)
    assert (kinds.count("suspected"), kinds.count("lapsed")) == (1, 1)


async def test_the_second_watchdog_judges_when_the_first_is_away(rig: Rig):
    job = await rig.tell(History().active())
    names = ["watchdog-a", "watchdog-b"]
    second, first = sorted(names, key=lambda n: -core.rank_of(n, slot_of(job), names))
    async with rig.actor(build, second), rig.agent(job) as agent:
        async with rig.actor(build, first):
            await agent.beat()
            await until(lambda: has(rig, job, "suspected"))
        await agent.beat()
        await until(lambda: has(rig, job, "cleared"))
        await until(lambda: has(rig, job, "lapsed"))
        actors = [event.actor for event in await rig.events(job, ev.Lapsed)]
    assert actors == [second]


async def test_a_restarted_server_gives_everybody_a_full_lease(rig: Rig):
    job = await rig.tell(History().active())
    async with rig.actor(build, "watchdog-a"), rig.agent(job) as agent:
        await agent.beat()
        await anyio.sleep(1.0)
        await anyio.to_thread.run_sync(rig.server.restart)
        back_s = time.monotonic()
        await until(lambda: has(rig, job, "lapsed"))
        assert time.monotonic() - back_s >= TERMS.broker_s


async def test_many_silent_at_two_providers_are_not_judged_without_evidence(rig: Rig):
    jobs = [job_id(bytes([n] * 9)) for n in range(8)]
    for n, job in enumerate(jobs):
        await rig.tell(History(job).active(provider="north" if n % 2 else "south"))
    async with (
        Provider(state="gone").serving(rig.bus, "probe", name="north"),
        Provider(state="running").serving(rig.bus, "probe", name="south") as south,
        rig.actor(build, "watchdog-a"),
    ):
        for job in jobs:
            async with rig.agent(job) as agent:
                await agent.beat()
        for job in jobs[1::2]:
            await until(lambda j=job: has(rig, j, "lost"))
        for job in jobs[::2]:
            assert "lapsed" not in await rig.kinds(job)
        assert south.counted("probe") >= 4


async def has(rig: Rig, job: JobId, kind: str) -> bool:
    try:
        return kind in await rig.kinds(job)
    except BrokerError:  # the server is away just now
        return False
