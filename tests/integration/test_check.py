"""`vaultlayer check` on real training scripts: exact by replay, by a Trainer, not exact, no training."""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from chaos.world import World

JOBS = Path(__file__).parents[1] / "jobs"
SCRIPTS = Path(__file__).parents[1] / "matrix" / "scripts"
pytestmark = [pytest.mark.integration, pytest.mark.train, pytest.mark.timeout(300)]


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path)
    try:
        made.up()
        yield made
    finally:
        made.down()


def check(tmp_path: Path, script: Path, *words: str, status: int) -> dict[str, Any]:
    work = tmp_path / "work"
    work.mkdir()
    shutil.copy(script, work / "train.py")
    kept = {k: v for k, v in os.environ.items() if not k.startswith("VAULTLAYER_")}
    ours = [sys.executable, "-m", "vaultlayer_cli", "check", "--json", "--steps", "8"]
    done = subprocess.run(
        [*ours, sys.executable, "train.py", *words],
        cwd=work,
        env={**kept, "HOME": str(tmp_path), "TMPDIR": str(tmp_path), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == status, done.stdout + done.stderr
    assert done.stderr == ""
    assert sorted(path.name for path in work.iterdir()) == ["train.py"], "nothing of the user's"
    assert [path.name for path in tmp_path.iterdir() if "check" in path.name] == [], "all tidied up"
    return json.loads(done.stdout)


def test_a_plain_loop_goes_on_exactly(tmp_path: Path) -> None:
    found = check(tmp_path, JOBS / "check_loop.py", status=0)
    assert (found["verdict"], found["tier"], found["fell"]) == ("exact", "B", "")
    assert found["steps"]["equal"] == found["steps"]["of"] >= 6
    assert found["recorded"]["equal"] == found["recorded"]["of"] > 0
    assert found["undisturbed"]["equal"] == found["undisturbed"]["of"] > 0
    assert 0 < found["skipped_steps"] <= found["killed_at_step"]
    assert found["snapshot_b"] > 0
    assert found["bare_step_s"] > 0


def test_a_file_of_the_scripts_own_before_the_first_snapshot_decides_nothing(
    tmp_path: Path,
) -> None:
    found = check(tmp_path, JOBS / "check_loop.py", "--early-save", status=0)
    assert (found["verdict"], found["tier"]) == ("exact", "B")
    assert found["skipped_steps"] > 2


def test_a_trainer_goes_on_exactly_and_saves_sooner_than_it_wants(tmp_path: Path) -> None:
    found = check(tmp_path, SCRIPTS / "hf_plain.py", status=0)
    assert (found["verdict"], found["tier"]) == ("exact", "A")
    # The witness loses what it wrote last to the kill.
    assert found["steps"]["equal"] == found["steps"]["of"] >= 6
    assert 0 < found["skipped_steps"] <= found["killed_at_step"]
    assert any("saved sooner" in one for one in found["not_covered"])


def test_a_script_that_no_other_process_can_repeat_is_told_so(tmp_path: Path) -> None:
    found = check(tmp_path, JOBS / "check_loop.py", "--pid", status=1)
    assert found["verdict"] == "zero"
    assert "diverged" in found["fell"]
    assert found["steps"]["equal"] < found["steps"]["of"]


def test_a_script_that_never_trains_is_refused(tmp_path: Path) -> None:
    script = tmp_path / "idle.py"
    script.write_text("print('no training here')\n")
    said = check(tmp_path, script, status=65)
    assert said["code"] == "check-impossible"
    assert said["what"] == "the script ended without an optimizer step"


def test_a_running_jobs_snapshot_is_replayed_here_while_it_goes_on(world: World) -> None:
    work = world.base / "work"
    work.mkdir()
    text = (JOBS / "check_loop.py").read_text()
    seeded = text.replace("manual_seed(5)", "manual_seed(int(os.environ['SEED']))")
    (work / "train.py").write_text(seeded)
    pins = ("--env", "OMP_NUM_THREADS=1", "--env", "SEED=5")
    command = [sys.executable, "train.py"]
    world.call("run", "--detach", "--snapshot-every", "20steps", *pins, "--", *command, cwd=work)
    early = json.loads(world.call("check", "--json", "@last", check=False))
    assert early["code"] == "check-impossible"
    assert "no snapshot" in early["what"]
    end_s = time.monotonic() + 120
    while not world.state("@last").get("checkpoints"):
        assert time.monotonic() < end_s
        time.sleep(0.3)
    found = json.loads(world.call("check", "--json", "--env", "SEED=5", *pins[:2], "@last"))
    assert (found["verdict"], found["tier"]) == ("exact", "B")
    assert found["recorded"]["equal"] == found["recorded"]["of"] > 0
    assert found["skipped_steps"] >= 20
    failed = json.loads(world.call("check", "--json", *pins[:2], "@last", check=False))
    assert failed["verdict"] == "differs"
    assert "SEED" in failed["fell"], "the job's own variables are sealed, and are named again"
    assert world.state("@last")["status"] == "running"


def test_a_check_that_is_ended_takes_its_broker_and_its_machine_with_it(tmp_path: Path) -> None:
    shutil.copy(JOBS / "check_loop.py", tmp_path / "train.py")
    kept = {k: v for k, v in os.environ.items() if not k.startswith("VAULTLAYER_")}
    environ = {**kept, "HOME": str(tmp_path), "TMPDIR": str(tmp_path), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "vaultlayer_cli", "check", "--json", "--steps", "3"]
    process = subprocess.Popen(
        [*command, sys.executable, "train.py"], cwd=tmp_path, env=environ, stdout=subprocess.PIPE
    )
    end_s = time.monotonic() + 120
    while not list(tmp_path.glob("vaultlayer-check-*/traces/1-*")):
        assert time.monotonic() < end_s
        assert process.poll() is None
        time.sleep(0.05)
    process.terminate()
    said, _ = process.communicate(timeout=60)
    assert process.returncode == 65
    assert "SIGTERM" in json.loads(said)["what"]
    assert list(tmp_path.glob("vaultlayer-check-*")) == []
    assert [p.pid for p in psutil.process_iter() if str(tmp_path) in environment(p)] == []


def environment(process: psutil.Process) -> str:
    try:
        return str(process.environ())
    except psutil.Error:
        return ""
