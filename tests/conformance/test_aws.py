"""EC2 keeps what every driver must keep."""

from vaultlayer.driver import Need
from vaultlayer_actors.drivers.aws import DRIVER
from vaultlayer_actors.drivers.aws.simulator import KEY_ID, AwsSimulator
from vaultlayer_actors.drivers.conformance import Case, DriverConformance


class TestAws(DriverConformance):
    case = Case(
        kind=DRIVER,
        simulator=AwsSimulator,
        need=Need(gpu="A10G", gpu_count=1),
        secrets={"access_key_id": KEY_ID, "secret_access_key": "{key}"},
        many=120,
    )
