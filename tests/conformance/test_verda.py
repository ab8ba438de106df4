"""Verda keeps what every driver must keep."""

from vaultlayer.driver import Need
from vaultlayer_actors.drivers.conformance import Case, DriverConformance
from vaultlayer_actors.drivers.verda import DRIVER
from vaultlayer_actors.drivers.verda.simulator import CLIENT, VerdaSimulator


class TestVerda(DriverConformance):
    case = Case(
        kind=DRIVER,
        simulator=VerdaSimulator,
        need=Need(gpu="A100_80", gpu_count=1),
        secrets={"client_id": CLIENT, "client_secret": "{key}"},
        refused_creates=("no_capacity",),
    )
