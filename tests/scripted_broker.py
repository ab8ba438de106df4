"""A broker for one attempt that says what the test wants, and a real agent process beside it."""

import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar, cast

import anyio
import msgspec

from servers import NatsServer
from vaultlayer import messages as ms
from vaultlayer import subjects
from vaultlayer.bus.jwt import KeyKind, make_seed, mint_scoped_user, public_key
from vaultlayer.bus.nats import NatsBus, open_bus
from vaultlayer.bus.streams import ensure_streams
from vaultlayer.checkpoint.manifest import Manifest
from vaultlayer.checkpoint.restore import fetch_manifest, restore
from vaultlayer.checkpoint.source import walk
from vaultlayer.checkpoint.upload import upload
from vaultlayer.driver import BootPayload
from vaultlayer.errors import SupersededError
from vaultlayer.events import JobSpec
from vaultlayer.ids import ActorId, Attempt, Incarnation, JobId, job_id, job_prefix, prefix_of
from vaultlayer.sealing import seal
from vaultlayer.store.s3 import S3Store, open_store
from weed import WeedServer

T = TypeVar("T")
ROOT = Path(__file__).parents[1]
SCRIPT_PATH = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"


@dataclass
class ScriptedBroker:
    """Answers the verbs of one job's attempts; every request is kept in `calls`, in order."""

    nats: NatsServer
    bucket: S3Store
    path: Path
    spec: JobSpec
    job: JobId = field(default_factory=lambda: job_id(secrets.token_bytes(9)))
    beat_s: float = 0.2
    lease_s: float = 2.0
    orphan_s: float = 60.0
    takes_over: bool = True
    env: dict[str, str] = field(default_factory=dict[str, str])
    head: ms.CheckpointRef | None = None
    older: list[ms.CheckpointRef] = field(default_factory=list[ms.CheckpointRef])
    store_life_s: float = 900.0
    fenced: bool = False
    deaf: dict[str, int] = field(default_factory=dict[str, int])
    """How many more requests of a verb take effect, but are not answered."""
    calls: list[tuple[int, str, Any]] = field(default_factory=list[tuple[int, str, Any]])
    seal_keys: dict[int, str] = field(default_factory=dict[int, str])
    progress: list[ms.Progress] = field(default_factory=list[ms.Progress])
    bus: NatsBus = field(init=False, repr=False)

    # What was heard -------------------------------------------------------------------------------

    def heard(self, verb: str, attempt: int = 0) -> list[Any]:
        return [m for a, v, m in self.calls if v == verb and attempt in {0, a}]

    def verbs(self, attempt: int) -> list[str]:
        """The verbs of an attempt in order, each once, beats left out."""
        said = [v for a, v, _ in self.calls if a == attempt and v != "beat"]
        return list(dict.fromkeys(said))

    async def text(self, attempt: int) -> str:
        """The stored output of an attempt, put together as a reader does."""
        have, text, after = 0, b"", 0
        while True:
            page = await self.bus.read_logs(self.job, after=after, attempt=attempt)
            for stored in page.logs:
                raw = stored.chunk.text.encode()
                if stored.chunk.offset + len(raw) > have:
                    text += raw[max(0, have - stored.chunk.offset) :]
                    have = stored.chunk.offset + len(raw)
                after = stored.seq
            if not page.more:
                return text.decode()

    # The bucket -----------------------------------------------------------------------------------

    async def send_code(self, folder: Path) -> None:
        """Put a directory into the bucket as the job's code."""
        sent = await upload(
            self.bucket,
            list(walk(folder, "work")),
            prefix=f"{job_prefix('', self.job)}code/",
            job=self.job,
            attempt=0,
            incarnation="",
            seq=0,
        )
        self.spec = msgspec.structs.replace(self.spec, code=sent.manifest)

    async def manifest(self, commit: ms.CommitRequest) -> Manifest:
        return await fetch_manifest(self.bucket, commit.key, commit.manifest)

    async def restored(self, commit: ms.CommitRequest, to: Path) -> Path:
        manifest = await self.manifest(commit)
        roots = {entry.root for entry in manifest.files} | {"work"}
        await restore(self.bucket, manifest, {root: to / root for root in roots})
        return to / "work"

    # Service --------------------------------------------------------------------------------------

    @asynccontextmanager
    async def serve(self) -> AsyncGenerator["ScriptedBroker"]:
        """Answer while the context is open; a failed test shows its own error, not groups of groups."""
        try:
            async with self._serve():
                yield self
        except BaseExceptionGroup as errors:
            raise first_of(errors) from None

    @asynccontextmanager
    async def _serve(self) -> AsyncGenerator["ScriptedBroker"]:
        handlers: dict[str, tuple[type[msgspec.Struct], Callable[[int, Any], Any]]] = {
            "enrol": (ms.Enrol, self._enrol),
            "renew": (ms.Enrol, self._enrol),
            "beat": (ms.Beat, self._beat),
            "brief": (ms.BriefRequest, self._brief),
            "secrets": (ms.SecretsRequest, self._secrets),
            "store_credential": (ms.SecretsRequest, self._store_credential),
            "ready": (ms.ReadyReport, self._ready),
            "ckpt": (ms.CommitRequest, self._commit),
            "reject": (ms.RejectReport, self._reject),
            "started": (ms.StartedReport, self._done),
            "stepped": (ms.SteppedReport, self._done),
            "tier": (ms.TierReport, self._done),
            "notice": (ms.NoticeReport, self._done),
            "exit": (ms.ExitReport, self._done),
        }
        async with AsyncExitStack() as stack:
            inbox = subjects.actor_inbox(ActorId(f"test-{secrets.token_hex(4)}"))
            self.bus = await stack.enter_async_context(
                open_bus([self.nats.url], None, inbox=inbox, name="test-broker")
            )
            await ensure_streams(self.bus, 1)
            for verb, (kind, handler) in handlers.items():
                await stack.enter_async_context(
                    self.bus.serve(subjects.agents(verb), self._answering(verb, kind, handler))
                )
            await stack.enter_async_context(self.bus.serve(subjects.agents("log"), self._keep))
            group = await stack.enter_async_context(anyio.create_task_group())
            group.start_soon(self._watch_progress)
            yield self
            group.cancel_scope.cancel()

    async def _keep(self, subject: str, payload: bytes) -> ms.LogStored:
        job, attempt, _ = subjects.parse_agent(subject)
        chunk = msgspec.json.decode(payload, type=ms.LogChunk)
        return ms.LogStored(seq=await self.bus.keep_log(job, attempt, chunk))

    async def _watch_progress(self) -> None:
        async with self.bus.subscribe(subjects.progress(self.job)) as incoming:
            async for one in incoming:
                self.progress.append(msgspec.json.decode(one.payload, type=ms.Progress))

    def _answering(
        self, verb: str, kind: type[msgspec.Struct], handler: Callable[[int, Any], Any]
    ) -> Any:
        async def answer(subject: str, payload: bytes) -> msgspec.Struct | None:
            _, attempt, _ = subjects.parse_agent(subject)
            message = msgspec.json.decode(payload, type=kind)
            self.calls.append((attempt, verb, message))
            reply = handler(attempt, message)
            if self.deaf.get(verb, 0):
                self.deaf[verb] -= 1
                return None
            return reply

        return answer

    def _enrol(self, attempt: int, request: ms.Enrol) -> ms.Enrolment:
        self.seal_keys[attempt] = request.seal_key
        scope = make_seed(KeyKind.ACCOUNT, secrets.token_bytes(32))
        made = mint_scoped_user(
            scope,
            request.user_key,
            account_key=public_key(scope),
            name="agent",
            tags={},
            now_s=time.time(),
            life_s=3600,
        )
        return ms.Enrolment(user_jwt=made)

    def _beat(self, _attempt: int, beat: ms.Beat) -> ms.Grant:
        active = max((a for a, v, _ in self.calls if v == "ready"), default=0)
        return ms.Grant(
            number=beat.number,
            lease_s=self.lease_s,
            beat_s=self.beat_s,
            orphan_s=self.orphan_s,
            active=active if self.takes_over else 0,
            fenced=self.fenced,
        )

    def _brief(self, _attempt: int, _: ms.BriefRequest) -> ms.Brief:
        return ms.Brief(
            spec=self.spec,
            work_path=str(self.path / "work"),
            head=self.head,
            first=not self.heard("started"),
        )

    def _secrets(self, attempt: int, _: ms.SecretsRequest) -> ms.Sealed:
        host = {"PATH": SCRIPT_PATH, "HOME": str(self.path)}
        plain = msgspec.json.encode({"env": self.env, "host": host})
        return ms.Sealed(box=seal(self.seal_keys[attempt], plain))

    def _store_credential(self, attempt: int, _: ms.SecretsRequest) -> ms.Sealed:
        credential = msgspec.structs.replace(self.bucket.credential, expires_in_s=self.store_life_s)
        return ms.Sealed(box=seal(self.seal_keys[attempt], msgspec.json.encode(credential)))

    def _ready(self, attempt: int, _: ms.ReadyReport) -> ms.ReadyReply:
        return ms.ReadyReply(takeover=self.order(attempt) if self.takes_over else None)

    def order(self, attempt: int) -> ms.TakeoverOrder:
        return ms.TakeoverOrder(attempt=attempt, head=self.head)

    def _commit(self, _attempt: int, request: ms.CommitRequest) -> ms.Done:
        if self.fenced:
            raise SupersededError("superseded")
        if self.head is None or self.head.manifest != request.manifest:
            if self.head is not None:
                self.older.append(self.head)
            self.head = ms.CheckpointRef(
                manifest=request.manifest, key=request.key, step=request.step
            )
        return ms.Done()

    def _reject(self, _attempt: int, request: ms.RejectReport) -> ms.RejectReply:
        if self.head is not None and self.head.manifest == request.manifest:
            self.head = self.older.pop() if self.older else None
        return ms.RejectReply(head=self.head)

    def _done(self, _attempt: int, _: msgspec.Struct) -> ms.Done:
        return ms.Done()

    # The agent ------------------------------------------------------------------------------------

    @asynccontextmanager
    async def agent(
        self, attempt: int = 1, *, environ: Mapping[str, str] | None = None
    ) -> AsyncGenerator["AgentProcess"]:
        """Run a real agent; whatever is left of it is killed on the way out."""
        state = self.path / f"state{attempt}"
        state.mkdir(parents=True)
        boot = BootPayload(
            job=self.job,
            attempt=attempt,
            incarnation=incarnation(attempt),
            provider="local",
            bus_urls=[self.nats.url],
            enrol_jwt="none",
            enrol_seed=make_seed(KeyKind.USER, secrets.token_bytes(32)),
            work_path=str(self.path / "work"),
            state_path=str(state),
            local=True,
        )
        file = state / "boot.json"
        file.write_bytes(msgspec.json.encode(boot))
        log = (state / "agent.log").open("wb")
        process = subprocess.Popen(
            [sys.executable, "-m", "vaultlayer_agent", "--boot", str(file)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd=state,
            env={**os.environ, **(environ or {})},
            start_new_session=True,
        )
        log.close()
        agent = AgentProcess(process, state)
        try:
            yield agent
        finally:
            agent.end()

    @property
    def work(self) -> Path:
        return self.path / "work"

    def prefix(self, attempt: int) -> str:
        return prefix_of("", self.job, Attempt(attempt), Incarnation(incarnation(attempt)))


def first_of(errors: BaseException) -> BaseException:
    """Give the first error that is no group."""
    if not isinstance(errors, BaseExceptionGroup):
        return errors
    group = cast("BaseExceptionGroup[BaseException]", errors)
    return first_of(group.exceptions[0])


def incarnation(attempt: int) -> str:
    return f"inc{attempt:05d}"


@dataclass
class AgentProcess:
    """One running agent."""

    process: "subprocess.Popen[bytes]"
    state: Path

    @property
    def log(self) -> str:
        return (self.state / "agent.log").read_text(errors="replace")

    async def left(self, limit_s: float = 30.0) -> int:
        """Wait until it has left; give its exit status."""
        await eventually(lambda: self.process.poll() is not None, limit_s, lambda: self.log)
        assert self.process.returncode is not None
        return self.process.returncode

    def kill(self) -> None:
        os.kill(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def end(self) -> None:
        if self.process.poll() is None:
            # Frozen or not, and its script with it: the guard sees to that.
            self.kill()


async def eventually(
    holds: Callable[[], T], limit_s: float = 20.0, why: Callable[[], str] = lambda: ""
) -> T:
    """Wait until something is true, and give it."""
    give_up_at = time.monotonic() + limit_s
    while not (found := holds()):
        if time.monotonic() > give_up_at:
            raise AssertionError(f"it never came true. {why()[-3000:]}")
        await anyio.sleep(0.02)
    return found


def admin_store(weed: WeedServer) -> S3Store:
    """The whole bucket, as an agent's credential would name it."""
    return open_store(
        ms.StoreCredential(
            endpoint=weed.endpoint,
            bucket=weed.bucket,
            region=weed.region,
            root="",
            access_key=weed.access_key,
            secret_key=weed.secret_key,
        )
    )
