"""JSON of Lambda's Cloud API 1.10. Field names are the vendor's; what we do not read is left out."""

import msgspec


class Specs(msgspec.Struct, frozen=True, kw_only=True):
    """Of the whole instance; memory and disk in GiB."""

    vcpus: int = 0
    memory_gib: int = 0
    storage_gib: int = 0
    gpus: int = 0


class InstanceType(msgspec.Struct, frozen=True, kw_only=True):
    """One type; the price in whole cents an hour, for the instance."""

    name: str = ""
    gpu_description: str = ""
    price_cents_per_hour: int = 0
    specs: Specs = Specs()


class Region(msgspec.Struct, frozen=True, kw_only=True):
    """One region."""

    name: str


class TypeItem(msgspec.Struct, kw_only=True):
    """A type and where it can be had; nowhere: it is sold out."""

    instance_type: InstanceType
    regions_with_capacity_available: list[Region] = []


class Types(msgspec.Struct, kw_only=True):
    """`GET /api/v1/instance-types`."""

    data: dict[str, TypeItem]


class Tag(msgspec.Struct, kw_only=True):
    """A tag; keys `^[a-z][a-z0-9-:]+$` to 55 characters, values to 128."""

    key: str
    value: str


class ImageFamily(msgspec.Struct, kw_only=True):
    """A machine image, the newest of its family."""

    family: str


class Launch(msgspec.Struct, kw_only=True, omit_defaults=True):
    """`POST /api/v1/instance-operations/launch`; one instance a call."""

    region_name: str
    instance_type_name: str
    ssh_key_names: list[str]
    """Exactly one, and it must be in the account."""
    name: str
    hostname: str
    user_data: str
    """For cloud-init, plain text of at most 1 MB."""
    tags: list[Tag]
    image: ImageFamily | None = None


class Ids(msgspec.Struct, kw_only=True):
    """What a launch made."""

    instance_ids: list[str]


class Launched(msgspec.Struct, kw_only=True):
    """Answer to a launch."""

    data: Ids


class Row(msgspec.Struct, kw_only=True):
    """One instance; `name` and `ip` may be missing while it boots."""

    id: str
    name: str | None = None
    status: str | None = None
    instance_type: InstanceType = InstanceType()
    tags: list[Tag] = []


class Rows(msgspec.Struct, kw_only=True):
    """`GET /api/v1/instances`: all of them, without pages."""

    data: list[Row]


class OneRow(msgspec.Struct, kw_only=True):
    """`GET /api/v1/instances/{id}`."""

    data: Row


class SshKey(msgspec.Struct, kw_only=True):
    """A key of the account."""

    name: str


class SshKeys(msgspec.Struct, kw_only=True):
    """`GET /api/v1/ssh-keys`."""

    data: list[SshKey]


class Fault(msgspec.Struct, frozen=True, kw_only=True):
    """What failed; only `code` may be decided on, the words change."""

    code: str = ""
    message: str = ""


class Failed(msgspec.Struct, kw_only=True):
    """The envelope of a failure."""

    error: Fault = Fault()
