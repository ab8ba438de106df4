"""Hyperstack's JSON. Field names are the vendor's; what we do not read is left out. Sources: README.md."""

import msgspec


class Flavor(msgspec.Struct, kw_only=True):
    """One size of VM; memory and disks in GB."""

    name: str = ""
    region_name: str = ""
    gpu: str = ""
    gpu_count: int = 0
    cpu: int = 0
    ram: float = 0.0
    disk: float = 0.0
    """Of the root."""
    ephemeral: float = 0.0
    """A second disk, mounted at /ephemeral."""
    stock_available: bool = False


class FlavorGroup(msgspec.Struct, kw_only=True):
    """All sizes with one GPU in one region."""

    gpu: str = ""
    region_name: str = ""
    flavors: list[Flavor] = []


class Flavors(msgspec.Struct, kw_only=True):
    """Answer of `GET /core/flavors`."""

    data: list[FlavorGroup] = []


class Price(msgspec.Struct, kw_only=True):
    """One row of `GET /pricebook`, which is a bare array; dollars an hour, of one GPU or of one address."""

    name: str = ""
    value: float = 0.0


class RowFlavor(msgspec.Struct, kw_only=True):
    """What a machine says of its size."""

    gpu: str | None = None
    gpu_count: int | None = None


class Row(msgspec.Struct, kw_only=True):
    """One machine."""

    id: int
    name: str | None = None
    status: str | None = None
    vm_state: str | None = None
    labels: list[str] | None = None
    flavor: RowFlavor | None = None


class Rows(msgspec.Struct, kw_only=True):
    """Answer of a create and of `GET /core/virtual-machines`."""

    instances: list[Row] = []
    count: int | None = None
    page: int | None = None


class OneRow(msgspec.Struct, kw_only=True):
    """Answer of a look at one machine."""

    instance: Row


class CreateBody(msgspec.Struct, kw_only=True):
    """`POST /core/virtual-machines`."""

    name: str
    """At most 50 characters."""
    count: int = 1
    environment_name: str
    image_name: str
    flavor_name: str
    key_name: str
    user_data: str
    """Plain text for cloud-init."""
    labels: list[str]
    assign_floating_ip: bool


class Trouble(msgspec.Struct, kw_only=True):
    """An error's body."""

    message: str | None = None
    error_reason: str | None = None
