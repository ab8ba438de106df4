"""This machine as a provider: an instance is a process tree of its own, with its first process as its life.

It outlives the broker, also one that was killed, and is found again by name. CPU jobs share the machine up
to a number of slots; a GPU is given to one instance at a time.
"""

import os
import select
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, ParamSpec, TypeVar

import anyio.to_thread
import msgspec

from vaultlayer.driver import (
    Driver,
    DriverContext,
    Instance,
    Manifest,
    Need,
    OfferList,
    Order,
)
from vaultlayer.errors import CapacityError, ConfigError, DrillError, DriverError
from vaultlayer.ids import parse_instance_name
from vaultlayer_actors.drivers.local.instances import (
    Doom,
    Instances,
    Intent,
    boot_time_s,
    read_record,
    write_record,
)
from vaultlayer_actors.drivers.local.machine import Machine
from vaultlayer_actors.drivers.local.processes import MARK, freeze_all

P = ParamSpec("P")
R = TypeVar("R")

MANIFEST = Manifest(
    name="local",
    title="this machine",
    sole=True,
    notice_s=30.0,
    boot_s=60.0,
    poll_s=0.25,
    absent_checks=1,
    absent_gap_s=0.0,
    create_s=8.0,
    cooldown_s=2.0,
    work_root="",
    drills=["kill", "freeze", "preempt"],
)
INIT = Path(__file__).with_name("init.py")
READY_S = 5.0
"""How long the first process may take to record itself; 20 ms is usual."""
CLOSE_S = 2.0
ENVIRONMENT = frozenset(
    (
        *("PATH", "HOME", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "USER", "LOGNAME", "SHELL"),
        *("TMPDIR", "LD_LIBRARY_PATH", "SSL_CERT_FILE"),
    )
)
"""What an instance inherits from the broker's environment; nothing that could hold a secret."""


