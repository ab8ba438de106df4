"""One driver against one simulator in virtual time."""

from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from vaultlayer.driver import (
    BootPayload,
    Driver,
    DriverContext,
    DriverType,
    Instance,
    Need,
    Offer,
    Order,
)
from vaultlayer.ids import Attempt, JobId, instance_name
from vaultlayer_actors.drivers.cloud import bootstrap
from vaultlayer_actors.simulator.clock import VirtualClock
from vaultlayer_actors.simulator.machine import Machine
from vaultlayer_actors.simulator.server import Simulator

WRONG = "wrong-key-0123456789"


@dataclass(frozen=True, kw_only=True)
class Case:
    """What the suite must know of a driver.

    Attributes:
        kind: what the entry point names.
        simulator: makes a simulator on a clock.
        need: something that the simulator's market offers at least twice, or once without limit.
        options: the provider's table of the configuration, beside `endpoint`.
        secrets: of the vault; the simulator's key is filled in for `{key}`.
        many: how many machines need several pages, where the provider has pages.
        can_429_create: whether creates are limited in a way that may be waited for.
        has_names: whether the provider's listing tells a name or a tag of a machine.
        endpoint: turns the simulator's URL into the option's value.
    """

    kind: DriverType
    simulator: Callable[[VirtualClock], Simulator]
    need: Need
    options: Mapping[str, object] = field(default_factory=dict[str, object])
    secrets: Mapping[str, str] = field(default_factory=lambda: {"api_key": "{key}"})
    many: int = 60
    can_429_create: bool = True
    has_names: bool = True
    endpoint: Callable[[str], str] = str
    refused_creates: tuple[str, ...] = ("no_capacity", "offer_gone")
    lost_creates: tuple[str, ...] = ("drop_after", "500_after", "garbage_after")


class Rig:
    """A driver and its simulator, and the few things that tests do with them."""

    def __init__(self, case: Case, simulator: Simulator, clock: VirtualClock, path: Path) -> None:
        self.case = case
        self.sim = simulator
        self.clock = clock
        self._path = path
        self._numbers = 0
        self.driver = self.build()

    def build(self, *, key: str = "") -> Driver:
        """Make a driver, with another key where one is given."""
        secrets = {
            name: value.replace("{key}", self.sim.key) for name, value in self.case.secrets.items()
        }
        if key:
            secrets = dict.fromkeys(secrets, key)
        context = DriverContext(
            options={"endpoint": self.case.endpoint(self.sim.url), **self.case.options},
            secrets=secrets,
            state_path=self._path,
            clock=self.clock,
        )
        return self.case.kind.build(context)

    async def offer(self) -> Offer:
        """Give the cheapest offer."""
        found = await self.driver.offers(self.case.need)
        assert found.offers, found.refusal
        return found.offers[0]

    async def order(self, offer: Offer | None = None) -> Order:
        """Give a new order with a payload of ordinary size."""
        self._numbers += 1
        job = f"j{'abcdefgh'}{'23456789'[self._numbers % 8]}"
        boot = BootPayload(
            job=job,
            attempt=self._numbers,
            incarnation="k2m4p6r8",
            provider=self.case.kind.manifest.name,
            bus_urls=["wss://bus.example.org:443", "tls://bus.example.org:4222"],
            enrol_jwt="e" * 900,
            enrol_seed="S" * 58,
            work_path=f"/workspace/{job}",
            version="0.1.0",
        )
        name = instance_name(JobId(job), Attempt(self._numbers))
        return Order(name=name, offer=offer or await self.offer(), boot=boot, image="repo/img:tag")

    async def made(self) -> Instance:
        """Make a machine."""
        return await self.driver.create(await self.order())

    def ours(self) -> list[Machine]:
        """Give the simulator's machines that are ours and are there."""
        machines = self.sim.fleet.machines.values()
        return [one for one in machines if one.name.startswith("vl-") and one.gone_s is None]

    def calls(self, call: str) -> int:
        """Count the requests of one kind."""
        return sum(seen.call == call for seen in self.sim.requests)


def payload_of(machine: Machine) -> BootPayload:
    """Read what a machine was told, as it would read it itself."""
    return bootstrap.told(machine.env, machine.script)


def is_told(machine: Machine, order: Order) -> bool:
    """Whether a machine was told what its order says, with the GPU that was promised."""
    boot = msgspec.structs.replace(order.boot, gpu=order.offer.gpu, gpu_count=order.offer.gpu_count)
    return payload_of(machine) == boot


@asynccontextmanager
async def rig_of(case: Case, path: Path) -> AsyncGenerator[Rig]:
    """Serve the simulator and build the driver on it."""
    clock = VirtualClock()
    simulator = case.simulator(clock)
    async with simulator.serve():
        rig = Rig(case, simulator, clock, path)
        try:
            yield rig
        finally:
            await rig.driver.close()
