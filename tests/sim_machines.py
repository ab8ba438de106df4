"""Providers and machines in skipped time; what runs on a machine is not their business."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from random import Random

import anyio
from anyio.abc import TaskGroup
from msgspec import Struct

from vaultlayer.driver import (
    Driver,
    DriverContext,
    Instance,
    Manifest,
    Need,
    Offer,
    OfferList,
    Order,
)
from vaultlayer.errors import (
    AmbiguousCreateError,
    CapacityError,
    DriverError,
)
from vaultlayer.ids import parse_instance_name

SAVE_EVERY = 15
"""Units of work between checkpoints."""


@dataclass(eq=False)
class Machine:
    """One machine at a provider."""

    instance: str
    name: str
    order: Order
    provider: "Provider"
    state: str = "running"
    visible_at: float = 0.0
    scope: anyio.CancelScope = field(default_factory=anyio.CancelScope)
    thawed: anyio.Event = field(default_factory=anyio.Event)

    async def gate(self) -> None:
        """Nothing goes on while the machine is frozen."""
        await self.thawed.wait()

    def freeze(self) -> None:
        self.thawed = anyio.Event()

    def thaw(self) -> None:
        self.thawed.set()

    def end(self, state: str) -> None:
        self.state = state
        self.scope.cancel()


@dataclass(eq=False)
class Provider:
    """A provider and all its machines. `fault` is what the next create does."""

    manifest: Manifest
    dice: Random
    group: TaskGroup
    boot: Callable[[Machine], Awaitable[int]]
    price_usd_h: float = 0.0
    lag_s: float = 0.0
    machines: dict[str, Machine] = field(default_factory=dict[str, Machine])
    fault: str = ""
    made: int = 0
    violations: list[str] = field(default_factory=list[str])

    @property
    def options(self) -> type[Struct]:
        return Struct

    def build(self, context: DriverContext) -> Driver:  # noqa: ARG002
        return _Driver(self)

    async def create(self, order: Order) -> Machine:
        fault, self.fault = self.fault, ""
        await anyio.sleep(self.dice.uniform(0.0, 1.0))
        for other in self.machines.values():
            if other.name == order.name and other.state == "running":
                return other
            same = parse_instance_name(other.name), parse_instance_name(order.name)
            is_beside = bool(same[0] and same[1] and same[0][0] == same[1][0])
            if self.manifest.sole and is_beside and other.state == "running":
                self.violations.append(f"{order.name} was ordered while {other.name} lives")
                raise CapacityError("an earlier attempt lives")
        if fault == "refused":
            raise CapacityError("there is none just now")
        if fault == "lost request":
            raise AmbiguousCreateError("no answer")
        self.made += 1
        machine = Machine(f"i{self.made}", order.name, order, self)
        machine.visible_at = anyio.current_time() + self.dice.uniform(0, self.lag_s)
        machine.thaw()
        self.machines[machine.instance] = machine
        self.group.start_soon(self._live, machine)
        if fault == "slow":
            await anyio.sleep(self.manifest.create_s)
        if fault == "lost answer":
            raise AmbiguousCreateError("no answer")
        if fault == "defect":
            raise KeyError("id")
        return machine

    async def _live(self, machine: Machine) -> None:
        with machine.scope:
            await self.boot(machine)
            # An agent that leaves ends a machine only where the machine is the process itself.
            if self.manifest.sole:
                machine.state = "gone"

    def alive(self) -> list[Machine]:
        return [m for m in self.machines.values() if m.state != "gone"]


class _Driver:
    """Implements `vaultlayer.driver.Driver`."""

    def __init__(self, provider: Provider) -> None:
        self._provider = provider

    @property
    def manifest(self) -> Manifest:
        return self._provider.manifest

    async def offers(self, need: Need) -> OfferList:  # noqa: ARG002
        provider = self._provider
        name = provider.manifest.name
        offer = Offer(provider=name, offer_id=f"{name}-1", price_usd_h=provider.price_usd_h)
        return OfferList(provider=name, offers=[offer])

    async def create(self, order: Order) -> Instance:
        return _seen(await self._provider.create(order))

    async def get(self, instance: str) -> Instance:
        await self._call()
        machine = self._provider.machines.get(instance)
        if machine is None or machine.state == "gone":
            return Instance(instance=instance, name="", state="gone")
        return _seen(machine)

    async def list(self) -> Sequence[Instance]:
        await self._call()
        now_s = anyio.current_time()
        return [_seen(m) for m in self._provider.alive() if m.visible_at <= now_s]

    async def terminate(self, instance: str) -> None:
        await self._call()
        machine = self._provider.machines.get(instance)
        if machine is not None:
            machine.end("gone")

    async def drill(self, instance: str, verb: str, grace_s: float) -> str:  # noqa: ARG002
        return "nothing"

    async def close(self) -> None:
        return

    async def _call(self) -> None:
        await anyio.sleep(self._provider.dice.uniform(0.0, 0.05))
        if self._provider.fault == "api down":
            raise DriverError("the provider does not answer", retryable=True)


def _seen(machine: Machine) -> Instance:
    return Instance(
        instance=machine.instance,
        name=machine.name,
        state=machine.state,
        price_usd_h=machine.provider.price_usd_h,
    )
