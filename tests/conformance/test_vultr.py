"""Vultr keeps what every driver must keep."""

from vaultlayer.driver import Need
from vaultlayer_actors.drivers.conformance import Case, DriverConformance
from vaultlayer_actors.drivers.vultr import DRIVER
from vaultlayer_actors.drivers.vultr.simulator import VultrSimulator


class TestVultr(DriverConformance):
    case = Case(
        kind=DRIVER, simulator=VultrSimulator, need=Need(gpu="A100_80", gpu_count=1), many=520
    )
