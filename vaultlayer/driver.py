"""What a provider must be able to do, and the values that pass between a pool and its driver.

A driver is found by the entry point group `vaultlayer.drivers`; the entry names a `DriverType`.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol, runtime_checkable

import msgspec


class Manifest(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What is true of a provider as a whole; each number's source stands in the driver's README."""

    name: str
    title: str = ""
    sole: bool = False
    """Only one machine can exist: a suspect is fenced before the next is ordered."""
    can_spot: bool = False
    notice_s: float = 0.0
    billing_step_s: float = 1.0
    boot_s: float = 600.0
    """A machine that is not ready by then is given up."""
    poll_s: float = 15.0
    """How often the pool lists its machines."""
    absent_checks: int = 2
    absent_gap_s: float = 10.0
    """How often, and how far apart, a machine must be absent before it is gone."""
    create_s: float = 120.0
    """How long one process's claim on a create lasts: by then the provider has answered or is given up."""
    cooldown_s: float = 60.0
    """How long nothing is ordered here after a refused create."""
    needs_keys: bool = False
    """The pool asks the vault for its API keys before it builds the driver."""
    keys: dict[str, str] = {}
    """The fields of its key by name, each with what a person is asked for."""
    work_root: str = "/workspace"
    """Where working directories stand on its machines; `~` and home are expanded by the driver."""
    drills: list[str] = []
    idempotent: bool = False
    """A repeated create with the same token gives the same machine; elsewhere one must look by name."""
    visibility_s: float = 0.0
    """For how long after a create the listing may not show the machine."""
    can_stop: bool = False
    """A machine can be stopped and is billed (for its disk) while it is; it may also come back by itself."""
    unit: str = ""
    """`container` or `vm`; empty where neither fits."""
    unverified: list[str] = []
    """What no source has shown yet, for people; the driver works either way."""


