"""Vast.ai keeps what every driver must keep."""

from vaultlayer.driver import Need
from vaultlayer_actors.drivers.conformance import Case, DriverConformance
from vaultlayer_actors.drivers.vast import DRIVER
from vaultlayer_actors.drivers.vast.simulator import VastSimulator


class TestVast(DriverConformance):
    case = Case(kind=DRIVER, simulator=VastSimulator, need=Need(gpu="RTX4090", gpu_count=1))
