"""Hyperstack keeps what every driver must keep."""

from vaultlayer.driver import Need
from vaultlayer_actors.drivers.conformance import Case, DriverConformance
from vaultlayer_actors.drivers.hyperstack import DRIVER
from vaultlayer_actors.drivers.hyperstack.simulator import HyperstackSimulator


class TestHyperstack(DriverConformance):
    case = Case(
        kind=DRIVER, simulator=HyperstackSimulator, need=Need(gpu="A100_80", gpu_count=1), many=230
    )
