"""A driver in a package of its own, that of docs/writing-a-driver.md, through the whole product."""

import json
import os
import shutil
import signal
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from clouds_end_to_end import until

pytestmark = [pytest.mark.integration, pytest.mark.timeout(240)]

EXAMPLE = Path(__file__).parents[2] / "docs" / "examples" / "acme"


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    """An environment in which the package is installed, as pip would do it."""
    site = tmp_path / "site"
    shutil.copytree(EXAMPLE / "acme", site / "acme")
    project = tomllib.loads((EXAMPLE / "pyproject.toml").read_text())["project"]
    info = site / f"vaultlayer_acme-{project['version']}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Name: {project['name']}\nVersion: {project['version']}\n")
    sections = [
        f"[{group}]\n" + "".join(f"{name} = {value}\n" for name, value in points.items())
        for group, points in project["entry-points"].items()
    ]
    (info / "entry_points.txt").write_text("\n".join(sections))
    kept = {k: v for k, v in os.environ.items() if not k.startswith("VAULTLAYER_")}
    return {**kept, "PYTHONPATH": str(site), "VAULTLAYER_HOME": str(tmp_path / "home")}


def test_the_example_is_found_checked_and_trains(environ: dict[str, str], tmp_path: Path) -> None:
    program = [sys.executable, "-m", "vaultlayer_cli"]

    def call(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*program, *arguments], env=environ, capture_output=True, text=True, timeout=120
        )

    assert call("init", "--yes").returncode == 0
    with (tmp_path / "sim.log").open("w") as log:
        serving = subprocess.Popen(
            [*program, "sim", "up", "acme", "--configure"], env=environ, stdout=log, stderr=log
        )
    try:
        until(lambda: "keys are in the vault" in (tmp_path / "sim.log").read_text())
        assert call("up").returncode == 0
        checked = call("providers", "check", "acme", "--json")
        assert checked.returncode == 0, checked.stdout + checked.stderr
        found = {row["name"]: row for row in map(json.loads, checked.stdout.splitlines())}
        assert found["rights"]["verdict"] == "ok"
        assert found["balance"]["found"] == "$12.00 left"
        swept = call("sweep", "acme", "--gpu", "RTX4090", "--only", "quick", "--json")
        assert swept.returncode == 0, swept.stdout + swept.stderr
        assert json.loads(swept.stdout)["kind"] == "simulated"
    finally:
        call("down", "--force")
        serving.send_signal(signal.SIGINT)
        assert serving.wait(timeout=30) == 0
