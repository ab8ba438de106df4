"""Simulated clouds beside the test, in a thread of their own, with machines that are real processes."""

import json
import urllib.request
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import anyio.from_thread

from vaultlayer_actors.drivers.cloud.clock import SteadyClock
from vaultlayer_actors.simulator.image import make_image
from vaultlayer_actors.simulator.machine import Machine, State
from vaultlayer_actors.simulator.runner import Runner
from vaultlayer_actors.simulator.server import Simulator

KEY = "sim-key-0123456789"


class Director:
    """Does to a running simulator what a bad day does, over its own HTTP."""

    def __init__(self, simulator: Simulator, runner: Runner) -> None:
        self.simulator = simulator
        self.runner = runner

    def call(self, method: str, path: str, **fields: object) -> dict[str, Any]:
        request = urllib.request.Request(
            f"{self.simulator.url}/_sim/{path}", json.dumps(fields).encode(), method=method
        )
        with urllib.request.urlopen(request, timeout=10) as answer:
            return json.load(answer)

    def do(self, machine: Machine, verb: str, **fields: float) -> None:
        self.call("POST", f"machines/{machine.id}/{verb}", **fields)

    def fault(self, kind: str, call: str = "*", **fields: object) -> None:
        self.call("POST", "faults", kind=kind, call=call, **fields)

    def knobs(self, **fields: object) -> None:
        self.call("PATCH", "knobs", **fields)

    def machines(self, *states: State) -> list[Machine]:
        found = list(self.simulator.fleet.machines.values())
        return [one for one in found if not states or one.state in states]

    @property
    def billed(self) -> list[str]:
        return self.simulator.fleet.ledger.billed()

    def consoles(self) -> str:
        return "\n".join(
            f"--- {one.id} {one.name} {one.state} {one.reason}\n{self.runner.log(one.id)}"
            for one in self.machines()
        )


@contextmanager
def running(kind: type[Simulator], path: Path, *, has_agent: bool = True) -> Generator[Director]:
    """Serve a simulator in real time until the context ends; its machines end with it."""
    runner = Runner(path / "disks", image=make_image(path / "image", has_agent=has_agent))
    with anyio.from_thread.start_blocking_portal() as portal:

        def make() -> Simulator:
            return kind(SteadyClock(), runner, key=KEY)

        simulator = portal.call(make)
        with portal.wrap_async_context_manager(simulator.serve()):
            yield Director(simulator, runner)
