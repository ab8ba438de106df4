"""A log, a stand-in for the vault, and pool processes around the local driver, for tests of the pool."""

import secrets
import sys
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import anyio
import msgspec

from servers import NatsServer
from standin import agent_of
from vaultlayer import events as ev
from vaultlayer import sealing, subjects
from vaultlayer.bus.nats import NatsBus, open_bus
from vaultlayer.bus.streams import ensure_streams
from vaultlayer.driver import Offer
from vaultlayer.errors import SealError
from vaultlayer.ids import ActorId, CmdId, JobId, job_id
from vaultlayer.job import AttemptState, Job
from vaultlayer.ledger import Ledger
from vaultlayer.messages import (
    EnrolCredential,
    ProviderSecrets,
    ProviderSecretsRequest,
    Sealed,
)
from vaultlayer.settings import BusSettings, Home, Settings
from vaultlayer_actors.context import ActorContext
from vaultlayer_actors.provider_pool.actor import build

STREAMS = 1
# Each start of an agent is one line in the file `starts`; then it sleeps.
COUNTED = """
import os, time
with open({starts!r}, "a") as file:
    file.write(os.environ["VAULTLAYER_INSTANCE"] + "\\n")
time.sleep(600)
"""


@dataclass
class World:
    """One installation: its bus, its log, its home, and this test as one of its actors."""

    server: NatsServer
    bus: NatsBus
    ledger: Ledger
    path: Path
    provider: str = "local"
    options: dict[str, object] = field(default_factory=dict[str, object])
    vault_failures: int = 0
    """How many requests the vault still refuses."""
    made: int = 0

    def ask_vault(self) -> None:
        """Count a request, or refuse it."""
        if self.vault_failures:
            self.vault_failures -= 1
            raise SealError("the vault is locked", retryable=True)

    @property
    def home(self) -> Home:
        return Home(config=self.path / "home", state=self.path / "home")

    @property
    def settings(self) -> Settings:
        agent = agent_of(COUNTED.format(starts=str(self.path / "starts")), self.path)
        local: dict[str, object] = {"slots": 100, "agent": agent}
        options = {**(local if self.provider == "local" else {}), **self.options}
        return Settings(
            bus=BusSettings(urls=[self.server.url], streams=STREAMS),
            providers={self.provider: {"allow": True, **options}},
        )

    def starts(self) -> list[str]:
        """Names of the instances whose agent was started, once for each start."""
        try:
            return sorted((self.path / "starts").read_text().split())
        except FileNotFoundError:
            return []

    async def put(self, job: JobId, event: ev.Event) -> Job:
        """Append one entry without conditions."""
        self.made += 1
        appended = await self.ledger.append(job, lambda _: event, CmdId(f"test-{self.made}"))
        assert appended.job is not None
        return appended.job

    async def order(self) -> JobId:
        """Submit a job and order its first attempt."""
        job = job_id(secrets.token_bytes(9))
        await self.put(job, ev.Submitted(spec=ev.JobSpec(command=["python", "train.py"])))
        offer = Offer(provider=self.provider, offer_id=f"{self.provider}-cpu", price_usd_h=0.5)
        await self.put(
            job,
            ev.Ordered(attempt=1, incarnation="abcdefgh", provider=self.provider, offer=offer),
        )
        return job

    async def attempt(self, job: JobId) -> AttemptState:
        state = await self.ledger.read(job)
        assert state is not None
        return state.attempts[1]

    async def kinds(self, job: JobId) -> list[str]:
        """The kinds of the job's entries, oldest first."""
        entries = await self.ledger._log.read(job)  # pyright: ignore[reportPrivateUsage]
        return [subjects.parse_event(entry.subject)[1] for entry in entries]

    async def wait_for(
        self, job: JobId, condition: str, *, timeout_s: float = 20.0
    ) -> AttemptState:
        """Wait until a field of attempt 1 is set."""
        with anyio.fail_after(timeout_s):
            while not getattr(attempt := await self.attempt(job), condition):
                await anyio.sleep(0.02)
        return attempt

    @asynccontextmanager
    async def pool(self, name: str = "provider_pool-one") -> AsyncGenerator[None]:
        """Run a pool with a connection of its own while the context is open."""
        async with (
            open_bus(
                [self.server.url],
                None,
                inbox=subjects.actor_inbox(ActorId(name)),
                name=name,
            ) as bus,
            anyio.create_task_group() as group,
        ):
            group.start_soon(build(context_of(self, bus, name)).run)
            yield
            group.cancel_scope.cancel()


def context_of(world: World, bus: NatsBus, name: str) -> ActorContext:
    log = bus.job_log(STREAMS)
    return ActorContext(
        actor=ActorId(name),
        kind="provider_pool",
        bus=bus,
        log=log,
        ledger=Ledger(log, actor=ActorId(name), clock=time.time),
        settings=world.settings,
        terms=world.settings.lease.terms(),
        home=world.home,
    )


@asynccontextmanager
async def running_world(
    server: NatsServer, path: Path, *, provider: str = "local"
) -> AsyncGenerator[World]:
    """Make streams, stand in for the vault, and give the installation."""
    tester = ActorId("tester-one")
    inbox = subjects.actor_inbox(tester)
    async with open_bus([server.url], None, inbox=inbox, name=tester) as bus:
        await ensure_streams(bus, STREAMS)
        ledger = Ledger(bus.job_log(STREAMS), actor=tester, clock=time.time)

        world = World(server=server, bus=bus, ledger=ledger, path=path, provider=provider)

        async def enrol(_subject: str, _payload: bytes) -> EnrolCredential:
            world.ask_vault()
            return EnrolCredential(user_jwt="jwt", seed="seed")

        async def keys(_subject: str, payload: bytes) -> Sealed:
            world.ask_vault()
            request = msgspec.json.decode(payload, type=ProviderSecretsRequest)
            plain = msgspec.json.encode(
                ProviderSecrets(values={"api_key": f"of-{request.provider}"})
            )
            return Sealed(box=sealing.seal(request.seal_key, plain))

        async with (
            bus.serve(subjects.vault("enrol_credential"), enrol),
            bus.serve(subjects.vault("provider_secrets"), keys),
        ):
            yield world


async def serve_for_ever(url: str, path: str, name: str) -> None:
    """Be a pool process of its own: `python -c "import pools; pools.main()" URL PATH NAME`."""
    server = NatsServer(path=Path(path) / "nats", port=int(url.rpartition(":")[2]))
    inbox = subjects.actor_inbox(ActorId(name))
    async with open_bus([url], None, inbox=inbox, name=name) as bus:
        ledger = Ledger(bus.job_log(STREAMS), actor=ActorId(name), clock=time.time)
        world = World(server=server, bus=bus, ledger=ledger, path=Path(path))
        await build(context_of(world, bus, name)).run()


def main() -> None:
    url, path, name = sys.argv[1:4]
    anyio.run(serve_for_ever, url, path, name)
