"""Jobs on simulated clouds of VMs, through the whole product: real broker, real bootstrap, real agent.

Each cloud takes the first machine in its own way; the job goes on elsewhere and nothing stays billed.
"""

from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path

import pytest

from clouds_end_to_end import CloudHome, bare_digest, cloud_home, until
from simulators import Director, running
from vaultlayer_actors.drivers.digitalocean.simulator import DigitalOceanSimulator
from vaultlayer_actors.simulator.machine import State
from vaultlayer_actors.simulator.server import Simulator

pytestmark = [pytest.mark.integration, pytest.mark.timeout(240)]

TRAIN = ("python", "train.py", "--steps", "60", "--save-steps", "5", "--step-delay", "0.15")


@dataclass(frozen=True)
class Cloud:
    """One cloud and how it takes a machine: `kill` halts a VM that stays billed, `vanish` loses it."""

    name: str
    simulator: type[Simulator]
    gpu: str
    verb: str


CLOUDS = [
    Cloud("digitalocean", DigitalOceanSimulator, "H100_80", "kill"),
]


@pytest.fixture(params=CLOUDS, ids=lambda cloud: cloud.name)
def cloud(request: pytest.FixtureRequest) -> Cloud:
    return request.param


@pytest.fixture
def director(tmp_path: Path, cloud: Cloud) -> Generator[Director]:
    with running(cloud.simulator, tmp_path / cloud.name) as made:
        yield made


@pytest.fixture
def home(tmp_path: Path, cloud: Cloud, director: Director) -> Generator[CloudHome]:
    with cloud_home(tmp_path, cloud.name, director) as made:
        yield made


def test_a_job_whose_machine_is_lost_goes_on_and_nothing_stays_billed(
    home: CloudHome, director: Director, cloud: Cloud, tmp_path: Path
) -> None:
    job = home.submit(cloud.gpu, *TRAIN)
    first = until(lambda: director.machines(State.RUNNING))[0]
    until(lambda: any(e["type"] == "checkpoint_committed" for e in home.events(job)))
    director.do(first, cloud.verb)
    state = home.finish(job)
    assert (state["outcome"], state["exit_code"]) == ("succeeded", 0), home.logs(job)
    assert home.digest(job) == bare_digest(tmp_path / "bare", *TRAIN[2:6])
    assert "continues at" in home.logs(job), home.logs(job)
    until(lambda: not director.billed)
    assert len(director.machines()) == 2
    assert {one.state for one in director.machines()} == {State.GONE}
