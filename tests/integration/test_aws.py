"""A spot job on a simulated EC2 that is told of its end by metadata alone: it moves before it is taken."""

from pathlib import Path

import pytest

from clouds_end_to_end import bare_digest, cloud_home, until
from simulators import KEY, running
from vaultlayer_actors.drivers.aws.simulator import KEY_ID, AwsSimulator
from vaultlayer_actors.simulator.machine import State

pytestmark = [pytest.mark.integration, pytest.mark.timeout(240)]

TRAIN = ("python", "train.py", "--steps", "60", "--save-steps", "5", "--step-delay", "0.4")
KEYS = {"access_key_id": KEY_ID, "secret_access_key": KEY}


def test_a_spot_job_hears_its_notice_and_goes_on_elsewhere(tmp_path: Path) -> None:
    with (
        running(AwsSimulator, tmp_path / "aws") as director,
        cloud_home(tmp_path, "aws", director, keys=KEYS, regions=["us-east-1"]) as home,
    ):
        job = home.submit("A10G", *TRAIN)
        first = until(lambda: director.machines(State.RUNNING))[0]
        assert first.name == f"vl-{job}-a1"
        assert first.spec["spot"]
        until(lambda: any(e["type"] == "checkpoint_committed" for e in home.events(job)))
        director.do(first, "preempt", notice_s=20.0)
        state = home.finish(job)
        assert (state["outcome"], state["exit_code"]) == ("succeeded", 0), home.logs(job)
        assert home.digest(job) == bare_digest(tmp_path / "bare", *TRAIN[2:6])
        notices = [e for e in home.events(job) if e["type"] == "noticed"]
        assert [(e["attempt"], e["source"]) for e in notices] == [(1, "aws-spot")]
        assert 0.0 < notices[0]["grace_s"] <= 20.0
        takeovers = [e for e in home.events(job) if e["type"] == "takeover"]
        assert [bool(e.get("resume_from")) for e in takeovers] == [False, True]
        until(lambda: not director.billed)
        assert len({one.name for one in director.machines()}) == 2
        # Who was told to end and who ended itself: neither is left, neither is billed.
        assert {one.state for one in director.machines()} == {State.GONE}
