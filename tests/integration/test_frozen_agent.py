"""A real process that is frozen and thawed: it comes back after its successor took over, and is told so."""

import os
import signal
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import anyio
import msgspec
import pytest
from anyio.abc import Process
from anyio.streams.text import TextReceiveStream

from actor_rig import Rig, running_rig, until
from histories import History
from servers import NatsServer
from vaultlayer import events as ev
from vaultlayer.ids import JobId
from vaultlayer.job import End, Phase
from vaultlayer.lease import LeaseTerms
from vaultlayer.messages import Grant
from vaultlayer_actors.watchdog.actor import build

pytestmark = [pytest.mark.integration, pytest.mark.anyio]

TERMS = LeaseTerms(beat_s=1.0, suspect_s=1.5, agent_s=1.6, broker_s=2.7, orphan_s=60.0)
AGENT = """
import sys, anyio, msgspec
from vaultlayer import subjects
from vaultlayer.bus.nats import open_bus
from vaultlayer.errors import BrokerError
from vaultlayer.messages import Beat, Grant

async def main(url, job):
    inbox = subjects.agent_inbox(job, 1)
    async with open_bus([url], None, inbox=inbox, name="agent") as bus:
        for number in range(1, 10_000):
            beat = Beat(incarnation="inc1", number=number, active=True)
            try:
                grant = await bus.request(subjects.agent(job, 1, "beat"), beat, Grant, timeout_s=1.0)
                print(msgspec.json.encode(grant).decode(), flush=True)
            except BrokerError:
                pass
            await anyio.sleep(0.3)

anyio.run(main, *sys.argv[1:])
"""


class FrozenAgent:
    """The process, and every grant that it has printed."""

    def __init__(self, process: Process) -> None:
        self.process = process
        self.grants: list[Grant] = []

    async def listen(self) -> None:
        assert self.process.stdout is not None
        rest = ""
        async for text in TextReceiveStream(self.process.stdout):
            *lines, rest = (rest + text).split("\n")
            self.grants += [
                msgspec.json.decode(line, type=Grant) for line in lines if line.startswith("{")
            ]

    def send(self, number: signal.Signals) -> None:
        os.kill(self.process.pid, number)

    async def is_granted(self) -> bool:
        return bool(self.grants)

    async def is_fenced(self) -> bool:
        return any(grant.fenced for grant in self.grants)


@asynccontextmanager
async def running_agent(url: str, job: JobId) -> AsyncGenerator[FrozenAgent]:
    command = [sys.executable, "-c", AGENT, url, job]
    async with await anyio.open_process(command, stderr=None) as process:
        agent = FrozenAgent(process)
        async with anyio.create_task_group() as group:
            group.start_soon(agent.listen)
            try:
                yield agent
            finally:
                process.kill()
                group.cancel_scope.cancel()


@pytest.fixture
async def rig(nats_server: NatsServer) -> AsyncGenerator[Rig]:
    async with running_rig(nats_server, TERMS) as made:
        yield made


async def is_lapsed(rig: Rig, job: JobId) -> bool:
    return bool((await rig.attempt(job)).lapsed_at)


async def is_suspected(rig: Rig, job: JobId) -> bool:
    return bool((await rig.attempt(job)).suspected_at)


async def is_cleared(rig: Rig, job: JobId) -> bool:
    return not (await rig.attempt(job)).is_doubted


async def test_a_thawed_agent_finds_itself_fenced(rig: Rig):
    job = await rig.tell(History().active().ready(2))
    async with rig.actor(build, "watchdog-a"), running_agent(rig.server.url, job) as agent:
        await until(agent.is_granted)
        agent.send(signal.SIGSTOP)
        await until(lambda: is_lapsed(rig, job))
        await rig.put(job, ev.Takeover(attempt=2))
        agent.send(signal.SIGCONT)
        await until(agent.is_fenced)
    attempt = await rig.attempt(job)
    assert (attempt.end, attempt.end_reason) == (End.RELEASED, "superseded by attempt 2")


async def test_an_agent_that_thaws_in_time_stays(rig: Rig):
    job = await rig.tell(History().active())
    async with rig.actor(build, "watchdog-a"), running_agent(rig.server.url, job) as agent:
        await until(agent.is_granted)
        agent.send(signal.SIGSTOP)
        await until(lambda: is_suspected(rig, job))
        agent.send(signal.SIGCONT)
        await until(lambda: is_cleared(rig, job))
        assert not await agent.is_fenced()
    assert (await rig.attempt(job)).phase is Phase.ACTIVE
