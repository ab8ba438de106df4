"""Compute Engine keeps what every driver must keep."""

from vaultlayer.driver import Need
from vaultlayer_actors.drivers.conformance import Case, DriverConformance
from vaultlayer_actors.drivers.gcp import DRIVER
from vaultlayer_actors.drivers.gcp.simulator import GcpSimulator


class TestGcp(DriverConformance):
    case = Case(
        kind=DRIVER,
        simulator=GcpSimulator,
        need=Need(gpu="A100_40", gpu_count=1),
        secrets={"service_account": "{key}"},
    )
