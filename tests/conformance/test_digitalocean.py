"""DigitalOcean keeps what every driver must keep."""

from vaultlayer.driver import Need
from vaultlayer_actors.drivers.conformance import Case, DriverConformance
from vaultlayer_actors.drivers.digitalocean import DRIVER
from vaultlayer_actors.drivers.digitalocean.simulator import DigitalOceanSimulator


class TestDigitalOcean(DriverConformance):
    case = Case(
        kind=DRIVER,
        simulator=DigitalOceanSimulator,
        need=Need(gpu="H100_80", gpu_count=1),
        many=230,
    )
