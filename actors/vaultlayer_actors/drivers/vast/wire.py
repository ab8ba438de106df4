"""Vast.ai's JSON. Field names are the vendor's; what we do not read is left out. Sources: README.md."""

import msgspec


class Ask(msgspec.Struct, kw_only=True):
    """One offer of `POST /api/v0/bundles/`; memory in MB, disk in GB, speeds in Mbit/s, prices in dollars."""

    id: int
    machine_id: int | None = None
    host_id: int | None = None
    gpu_name: str = ""
    num_gpus: int = 0
    gpu_ram: float | None = None
    cpu_cores: float | None = None
    cpu_cores_effective: float | None = None
    cpu_ram: float | None = None
    cpu_arch: str | None = None
    disk_space: float | None = None
    inet_down: float | None = None
    inet_up: float | None = None
    inet_down_cost: float | None = None
    """Dollars a GB."""
    inet_up_cost: float | None = None
    geolocation: str | None = None
    reliability2: float | None = None
    dph_base: float | None = None
    min_bid: float | None = None
    storage_cost: float | None = None
    """Dollars a GB and month of 30 days."""
    rentable: bool = True
    verification: str | None = None
    duration: float | None = None
    """Seconds for which the host still guarantees the machine."""


class Asks(msgspec.Struct, kw_only=True):
    """Answer of a search."""

    offers: list[Ask] = []


class CreateBody(msgspec.Struct, kw_only=True):
    """`PUT /api/v0/asks/{id}/`."""

    client_id: str = "me"
    image: str
    env: dict[str, str]
    price: float | None = None
    """A bid in dollars an hour for the machine; null: on demand."""
    disk: float
    label: str
    runtype: str = "args"
    onstart: str = "/bin/sh"
    """In args mode the program that gets `args`."""
    args: list[str]
    user: str | None = "root"
    image_login: str | None = None
    target_state: str = "running"
    cancel_unavail: bool = True
    """Rather refuse than keep a stopped machine."""
    force: bool = False


class Created(msgspec.Struct, kw_only=True):
    """Answer to a create, also to one that failed: `new_contract` may be there all the same."""

    success: bool | None = None
    new_contract: int | None = None
    error: str | None = None
    msg: str | None = None
    message: str | None = None

    @property
    def text(self) -> str:
        """All that it says in words."""
        return " ".join(part for part in (self.error, self.msg, self.message) if part)


class Row(msgspec.Struct, kw_only=True):
    """One instance."""

    id: int
    label: str | None = None
    actual_status: str | None = None
    intended_status: str | None = None
    cur_state: str | None = None
    next_state: str | None = None
    status_msg: str | None = None
    machine_id: int | None = None
    is_bid: bool | None = None
    dph_total: float | None = None


class OneRow(msgspec.Struct, kw_only=True):
    """`GET /api/v0/instances/{id}/`: null with 200 where there is none."""

    instances: Row | None = None


class Page(msgspec.Struct, kw_only=True):
    """`GET /api/v1/instances/`: at most 25 rows."""

    instances: list[Row] = []
    next_token: str | None = None


class User(msgspec.Struct, kw_only=True):
    """`GET /api/v0/users/current/`."""

    credit: float | None = None
    """Dollars that are left."""


class GpuNames(msgspec.Struct, kw_only=True):
    """`GET /api/v0/gpu_names/unique/`."""

    gpu_names: list[str] = []
