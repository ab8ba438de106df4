"""How our machines are found again at a provider: the name says whose they are, nothing else is touched."""

from collections.abc import Iterable

from vaultlayer.driver import Instance
from vaultlayer.ids import parse_instance_name

TAG = "vaultlayer"
"""Key (or plain tag) that all our machines carry where a provider has tags; the value is the name."""


def is_ours(name: str | None) -> bool:
    """Whether a name, label or tag value is `vl-<job>-a<n>`."""
    return bool(name) and parse_instance_name(name or "") is not None


def own(instances: Iterable[Instance]) -> list[Instance]:
    """Leave out everybody else's machines."""
    return [one for one in instances if is_ours(one.name)]


def name_in(tags: Iterable[str]) -> str:
    """Find our name among the values of tags; empty when there is none."""
    return next((value for value in tags if is_ours(value)), "")


def tagged(name: str | None, tags: Iterable[str] | None) -> str:
    """Give a machine's name where it carries our tag; empty for one that is only called as ours are."""
    return name or "" if TAG in (tags or ()) else ""
