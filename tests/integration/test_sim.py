"""Simulated providers for anybody: served, used, and gone with all their machines."""

import json
import os
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest

from clouds_end_to_end import until
from vaultlayer.settings import load_settings
from vaultlayer.simulated import SimulatedProvider, simulator_names
from vaultlayer_cli.simulators import config_lines, key_text

pytestmark = pytest.mark.integration


def environ(home: Path) -> dict[str, str]:
    kept = {k: v for k, v in os.environ.items() if not k.startswith("VAULTLAYER_")}
    return {**kept, "VAULTLAYER_HOME": str(home)}


def call(home: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "vaultlayer_cli", *arguments],
        env=environ(home),
        capture_output=True,
        text=True,
        timeout=60,
    )


@contextmanager
def serving(home: Path, *arguments: str) -> Generator[tuple[subprocess.Popen[str], list[Any]]]:
    """`sim up`, and the lines that it printed for the providers it serves."""
    process = subprocess.Popen(
        [sys.executable, "-m", "vaultlayer_cli", "sim", "up", "--json", *arguments],
        env=environ(home),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    try:
        yield process, [json.loads(process.stdout.readline())]
    finally:
        process.send_signal(signal.SIGINT)
        _, told = process.communicate(timeout=20)
        assert process.returncode == 0, told


def ask(one: dict[str, Any], method: str, path: str, body: object = None) -> dict[str, Any]:
    request = urllib.request.Request(
        f"{one['url']}{path}",
        json.dumps(body or {}).encode(),
        {"Authorization": f"Bearer {one['keys']['api_key']}"},
        method=method,
    )
    with urllib.request.urlopen(request, timeout=10) as answer:
        return json.load(answer)


def is_alive(pid: int) -> bool:
    """Whether it still runs; a dead one that nobody has waited for does not."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_a_machine_of_a_simulated_provider_is_real_and_ends_with_it(tmp_path: Path) -> None:
    home, root = tmp_path / "home", tmp_path / "sim"
    with serving(home, "vast", "--dir", str(root)) as (_, (one,)):
        strange = {**one, "keys": {"api_key": "guessed"}}
        with pytest.raises(urllib.error.HTTPError, match="401"):
            ask(strange, "POST", "/api/v0/bundles/")
        offer = ask(one, "POST", "/api/v0/bundles/")["offers"][0]["id"]
        body = {"args": ["-c", "sleep 1000 & echo $! > pid; wait"], "runtype": "args", "disk": 8}
        made = ask(one, "PUT", f"/api/v0/asks/{offer}/", {**body, "onstart": "/bin/sh"})
        pid_file = root / "vast" / str(made["new_contract"]) / "pid"
        pid = int(until(lambda: pid_file.exists() and pid_file.read_text().strip()))
        assert is_alive(pid)
        (machine,) = ask(one, "GET", "/_sim/state")["machines"]
        ask(one, "POST", f"/_sim/machines/{machine['id']}/interrupt")
        assert not is_alive(pid), "outbid, as this provider takes its machines"
        ask(one, "POST", f"/_sim/machines/{machine['id']}/resurrect")
        again = int(until(lambda: (text := pid_file.read_text().strip()) != str(pid) and text))
    assert not is_alive(again)


def test_configure_writes_it_down_and_hands_the_key_over(tmp_path: Path) -> None:
    assert call(tmp_path, "init", "--yes").returncode == 0
    with serving(tmp_path, "vast", "--configure") as (_, (one,)):

        def row() -> dict[str, Any]:
            out = call(tmp_path, "providers", "list", "vast", "--json").stdout
            return json.loads(out)

        assert until(lambda: row()["key"] == "held")
        assert row()["allowed"]
        table = load_settings(tmp_path / "config.toml").providers["vast"]
        assert table == {"allow": True, **one["options"]}
    with serving(tmp_path, "vast", "--configure"):
        pass
    table = load_settings(tmp_path / "config.toml").providers["vast"]
    assert table["endpoint"] != one["url"], "the next simulator takes the place of the last"


def test_a_simulated_provider_passes_the_check_of_a_real_one(tmp_path: Path) -> None:
    assert call(tmp_path, "init", "--yes").returncode == 0
    with serving(tmp_path, "vast", "--configure"):
        until(lambda: '"held"' in call(tmp_path, "providers", "list", "vast", "--json").stdout)
        try:
            assert call(tmp_path, "up").returncode == 0
            done = call(tmp_path, "providers", "check", "vast", "--json")
            assert done.returncode == 0, done.stderr
            found = {row["name"]: row for row in map(json.loads, done.stdout.splitlines())}
            assert found["key"]["verdict"] == "ok"
            assert "RTX4090" in found["offers"]["found"]
            (row,) = map(
                json.loads,
                call(tmp_path, "providers", "list", "vast", "--json").stdout.splitlines(),
            )
            assert row["balance_usd"] == 100.0
            refused = call(tmp_path, "providers", "check", "local")
            assert refused.returncode == 0, refused.stderr
        finally:
            call(tmp_path, "down", "--force")


def test_a_provider_that_is_set_up_for_real_is_left_alone(tmp_path: Path) -> None:
    assert call(tmp_path, "init", "--yes").returncode == 0
    key = tmp_path / "key"
    key.write_text("a-real-key")
    assert call(tmp_path, "providers", "key", "vast", "--file", str(key)).returncode == 0
    before = (tmp_path / "config.toml").read_text()
    refused = call(tmp_path, "sim", "up", "vast", "--configure")
    assert refused.returncode == 78
    assert "vast itself is set up" in refused.stderr
    assert (tmp_path / "config.toml").read_text() == before


def test_a_port_of_somebody_elses_is_told(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        refused = call(tmp_path, "sim", "up", "vast", "--port", str(port))
    assert refused.returncode == 73, refused.stderr
    assert f"port {port}" in refused.stderr


def test_attended_simulators_end_with_whoever_started_them(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "vaultlayer_cli", "sim", "up", "vast", "--json", "--attended"],
        env=environ(tmp_path),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdin is not None
    assert json.loads(process.stdout.readline())["provider"] == "vast"
    process.stdin.close()
    assert process.wait(timeout=20) == 0
    process.stdout.close()


def test_what_cannot_be_simulated_is_told(tmp_path: Path) -> None:
    strange = call(tmp_path, "sim", "up", "local")
    assert strange.returncode == 64
    assert "vast" in strange.stderr
    assert call(tmp_path, "sim", "down").returncode == 64
    assert "vast" in simulator_names()


def test_the_lines_for_the_configuration_are_toml_and_a_key_is_what_a_pipe_takes() -> None:
    one = SimulatedProvider(
        provider="acme",
        url="http://127.0.0.1:1",
        admin_url="http://127.0.0.1:1/_sim",
        options={"endpoint": "http://127.0.0.1:1", "regions": ["eu"], "disk_gb": 10.0},
        keys={"id": "a", "secret": "b"},
    )
    assert config_lines(one).splitlines()[:3] == [
        "[providers.acme]",
        "allow = true",
        'endpoint = "http://127.0.0.1:1"',
    ]
    assert json.loads(key_text(one)) == {"id": "a", "secret": "b"}
