"""Which servers may keep the job log, from what they tell of themselves."""

import msgspec
import pytest

from vaultlayer.bus.streams import Varz, server_fault


def varz(text: str) -> Varz:
    return msgspec.json.decode(text, type=Varz)


SYNCED = varz('{"version":"2.15.1","jetstream":{"config":{"sync_always":true,"sync_interval":1}}}')


@pytest.mark.parametrize("version", ["2.12.0", "2.15.1", "2.12.0-RC.1", "v2.30.4", "3.0.0"])
def test_a_new_server_that_syncs_is_fit(version: str) -> None:
    assert server_fault(version, msgspec.structs.replace(SYNCED, version="")) is None


@pytest.mark.parametrize("version", ["2.9.10", "2.10.29", "2.11.99", "1.99.0", "", "unknown"])
def test_an_old_or_nameless_server_is_refused(version: str) -> None:
    fault = server_fault(version, msgspec.structs.replace(SYNCED, version=""))
    assert fault is not None
    assert fault.code == "bus-unfit"
    assert "2.12" in fault.why
    assert fault.mend


def test_what_the_monitor_says_of_the_version_counts() -> None:
    assert server_fault("2.9.10", SYNCED) is None
    assert server_fault("2.15.1", msgspec.structs.replace(SYNCED, version="2.9.10")) is not None


@pytest.mark.parametrize(
    "text",
    [
        '{"version":"2.15.1","jetstream":{"config":{"sync_interval":120000000000}}}',
        '{"version":"2.15.1","jetstream":{"config":{"sync_always":false}}}',
        '{"version":"2.15.1","jetstream":{}}',
        '{"version":"2.15.1"}',
    ],
)
def test_a_server_that_acknowledges_before_it_syncs_is_refused(text: str) -> None:
    fault = server_fault("2.15.1", varz(text))
    assert fault is not None
    assert "sync_interval: always" in fault.mend
