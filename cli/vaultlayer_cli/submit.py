"""From a command line to a submitted job: check all that can be checked, then send code and wish."""

import os
import secrets
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

import anyio
import msgspec

from vaultlayer import gpu as gpus
from vaultlayer import subjects
from vaultlayer.bus.protocol import Bus
from vaultlayer.checkpoint.upload import Uploaded, upload
from vaultlayer.driver import Need, OfferList
from vaultlayer.errors import BrokerDownError, BusTimeoutError, FlagError, PlacementError
from vaultlayer.events import Budget, JobSpec
from vaultlayer.every import parse_every
from vaultlayer.ids import JobId, job_id, job_prefix
from vaultlayer.messages import (
    Done,
    Message,
    OffersReply,
    OffersRequest,
    ReadCredentialRequest,
    Sealed,
    StoreCredential,
    Submit,
    Submitted,
    UploadCredentialRequest,
    VaultKey,
)
from vaultlayer.sealing import KEY_B, public_of, seal, unseal
from vaultlayer.store.s3 import open_store
from vaultlayer_cli.connect import ASK_S, new_cmd_id
from vaultlayer_cli.environment import host_part
from vaultlayer_cli.workdir import Workdir

TRIES = 4
RETRY_S = 0.5
OFFERS_S = 20.0

T = TypeVar("T")


class Wish(msgspec.Struct, frozen=True, kw_only=True):
    """What the person typed, read and checked, before anything was sent."""

    command: list[str]
    name: str = ""
    gpu: gpus.GpuNeed = gpus.GpuNeed()
    providers: list[str] = []
    image: str = ""
    outputs: list[str] = []
    resume_args: str = ""
    hooks: bool = True
    env: dict[str, str] = {}
    budget: Budget = Budget()
    exclusive: bool = False
    strict: bool = False
    snapshot_every: str = ""

    @property
    def need(self) -> Need:
        """What it asks of a machine."""
        return Need(
            gpu=self.gpu.name,
            gpu_count=self.gpu.count,
            image=self.image,
            max_price_usd_h=self.budget.max_price_usd_h,
        )


class Prepared(msgspec.Struct, frozen=True, kw_only=True):
    """A job that was submitted."""

    job: JobId
    code: Uploaded


def check_outputs(outputs: Sequence[str], workdir: Path) -> list[str]:
    """Give the output directories, dots resolved where they can be.

    Raises:
        FlagError: one is empty, the root, or a file.
    """
    checked: list[str] = []
    for output in outputs:
        path = Path(output).expanduser()
        if not output.strip() or path == Path("/"):
            raise FlagError(f"--output {output!r} names no directory", mend="--output out")
        if Path(workdir, path).is_file():
            raise FlagError(
                f"--output {output} is a file",
                why="outputs are kept by directory",
                mend=f"--output {path.parent}",
            )
        checked.append(os.path.normpath(path))
    return checked


def check_resume_args(template: str) -> str:
    """Give the template back.

    Raises:
        FlagError: it has a field that is not known, or an open quote.
    """
    import shlex  # noqa: PLC0415  rarely needed

    values = {"latest": "x", "latest_dir": "x", "step": "1"}
    try:
        for word in shlex.split(template):
            word.format_map(values)
    except (ValueError, KeyError, IndexError, AttributeError) as error:
        raise FlagError(
            f"--resume-args {template!r} cannot be used",
            why=f"unknown field {error}" if isinstance(error, KeyError) else str(error),
            mend="known fields: {latest}, {latest_dir}, {step}",
        ) from error
    return template


def check_every(text: str) -> str:
    """Give the interval between snapshots in its canonical spelling.

    Raises:
        FlagError: it is none.
    """
    try:
        return parse_every(text).words
    except ValueError as error:
        raise FlagError(
            f"--snapshot-every {text!r} cannot be used",
            why=str(error),
            mend="--snapshot-every 5m, 200steps or off",
        ) from error


def check_offers(lists: Sequence[OfferList], providers: Sequence[str], need: Need) -> None:
    """Pass when any allowed provider has an offer.

    Raises:
        PlacementError: none has; what each said is told.
    """
    asked = [one for one in lists if not providers or one.provider in providers]
    if any(one.offers for one in asked):
        return
    silent = [name for name in providers if name not in {one.provider for one in lists}]
    said = [f"{one.provider}: {one.refusal or 'no offer'}" for one in asked]
    said += [f"{name}: not allowed here" for name in silent]
    what = f" with {need.gpu}:{need.gpu_count}" if need.gpu else ""
    mend = "vaultlayer offers shows what there is"
    if silent:
        mend = f"set [providers.{silent[0]}] allow = true in the configuration"
    raise PlacementError(
        f"no provider can serve this job{what}",
        why="; ".join(said) or "no provider pool runs",
        mend=mend if said else "vaultlayer doctor",
    )


