"""Jobs on a simulated Vast.ai, through the whole product: real broker, real bootstrap, real agent."""

from collections.abc import Generator
from pathlib import Path

import pytest

from clouds_end_to_end import CloudHome, bare_digest, cloud_home, until
from simulators import Director, running
from vaultlayer_actors.drivers.vast.simulator import VastSimulator
from vaultlayer_actors.simulator.machine import State

pytestmark = [pytest.mark.integration, pytest.mark.timeout(240)]

TRAIN = ("python", "train.py", "--steps", "60", "--save-steps", "5", "--step-delay", "0.15")


@pytest.fixture
def vast(tmp_path: Path) -> Generator[Director]:
    with running(VastSimulator, tmp_path / "vast") as director:
        yield director


@pytest.fixture
def home(tmp_path: Path, vast: Director) -> Generator[CloudHome]:
    with cloud_home(tmp_path, "vast", vast) as made:
        yield made


def test_an_outbid_job_goes_on_elsewhere_and_its_ghost_does_nothing(
    home: CloudHome, vast: Director, tmp_path: Path
) -> None:
    job = home.submit("RTX4090", *TRAIN)
    first = until(lambda: vast.machines(State.RUNNING))[0]
    assert first.name == f"vl-{job}-a1"
    until(lambda: any(e["type"] == "checkpoint_committed" for e in home.events(job)))
    vast.do(first, "outbid")
    state = home.finish(job)
    assert (state["outcome"], state["exit_code"]) == ("succeeded", 0), home.logs(job)
    assert home.digest(job) == bare_digest(tmp_path / "bare", *TRAIN[2:6])
    log = home.logs(job)
    assert "continues at" in log
    until(lambda: not vast.billed)
    names = {one.name for one in vast.machines()}
    # An order whose offer has gone meanwhile takes a number and leaves no machine.
    assert len(names) == 2
    assert f"vl-{job}-a1" in names
    assert {one.state for one in vast.machines()} == {State.GONE}
