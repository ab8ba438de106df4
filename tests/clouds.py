"""A cloud in memory for tests of the pool: it keeps machines, and does what a provider does on a bad day."""

from collections.abc import Sequence

import anyio
import msgspec

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
from vaultlayer.errors import AmbiguousCreateError, DrillError, DriverError


class Cloud:
    """The provider; several drivers may be built on it, as by several pools."""

    def __init__(self) -> None:
        self.machines: dict[str, Instance] = {}
        self.calls: list[str] = []
        self.fault = ""
        """What the next create does: `refused`, `lost answer`, `lost request`, `defect`, `slow`."""
        self.go_on = anyio.Event()
        """Ends a slow create."""
        self.unlisted: set[str] = set()
        """Machines that listings do not show yet."""
        self.keys: list[str] = []
        self.manifest = Manifest(
            name="cloud",
            poll_s=0.05,
            absent_checks=2,
            absent_gap_s=0.1,
            create_s=5.0,
            needs_keys=True,
        )

    @property
    def options(self) -> type[msgspec.Struct]:
        return msgspec.Struct

    def build(self, context: DriverContext) -> Driver:
        self.keys.append(context.secrets["api_key"])
        return CloudDriver(self)

    def add(self, name: str) -> Instance:
        made = Instance(instance=f"i-{len(self.machines) + 1}", name=name, state="running")
        self.machines[made.instance] = made
        return made

    def stop(self, instance: str) -> None:
        """Outbid: the machine is billed and does nothing."""
        stopped = msgspec.structs.replace(self.machines[instance], state="stopped", detail="outbid")
        self.machines[instance] = stopped

    def states(self) -> dict[str, str]:
        return {name: machine.state for name, machine in self.machines.items()}


class CloudDriver:
    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud

    @property
    def manifest(self) -> Manifest:
        return self._cloud.manifest

    async def offers(self, need: Need) -> OfferList:  # noqa: ARG002
        return OfferList(provider="cloud", offers=[Offer(provider="cloud", offer_id="cloud-cpu")])

    async def create(self, order: Order) -> Instance:
        self._cloud.calls.append(f"create {order.name}")
        fault, self._cloud.fault = self._cloud.fault, ""
        if fault == "refused":
            raise DriverError("the cloud refused", why="no money")
        if fault == "lost request":
            raise AmbiguousCreateError("the answer was lost")
        made = self._cloud.add(order.name)
        if fault == "slow":
            await self._cloud.go_on.wait()
        if fault == "lost answer":
            raise AmbiguousCreateError("the answer was lost")
        if fault == "defect":
            raise KeyError("id")
        return made

    async def get(self, instance: str) -> Instance:
        gone = Instance(instance=instance, name="", state="gone")
        return self._cloud.machines.get(instance, gone)

    async def list(self) -> Sequence[Instance]:
        machines = self._cloud.machines.values()
        return [one for one in machines if one.instance not in self._cloud.unlisted]

    async def terminate(self, instance: str) -> None:
        self._cloud.calls.append(f"terminate {instance}")
        self._cloud.machines.pop(instance, None)

    async def drill(self, instance: str, verb: str, grace_s: float) -> str:  # noqa: ARG002
        raise DrillError("the cloud has no drills")

    async def close(self) -> None:
        self._cloud.calls.append("close")
