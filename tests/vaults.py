"""A vault on real embedded servers, with jobs in a real log, for tests."""

import secrets
import time
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.request import urlopen

import anyio
import msgspec

from vaultlayer import events as ev
from vaultlayer import subjects
from vaultlayer.bus.credential import BusCredential, read_credential
from vaultlayer.bus.jwt import KeyKind, make_seed, public_key
from vaultlayer.bus.nats import NatsBus, open_bus
from vaultlayer.bus.streams import ensure_streams
from vaultlayer.driver import Offer
from vaultlayer.ids import ActorId, Attempt, CmdId, JobId, job_id, token
from vaultlayer.ledger import Ledger
from vaultlayer.messages import (
    Enrol,
    EnrolCredential,
    EnrolCredentialRequest,
    Enrolment,
    RevokeRequest,
    Sealed,
    SecretsRequest,
)
from vaultlayer.messages.base import Done
from vaultlayer.sealing import public_of, unseal
from vaultlayer.settings import Home, Settings, StoreSettings
from vaultlayer_actors.context import ActorContext
from vaultlayer_actors.credential_vault.actor import build
from vaultlayer_actors.credential_vault.keys import KeyStore
from vaultlayer_actors.local.servers import LocalServers, local_servers

STREAMS = 4


def incarnation(number: int) -> str:
    return f"inc{number:05d}"


@dataclass
class Machine:
    """The keys of one machine, as an agent makes them."""

    job: JobId
    attempt: Attempt
    user_seed: str = field(
        default_factory=lambda: make_seed(KeyKind.USER, secrets.token_bytes(32)), repr=False
    )
    seal_private: bytes = field(default_factory=lambda: secrets.token_bytes(32), repr=False)

    @property
    def enrol(self) -> Enrol:
        return Enrol(
            incarnation=incarnation(self.attempt),
            user_key=public_key(self.user_seed),
            seal_key=public_of(self.seal_private),
        )

    @property
    def secrets_request(self) -> SecretsRequest:
        return SecretsRequest(incarnation=incarnation(self.attempt))

    def subject(self, verb: str) -> str:
        return subjects.agent(self.job, self.attempt, verb)

    def credential(self, enrolment: Enrolment) -> BusCredential:
        return BusCredential(enrolment.user_jwt, self.user_seed)

    def open(self, sealed: Sealed) -> bytes:
        return unseal(self.seal_private, sealed.box)


