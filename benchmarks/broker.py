"""An embedded broker in a directory of its own, and an ear on its bus."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncGenerator, Callable, Generator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from random import Random

import anyio
import msgspec

from vaultlayer import events as ev
from vaultlayer import subjects
from vaultlayer.bus.credential import read_credential
from vaultlayer.bus.nats import NatsBus, open_bus
from vaultlayer.bus.protocol import Bus
from vaultlayer.endpoints import read_endpoints
from vaultlayer.events import JobSpec
from vaultlayer.ids import ActorId, JobId, job_id
from vaultlayer.messages import Submit, Submitted
from vaultlayer.settings import Home
from vaultlayer_cli.connect import new_cmd_id
from vaultlayer_cli.environment import host_part
from vaultlayer_cli.submit import seal_env, send_code
from vaultlayer_cli.workdir import scan

CLI = [sys.executable, "-m", "vaultlayer_cli"]
WORKDIR_MAX_B = 512 * 1_000_000
WAIT_S = 120.0


@dataclass
class Broker:
    """One home; `up` starts its broker, and whatever is left of it ends with the context."""

    base: Path

    @property
    def home(self) -> Home:
        """Where everything of it lies."""
        return Home(config=self.base / "home", state=self.base / "home")

    @property
    def environ(self) -> dict[str, str]:
        """What its processes are started with."""
        kept = {name: v for name, v in os.environ.items() if not name.startswith("VAULTLAYER_")}
        # `python` is this very one, for us and for the scripts.
        path = f"{Path(sys.executable).parent}{os.pathsep}{kept.get('PATH', os.defpath)}"
        return {**kept, "PATH": path, "VAULTLAYER_HOME": str(self.home.state)}

    def call(self, *arguments: str, cwd: Path | None = None, check: bool = True) -> str:
        """Run the command line to its end and give its stdout."""
        done = subprocess.run(
            [*CLI, *arguments],
            cwd=cwd or self.base,
            env=self.environ,
            capture_output=True,
            text=True,
            check=False,
            timeout=WAIT_S,
        )
        if check and done.returncode:
            raise SystemExit(f"vaultlayer {' '.join(arguments)}: {done.stderr}")
        return done.stdout

    def up(self) -> None:
        """Start it."""
        self.call("init", "--yes")
        self.call("up")

    def down(self) -> None:
        """End it, and every instance that it has left."""
        self.call("down", "--force", check=False)
        for path in self.instances.glob("*/instance.json"):
            with contextlib.suppress(FileNotFoundError, ProcessLookupError, msgspec.MsgspecError):
                os.kill(msgspec.json.decode(path.read_bytes(), type=_First).pid, signal.SIGKILL)

    @property
    def instances(self) -> Path:
        """Where the local provider keeps its living instances."""
        return self.home.drivers / "local" / "instances"

    def instance_file(self, name: str, file: str) -> Path:
        """Find a file of an instance that lives or has ended."""
        living = self.instances / name / file
        return living if living.exists() else self.home.drivers / "local" / "ended" / name / file

    def first_pid(self, name: str) -> int:
        """Give the first process of an instance, whose death is the instance's."""
        path = self.instances / name / "instance.json"
        return msgspec.json.decode(path.read_bytes(), type=_First).pid

    def agent_started_at(self, name: str) -> float:
        """Give when the agent's own code began to run, from its log."""
        for line in self.instance_file(name, "agent.log").read_text().splitlines():
            found = msgspec.json.decode(line, type=_LogLine) if line.startswith("{") else None
            if found is not None and found.event == "agent_started":
                return datetime.fromisoformat(found.timestamp).timestamp()
        raise SystemExit(f"the agent of {name} left no log")


class _First(msgspec.Struct):
    pid: int


class _LogLine(msgspec.Struct):
    event: str = ""
    timestamp: str = ""


@contextlib.contextmanager
def broker() -> Generator[Broker]:
    """Give a broker that is not started yet."""
    # So that being ended by a signal, too, leaves nothing behind.
    signal.signal(signal.SIGTERM, lambda _number, _frame: sys.exit(143))
    base = Path(tempfile.mkdtemp(prefix="vl-bench-"))
    made = Broker(base)
    try:
        yield made
    finally:
        made.down()
        shutil.rmtree(base, ignore_errors=True)


