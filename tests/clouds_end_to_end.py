"""A home whose only provider is a simulated cloud, used through the program alone."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from simulators import KEY, Director

SCRIPT = Path(__file__).parent / "jobs" / "torch_loop.py"
WAIT_S = 90.0
T = TypeVar("T")


@dataclass
class CloudHome:
    """One home with a broker of its own.

    `keys` are the provider's secrets, given to the broker's environment as
    `VAULTLAYER_PROVIDER_<NAME>_<FIELD>`.
    """

    path: Path
    provider: str
    options: Mapping[str, object]
    keys: Mapping[str, str] = field(default_factory=lambda: {"api_key": KEY})

    @property
    def environ(self) -> dict[str, str]:
        kept = {k: v for k, v in os.environ.items() if not k.startswith("VAULTLAYER_")}
        keys = {
            f"VAULTLAYER_PROVIDER_{self.provider}_{name}".upper(): value
            for name, value in self.keys.items()
        }
        home = str(self.path / "home")
        return {**kept, **keys, "VAULTLAYER_HOME": home, "OMP_NUM_THREADS": "1"}

    def call(self, *arguments: str, check: bool = True, cwd: Path | None = None) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "vaultlayer_cli", *arguments],
            cwd=cwd or self.path,
            env=self.environ,
            capture_output=True,
            text=True,
            timeout=WAIT_S,
            check=False,
        )
        said = f"{arguments}: status {done.returncode}: {done.stdout}\n{done.stderr}"
        assert not check or done.returncode == 0, said
        return done.stdout

    def configure(self) -> None:
        lines = [f"{name} = {_toml(value)}" for name, value in self.options.items()]
        home = self.path / "home"
        home.mkdir(parents=True)
        table = "\n".join(["allow = true", 'work_root = "~/workspace"', *lines])
        (home / "config.toml").write_text(
            f'version = 1\n[lease]\nprofile = "fast"\n[providers.{self.provider}]\n{table}\n'
        )

    def submit(self, gpu: str, *command: str, options: tuple[str, ...] = ()) -> str:
        work = self.path / "work"
        work.mkdir(exist_ok=True)
        (work / "train.py").write_bytes(SCRIPT.read_bytes())
        out = self.call(
            "run", "--detach", "--json", "--gpu", gpu, *options, "--", *command, cwd=work
        )
        return next(row["job"] for row in map(json.loads, out.splitlines()) if "job" in row)

    def state(self, job: str) -> dict[str, Any]:
        out = self.call("show", job, "--json", check=False)
        return json.loads(out) if out.strip().startswith("{") else {}

    def logs(self, job: str) -> str:
        return self.call("logs", job, check=False)

    def events(self, job: str) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.call("events", "--json", job).splitlines()]

    def finish(self, job: str) -> dict[str, Any]:
        until(lambda: self.state(job).get("outcome"))
        return self.state(job)

    def digest(self, job: str) -> str:
        return digest_of(self.logs(job))

    def take_down(self) -> None:
        self.call("down", "--force", check=False)


def _toml(value: object) -> str:
    """Write an option as TOML: JSON will do, but for tables."""
    if isinstance(value, dict):
        pairs: dict[str, object] = value  # pyright: ignore[reportUnknownVariableType]
        return f"{{{', '.join(f'{name} = {_toml(one)}' for name, one in pairs.items())}}}"
    if isinstance(value, list):
        items: list[object] = value  # pyright: ignore[reportUnknownVariableType]
        return f"[{', '.join(map(_toml, items))}]"
    return json.dumps(value)


def digest_of(text: str) -> str:
    """The digest of the final weights that the script prints."""
    return next(line.split()[1] for line in text.splitlines() if line.startswith("digest "))


def bare_digest(path: Path, *arguments: str) -> str:
    """The digest of the same script with nothing of ours around it."""
    path.mkdir()
    done = subprocess.run(
        [sys.executable, str(SCRIPT), *arguments],
        cwd=path,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    return digest_of(done.stdout)


def until(what: Callable[[], T], wait_s: float = WAIT_S) -> T:
    """Ask until it is true."""
    deadline = time.monotonic() + wait_s
    while time.monotonic() < deadline:
        if found := what():
            return found
        time.sleep(0.3)
    raise AssertionError("it never came true")


@contextmanager
def cloud_home(
    path: Path,
    provider: str,
    director: Director | None = None,
    *,
    keys: Mapping[str, str] | None = None,
    **options: object,
) -> Generator[CloudHome]:
    """A broker with one provider, simulated where there is a director; all is taken down at the end."""
    endpoint = {"endpoint": director.simulator.url} if director else {}
    table = {**endpoint, **options}
    home = CloudHome(path / "installation", provider, table, keys or {"api_key": KEY})
    home.configure()
    try:
        home.call("up")
        yield home
    except BaseException:
        print(director.consoles() if director else "")
        raise
    finally:
        home.take_down()