class PriceParts(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What an all-in price is made of."""

    machine_usd_h: float = 0.0
    disk_usd_h: float = 0.0
    ingress_usd_gb: float = 0.0
    egress_usd_gb: float = 0.0
    billing_step_s: float = 1.0
    least_s: float = 0.0
    """What is billed at least."""


class Offer(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A machine that can be had now, at an all-in price."""

    provider: str
    offer_id: str
    gpu: str = ""
    gpu_count: int = 0
    price_usd_h: float = 0.0
    spot: bool = False
    region: str = ""
    cpus: int = 0
    memory_b: int = 0
    disk_b: int = 0
    detail: str = ""
    parts: PriceParts | None = None
    floor_usd_h: float = 0.0
    """Of a bid: the least that can win now; `price_usd_h` is what we bid."""
    gpu_memory_b: int = 0
    """Of one GPU."""
    variant: str = ""
    """What the name does not tell: `sxm`, `pcie`, `nvl`."""
    arch: str = ""
    """Of the CPU: `x86_64` or `arm64`."""
    machine: str = ""
    """The provider's id of the physical machine, where it tells one: what failed there may fail again."""
    host: str = ""
    """The provider's id of the machine's owner."""
    reliability: float | None = None
    """The provider's own figure, 0 to 1."""
    stay_s: float | None = None
    """For how long the provider lets it run at most."""
    ingress_b_s: float = 0.0
    egress_b_s: float = 0.0
    """What its network is said to carry."""


class Need(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a job asks of a machine."""

    gpu: str = ""
    gpu_count: int = 0
    image: str = ""
    max_price_usd_h: float | None = None
    wait_s: float = 3.0
    """How long the asker waits; a pool then gives what it has."""
    disk_b: int = 0
    """0: as much as the provider's options say."""


class OfferList(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What one provider answers to a need: offers, or why there are none."""

    provider: str
    offers: list[Offer] = []
    refusal: str = ""
    late: bool = False
    """It did not answer in the time there was; asked again it may."""
    age_s: float = 0.0
    """Above zero: from an earlier question, because there was no new answer in time."""
    manifest: Manifest | None = None
    """Set by the pool, so that whoever orders knows the provider's terms."""


class BootPayload(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """All that a new machine is told; the only secret in it can enrol one machine, for minutes."""

    job: str
    attempt: int
    incarnation: str
    provider: str
    bus_urls: list[str]
    enrol_jwt: str
    enrol_seed: str
    work_path: str
    state_path: str = ""
    """Where the agent keeps its own files; empty: the bootstrap chooses."""
    version: str = ""
    local: bool = False
    """The machine is the user's own: the script gets the user's own PATH."""
    gpu: str = ""
    gpu_count: int = 0
    """What was promised, and is proven by a computation before the attempt is ready."""


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """One machine to be made, named so that it can be found again."""

    name: str
    """`vl-<job>-a<n>`: also the idempotency token and the tag."""
    offer: Offer
    boot: BootPayload
    image: str = ""
    wheels_url: str = ""
    """A presigned URL of a .tar.gz of wheels of the agent; empty: from the package index."""


class Instance(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A machine as its provider sees it."""

    instance: str
    name: str
    state: str
    """`booting`, `running`, `stopped` (billed but dead), `gone` or `unknown`."""
    price_usd_h: float = 0.0
    detail: str = ""

    @property
    def is_alive(self) -> bool:
        """Whether it may still run our processes; what is unknown may."""
        return self.state in {"booting", "running", "unknown"}


class Account(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a provider tells of the account behind the key; what it does not tell is None."""

    balance_usd: float | None = None
    """What is left to spend; below zero it is owed."""
    can_create: bool | None = None
    """Whether the key may make machines, where the provider says so without making one."""
    refusal: str = ""
    """Its words where it may not."""
    skew_s: float | None = None
    """By how much the provider's clock is ahead of ours."""
    strange_gpus: list[str] = []
    """What it calls GPUs that the driver does not know."""


class Clock(Protocol):
    """Time for a driver: the machine's own, or one that a simulation moves on."""

    def now_s(self) -> float:
        """Give seconds that never jump."""
        ...

    async def sleep(self, pause_s: float) -> None:
        """Wait."""
        ...


class DriverContext(msgspec.Struct, frozen=True, kw_only=True):
    """What a driver is built from."""

    options: Mapping[str, object]
    """The provider's own table of the configuration file."""
    secrets: Mapping[str, str]
    state_path: Path
    """A directory of the driver's own on the pool's machine."""
    clock: Clock | None = None
    """None: real time."""


class Driver(Protocol):
    """One provider, as one pool uses it. All methods may raise DriverError."""

    @property
    def manifest(self) -> Manifest:
        """What is true of the provider as a whole."""
        ...

    async def offers(self, need: Need) -> OfferList:
        """List what can be had now; a refusal is a value, not an error."""
        ...

    async def create(self, order: Order) -> Instance:
        """Make a machine.

        Raises:
            CapacityError: there is none just now.
            AmbiguousCreateError: whether there is one is unknown; look with `list`.
        """
        ...

    async def get(self, instance: str) -> Instance:
        """Look at one machine; one that is not there has the state `gone`."""
        ...

    async def list(self) -> Sequence[Instance]:
        """List all machines with our tag, also those that are ending."""
        ...

    async def terminate(self, instance: str) -> None:
        """End a machine and its billing; one that is gone is no error."""
        ...

    async def drill(self, instance: str, verb: str, grace_s: float) -> str:
        """Do to the machine what a bad day would: `kill`, `freeze`, `preempt`; tells what was done.

        Raises:
            DrillError: the provider has no way to do it.
        """
        ...

    async def close(self) -> None:
        """Give back what the driver holds open; machines live on."""
        ...


@runtime_checkable
class TellsAccount(Protocol):
    """What a driver has beside, when its provider tells of the account; nobody must have it."""

    async def account(self) -> Account:
        """Tell what can be known without making or changing anything; may raise DriverError."""
        ...


class DriverType(Protocol):
    """What the entry point names."""

    @property
    def manifest(self) -> Manifest:
        """The same manifest as the driver's."""
        ...

    @property
    def options(self) -> type[msgspec.Struct]:
        """The shape of the provider's table, so that a fault in it is told with its line before all else."""
        ...

    def build(self, context: DriverContext) -> Driver:
        """Make a driver; raises ConfigError for options that it cannot use."""
        ...
