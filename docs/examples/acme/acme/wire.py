"""Acme's JSON: field names are the vendor's; what the driver does not read is left out."""

import msgspec


class GpuType(msgspec.Struct, kw_only=True):
    """One row of `GET /v1/types`."""

    type: str
    gpu: str
    count: int
    memory_gb: float
    usd_h: float
    zone: str
    free: int


class Types(msgspec.Struct, kw_only=True):
    """`GET /v1/types`."""

    types: list[GpuType] = []


class Row(msgspec.Struct, kw_only=True):
    """One machine, as every call gives it."""

    id: str
    name: str = ""
    state: str = ""
    usd_h: float = 0.0


class Machines(msgspec.Struct, kw_only=True):
    """`GET /v1/machines`: at most 50, `next` says where to go on."""

    machines: list[Row] = []
    next: str = ""


class Me(msgspec.Struct, kw_only=True):
    """`GET /v1/me`."""

    credit_usd: float
    may_create: bool


class Failure(msgspec.Struct, kw_only=True):
    """The body of every error."""

    error: str = ""