class LocalOptions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[providers.local]` of the configuration file."""

    price_usd_h: Annotated[float, msgspec.Meta(ge=0)] = 0.0
    """What an hour of this machine is worth to its owner."""
    slots: Annotated[int, msgspec.Meta(ge=1)] = 4
    """How many instances may live at once."""
    agent: list[str] = []
    """Program and arguments of the agent, to which `--boot FILE` is added; empty: this installation's."""


class LocalDriverType:
    """What the entry point names."""

    @property
    def manifest(self) -> Manifest:
        """The manifest; `work_root` is known to a built driver only."""
        return MANIFEST

    @property
    def options(self) -> type[LocalOptions]:
        """The shape of `[providers.local]`."""
        return LocalOptions

    def build(self, context: DriverContext) -> Driver:
        """Make a driver; raises ConfigError for options that it cannot use."""
        try:
            options = msgspec.convert(dict(context.options), LocalOptions)
        except msgspec.ValidationError as error:
            raise ConfigError(
                "[providers.local]: an option cannot be used", why=str(error)
            ) from error
        return LocalDriver(context.state_path, options)


class LocalDriver:
    """Instances of this machine; any number of drivers may share one `state_path`."""

    def __init__(self, state_path: Path, options: LocalOptions) -> None:
        self._root = state_path.absolute()
        self._options = options
        self._instances = Instances(self._root)
        self._manifest = msgspec.structs.replace(MANIFEST, work_root=str(self._root / "work"))
        self._machine = Machine(
            root=self._root, slots=options.slots, price_usd_h=options.price_usd_h
        )
        self._tidier: threading.Thread | None = None
        self._tidy()

    @property
    def manifest(self) -> Manifest:
        """What is true of this machine."""
        return self._manifest

    async def offers(self, need: Need) -> OfferList:
        """Offer this machine, or say why not."""
        return await _in_thread(self._offers, need)

    async def create(self, order: Order) -> Instance:
        """Start an instance; one of that name that is there already is given as it is.

        Raises:
            CapacityError: all slots or GPUs are in use, or an earlier attempt of the job still lives.
            DriverError: its first process did not start.
        """
        if parse_instance_name(order.name) is None:
            raise DriverError(f"{order.name!r} is no name of an instance")
        return await _in_thread(self._create, order)

    async def get(self, instance: str) -> Instance:
        """Look at one instance."""
        if parse_instance_name(instance) is None:
            return Instance(instance=instance, name=instance, state="gone")
        return await _in_thread(self._instances.look, instance)

    async def list(self) -> Sequence[Instance]:
        """List what lives here; kills on the way what a preemption has doomed."""
        return await _in_thread(self._list)

    async def terminate(self, instance: str) -> None:
        """Kill everything of an instance, also when it is frozen.

        Raises:
            DriverError: a process resists.
        """
        if parse_instance_name(instance) is None:
            return
        ended = await _in_thread(self._instances.end, instance)
        if ended.state != "gone":
            raise DriverError(f"{instance} does not end", why=ended.detail, retryable=True)

    async def drill(self, instance: str, verb: str, grace_s: float) -> str:
        """Kill, freeze or preempt an instance; tells what was done.

        Raises:
            DrillError: there is no such drill, or the instance does not live.
        """
        return await _in_thread(self._drill, instance, verb, grace_s)

    async def close(self) -> None:
        """Wait a little for deletions; what is left of them is done at the next start."""
        if self._tidier is not None:
            await _in_thread(self._tidier.join, CLOSE_S)

    def _offers(self, need: Need) -> OfferList:
        intents = self._instances.intents()
        refusal = self._machine.refusal(need, intents)
        return OfferList(
            provider=MANIFEST.name,
            offers=[] if refusal else [self._machine.offer(need)],
            refusal=refusal,
            manifest=self._manifest,
        )

    # Life -----------------------------------------------------------------------------------------

    def _list(self) -> Sequence[Instance]:
        seen = [self._instances.look(name) for name in self._instances.names()]
        return [instance for instance in seen if instance.state != "gone"]

    def _create(self, order: Order) -> Instance:
        name = order.name
        with self._instances.creating():
            self._instances.clear_half_made()
            found = self._instances.look(name)
            if found.state != "gone" or self._instances.was_here(name):
                return found
            directory, intent = self._prepare(order)
            self._start(name, directory, intent)
            return self._instances.look(name)

    def _prepare(self, order: Order) -> tuple[Path, Intent]:
        """Give an instance its GPUs, its directories and its boot file, or refuse."""
        intents = self._instances.intents()
        gpu, count = order.offer.gpu, order.offer.gpu_count
        why = _beside(order.name, intents) or self._machine.shortage(gpu, count, intents)
        if why:
            raise CapacityError(
                f"cannot start {order.name} on this machine", why=why, retryable=True
            )
        gpus = self._machine.free_gpus(gpu, intents)[: max(1, count)] if gpu else []
        work = self._instances.empty_work(order.boot.job)
        intent = Intent(gpus=gpus, price_usd_h=order.offer.price_usd_h)
        directory = self._instances.begin(order.name, intent)
        boot = msgspec.structs.replace(
            order.boot, work_path=str(work), state_path=str(directory / "state"), local=True
        )
        write_record(directory / "boot.json", boot)
        self._tidy()
        return directory, intent

    def _start(self, name: str, directory: Path, intent: Intent) -> None:
        """Start the first process and wait until it has recorded itself."""
        agent = self._options.agent or [sys.executable, "-m", "vaultlayer_agent"]
        program = shutil.which(agent[0]) or agent[0]
        reader, writer = os.pipe()
        try:
            with (directory / "agent.log").open("ab") as log:
                started = subprocess.Popen(
                    [
                        *(sys.executable, "-I", "-S", str(INIT), str(directory), str(writer)),
                        *(program, *agent[1:], "--boot", str(directory / "boot.json")),
                    ],
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    pass_fds=[writer],
                    cwd=directory,
                    env=self._environment(name, intent),
                )
        finally:
            os.close(writer)
        # It detaches by a fork, so this ends at once and leaves no child of ours behind.
        started.wait()
        if not _is_ready(reader):
            self._instances.clear_half_made()
            raise DriverError(
                f"the first process of {name} did not start",
                why=_tail(self._root / "ended" / name / "agent.log"),
            )

    def _environment(self, name: str, intent: Intent) -> dict[str, str]:
        own = {key: os.environ[key] for key in ENVIRONMENT if key in os.environ}
        own[MARK] = name
        if self._machine.gpus():
            own["CUDA_DEVICE_ORDER"] = "PCI_BUS_ID"
            own["CUDA_VISIBLE_DEVICES"] = ",".join(map(str, intent.gpus))
        return own

    def _tidy(self) -> None:
        """Delete what nobody needs, beside everything else."""
        if self._tidier is None or not self._tidier.is_alive():
            self._tidier = threading.Thread(
                target=self._instances.tidy, name="vaultlayer-local-tidy", daemon=True
            )
            self._tidier.start()

    # Drills ---------------------------------------------------------------------------------------

    def _drill(self, instance: str, verb: str, grace_s: float) -> str:
        drills: dict[str, Callable[[], str]] = {
            "kill": lambda: self._drill_kill(instance),
            "freeze": lambda: self._drill_freeze(instance),
            "preempt": lambda: self._drill_preempt(instance, grace_s),
        }
        if verb not in drills:
            raise DrillError(
                f"this machine has no drill {verb!r}", mend=f"one of: {', '.join(drills)}"
            )
        known = parse_instance_name(instance) is not None
        if not known or self._instances.look(instance).state == "gone":
            raise DrillError(f"cannot {verb} {instance}", why="it does not live any more")
        return drills[verb]()

    def _drill_kill(self, instance: str) -> str:
        self._instances.end(instance)
        return f"SIGKILL to all processes of {instance}"

    def _drill_freeze(self, instance: str) -> str:
        stopped = freeze_all(instance, self._instances.first_process(instance))
        return f"{signal.SIGSTOP.name} to {len(stopped)} processes of {instance}"

    def _drill_preempt(self, instance: str, grace_s: float) -> str:
        directory = self._instances.directory(instance)
        # The end is recorded before the notice, so that no notice is ever given in vain.
        due_s = boot_time_s() + grace_s
        known = read_record(directory / "doom.json", Doom)
        if known is not None:
            due_s = min(due_s, known.due_s)
        write_record(directory / "doom.json", Doom(due_s=due_s))
        write_record(directory / "state" / "notice.json", Notice(grace_s=grace_s, source="drill"))
        return f"notice of {grace_s:g} s to {instance}, then SIGKILL"


class Notice(msgspec.Struct, frozen=True, kw_only=True):
    """What the agent finds as `notice.json` in its `state_path`."""

    grace_s: float
    source: str


async def _in_thread(call: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """Call what blocks; a full disk or a directory that somebody took away is the provider's failure."""
    try:
        return await anyio.to_thread.run_sync(lambda: call(*args, **kwargs))
    except OSError as error:
        raise DriverError("this machine failed", why=str(error), retryable=True) from error


def _beside(name: str, intents: dict[str, Intent]) -> str:
    """Say which attempt of the same job lives here: both would share one working directory."""
    asked = parse_instance_name(name)
    for other in intents:
        known = parse_instance_name(other)
        if asked and known and known[0] == asked[0]:
            return f"{other} still lives here and has the job's working directory"
    return ""


def _is_ready(reader: int) -> bool:
    with os.fdopen(reader, "rb", buffering=0) as pipe:
        ready, _, _ = select.select([pipe], [], [], READY_S)
        return bool(ready) and pipe.read(16) == b"ready\n"


def _tail(path: Path) -> str:
    try:
        lines = path.read_text(errors="replace").strip().splitlines()
    except FileNotFoundError:
        return "it left no word"
    return lines[-1] if lines else "it left no word"
