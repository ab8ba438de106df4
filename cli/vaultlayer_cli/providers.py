"""Which providers a person may name."""

from collections.abc import Sequence
from difflib import get_close_matches
from importlib.metadata import entry_points

from vaultlayer.errors import FlagError, PlacementError
from vaultlayer.settings import Settings

DRIVERS = "vaultlayer.drivers"


def installed_drivers() -> list[str]:
    """Give the names of all drivers that are installed here."""
    return sorted({point.name for point in entry_points(group=DRIVERS)})


def check_providers(wanted: Sequence[str], settings: Settings | None) -> list[str]:
    """Give the wanted providers once each.

    With a broker elsewhere only that broker knows; here, a name must be that of a driver, and be allowed.

    Raises:
        FlagError: no driver has that name.
        PlacementError: the configuration does not allow it.
    """
    names = list(dict.fromkeys(wanted))
    if not names or (settings is not None and settings.bus.urls):
        return names
    known = sorted({*installed_drivers(), *(settings.providers if settings else ())})
    allowed = settings.allowed if settings else ["local"]
    for name in names:
        if name not in known:
            near = get_close_matches(name, known)
            raise FlagError(
                f"no provider is called {name!r}",
                why=f"known here: {', '.join(known)}",
                mend=f"--provider {near[0] if near else known[0]}" if known else "",
            )
        if name not in allowed:
            raise PlacementError(
                f"provider {name!r} is not allowed here",
                why=f"allowed: {', '.join(allowed) or 'none'}",
                mend=f"set [providers.{name}] allow = true in the configuration",
            )
    return names
