"""Which providers a person may name."""

from collections.abc import Sequence
from difflib import get_close_matches
from importlib.metadata import entry_points

from vaultlayer.driver import DriverType
from vaultlayer.errors import ConfigError, FlagError, PlacementError
from vaultlayer.settings import Settings

DRIVERS = "vaultlayer.drivers"


def installed_drivers() -> list[str]:
    """Give the names of all drivers that are installed here."""
    return sorted({point.name for point in entry_points(group=DRIVERS)})


def load_driver(name: str) -> DriverType:
    """Load one driver's manifest and options.

    Raises:
        ConfigError: it is not installed, or cannot be imported.
    """
    point = next((point for point in entry_points(group=DRIVERS) if point.name == name), None)
    if point is None:
        raise ConfigError(f"no driver is called {name!r}", mend="install the package that has it")
    try:
        return point.load()
    except (ImportError, AttributeError) as error:
        raise ConfigError(f"the driver {name!r} cannot be loaded", why=str(error)) from error


def known_driver(name: str) -> DriverType:
    """Load the driver that a person named.

    Raises:
        FlagError: none has that name; near ones are told.
    """
    known = installed_drivers()
    if name not in known:
        near = get_close_matches(name, known, n=1)
        raise FlagError(
            f"no provider is called {name!r}",
            why=f"known here: {', '.join(known)}",
            mend=f"vaultlayer providers list {near[0]}" if near else "vaultlayer providers",
        )
    return load_driver(name)


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
