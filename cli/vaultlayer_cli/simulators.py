"""Simulated providers for a person: which ones, what to write down, and the way from here to there."""

from collections.abc import Awaitable, Callable, Sequence
from importlib.metadata import entry_points
from urllib.parse import urlsplit

import msgspec

from vaultlayer.errors import ConfigError, FlagError, ServerMissingError
from vaultlayer.settings import Home, load_settings
from vaultlayer.simulated import SimulatedProvider, simulator_names
from vaultlayer_cli.config_edit import set_options
from vaultlayer_cli.provider_keys import PROCESSES, hand_over, held_fields

LOOPBACK = ("127.0.0.1", "localhost", "::1")


def is_loopback(endpoint: object) -> bool:
    """Tell whether a provider's address is on this machine."""
    return urlsplit(str(endpoint)).hostname in LOOPBACK


def chosen(names: Sequence[str]) -> list[str]:
    """Give the providers to simulate, all that can be when none is named.

    Raises:
        FlagError: one has no simulator.
    """
    known = simulator_names()
    strange = [name for name in names if name not in known]
    if strange:
        raise FlagError(
            f"{strange[0]} has no simulator here",
            why=f"there are: {', '.join(known) or 'none'}",
            mend="vaultlayer sim up",
        )
    return list(dict.fromkeys(names)) or known


def server() -> Callable[..., Awaitable[None]]:
    """Load what serves simulators.

    Raises:
        ServerMissingError: this installation has only the command line.
    """
    points = entry_points(group=PROCESSES)
    point = next((point for point in points if point.name == "simulators"), None)
    if point is None:
        raise ServerMissingError(
            "the simulators are not installed", mend="pip install 'vaultlayer[all]'"
        )
    return point.load()


def config_lines(one: SimulatedProvider) -> str:
    """Spell the table that lets a broker use a simulator."""
    values = [f"{name} = {msgspec.json.encode(v).decode()}" for name, v in one.options.items()]
    return "\n".join([f"[providers.{one.provider}]", "allow = true", *values])


def key_text(one: SimulatedProvider) -> str:
    """Spell a key as `providers key` reads it from a pipe."""
    values = list(one.keys.values())
    return values[0] if len(values) == 1 else msgspec.json.encode(one.keys).decode()


async def refuse_real_ones(home: Home, names: Sequence[str]) -> None:
    """Pass unless a provider of this home is set up for its real address: its key would be lost.

    Raises:
        NotInitialisedError: there is no configuration.
        ConfigError: one is.
    """
    tables = load_settings(home.config_file).providers
    held = await held_fields(home) or {}
    for name in names:
        is_simulated = is_loopback(tables.get(name, {}).get("endpoint", ""))
        if not is_simulated and (held.get(name) or tables.get(name, {}).get("allow")):
            raise ConfigError(
                f"{name} itself is set up in {home.config_file}",
                why="a simulator's address and key would take the place of its own",
                mend="give the simulators a home: VAULTLAYER_HOME=… vaultlayer init --yes, then again",
            )


async def configure(home: Home, served: Sequence[SimulatedProvider]) -> bool:
    """Write the simulators down and hand their keys to the vault; whether a running broker has these."""
    live = False
    for one in served:
        set_options(home, one.provider, one.options)
        live = await hand_over(home, one.provider, one.keys)
    return live