# The bus --------------------------------------------------------------------------------------------


@dataclass
class Ear:
    """Hears every log entry and every beat, with the moment of receipt."""

    entries: dict[str, list[ev.Event]] = field(default_factory=dict[str, list[ev.Event]])
    beats: dict[tuple[str, int], float] = field(default_factory=dict[tuple[str, int], float])
    """Receipt of the first beat of each (job, attempt)."""
    _news: anyio.Event = field(default_factory=anyio.Event)

    async def hear_entries(self, bus: NatsBus, ready: anyio.Event) -> None:
        """Take in every log entry until cancelled."""
        async with bus.subscribe(subjects.LIVE_DESTINATION) as messages:
            ready.set()
            async for message in messages:
                job, kind = subjects.parse_event(message.subject)
                event = ev.decode(kind, message.payload)
                if event is not None:
                    self.entries.setdefault(job, []).append(event)
                    self._tell()

    async def hear_beats(self, bus: NatsBus, ready: anyio.Event) -> None:
        """Take in every beat until cancelled."""
        async with bus.subscribe(subjects.agents("beat")) as messages:
            ready.set()
            async for message in messages:
                job, attempt, _ = subjects.parse_agent(message.subject)
                self.beats.setdefault((job, attempt), time.time())
                self._tell()

    def _tell(self) -> None:
        news, self._news = self._news, anyio.Event()
        news.set()

    async def until(self, holds: Callable[[], bool], *, limit_s: float = WAIT_S) -> None:
        """Wait until something that was heard makes it true."""
        with anyio.fail_after(limit_s):
            while not holds():
                await self._news.wait()

    def find(self, job: str, kind: type[ev.Event], attempt: int = 0) -> ev.Event | None:
        """Give the job's newest entry of a kind; of one attempt, if it is named."""
        for event in reversed(self.entries.get(job, [])):
            if isinstance(event, kind) and attempt in {0, event.attempt}:
                return event
        return None

    def at(self, job: str, kind: type[ev.Event], attempt: int = 0) -> float:
        """Give when the newest entry of a kind was written."""
        event = self.find(job, kind, attempt)
        if event is None:
            raise SystemExit(f"{job} has no {kind.__name__} of attempt {attempt}")
        return event.at


@contextlib.asynccontextmanager
async def listening(made: Broker) -> AsyncGenerator[tuple[NatsBus, Ear]]:
    """Connect with the broker's own credential and hear everything."""
    endpoints = read_endpoints(made.home.run)
    assert endpoints is not None
    credential = read_credential(made.home.creds / "broker.creds")
    name = ActorId("bench-listener")
    ear = Ear()
    async with (
        open_bus(
            [endpoints.bus_url], credential, inbox=subjects.actor_inbox(name), name=name
        ) as bus,
        anyio.create_task_group() as group,
    ):
        for hear in (ear.hear_entries, ear.hear_beats):
            ready = anyio.Event()
            group.start_soon(hear, bus, ready)
            await ready.wait()
        yield bus, ear
        group.cancel_scope.cancel()


@dataclass(frozen=True)
class Wanted:
    """A job that is ready to be submitted: its code lies in the bucket."""

    request: Submit

    @property
    def job(self) -> JobId:
        """Its id."""
        return JobId(self.request.job)

    async def submit(self, bus: Bus) -> None:
        """Submit it; from then on it counts."""
        await bus.request(subjects.SUBMIT, self.request, Submitted, timeout_s=20)


async def prepare(
    bus: Bus, dice: Random, work: Path, command: Sequence[str], environ: dict[str, str]
) -> Wanted:
    """Do what comes before a submission: send the code, seal the environment."""
    job = job_id(dice.randbytes(9))
    code = await send_code(bus, job, scan(work, max_b=WORKDIR_MAX_B))
    sealed = await seal_env(bus, {}, host_part(environ))
    spec = JobSpec(command=list(command), code=code.manifest, env_sealed=sealed)
    return Wanted(Submit(job=job, cmd_id=new_cmd_id(), spec=spec))
