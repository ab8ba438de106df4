"""A broker that could not do its work does not start: it says why, with its own status."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.disks import fill, small_disk

pytestmark = [pytest.mark.integration, pytest.mark.timeout(120)]

CONFIG = "version = 1\n[providers.local]\nallow = true\n"


def call(home: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    kept = {k: v for k, v in os.environ.items() if not k.startswith("VAULTLAYER_")}
    return subprocess.run(
        [sys.executable, "-m", "vaultlayer_cli", *arguments],
        env=kept | {"VAULTLAYER_HOME": str(home)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def refusal(home: Path) -> tuple[int, dict[str, str]]:
    """Start a broker that must not start; gives its status and its words."""
    done = call(home, "up", "--json")
    try:
        assert done.returncode != 0, done.stdout
        return done.returncode, json.loads(done.stdout.splitlines()[-1])
    finally:
        call(home, "down", "--force")


def home_with(path: Path, config: str) -> Path:
    path.mkdir()
    (path / "config.toml").write_text(config)
    return path


@pytest.mark.parametrize(
    ("config", "words"),
    [
        (CONFIG.replace("true", "true\nalow = 1"), "line 4: providers.local.alow"),
        (CONFIG + "slots = 0\n", "line 4: providers.local.slots"),
        (CONFIG + '[store]\nendpoint = "ftp://x"\n', "store.endpoint"),
        (CONFIG + "[run]\nkeep_last = -1\n", "run.keep_last"),
    ],
)
def test_a_broken_configuration_is_told_with_its_place(
    tmp_path: Path, config: str, words: str
) -> None:
    status, told = refusal(home_with(tmp_path / "home", config))
    assert (status, told["code"]) == (78, "config-bad")
    assert words in told["what"]


def test_a_bucket_elsewhere_without_its_key_is_refused_at_once(tmp_path: Path) -> None:
    config = CONFIG + '[store]\nendpoint = "http://127.0.0.1:9"\nrole_arn = "nonsense"\n'
    status, told = refusal(home_with(tmp_path / "home", config))
    assert (status, told["code"]) == (78, "config-bad"), told


def test_a_full_disk_is_told_as_one(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", 100) as disk:
        home = home_with(disk / "home", CONFIG)
        fill(disk, leave_b=8_000_000)
        status, told = refusal(home)
    assert (status, told["code"]) == (74, "disk-full")
    assert "64 MB are needed" in told["why"]
