"""Finds drivers by the entry point group `vaultlayer.drivers` and builds those that are allowed.

A driver is a package of its own: what makes it one is the entry point, not its place in this folder.
"""

from collections.abc import Mapping
from importlib.metadata import entry_points
from pathlib import Path

import msgspec

from vaultlayer.driver import Driver, DriverContext, DriverType
from vaultlayer.errors import ConfigError
from vaultlayer.settings import Settings, field_error

GROUP = "vaultlayer.drivers"


def driver_names() -> list[str]:
    """List the names of all installed drivers."""
    return sorted(point.name for point in entry_points(group=GROUP))


def find_driver(name: str) -> DriverType:
    """Load the driver of one provider.

    Raises:
        ConfigError: no installed package has a driver of that name, or it cannot be imported.
    """
    found = {point.name: point for point in entry_points(group=GROUP)}
    if name not in found:
        raise ConfigError(
            f"[providers.{name}]: no driver is called {name!r}",
            mend=f"one of: {', '.join(sorted(found))}; or install the package that has it",
        )
    try:
        return found[name].load()
    except (ImportError, AttributeError) as error:
        raise ConfigError(
            f"[providers.{name}]: its driver cannot be loaded", why=str(error)
        ) from error


def check_options(settings: Settings, path: Path) -> None:
    """Pass when every allowed provider has a driver that understands its table.

    Args:
        settings: the configuration.
        path: its file, to name the line.

    Raises:
        ConfigError: one has not; names file, line and field.
    """
    for name in settings.allowed:
        shape = find_driver(name).options
        own = own_options(settings.providers[name])
        try:
            msgspec.convert(own, shape)
        except msgspec.ValidationError as error:
            table = f"providers.{name}"
            text = path.read_text(encoding="utf-8")
            raise field_error(error, text, str(path), table=table, shapes={table: shape}) from error


def own_options(table: Mapping[str, object]) -> dict[str, object]:
    """Give what of a provider's table is the driver's own."""
    return {name: value for name, value in table.items() if name != "allow"}


def build_driver(
    kind: DriverType,
    *,
    options: Mapping[str, object],
    secrets: Mapping[str, str],
    state_path: Path,
) -> Driver:
    """Build one driver with a directory of its own.

    Args:
        kind: what `find_driver` gave.
        options: the provider's table of the configuration; `allow` is taken out.
        secrets: API keys; empty when the manifest needs none.
        state_path: made, with mode 0700, when it is not there.

    Raises:
        ConfigError: an option cannot be used.
    """
    state_path.mkdir(mode=0o700, parents=True, exist_ok=True)
    return kind.build(
        DriverContext(options=own_options(options), secrets=secrets, state_path=state_path)
    )
