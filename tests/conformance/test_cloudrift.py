"""CloudRift keeps what every driver must keep, as far as machines without names can."""

from vaultlayer.driver import Need
from vaultlayer_actors.drivers.cloudrift import DRIVER
from vaultlayer_actors.drivers.cloudrift.simulator import CloudRiftSimulator
from vaultlayer_actors.drivers.conformance import Case, DriverConformance


class TestCloudRift(DriverConformance):
    case = Case(
        kind=DRIVER,
        simulator=CloudRiftSimulator,
        need=Need(gpu="RTX4090", gpu_count=1),
        has_names=False,
    )