async def submit(bus: Bus, wish: Wish, workdir: Workdir, environ: Mapping[str, str]) -> Prepared:
    """Submit a job.

    Args:
        bus: of a session.
        wish: what is to be run.
        workdir: the code.
        environ: of this machine, for scripts that run on it.

    Raises:
        PlacementError: nobody can serve it; nothing was sent.
        VaultLayerError: whatever the broker or the bucket says.
    """
    request = OffersRequest(need=wish.need, providers=wish.providers)
    offers = await bus.request(subjects.OFFERS, request, OffersReply, timeout_s=OFFERS_S)
    if not any(one.offers for one in offers.lists) and any(one.late for one in offers.lists):
        request = msgspec.structs.replace(request, patient=True)
        offers = await bus.request(subjects.OFFERS, request, OffersReply, timeout_s=OFFERS_S)
    check_offers(offers.lists, wish.providers, wish.need)
    job = job_id(secrets.token_bytes(9))
    code = await send_code(bus, job, workdir)
    sealed = await seal_env(bus, wish.env, host_part(environ))
    spec = JobSpec(
        command=wish.command,
        name=wish.name,
        gpu=wish.gpu.name,
        gpu_count=wish.gpu.count,
        providers=wish.providers,
        image=wish.image,
        outputs=wish.outputs,
        resume_args=wish.resume_args,
        hooks=wish.hooks,
        code=code.manifest,
        env_names=sorted(wish.env),
        env_sealed=sealed,
        budget=wish.budget,
        exclusive=wish.exclusive,
        strict=wish.strict,
        snapshot_every=wish.snapshot_every,
    )
    wanted = Submit(job=job, cmd_id=new_cmd_id(), spec=spec)
    await again(lambda: bus.request(subjects.SUBMIT, wanted, Submitted, timeout_s=OFFERS_S))
    return Prepared(job=job, code=code)


async def again(ask: Callable[[], Awaitable[T]]) -> T:
    """Ask, and ask again after a lost answer, or where an actor is just starting.

    Only for what changes nothing when said twice.

    Raises:
        BusTimeoutError: no answer came to any try.
        BrokerDownError: nobody was there at any try.
    """
    for attempt in range(1, TRIES):
        try:
            return await ask()
        except (BusTimeoutError, BrokerDownError):
            await anyio.sleep(RETRY_S * attempt)
    return await ask()


async def send_code(bus: Bus, job: JobId, workdir: Workdir) -> Uploaded:
    """Put the working directory below `jobs/<job>/code/`."""
    credential = await borrow(
        bus,
        subjects.UPLOAD_CREDENTIAL,
        lambda seal_key: UploadCredentialRequest(job=job, seal_key=seal_key),
    )
    return await upload(
        open_store(credential),
        workdir.files,
        prefix=f"{job_prefix(credential.root, job)}code/",
        job=job,
        attempt=0,
        incarnation="",
        seq=0,
    )


async def borrow(bus: Bus, subject: str, request_of: Callable[[str], Message]) -> StoreCredential:
    """Ask the vault for a key to a part of the bucket, which only we can open.

    Args:
        bus: of a session.
        subject: says which part.
        request_of: makes the request, given the public key that the answer is sealed to.
    """
    private = secrets.token_bytes(KEY_B)
    request = request_of(public_of(private))
    sealed = await again(lambda: bus.request(subject, request, Sealed, timeout_s=ASK_S))
    return open_credential(private, sealed)


async def borrow_reading(bus: Bus, job: JobId) -> StoreCredential:
    """Ask for a key that reads one job."""
    return await borrow(
        bus,
        subjects.read_credential(job),
        lambda seal_key: ReadCredentialRequest(seal_key=seal_key),
    )


def open_credential(private: bytes, sealed: Sealed) -> StoreCredential:
    """Open a bucket's credential that was sealed to us."""
    return msgspec.json.decode(unseal(private, sealed.box), type=StoreCredential)


async def seal_env(bus: Bus, env: Mapping[str, str], host: Mapping[str, str]) -> str:
    """Seal the environment to the vault's key, so that nobody on the way can read it."""
    key = await again(lambda: bus.request(subjects.VAULT_KEY, Done(), VaultKey, timeout_s=ASK_S))
    return seal(key.key, msgspec.json.encode({"env": dict(env), "host": dict(host)}))