@dataclass
class VaultWorld:
    """Servers, a broker connection and its ledger."""

    home: Home
    settings: Settings
    servers: LocalServers
    bus: NatsBus
    ledger: Ledger

    @property
    def url(self) -> str:
        return self.servers.endpoints.bus_url

    async def submit(self, **spec: object) -> JobId:
        job = job_id(secrets.token_bytes(9))
        made = msgspec.convert({"command": ["x"], **spec}, ev.JobSpec)
        await self.say(job, ev.Submitted(spec=made))
        return job

    async def order(self, job: JobId, number: int) -> Machine:
        offer = Offer(provider="p", offer_id="o")
        await self.say(
            job,
            ev.Ordered(attempt=number, incarnation=incarnation(number), provider="p", offer=offer),
        )
        return Machine(job, Attempt(number))

    async def say(self, job: JobId, event: ev.Event) -> None:
        appended = await self.ledger.append(job, lambda _: event, CmdId(secrets.token_hex(8)))
        assert appended.event is not None

    async def enrol_credential(self, machine: Machine) -> BusCredential:
        made = await self.bus.request(
            subjects.vault("enrol_credential"),
            EnrolCredentialRequest(job=machine.job, attempt=machine.attempt),
            EnrolCredential,
        )
        return BusCredential(made.user_jwt, made.seed)

    @asynccontextmanager
    async def enrolling(self, machine: Machine) -> AsyncGenerator[NatsBus]:
        """A connection that may only enrol."""
        inbox = subjects.enrol_inbox(machine.job, machine.attempt)
        credential = await self.enrol_credential(machine)
        async with open_bus([self.url], credential, inbox=inbox, name="enrolling") as bus:
            yield bus

    async def enrol(self, machine: Machine) -> BusCredential:
        """Go through enrolment and give the machine's own credential."""
        async with self.enrolling(machine) as bus:
            enrolment = await bus.request(machine.subject("enrol"), machine.enrol, Enrolment)
        return machine.credential(enrolment)

    @asynccontextmanager
    async def agent(
        self, machine: Machine, credential: BusCredential | None = None
    ) -> AsyncGenerator[NatsBus]:
        """A connection of an enrolled machine."""
        credential = credential or await self.enrol(machine)
        inbox = subjects.agent_inbox(machine.job, machine.attempt)
        async with open_bus(
            [self.url], credential, inbox=inbox, name="agent", connect_timeout_s=3.0
        ) as bus:
            yield bus

    @asynccontextmanager
    async def person(self) -> AsyncGenerator[NatsBus]:
        """A connection of a command line."""
        async with open_bus(
            [self.url],
            read_credential(self.home.creds / "cli.creds"),
            inbox=subjects.user_inbox("test"),
            name="cli",
        ) as bus:
            yield bus

    async def revoke(self, *user_keys: str) -> None:
        request = RevokeRequest(user_keys=list(user_keys))
        await self.bus.request(subjects.vault("revoke"), request, Done, timeout_s=10.0)

    @asynccontextmanager
    async def vault(self) -> AsyncGenerator[ActorId]:
        """One more vault process (as a task), ready to serve."""
        actor = ActorId(f"credential_vault-{token(secrets.token_bytes(6), 6)}")
        async with AsyncExitStack() as stack:
            bus = await stack.enter_async_context(self._broker(actor))
            log = bus.job_log(STREAMS)
            context = ActorContext(
                actor=actor,
                kind="credential_vault",
                bus=bus,
                log=log,
                ledger=Ledger(log, actor=actor, clock=time.time),
                settings=self.settings,
                terms=self.settings.lease.terms(),
                home=self.home,
            )
            group = await stack.enter_async_context(anyio.create_task_group())
            group.start_soon(build(context).run)
            await self._serves(actor)
            try:
                yield actor
            finally:
                group.cancel_scope.cancel()

    async def _serves(self, actor: ActorId) -> None:
        """Wait until the server knows the vault's last subscription."""
        with anyio.fail_after(10):
            while actor not in await self._subscribed("store_credential"):
                await anyio.sleep(0.02)

    async def _subscribed(self, verb: str) -> str:
        url = f"{self.servers.endpoints.monitor_url}/connz?subs=detail"
        text = await anyio.to_thread.run_sync(lambda: urlopen(url, timeout=5).read().decode())
        found = [
            connection["name"]
            for connection in msgspec.json.decode(text)["connections"]
            if any(
                sub["subject"] == subjects.agents(verb)
                for sub in connection.get("subscriptions_list_detail", [])
            )
        ]
        return " ".join(found)

    @asynccontextmanager
    async def _broker(self, name: str) -> AsyncGenerator[NatsBus]:
        credential = read_credential(self.home.creds / "broker.creds")
        inbox = subjects.actor_inbox(ActorId(name))
        async with open_bus([self.url], credential, inbox=inbox, name=name) as bus:
            yield bus


@asynccontextmanager
async def vault_world(path: Path, settings: Settings) -> AsyncGenerator[VaultWorld]:
    """Start the servers and make the streams; no vault runs yet."""
    home = Home(config=path, state=path)
    async with local_servers(home, settings) as servers:
        credential = read_credential(home.creds / "broker.creds")
        inbox = subjects.actor_inbox(ActorId("test"))
        url = servers.endpoints.bus_url
        async with open_bus([url], credential, inbox=inbox, name="test") as bus:
            await ensure_streams(bus, STREAMS)
            ledger = Ledger(bus.job_log(STREAMS), actor=ActorId("test"), clock=time.time)
            yield VaultWorld(home, settings, servers, bus, ledger)


@asynccontextmanager
async def one_vault(path: Path) -> AsyncGenerator[VaultWorld]:
    """A bus with one vault; its bucket is elsewhere and never reached."""
    settings = Settings(store=StoreSettings(endpoint="http://127.0.0.1:9"))
    async with vault_world(path, settings) as world:
        KeyStore(world.home.keys).set_store("unused", "unused")
        async with world.vault():
            yield world
