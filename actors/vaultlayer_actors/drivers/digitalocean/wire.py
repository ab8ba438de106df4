"""DigitalOcean's JSON. Field names are the vendor's; what we do not read is left out. Sources: README.md."""

import msgspec


class Vram(msgspec.Struct, kw_only=True):
    """Memory of a size's GPUs, in GiB: of one of them, or of all; both have been seen."""

    amount: float = 0.0


class GpuInfo(msgspec.Struct, kw_only=True):
    """What GPUs a size has."""

    count: int = 1
    model: str = ""
    """`nvidia_h100`, `amd_mi300x` …"""
    vram: Vram | None = None


class Size(msgspec.Struct, kw_only=True):
    """One row of `GET /v2/sizes`; memory in MiB, disk in GiB, transfer in TB a month, price in dollars."""

    slug: str
    memory: float = 0.0
    vcpus: int = 0
    disk: float = 0.0
    """The lasting disk; a scratch disk stands beside it."""
    price_hourly: float = 0.0
    regions: list[str] = []
    """Where it can be had now; empty: nowhere."""
    available: bool = True
    description: str = ""
    gpu_info: GpuInfo | None = None


class Pages(msgspec.Struct, kw_only=True):
    """Links to other pages."""

    next: str | None = None


class Links(msgspec.Struct, kw_only=True):
    """`links` of a list: empty on the only page."""

    pages: Pages | None = None


class Sizes(msgspec.Struct, kw_only=True):
    """Answer of `GET /v2/sizes`."""

    sizes: list[Size] = []
    links: Links | None = None


class Droplet(msgspec.Struct, kw_only=True):
    """One machine."""

    id: int
    name: str = ""
    status: str = ""
    tags: list[str] = []
    size: Size | None = None


class Droplets(msgspec.Struct, kw_only=True):
    """Answer of `GET /v2/droplets`."""

    droplets: list[Droplet] = []
    links: Links | None = None


class OneDroplet(msgspec.Struct, kw_only=True):
    """Answer of a create and of a look at one machine."""

    droplet: Droplet


class CreateBody(msgspec.Struct, kw_only=True):
    """`POST /v2/droplets`."""

    name: str
    region: str
    size: str
    image: str
    ssh_keys: list[str]
    tags: list[str]
    user_data: str
    """Plain text, at most 64 KiB."""
    monitoring: bool = False
    backups: bool = False
    ipv6: bool = False


class Trouble(msgspec.Struct, kw_only=True):
    """An error's body."""

    id: str = ""
    message: str = ""
