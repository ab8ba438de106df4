"""What a simulated provider says of itself to whoever would use it, and where simulators are found.

A driver's package may name its simulator in the entry point group `vaultlayer.simulators`, under the
provider's name; the entry is a subclass of `vaultlayer_actors.simulator.server.Simulator`.
"""

from importlib.metadata import entry_points

import msgspec

GROUP = "vaultlayer.simulators"


class SimulatedProvider(msgspec.Struct, frozen=True, kw_only=True):
    """One simulator that serves now."""

    provider: str
    url: str
    """Base URL of its API."""
    admin_url: str
    """Below it stands what a bad day does: faults, knobs, machines."""
    options: dict[str, object]
    """What `[providers.<name>]` of the configuration needs beside `allow = true`."""
    keys: dict[str, str]
    """The fields of its key, as the vault takes them; they open nothing but this simulator."""


def simulator_names() -> list[str]:
    """Give the names of all providers that have a simulator here."""
    return sorted({point.name for point in entry_points(group=GROUP)})
