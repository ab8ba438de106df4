"""RunPod keeps what every driver must keep."""

from vaultlayer.driver import Need
from vaultlayer_actors.drivers.conformance import Case, DriverConformance
from vaultlayer_actors.drivers.runpod import DRIVER
from vaultlayer_actors.drivers.runpod.simulator import RunpodSimulator


class TestRunpod(DriverConformance):
    case = Case(kind=DRIVER, simulator=RunpodSimulator, need=Need(gpu="RTX4090", gpu_count=1))
