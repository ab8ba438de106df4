"""Compute Engine's JSON. Field names are the vendor's; what we do not read is left out.

64-bit integers travel as strings, empty lists are left out, and resources are named by URL.
"""

from typing import Any

import msgspec


class Accelerator(msgspec.Struct, kw_only=True):
    """GPUs that a machine type has built in."""

    guestAcceleratorType: str = ""  # noqa: N815  the vendor's name
    guestAcceleratorCount: int = 0  # noqa: N815


class MachineType(msgspec.Struct, kw_only=True):
    """A row of `machineTypes` or `acceleratorTypes`."""

    name: str
    zone: str = ""
    guestCpus: int = 0  # noqa: N815
    memoryMb: int = 0  # noqa: N815
    accelerators: list[Accelerator] = []


class Warned(msgspec.Struct, kw_only=True):
    """Why a part of a listing is missing."""

    code: str = ""
    message: str = ""


class Scheduling(msgspec.Struct, kw_only=True):
    """How a machine may be taken away."""

    provisioningModel: str = ""  # noqa: N815


class Row(msgspec.Struct, kw_only=True):
    """One instance."""

    name: str
    id: str = ""
    status: str = ""
    statusMessage: str = ""  # noqa: N815
    zone: str = ""
    machineType: str = ""  # noqa: N815
    labels: dict[str, str] = {}
    scheduling: Scheduling | None = None


class Scope(msgspec.Struct, kw_only=True):
    """One zone's part of an aggregated listing."""

    instances: list[Row] = []
    machineTypes: list[MachineType] = []  # noqa: N815
    acceleratorTypes: list[MachineType] = []  # noqa: N815
    warning: Warned | None = None


class Page(msgspec.Struct, kw_only=True):
    """A page of an aggregated listing."""

    items: dict[str, Scope] = {}
    nextPageToken: str = ""  # noqa: N815
    unreachables: list[str] = []
    warning: Warned | None = None


class Fault(msgspec.Struct, kw_only=True):
    """One error of an operation, or one reason of a refusal."""

    code: str = ""
    reason: str = ""
    message: str = ""


class Faults(msgspec.Struct, kw_only=True):
    """All errors of an operation."""

    errors: list[Fault] = []


class Operation(msgspec.Struct, kw_only=True):
    """What a change of the world is while it goes on; also the proof of one that has failed."""

    name: str
    status: str = ""
    operationType: str = ""  # noqa: N815
    targetLink: str = ""  # noqa: N815
    error: Faults | None = None


class Operations(msgspec.Struct, kw_only=True):
    """A page of operations."""

    items: list[Operation] = []


class Refusal(msgspec.Struct, kw_only=True):
    """The inner part of an error answer."""

    code: int = 0
    message: str = ""
    status: str = ""
    errors: list[Fault] = []
    details: list[dict[str, Any]] = []


class Refused(msgspec.Struct, kw_only=True):
    """An error answer."""

    error: Refusal
