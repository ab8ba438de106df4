"""One job on each simulated cloud, whose machine is taken in that cloud's own way: it goes on elsewhere.

Real broker, real bootstrap, real agent. A cloud with more to show has a file of its own beside this one.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from clouds_end_to_end import bare_digest, cloud_home, until
from simulators import running
from vaultlayer_actors.drivers.cloudrift.simulator import CloudRiftSimulator
from vaultlayer_actors.drivers.digitalocean.simulator import DigitalOceanSimulator
from vaultlayer_actors.drivers.gcp.simulator import GcpSimulator
from vaultlayer_actors.drivers.hyperstack.simulator import HyperstackSimulator
from vaultlayer_actors.drivers.lambda_cloud.simulator import LambdaSimulator
from vaultlayer_actors.drivers.runpod.simulator import RunpodSimulator
from vaultlayer_actors.drivers.verda.simulator import VerdaSimulator
from vaultlayer_actors.drivers.vultr.simulator import VultrSimulator
from vaultlayer_actors.simulator.machine import State
from vaultlayer_actors.simulator.server import Simulator

pytestmark = [pytest.mark.integration, pytest.mark.timeout(240)]

TRAIN = ("python", "train.py", "--steps", "60", "--save-steps", "5", "--step-delay", "0.15")


@dataclass(frozen=True, kw_only=True)
class Cloud:
    """One row: how a machine is taken there, and what the job asks for."""

    name: str
    simulator: type[Simulator]
    gpu: str
    verb: str
    notice_s: float = 0.0
    options: dict[str, Any] = field(default_factory=dict[str, Any])
    keys: Mapping[str, str] | None = None


CLOUDS = [
    Cloud(name="lambda", simulator=LambdaSimulator, gpu="A10", verb="outbid"),
    Cloud(name="runpod", simulator=RunpodSimulator, gpu="RTX4090", verb="kill"),
    Cloud(name="gcp", simulator=GcpSimulator, gpu="A100_40", verb="preempt", notice_s=8.0),
    # A VM whose host fails is off, and billed in full until it is destroyed.
    Cloud(name="digitalocean", simulator=DigitalOceanSimulator, gpu="H100_80", verb="kill"),
    Cloud(name="vultr", simulator=VultrSimulator, gpu="A100_80", verb="kill"),
    Cloud(name="hyperstack", simulator=HyperstackSimulator, gpu="A100_80", verb="kill"),
    Cloud(name="cloudrift", simulator=CloudRiftSimulator, gpu="RTX4090", verb="vanish"),
    Cloud(name="verda", simulator=VerdaSimulator, gpu="A100_80", verb="interrupt"),
]


@pytest.mark.parametrize("cloud", CLOUDS, ids=lambda cloud: cloud.name)
def test_a_job_goes_on_when_its_cloud_takes_the_machine(cloud: Cloud, tmp_path: Path) -> None:
    with (
        running(cloud.simulator, tmp_path / cloud.name) as director,
        cloud_home(
            tmp_path,
            cloud.name,
            director,
            keys=cloud.keys or director.simulator.secrets(),
            **cloud.options,
        ) as home,
    ):
        job = home.submit(cloud.gpu, *TRAIN)
        first = until(lambda: director.machines(State.RUNNING))[0]
        assert first.name == f"vl-{job}-a1"
        until(lambda: any(e["type"] == "checkpoint_committed" for e in home.events(job)))
        director.do(first, cloud.verb, **({"notice_s": cloud.notice_s} if cloud.notice_s else {}))
        state = home.finish(job)
        assert (state["outcome"], state["exit_code"]) == ("succeeded", 0), home.logs(job)
        assert home.digest(job) == bare_digest(tmp_path / "bare", *TRAIN[2:6])
        if cloud.notice_s:
            assert any(event["type"] == "noticed" for event in home.events(job))
        started = [event for event in home.events(job) if event["type"] == "started"]
        assert started[-1]["attempt"] > 1
        assert started[-1]["resumed_from"], home.logs(job)
        until(lambda: not director.billed)
        # An order whose offer has gone meanwhile takes a number and leaves no machine.
        assert len({one.name for one in director.machines()}) == 2
        assert {one.state for one in director.machines()} == {State.GONE}
