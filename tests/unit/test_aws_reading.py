"""What EC2's answers mean: states, prices, types and codes, without any wire."""

from datetime import UTC, datetime
from typing import Any

import pytest

from vaultlayer.driver import Need
from vaultlayer.errors import AmbiguousCreateError, DriverError
from vaultlayer_actors.drivers.aws.reading import (
    Failure,
    Place,
    Terms,
    error_of,
    fitting,
    instance_of,
    place_of,
    spot_offers,
)
from vaultlayer_actors.drivers.aws.wire import (
    Gpu,
    Gpus,
    Kind,
    Memory,
    Processor,
    Reason,
    Row,
    SpotPrice,
    State,
)

NEED = Need(gpu="A10G", gpu_count=1)
TERMS = Terms(disk_gb=64.0, egress_usd_gb=0.0)


@pytest.mark.parametrize(
    ("word", "code", "state", "detail"),
    [
        ("pending", "", "booting", ""),
        ("running", "", "running", ""),
        ("shutting-down", "Server.SpotInstanceTermination", "stopped", "taken by AWS (spot)"),
        ("shutting-down", "", "stopped", "shutting-down"),
        ("stopping", "", "stopped", "stopping"),
        ("stopped", "Server.SpotInstanceShutdown", "stopped", "taken by AWS (spot)"),
        ("terminated", "Client.UserInitiatedShutdown", "gone", "Client.UserInitiatedShutdown"),
        ("terminated", "", "gone", ""),
        ("hovering", "", "unknown", "hovering"),
    ],
)
def test_each_state_is_read(word: str, code: str, state: str, detail: str) -> None:
    row = Row(
        instance_id="i-1", state=State(name=word), state_reason=Reason(code=code) if code else None
    )
    found = instance_of(row)
    assert (found.state, found.detail) == (state, detail)


def test_of_a_history_the_newest_price_of_each_zone_holds() -> None:
    def price(zone: str, usd: str, hour: int) -> SpotPrice:
        at = datetime(2026, 11, 28, hour, tzinfo=UTC)
        return SpotPrice(
            availability_zone=zone, instance_type="g5.xlarge", spot_price=usd, timestamp=at
        )

    history = [price("us-east-1a", "0.9", 1), price("us-east-1a", "0.4", 3)]
    history += [price("us-east-1a", "0.8", 2), price("us-east-1b", "0.5", 1)]
    found = spot_offers([kind()], history, {"g5.xlarge": 1.006}, TERMS)
    machines = {one.offer_id: one.parts.machine_usd_h for one in found if one.parts}
    assert machines == {
        "us-east-1a:g5.xlarge:spot": pytest.approx(0.405),
        "us-east-1b:g5.xlarge:spot": pytest.approx(0.505),
    }


def kind(name: str = "A10G", memory_mib: int = 22888, **fields: Any) -> Kind:
    gpu = Gpu(
        name=name, manufacturer="NVIDIA", count=1, memory_info=Memory(size_in_mi_b=memory_mib)
    )
    made: dict[str, Any] = {
        "instance_type": "g5.xlarge",
        "gpu_info": Gpus(gpus=[gpu]),
        "processor_info": Processor(supported_architectures=["x86_64"]),
    }
    return Kind(**{**made, **fields})


def test_types_that_only_look_alike_are_passed_over() -> None:
    assert fitting([kind()], NEED)
    fraction = kind("L4", 2861)
    assert not fitting([fraction], Need(gpu="L4", gpu_count=1))
    eighth = Gpu(
        name="L4",
        manufacturer="NVIDIA",
        count=1,
        gpu_partition_size=0.125,
        memory_info=Memory(size_in_mi_b=22888),
    )
    assert not fitting([kind(gpu_info=Gpus(gpus=[eighth]))], Need(gpu="L4", gpu_count=1))
    arm = kind(processor_info=Processor(supported_architectures=["arm64"]))
    amd = kind(gpu_info=Gpus(gpus=[Gpu(name="A10G", manufacturer="AMD", count=1)]))
    for other in (arm, amd, kind("Novelty 9000"), kind(gpu_info=None)):
        assert not fitting([other], NEED)


def test_an_a100_is_told_apart_by_its_memory() -> None:
    for memory_mib, gpu in ((40960, "A100_40"), (81920, "A100_80")):
        assert fitting([kind("A100", memory_mib)], Need(gpu=gpu, gpu_count=1))
    assert not fitting([kind("A100", 81920)], Need(gpu="A100_40", gpu_count=1))


def test_an_offers_id_tells_zone_type_and_market() -> None:
    for text, region in (
        ("us-east-1a:g5.xlarge:spot", "us-east-1"),
        ("us-west-2-lax-1a:g5.xlarge:demand", "us-west-2"),
        ("us-gov-west-1a:p5.48xlarge:demand", "us-gov-west-1"),
    ):
        place = place_of(text)
        assert (str(place), place.region) == (text, region)
    assert Place("us-east-1a", "g5.xlarge", spot=True).region == "us-east-1"
    with pytest.raises(DriverError):
        place_of("12345")


@pytest.mark.parametrize(
    ("code", "status", "kind"),
    [
        ("RequestLimitExceeded", 503, "provider-throttled"),
        ("Throttling", 400, "provider-throttled"),
        ("AuthFailure", 401, "provider-auth"),
        ("SignatureDoesNotMatch", 403, "provider-auth"),
        ("RequestExpired", 400, "provider-auth"),
        ("UnauthorizedOperation", 403, "provider-auth"),
        ("AuthFailure.ServiceLinkedRoleCreationNotPermitted", 403, "provider-auth"),
        ("Blocked", 403, "provider-balance"),
        ("InsufficientInstanceCapacity", 500, "no-capacity"),
        ("UnfulfillableCapacity", 400, "no-capacity"),
        ("MaxSpotInstanceCountExceeded", 400, "no-capacity"),
        ("Unsupported", 400, "offer-gone"),
        ("IdempotentParameterMismatch", 400, "create-ambiguous"),
        ("InvalidParameterValue", 400, "driver"),
    ],
)
def test_each_code_has_its_meaning(code: str, status: int, kind: str) -> None:
    error = error_of(Failure(call="create", code=code, text="", status=status))
    assert error.code == kind


def test_a_clock_that_is_wrong_is_no_wrong_key() -> None:
    error = error_of(Failure(call="list", code="RequestExpired", text="", status=400))
    assert "NTP" in (error.mend or "")


def test_a_server_failure_of_a_create_is_unclear_and_of_a_read_is_not() -> None:
    for call, cls in (("create", AmbiguousCreateError), ("list", DriverError)):
        error = error_of(Failure(call=call, code="InternalError", text="", status=500))
        assert type(error) is cls
        assert error.retryable
