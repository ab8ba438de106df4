"""The driver of docs/writing-a-driver.md keeps what every driver must keep."""

import tomllib
from importlib.metadata import EntryPoint
from pathlib import Path

from acme import DRIVER
from acme.simulator import AcmeSimulator
from vaultlayer.driver import Need
from vaultlayer_actors.drivers.conformance import Case, DriverConformance

EXAMPLE = Path(__file__).parents[2] / "docs" / "examples" / "acme"


class TestAcme(DriverConformance):
    case = Case(kind=DRIVER, simulator=AcmeSimulator, need=Need(gpu="RTX4090", gpu_count=1))


def test_the_entry_points_of_the_example_lead_to_its_driver_and_its_simulator() -> None:
    project = tomllib.loads((EXAMPLE / "pyproject.toml").read_text())["project"]
    points = [value for group in project["entry-points"].values() for value in group.values()]
    found = [EntryPoint("acme", value, "any").load() for value in points]
    assert found == [DRIVER, AcmeSimulator]
