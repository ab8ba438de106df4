"""Vultr's JSON, API v2. Names are the vendor's; what we do not read is left out. Sources: README.md."""

import msgspec


class VultrPlan(msgspec.Struct, kw_only=True):
    """One row of `GET /plans`; memory in MB, disk in GB, prices in dollars."""

    id: str
    type: str = ""
    """`vcg`: a VM with GPUs, or with a share of one."""
    vcpu_count: int = 0
    ram: float = 0.0
    disk: float = 0.0
    disk_count: int = 1
    hourly_cost: float = 0.0
    gpu_vram_gb: float | None = None
    """Of the whole plan."""
    gpu_type: str | None = None
    """`NVIDIA_A100` …"""
    locations: list[str] = []
    """An empty string has been seen among them."""
    deploy_ondemand: bool | None = None
    """False: by contract only; not every answer has it."""


class Links(msgspec.Struct, kw_only=True):
    """Cursors of other pages; empty where there is none."""

    next: str = ""


class Meta(msgspec.Struct, kw_only=True):
    """`meta` of a list."""

    links: Links | None = None


class Plans(msgspec.Struct, kw_only=True):
    """Answer of `GET /plans`."""

    plans: list[VultrPlan] = []
    meta: Meta | None = None


class Availability(msgspec.Struct, kw_only=True):
    """Answer of `GET /regions/{region}/availability`."""

    available_plans: list[str] = []


class Row(msgspec.Struct, kw_only=True):
    """One machine; a create's answer also has its password, which we do not read."""

    id: str
    label: str = ""
    tags: list[str] = []
    plan: str = ""
    status: str = ""
    power_status: str = ""
    server_status: str = ""
    main_ip: str = ""


class Rows(msgspec.Struct, kw_only=True):
    """Answer of `GET /instances`."""

    instances: list[Row] = []
    meta: Meta | None = None


class OneRow(msgspec.Struct, kw_only=True):
    """Answer of a create and of a look at one machine."""

    instance: Row


class CreateBody(msgspec.Struct, kw_only=True, omit_defaults=True):
    """`POST /instances`: exactly one of os_id, image_id, snapshot_id says what boots."""

    region: str
    plan: str
    label: str
    hostname: str
    tags: list[str]
    user_data: str
    """Base64."""
    os_id: int | None = None
    image_id: str | None = None
    snapshot_id: str | None = None
    sshkey_id: list[str] = []
    backups: str = "disabled"
    activation_email: bool = True


class Trouble(msgspec.Struct, kw_only=True):
    """An error's body."""

    error: str = ""
    status: int = 0
