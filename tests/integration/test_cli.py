"""The command line against a real embedded broker: real servers, real agents, real scripts."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest

pytestmark = [pytest.mark.integration, pytest.mark.timeout(180)]

DOCS = Path(__file__).parent.parent.parent / "docs"
WAIT_S = 60.0

SCRIPTS = {
    "quick.py": """
import os, sys
print("arguments:", *sys.argv[1:])
print("token is", len(os.environ.get("TOKEN", "")), "long")
sys.exit(int(os.environ.get("STATUS", "0")))
""",
    "count.py": """
import sys, time
for n in range(int(sys.argv[1])):
    print("line", n, flush=True)
    time.sleep(0.1)
""",
    "save.py": """
import pathlib
out = pathlib.Path("out")
out.mkdir(exist_ok=True)
(out / "result.bin").write_bytes(bytes(range(256)) * 1000)
(out / "empty").mkdir()
print("saved")
""",
    "wait.py": "import time; print('waiting', flush=True); time.sleep(600)",
}

Said = subprocess.CompletedProcess[str]


@dataclass
class Installation:
    """One home and one working directory, used through the program alone."""

    path: Path

    @property
    def home(self) -> Path:
        return self.path / "home"

    @property
    def work(self) -> Path:
        return self.path / "work"

    @property
    def environ(self) -> dict[str, str]:
        kept = {k: v for k, v in os.environ.items() if not k.startswith("VAULTLAYER_")}
        own_bin = str(Path(sys.executable).parent)
        return kept | {
            "VAULTLAYER_HOME": str(self.home),
            "PATH": f"{own_bin}{os.pathsep}{kept.get('PATH', '')}",
        }

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "vaultlayer_cli", *arguments],
            cwd=self.work,
            env=self.environ,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def __call__(self, *arguments: str, status: int | None = 0) -> Said:
        process = self.start(*arguments)
        try:
            out, err = process.communicate(timeout=WAIT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            out, err = process.communicate()
            pytest.fail(f"vaultlayer {arguments} does not end: {out} {err}")
        assert status is None or process.returncode == status, (arguments, out, err)
        assert "Traceback" not in err
        return subprocess.CompletedProcess(arguments, process.returncode, out, err)

    def objects(self, *arguments: str, status: int | None = 0) -> list[dict[str, Any]]:
        said = self(arguments[0], "--json", *arguments[1:], status=status)
        assert said.stderr == ""
        return [json.loads(line) for line in said.stdout.splitlines()]

    def object(self, *arguments: str, status: int | None = 0) -> dict[str, Any]:
        (found,) = self.objects(*arguments, status=status)
        return found

    def detach(self, *arguments: str) -> str:
        return self("run", "--detach", *arguments).stdout.strip()

    def broker_pid(self) -> int:
        return json.loads((self.home / "run" / "broker.json").read_bytes())["pid"]

    def take_down(self) -> None:
        """End everything: open jobs first, as their machines outlive the broker."""
        if self.home.exists() and (self.home / "run").exists():
            for row in self.objects("ps", status=None):
                if "job" in row:
                    self("cancel", row["job"], "--wait", status=None)
            self("down", "--force", status=None)
        left = [p for p in psutil.process_iter() if belongs(p, self.home)]
        for process in left:
            process.kill()
        assert left == [], "the installation left processes behind"


def belongs(process: psutil.Process, home: Path) -> bool:
    try:
        return str(home) in process.environ().get("VAULTLAYER_HOME", "") or any(
            str(home) in word for word in process.cmdline()
        )
    except psutil.Error:
        return False


def lives(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def installation(path: Path) -> Installation:
    found = Installation(path)
    found.work.mkdir(parents=True)
    for name, text in SCRIPTS.items():
        (found.work / name).write_text(text)
    return found


@pytest.fixture(scope="module")
def vl(tmp_path_factory: pytest.TempPathFactory) -> Generator[Installation]:
    """An installation that most tests share; its broker is started by the first `run`."""
    found = installation(tmp_path_factory.mktemp("cli"))
    try:
        yield found
    finally:
        found.take_down()


@pytest.fixture
def fresh(tmp_path: Path) -> Generator[Installation]:
    """An installation of one test alone."""
    found = installation(tmp_path / "fresh")
    try:
        yield found
    finally:
        found.take_down()


def until(what: Callable[[], Any], wait_s: float = WAIT_S) -> Any:
    deadline = time.monotonic() + wait_s
    while time.monotonic() < deadline:
        if found := what():
            return found
        time.sleep(0.1)
    raise AssertionError("it never came true")


def status_of(vl: Installation, job: str) -> str:
    return vl.object("show", job)["status"]


def documented(command: str, contains: str = "") -> set[str]:
    """The field names that docs/cli.md lists for a command."""
    _, _, table = (DOCS / "cli.md").read_text().partition("\n## JSON\n")
    for line in table.splitlines():
        cells = line.split("|")
        if line.startswith("| `") and f"`{command}`" in cells[1] and contains in line:
            return set(re.findall(r"`([a-z_]+)(?::[^`]*)?`", cells[3]))
    raise AssertionError(command)


def test_the_first_run_sets_everything_up_and_passes_output_and_status_through(
    fresh: Installation,
) -> None:
    said = fresh(
        "run", "--env", "STATUS=7", "python", "quick.py", "--json", "-d", "--env", "x", status=7
    )
    assert said.stdout == "arguments: --json -d --env x\ntoken is 0 long\n"
    assert "wrote" in said.stderr
    assert "started the broker" in said.stderr
    assert all(line.startswith("-- ") for line in said.stderr.splitlines())
    again = fresh("run", "--", "python", "quick.py")
    assert "started the broker" not in again.stderr
    stopped = fresh.object("down")
    assert stopped["stopped"] is True
    assert set(stopped) == documented("down")
    assert not lives(stopped["pid"])
    assert fresh.object("status", status=69)["serving"] is False
    assert fresh.object("down")["stopped"] is False


def test_secrets_reach_the_script_and_nobody_else(vl: Installation) -> None:
    secret = "hunter2-" + "s" * 30
    (vl.work / "my.env").write_text(f"TOKEN='{secret}'\n")
    (vl.work / ".vaultlayerignore").write_text("my.env\n")
    said = vl("run", "--env-file", "my.env", "--name", "secretive", "python", "quick.py")
    assert f"token is {len(secret)} long" in said.stdout
    shown = [
        vl(command, "secretive", flag).stdout + vl(command, "secretive").stdout
        for command in ("show", "events", "logs", "checkpoints")
        for flag in ("--json",)
    ]
    assert all(secret not in text for text in shown)
    assert "TOKEN" in shown[0]
    held = [p for p in vl.home.rglob("*") if p.is_file() and secret.encode() in p.read_bytes()]
    assert held == []


def test_a_killed_machine_is_replaced_and_the_log_goes_on(vl: Installation) -> None:
    process = vl.start("run", "--name", "survivor", "python", "count.py", "40")
    until(lambda: "line 3\n" in vl("logs", "survivor", status=None).stdout)
    drilled = vl.object("drill", "survivor", "kill")
    assert (drilled["verb"], drilled["attempt"]) == ("kill", 1)
    assert set(drilled) == documented("drill")
    out, err = process.communicate(timeout=WAIT_S)
    assert process.returncode == 0, err
    assert out.endswith("line 39\n")
    assert out.count("line 0\n") == 2, "the script began twice: it had nothing to go on from"
    assert "heartbeat of attempt 1 lost" in err
    log = vl("logs", "survivor").stdout
    assert re.findall(r"--- attempt (\d) ---", log) == ["1", "2"]
    second = vl("logs", "survivor", "--attempt", "2").stdout
    assert [line for line in second.splitlines() if line.startswith("line")] == [
        f"line {n}" for n in range(40)
    ]
    assert vl("watch", "survivor", "--tail", "3").stdout == "line 37\nline 38\nline 39\n"
    row = next(r for r in vl.objects("ps", "--all") if r["name"] == "survivor")
    assert (row["status"], row["attempts"], row["exit_code"]) == ("succeeded", 2, 0)
    assert set(row) == documented("ps")


def test_following_and_reading_back_give_the_same_entries_once(vl: Installation) -> None:
    live = vl.objects("run", "--name", "twice", "python", "count.py", "10")
    assert (live[0]["type"], set(live[0])) == ("job", {"type", "job", "name"})
    job = live[0]["job"]
    until(lambda: status_of(vl, job) == "succeeded")
    until(lambda: vl.objects("events", job)[-1]["type"] == "closed")
    stored = vl.objects("events", job)
    assert [e["seq"] for e in stored] == sorted({e["seq"] for e in stored})
    followed = [e for e in live if "seq" in e]
    assert followed == stored[: len(followed)]
    assert followed[-1]["type"] == "finished"
    text = "".join(o["text"] for o in live if o["type"] == "output")
    assert text == "".join(o["text"] for o in vl.objects("logs", job))
    assert [line for line in text.splitlines() if line.startswith("line")] == [
        f"line {n}" for n in range(10)
    ]
    assert all(set(o) == documented("logs") for o in live if o["type"] == "output")
    assert [e["seq"] for e in vl.objects("watch", job) if "seq" in e] == [e["seq"] for e in stored]


def test_ctrl_c_lets_go_and_the_job_goes_on_until_it_is_cancelled(vl: Installation) -> None:
    process = vl.start("run", "--name", "patient", "python", "wait.py")
    assert process.stdout is not None
    assert process.stdout.readline() == "waiting\n"
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=WAIT_S)
    assert process.returncode == 0
    assert out == ""
    job = vl.object("show", "patient")["job"]
    assert f"come back: vaultlayer watch {job}" in err
    assert status_of(vl, job) == "running"
    watcher = vl.start("watch", job[:6])
    refused = vl("down", status=77)
    assert "1 job open" in refused.stderr
    cancelled = vl.object("cancel", job)
    assert (cancelled["was"], set(cancelled)) == ("running", documented("cancel"))
    out, err = watcher.communicate(timeout=WAIT_S)
    assert watcher.returncode == 130
    assert "job cancelled" in err
    assert "is over already" in vl("cancel", job).stderr


def test_what_a_job_saved_is_pulled_bit_for_bit(vl: Installation, tmp_path: Path) -> None:
    vl("run", "--name", "saver", "python", "save.py")
    pulled = vl.object("pull", "saver", str(tmp_path / "got"))
    assert set(pulled) == documented("pull")
    assert (tmp_path / "got" / "out" / "result.bin").read_bytes() == bytes(range(256)) * 1000
    assert (tmp_path / "got" / "out" / "empty").is_dir()
    newest = vl.objects("checkpoints", "saver")[0]
    assert (newest["is_newest"], newest["manifest"]) == (True, pulled["checkpoint"])
    said = vl("pull", "saver", str(tmp_path / "got"), status=74)
    assert "not empty" in said.stderr


def test_an_attached_run_outlives_the_death_of_its_broker(fresh: Installation) -> None:
    fresh("run", "python", "quick.py")
    process = fresh.start("run", "--name", "tough", "python", "count.py", "80")
    until(lambda: "line 5" in fresh("logs", "tough", status=None).stdout)
    os.kill(fresh.broker_pid(), signal.SIGKILL)
    time.sleep(0.5)
    assert fresh.object("up")["started"] is True
    out, err = process.communicate(timeout=WAIT_S)
    assert process.returncode == 0, err
    lines = [line for line in out.splitlines() if line.startswith("line")]
    assert lines[-80:] == [f"line {n}" for n in range(80)]
    assert "the broker does not answer" in err
    assert "the broker answers again" in err


def test_two_who_start_the_broker_at_once_get_one(fresh: Installation) -> None:
    fresh("init", "--yes")
    starting = [fresh.start("up", "--json") for _ in range(2)]
    said = [process.communicate(timeout=WAIT_S) for process in starting]
    assert [process.returncode for process in starting] == [0, 0], said
    found = [json.loads(out) for out, _ in said]
    assert found[0]["pid"] == found[1]["pid"] == fresh.broker_pid()
    assert set(found[0]) == documented("up")


def test_a_broker_that_cannot_start_says_why(fresh: Installation) -> None:
    fresh("init", "--yes")
    config = fresh.home / "config.toml"
    config.write_text(config.read_text() + "\n[bus]\nstreams = 0\n")
    said = fresh("up", status=78)
    assert "streams" in said.stderr
    assert "[config-bad]" in said.stderr


def test_a_broker_that_dies_at_once_leaves_its_last_words(fresh: Installation) -> None:
    fresh("init", "--yes")
    (fresh.home / "run").mkdir(exist_ok=True)
    (fresh.home / "run" / "endpoints.json").mkdir()
    said = fresh("up", status=None)
    assert said.returncode in range(64, 79)
    assert said.stderr.startswith("error: ")


def test_status_doctor_and_offers_tell_what_the_page_says(vl: Installation) -> None:
    vl("run", "python", "quick.py")
    status = vl.object("status")
    assert (status["serving"], set(status)) == (True, documented("status"))
    checks = vl.objects("doctor")
    assert [c["name"] for c in checks if c["verdict"] == "fail"] == []
    assert {"python", "home", "disk", "nats-server", "weed", "broker", "bus", "bucket"} <= {
        c["name"] for c in checks
    }
    offer = vl.objects("offers")[0]
    assert (offer["provider"], set(offer)) == ("local", documented("offers", "each offer"))
    assert set(vl.object("show", "@last")) == documented("show")
    for command in ("status", "doctor", "offers", "ps", "show"):
        said = vl(command, *(["@last"] if command == "show" else []))
        assert "\x1b[" not in said.stdout


def test_a_job_nobody_can_serve_is_refused_before_anything_is_sent(vl: Installation) -> None:
    vl("run", "python", "quick.py")
    before = len(vl.objects("ps", "--all"))
    error = vl.object("run", "--gpu", "GH200:64", "python", "quick.py", status=69)
    assert error["code"] == "no-provider"
    assert "local: " in error["why"]
    assert len(vl.objects("ps", "--all")) == before
