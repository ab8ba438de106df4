"""A machine whose image has no agent takes it from the user's own bucket."""

import json
import subprocess
import sys
import zipfile
from importlib.metadata import Distribution
from pathlib import Path

import pytest

from clouds_end_to_end import cloud_home
from simulators import running
from vaultlayer import __version__
from vaultlayer_actors.drivers.vast.simulator import VastSimulator
from vaultlayer_cli.wheelhouse import own_wheel, repack

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]


def test_a_bare_machine_installs_the_agent_from_the_bucket(tmp_path: Path) -> None:
    with (
        running(VastSimulator, tmp_path / "vast", has_agent=False) as vast,
        cloud_home(tmp_path, "vast", vast) as home,
    ):
        put = json.loads(home.call("wheels", "--json"))
        assert put["key"].endswith(f"wheels/{__version__}.tar.gz")
        assert any(name.startswith("vaultlayer-") for name in put["wheels"])
        job = home.submit("RTX4090", "python", "-c", "print('it runs')")
        assert home.finish(job)["outcome"] == "succeeded", vast.consoles()
        assert "it runs" in home.logs(job)
        ready = next(one for one in home.events(job) if one["type"] == "ready")
        assert {"began", "agent_installing", "agent_installed"} <= set(ready["boot_s"])
        console = vast.runner.log(vast.machines()[0].id)
        assert "agent_installed" in console


def test_an_installed_package_becomes_the_wheel_it_came_from(tmp_path: Path) -> None:
    built = own_wheel(tmp_path)
    site = tmp_path / "site"
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target"]
    subprocess.run([*pip, str(site), str(built)], check=True)
    installed = Distribution.at(next(site.glob("vaultlayer-*.dist-info")))
    made = tmp_path / "again" / built.name
    made.parent.mkdir()
    made.write_bytes(repack(installed))
    with zipfile.ZipFile(built) as first, zipfile.ZipFile(made) as second:
        assert second.testzip() is None
        names = set(first.namelist())
        assert names == set(second.namelist())
        assert {n: first.read(n) for n in names if not n.endswith("RECORD")} == {
            n: second.read(n) for n in names if not n.endswith("RECORD")
        }
    subprocess.run([*pip, str(tmp_path / "second"), str(made)], check=True)
