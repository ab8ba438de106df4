"""What goes into a checkpoint and how each file is put aside. Pure."""

from collections.abc import Callable, Collection, Mapping
from typing import NamedTuple

from vaultlayer_agent.capture.complete import Finding
from vaultlayer_agent.capture.stage import How
from vaultlayer_agent.capture.tree import Entry, Tree, parent_of

SMALL_B = 64_000_000
"""Files up to this size are copied while they are young; larger ones are linked, and only when quiet."""

YOUNG_S = 600.0
"""A file last written this long ago is taken not to be rewritten in place any more."""


class Item(NamedTuple):
    """One entry of a plan.

    `unit` is the checkpoint directory that it belongs to: if one file of it has vanished, all of it is left
    out. `single`: a checkpoint of one file, which must be whole after it was copied.
    """

    root: str
    name: str
    entry: Entry
    how: How
    unit: str = ""
    single: bool = False


class Sight(NamedTuple):
    """One place as it is seen now: files that are not code, and the checkpoints among them."""

    root: str
    tree: Tree
    units: Mapping[str, Finding]
    singles: Mapping[str, Finding]


def as_left(sight: Sight) -> Sight:
    """Give a place as a script that ended well has left it: what looks like half a checkpoint is none."""
    return sight._replace(
        units={name: found for name, found in sight.units.items() if found.complete},
        singles={name: found for name, found in sight.singles.items() if found.complete},
    )


def plan_files(
    sight: Sight,
    *,
    settled: Collection[str],
    is_quiet: Callable[[str], bool],
    rewritten: Collection[str],
    now_ns: int,
) -> list[Item]:
    """Choose what is taken from one place.

    Args:
        sight: the place.
        settled: names of the units and singles that are complete and at rest; the others are left out.
        is_quiet: whether a large file has stopped changing.
        rewritten: names of singles that have been written more than once.
        now_ns: wall time, against which ages are measured.
    """
    parents = {parent_of(name) for name in sight.tree}
    items: list[Item] = []
    for name, entry in sight.tree.items():
        unit = unit_of(name, sight.units)
        young = now_ns - entry.mtime_ns < YOUNG_S * 1e9
        if unit:
            if unit in settled:
                items.append(Item(sight.root, name, entry, "link", unit))
        elif name in sight.singles:
            if name in settled:
                how: How = "copy" if young or name in rewritten else "link"
                items.append(Item(sight.root, name, entry, how, single=True))
        elif entry.kind == "dir":
            if name not in parents:
                items.append(Item(sight.root, name, entry, "link"))
        elif entry.size_b <= SMALL_B or is_quiet(name):
            how = "copy" if young and entry.size_b <= SMALL_B else "link"
            items.append(Item(sight.root, name, entry, how))
    return items


def plan_image(root: str, tree: Tree, now_ns: int) -> list[Item]:
    """Take all of one place, half-written or not: the image of a moment at which the script stands still.

    What is young may be written again in place, whatever its size, and is copied.
    """
    parents = {parent_of(name) for name in tree}
    return [
        Item(root, name, entry, "copy" if now_ns - entry.mtime_ns < YOUNG_S * 1e9 else "link")
        for name, entry in tree.items()
        if entry.kind != "dir" or name not in parents
    ]


def unit_of(name: str, units: Collection[str]) -> str:
    """Give the checkpoint directory that a name is or lies below, or ""."""
    while name:
        if name in units:
            return name
        name = parent_of(name)
    return ""


def copied_b(items: Collection[Item]) -> int:
    """Give how many bytes a plan copies."""
    return sum(item.entry.size_b for item in items if item.how == "copy")
