"""CloudRift's JSON: each call is a POST of `{version, data}`. Names are the vendor's. Sources: README.md."""

from typing import Generic, TypeVar

import msgspec

VERSION = "2025-05-29"
T = TypeVar("T")


class Envelope(msgspec.Struct, Generic[T], kw_only=True):
    """What every answer is wrapped in; a newer `version` than ours is no error."""

    data: T


class Variant(msgspec.Struct, kw_only=True):
    """One size of an instance type; price in **cents** an hour, memory and disk in bytes."""

    name: str
    cost_per_hour: float = 0.0
    cpu_count: int = 0
    dram: float = 0.0
    disk: float = 0.0
    vram: float = 0.0
    gpu_count: int = 0
    available_nodes_per_dc: dict[str, int] = {}


class InstanceType(msgspec.Struct, kw_only=True):
    """One GPU and its sizes."""

    brand_short: str = ""
    """`RTX 4090`, sometimes with more words around it."""
    variants: list[Variant] = []


class InstanceTypes(msgspec.Struct, kw_only=True):
    """Answer of `instance-types/list`."""

    instance_types: list[InstanceType] = []


class Recipe(msgspec.Struct, kw_only=True):
    """One image."""

    name: str = ""
    tags: list[str] = []
    details: dict[str, dict[str, object]] = {}


class RecipeGroup(msgspec.Struct, kw_only=True):
    """Images of a kind."""

    name: str = ""
    tags: list[str] = []
    recipes: list[Recipe] = []


class Recipes(msgspec.Struct, kw_only=True):
    """Answer of `recipes/list`."""

    groups: list[RecipeGroup] = []


class Rented(msgspec.Struct, kw_only=True):
    """Answer of `instances/rent`: empty where there was no machine."""

    instance_ids: list[str] = []


class Vm(msgspec.Struct, kw_only=True):
    """The VM of an instance."""

    ready: bool = False


class Row(msgspec.Struct, kw_only=True):
    """One instance: it has no name, no label and no tag."""

    id: str
    status: str = ""
    virtual_machines: list[Vm] = []


class Rows(msgspec.Struct, kw_only=True):
    """Answer of `instances/list`."""

    instances: list[Row] = []


class Ended(msgspec.Struct, kw_only=True):
    """Answer of `instances/terminate`: empty also where it had ended before."""

    terminated: list[object] = []
