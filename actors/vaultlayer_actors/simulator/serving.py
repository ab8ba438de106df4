"""Serves simulators to whoever wants to try things: in real time, with real processes as machines."""

import secrets
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from importlib.metadata import entry_points
from pathlib import Path

import anyio

from vaultlayer.errors import ConfigError, PortTakenError
from vaultlayer.simulated import GROUP, SimulatedProvider, simulator_names
from vaultlayer_actors.drivers.cloud.clock import SteadyClock
from vaultlayer_actors.simulator.image import make_image
from vaultlayer_actors.simulator.runner import Runner
from vaultlayer_actors.simulator.server import Simulator


def find_simulator(name: str) -> type[Simulator]:
    """Load one provider's simulator.

    Raises:
        ConfigError: none is installed under that name, or it cannot be imported.
    """
    point = next((point for point in entry_points(group=GROUP) if point.name == name), None)
    if point is None:
        known = ", ".join(simulator_names())
        raise ConfigError(f"no simulator is called {name!r}", mend=f"one of: {known}")
    try:
        return point.load()
    except (ImportError, AttributeError) as error:
        raise ConfigError(f"the simulator {name!r} cannot be loaded", why=str(error)) from error


async def serve_simulators(
    names: Sequence[str],
    root: Path,
    ready: Callable[[list[SimulatedProvider]], None],
    *,
    port: int = 0,
) -> None:
    """Serve simulators on loopback until cancelled; all their machines end with them.

    Args:
        names: of providers.
        root: where the machines' disks and consoles are made.
        ready: called once, when all of them serve.
        port: of the first one, the others follow; 0: any that is free.

    Raises:
        ConfigError: a provider has no simulator.
        PortTakenError: a port is somebody else's.
    """
    kinds = [find_simulator(name) for name in names]
    image = make_image(root / "image")
    # Who knows the key can run commands on this machine: nobody else here may guess it.
    key = f"sim-{secrets.token_hex(12)}"
    served: list[SimulatedProvider] = []
    async with AsyncExitStack() as stack:
        for number, (name, kind) in enumerate(zip(names, kinds, strict=True)):
            simulator = kind(SteadyClock(), Runner(root / name, image=image), key=key)
            own_port = port + number if port else 0
            try:
                await stack.enter_async_context(simulator.serve(port=own_port))
            except OSError as error:
                raise PortTakenError(
                    f"the simulator of {name} cannot have port {own_port}",
                    why=error.strerror or str(error),
                    mend="vaultlayer sim up --port with another one, or without",
                ) from error
            served.append(described(name, simulator))
        ready(served)
        await anyio.sleep_forever()


def described(name: str, simulator: Simulator) -> SimulatedProvider:
    """Say what is needed to use a simulator that serves."""
    return SimulatedProvider(
        provider=name,
        url=simulator.url,
        admin_url=f"{simulator.url}/_sim",
        options=simulator.options(),
        keys=simulator.secrets(),
    )
