"""Lambda keeps what every driver must keep."""

from vaultlayer.driver import Need
from vaultlayer_actors.drivers.conformance import Case, DriverConformance
from vaultlayer_actors.drivers.lambda_cloud import DRIVER
from vaultlayer_actors.drivers.lambda_cloud.simulator import LambdaSimulator


class TestLambda(DriverConformance):
    case = Case(
        kind=DRIVER,
        simulator=LambdaSimulator,
        need=Need(gpu="A10", gpu_count=1),
        refused_creates=("no_capacity",),
    )
