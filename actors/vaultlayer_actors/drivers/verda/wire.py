"""Verda's JSON. Field names are the vendor's; what we do not read is left out. Prices may be strings."""

import msgspec

Money = str | float


class Count(msgspec.Struct, kw_only=True):
    """CPUs, GPUs, or gigabytes."""

    number_of_cores: int = 0
    number_of_gpus: int = 0
    size_in_gigabytes: float = 0.0


class InstanceType(msgspec.Struct, kw_only=True):
    """A row of `GET /instance-types`."""

    instance_type: str
    name: str = ""
    price_per_hour: Money = ""
    """Dollars, as we ask for them."""
    spot_price: Money | None = None
    cpu: Count = msgspec.field(default_factory=Count)
    gpu: Count = msgspec.field(default_factory=Count)
    memory: Count = msgspec.field(default_factory=Count)
    gpu_memory: Count = msgspec.field(default_factory=Count)
    """Of all GPUs together."""
    supported_os: list[str] = []


class Availability(msgspec.Struct, kw_only=True):
    """What one location has now."""

    location_code: str
    availabilities: list[str] = []


class VolumePrice(msgspec.Struct, kw_only=True):
    """What a volume costs."""

    price_per_month_per_gb: Money = 0.0


class VolumeType(msgspec.Struct, kw_only=True):
    """A row of `GET /volume-types`."""

    type: str
    price: VolumePrice = msgspec.field(default_factory=VolumePrice)


class OsVolume(msgspec.Struct, kw_only=True):
    """The disk that a machine boots from."""

    name: str
    size: int
    on_spot_discontinue: str | None = None


class CreateBody(msgspec.Struct, kw_only=True):
    """`POST /instances`."""

    instance_type: str
    image: str
    hostname: str
    description: str
    location_code: str
    ssh_key_ids: list[str]
    startup_script_id: str
    os_volume: OsVolume
    is_spot: bool
    contract: str
    pricing: str = "FIXED_PRICE"
    volumes: list[str] = []
    existing_volumes: list[str] = []
    coupon: str | None = None


class Row(msgspec.Struct, kw_only=True):
    """One instance."""

    id: str
    status: str = ""
    hostname: str | None = None
    description: str | None = None
    is_spot: bool = False
    price_per_hour: Money | None = None
    os_volume_id: str | None = None
    volume_ids: list[str] | None = None
    startup_script_id: str | None = None


class Script(msgspec.Struct, kw_only=True):
    """A startup script, which a machine names by id."""

    id: str
    name: str = ""


class Done(msgspec.Struct, kw_only=True):
    """One machine's part of an answer 207 to an action."""

    status: str = ""
    error: str | None = None
    statusCode: int = 0  # noqa: N815  the vendor's name


class Balance(msgspec.Struct, kw_only=True):
    """What is left to spend."""

    amount: float = 0.0
    currency: str = ""


class Refused(msgspec.Struct, kw_only=True):
    """An error answer."""

    code: str = ""
    message: str = ""
