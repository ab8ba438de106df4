"""The vault on real servers: narrow credentials, one key an attempt, revocation that holds."""

import os
import secrets
import signal
import time
from collections.abc import AsyncGenerator
from pathlib import Path

import anyio
import msgspec
import pytest

from vaultlayer import events as ev
from vaultlayer import subjects
from vaultlayer.bus.credential import read_credential
from vaultlayer.bus.jwt import KeyKind, amend_account, make_seed, public_key, read_jwt
from vaultlayer.bus.nats import NatsBus, open_bus
from vaultlayer.errors import (
    DeniedError,
    InputError,
    StoreDeniedError,
    SupersededError,
    VaultLayerError,
)
from vaultlayer.ids import Attempt, Incarnation, JobId, job_id, prefix_of
from vaultlayer.messages import (
    BrokerStoreRequest,
    ControlMessage,
    Done,
    Enrolment,
    LogChunk,
    ProviderSecrets,
    ProviderSecretsRequest,
    ReadCredentialRequest,
    Sealed,
    StoreCredential,
    UploadCredentialRequest,
    VaultKey,
)
from vaultlayer.sealing import is_seal_key, public_of, seal, unseal
from vaultlayer.settings import Settings, StoreSettings
from vaultlayer.store.s3 import S3Store
from vaultlayer_actors.credential_vault.accounts import Accounts
from vaultlayer_actors.credential_vault.actor import SETTLE_S
from vaultlayer_actors.credential_vault.core import AGENT_LIFE_S, ENROL_LIFE_S
from vaultlayer_actors.credential_vault.keys import KeyStore
from vaultlayer_actors.credential_vault.master import scopes
from vaults import Machine, VaultWorld, incarnation, vault_world

pytestmark = [pytest.mark.integration, pytest.mark.anyio]

NO_BUCKET = Settings(store=StoreSettings(endpoint="http://127.0.0.1:9"))


@pytest.fixture
async def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncGenerator[VaultWorld]:
    """A bus with one vault; the bucket is elsewhere and never reached."""
    monkeypatch.setenv("VAULTLAYER_STORE_ACCESS_KEY", "unused")
    monkeypatch.setenv("VAULTLAYER_STORE_SECRET_KEY", "unused")
    async with vault_world(tmp_path / "home", NO_BUCKET) as world, world.vault():
        yield world


@pytest.fixture
async def bucket_world(tmp_path: Path) -> AsyncGenerator[VaultWorld]:
    """A bus and a bucket with one vault."""
    async with vault_world(tmp_path / "home", Settings()) as world, world.vault():
        yield world


async def ask(bus: NatsBus, subject: str) -> None:
    """Say something on a subject; raises DeniedError where the server refuses it."""
    try:
        await bus.request_bytes(subject, b"{}", timeout_s=1.0)
    except DeniedError:
        raise
    except VaultLayerError:
        return


async def hear(bus: NatsBus, subject: str) -> None:
    """Listen for a moment; raises DeniedError where the server refuses it."""
    async with bus.subscribe(subject):
        await anyio.sleep(0.3)
    pytest.fail(f"{subject} may be heard")


# What a credential reaches ------------------------------------------------------------------------


async def test_an_agent_speaks_on_its_own_attempts_subjects_only(world: VaultWorld):
    job, other = await world.submit(), await world.submit()
    machine = await world.order(job, 1)
    async with world.agent(machine) as agent:
        for verb in ("beat", "ckpt", "store_credential", "exit", "enrol"):
            await ask(agent, machine.subject(verb))
        assert await agent.store_log(
            machine.subject("log"), LogChunk(incarnation="i", offset=0, text="x")
        )
        for subject in (
            subjects.agent(job, Attempt(2), "beat"),
            subjects.agent(job, Attempt(11), "beat"),
            subjects.agent(other, Attempt(1), "ckpt"),
            subjects.event(job, "finished"),
            f"{subjects.event(other, 'x')}",
            "vl.live.aa.x.finished",
            subjects.control(other, Attempt(1), "fenced"),
            subjects.SUBMIT,
            subjects.VAULT_KEY,
            subjects.vault("revoke"),
            subjects.pool("local", "terminate"),
            subjects.REVOCATIONS,
            f"{subjects.agent_inbox(other, Attempt(1))}.x",
            "$JS.API.INFO",
            "$JS.API.STREAM.INFO.JOBS-0",
            "$JS.API.DIRECT.GET.JOBS-0",
            "$JS.ACK.JOBS-0.x.1.1.1.1.0",
            "$KV.vl_jobs.x",
            "$SYS.REQ.CLAIMS.UPDATE",
            "$SRV.PING",
        ):
            with pytest.raises(DeniedError):
                await ask(agent, subject)
                pytest.fail(f"an agent may speak on {subject}")


async def test_an_agent_hears_its_own_inbox_and_orders_only(world: VaultWorld):
    job = await world.submit()
    machine = await world.order(job, 1)
    async with world.agent(machine) as agent:
        async with agent.subscribe(subjects.controls(job, Attempt(1))) as orders:
            await ask(agent, machine.subject("beat"))
            await world.bus.publish(subjects.control(job, Attempt(1), "stop"), ControlMessage())
            with anyio.fail_after(2):
                assert (await anext(orders)).subject.endswith(".stop")
        for subject in (
            ">",
            "vl.>",
            "_INBOX.>",
            "_INBOX.agent.>",
            f"{subjects.agent_inbox(job, Attempt(2))}.>",
            subjects.controls(job, Attempt(2)),
            subjects.job_log(job),
            subjects.live(job),
            machine.subject("*"),
            subjects.VAULT_KEY,
            "$SYS.>",
        ):
            with pytest.raises(DeniedError):
                await hear(agent, subject)


async def test_an_enrol_credential_can_enrol_and_nothing_else(world: VaultWorld):
    machine = await world.order(await world.submit(), 1)
    claims = read_jwt((await world.enrol_credential(machine)).jwt)
    assert claims.exp - claims.iat == ENROL_LIFE_S
    async with world.enrolling(machine) as bus:
        for verb in ("beat", "secrets", "store_credential", "renew", "log"):
            with pytest.raises(DeniedError):
                await ask(bus, machine.subject(verb))
        with pytest.raises(DeniedError):
            await ask(bus, subjects.agent(machine.job, Attempt(2), "enrol"))
        with pytest.raises(DeniedError):
            await hear(bus, subjects.controls(machine.job, Attempt(1)))
        enrolment = await bus.request(machine.subject("enrol"), machine.enrol, Enrolment)
    assert enrolment.bus_urls == [world.url]
    agent = read_jwt(enrolment.user_jwt)
    assert agent.sub == public_key(machine.user_seed)
    assert agent.exp - agent.iat == AGENT_LIFE_S


async def test_a_command_line_asks_and_watches_but_reaches_no_stream(world: VaultWorld):
    async with world.person() as person:
        vault = await person.request(subjects.VAULT_KEY, Done(), VaultKey)
        assert is_seal_key(vault.key)
        async with person.subscribe("vl.live.>"), person.subscribe("vl.agent.*.*.*.progress"):
            pass
        for subject in ("$JS.API.INFO", subjects.vault("broker_store"), "vl.job.aa.x.finished"):
            with pytest.raises(DeniedError):
                await ask(person, subject)


async def test_the_systems_credential_reaches_account_claims_only(world: VaultWorld):
    credential = read_credential(world.home.creds / "sys.creds")
    async with open_bus([world.url], credential, inbox="_INBOX.sys.t", name="t") as bus:
        for subject in ("$SYS.REQ.SERVER.PING", "$SYS.REQ.CLAIMS.DELETE", subjects.SUBMIT):
            with pytest.raises(DeniedError):
                await ask(bus, subject)


async def test_the_vault_answers_only_to_the_inbox_of_the_asker(world: VaultWorld):
    machine = await world.order(await world.submit(), 1)
    async with (
        world.agent(machine) as agent,
        world.person() as person,
        person.subscribe("_INBOX.user.victim.>") as heard,
    ):
        await agent.connection.publish(
            machine.subject("secrets"),
            msgspec.json.encode(machine.secrets_request),
            reply="_INBOX.user.victim.1",
        )
        # A question that is answered shows that the one before it was looked at.
        await agent.request(machine.subject("secrets"), machine.secrets_request, Sealed)
        with anyio.move_on_after(0.3) as waited:
            pytest.fail(f"answered elsewhere: {await anext(heard)}")
        assert waited.cancelled_caught


# Enrolment ----------------------------------------------------------------------------------------


async def test_a_second_machine_of_an_attempt_is_refused_and_the_first_may_ask_again(
    world: VaultWorld,
):
    machine = await world.order(await world.submit(), 1)
    thief = Machine(machine.job, machine.attempt)
    async with world.enrolling(machine) as bus, world.enrolling(machine) as second:
        first = await bus.request(machine.subject("enrol"), machine.enrol, Enrolment)
        with pytest.raises(DeniedError):
            await second.request(thief.subject("enrol"), thief.enrol, Enrolment)
        again = await second.request(machine.subject("enrol"), machine.enrol, Enrolment)
    assert read_jwt(again.user_jwt).sub == read_jwt(first.user_jwt).sub
    job = await world.ledger.read(machine.job)
    assert job is not None
    assert job.attempts[1].user_key == public_key(machine.user_seed)
    with pytest.raises(DeniedError):
        await world.enrol_credential(machine)


async def test_of_many_machines_that_enrol_at_once_one_wins(world: VaultWorld):
    machine = await world.order(await world.submit(), 1)
    rivals = [Machine(machine.job, machine.attempt) for _ in range(6)]
    won: list[Machine] = []
    async with world.vault(), world.enrolling(machine) as bus:

        async def enrol(rival: Machine) -> None:
            try:
                await bus.request(rival.subject("enrol"), rival.enrol, Enrolment, timeout_s=10)
            except DeniedError:
                return
            won.append(rival)

        async with anyio.create_task_group() as group:
            for rival in rivals:
                group.start_soon(enrol, rival)
    job = await world.ledger.read(machine.job)
    assert job is not None
    assert [public_key(rival.user_seed) for rival in won] == [job.attempts[1].user_key]


async def test_a_wrong_incarnation_and_keys_that_are_none_are_refused(world: VaultWorld):
    machine = await world.order(await world.submit(), 1)
    async with world.enrolling(machine) as bus:
        for fields, error in (
            ({"incarnation": "someelse"}, SupersededError),
            ({"user_key": "UNOKEY"}, InputError),
            ({"seal_key": "AAAA"}, InputError),
        ):
            wrong = msgspec.structs.replace(machine.enrol, **fields)
            with pytest.raises(error):
                await bus.request(machine.subject("enrol"), wrong, Enrolment)


async def test_a_machine_renews_while_its_attempt_is_current(world: VaultWorld):
    machine = await world.order(await world.submit(), 1)
    async with world.agent(machine) as agent:
        renewed = await agent.request(machine.subject("renew"), machine.enrol, Enrolment)
        await agent.renew(machine.credential(renewed))
        with anyio.fail_after(5):
            while not agent.is_connected:
                await anyio.sleep(0.01)
        await agent.request(machine.subject("secrets"), machine.secrets_request, Sealed)
        await world.say(machine.job, ev.Lost(attempt=1, evidence="silent"))
        for verb in ("renew", "secrets", "store_credential"):
            message = machine.enrol if verb == "renew" else machine.secrets_request
            with pytest.raises(SupersededError):
                await agent.request(machine.subject(verb), message, Enrolment)


# Revocation ---------------------------------------------------------------------------------------


async def lost_within(bus: NatsBus, within_s: float) -> None:
    with anyio.fail_after(within_s):
        while bus.is_connected and not bus.is_refused:
            await anyio.sleep(0.01)


async def is_refused(world: VaultWorld, machine: Machine, jwt: str) -> bool:
    credential = machine.credential(Enrolment(user_jwt=jwt))
    try:
        async with world.agent(machine, credential):
            return False
    except DeniedError:
        return True


async def test_a_revoked_machine_is_out_within_a_second_and_cannot_come_back(world: VaultWorld):
    job = await world.submit()
    machine, sibling = await world.order(job, 1), await world.order(job, 2)
    credential, staying = await world.enrol(machine), await world.enrol(sibling)
    async with world.agent(machine, credential) as agent, world.agent(sibling, staying) as other:
        renewed = await agent.request(machine.subject("renew"), machine.enrol, Enrolment)
        await world.revoke(public_key(machine.user_seed))
        await lost_within(agent, 1.0)
        assert other.is_connected
        await other.request(sibling.subject("secrets"), sibling.secrets_request, Sealed)
    assert await is_refused(world, machine, credential.jwt)
    # A renewal that was signed at the same moment, or is signed later by mistake, is void as well.
    assert await is_refused(world, machine, renewed.user_jwt)
    async with world.agent(sibling, staying):
        pass


async def test_a_revocation_outlives_the_server(world: VaultWorld):
    machine = await world.order(await world.submit(), 1)
    credential = await world.enrol(machine)
    await world.revoke(public_key(machine.user_seed))
    child = world.servers.children["nats-server"]
    os.kill(child.pid, signal.SIGKILL)
    with anyio.fail_after(10):
        while child.restarts == 0 or not world.bus.is_connected:
            await anyio.sleep(0.02)
    assert await is_refused(world, machine, credential.jwt)
    fresh = await world.order(await world.submit(), 1)
    async with world.agent(fresh):
        pass


async def test_revocations_by_two_vaults_at_once_all_hold(world: VaultWorld):
    job = await world.submit()
    machines = [await world.order(job, number) for number in range(1, 9)]
    jwts = [(await world.enrol(machine)).jwt for machine in machines]
    async with world.vault(), world.vault():
        async with anyio.create_task_group() as group:
            for machine in machines:
                group.start_soon(world.revoke, public_key(machine.user_seed))
        for machine, jwt in zip(machines, jwts, strict=True):
            assert await is_refused(world, machine, jwt)


class HeldBack(NatsBus):
    """A system connection whose first push waits, as one on a slow link does."""

    def __init__(self, bus: NatsBus) -> None:
        super().__init__(bus.connection)
        self.pushing, self.release = anyio.Event(), anyio.Event()

    async def request_bytes(self, subject: str, payload: bytes, *, timeout_s: float = 5.0) -> bytes:
        if subject == subjects.UPDATE_CLAIMS:
            self.pushing.set()
            await self.release.wait()
        return await super().request_bytes(subject, payload, timeout_s=timeout_s)


async def test_a_late_push_of_one_vault_does_not_undo_anothers_revocation(world: VaultWorld):
    job = await world.submit()
    first, second = await world.order(job, 1), await world.order(job, 2)
    jwts = [(await world.enrol(machine)).jwt for machine in (first, second)]
    keys = KeyStore(world.home.keys).open()
    system = read_credential(world.home.creds / "sys.creds")
    async with open_bus([world.url], system, inbox="_INBOX.sys.t", name="t") as bus:
        slow = HeldBack(bus)
        accounts = Accounts(world.bus, slow, keys)
        async with anyio.create_task_group() as group:
            group.start_soon(accounts.revoke, [public_key(first.user_seed)], time.time())
            await slow.pushing.wait()
            # The other vault revokes while the first one's claims, which lack that, are on their way.
            await world.revoke(public_key(second.user_seed))
            slow.release.set()
    assert await is_refused(world, first, jwts[0])
    assert await is_refused(world, second, jwts[1])


async def test_a_revocation_that_the_server_forgot_is_put_back_by_the_next_vault(
    world: VaultWorld,
):
    machine = await world.order(await world.submit(), 1)
    credential = await world.enrol(machine)
    await world.revoke(public_key(machine.user_seed))
    keys = KeyStore(world.home.keys).open()
    system = read_credential(world.home.creds / "sys.creds")
    async with open_bus([world.url], system, inbox="_INBOX.sys.t", name="t") as bus:
        jwt = (await bus.request_bytes(subjects.account_claims(keys.account_key), b"")).decode()
        bare = amend_account(jwt, keys.operator, now_s=0, revocations={}, scopes=scopes(keys))
        await bus.request_bytes(subjects.UPDATE_CLAIMS, bare.encode())
    assert not await is_refused(world, machine, credential.jwt)
    assert SETTLE_S > 10
    async with world.vault():
        with anyio.fail_after(5):
            while not await is_refused(world, machine, credential.jwt):
                await anyio.sleep(0.05)


async def test_a_name_that_is_no_user_key_is_not_revoked(world: VaultWorld):
    for name in ("*", "", "UABC", public_key(make_seed(KeyKind.ACCOUNT, bytes(32)))):
        with pytest.raises(InputError):
            await world.revoke(name)


# Secrets ------------------------------------------------------------------------------------------


async def test_environment_values_reach_the_machine_and_no_file(
    world: VaultWorld, capfd: pytest.CaptureFixture[str]
):
    value = f"hunter2-{secrets.token_hex(8)}"
    plain = msgspec.json.encode({"env": {"TOKEN": value}, "host": {}})
    async with world.person() as person:
        vault = await person.request(subjects.VAULT_KEY, Done(), VaultKey)
    job = await world.submit(env_names=["TOKEN"], env_sealed=seal(vault.key, plain))
    machine = await world.order(job, 1)
    async with world.agent(machine) as agent:
        sealed = await agent.request(machine.subject("secrets"), machine.secrets_request, Sealed)
        assert machine.open(sealed) == plain
        assert value not in sealed.box
    output = capfd.readouterr()
    assert value not in output.out + output.err
    files = [path for path in world.home.state.rglob("*") if path.is_file()]
    assert any(job.encode() in path.read_bytes() for path in files), "the log is not among them"
    for path in files:
        data = path.read_bytes()
        assert value.encode() not in data, path
        # Nor do the machine's own private keys ever come near the broker.
        assert machine.user_seed.encode() not in data, path


async def test_a_pool_gets_its_own_providers_keys_sealed(
    world: VaultWorld, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("VAULTLAYER_PROVIDER_VAST_API_KEY", "hunter2-provider")
    private = secrets.token_bytes(32)

    async def keys_of(provider: str) -> dict[str, str]:
        request = ProviderSecretsRequest(provider=provider, seal_key=public_of(private))
        sealed = await world.bus.request(subjects.vault("provider_secrets"), request, Sealed)
        return msgspec.json.decode(unseal(private, sealed.box), type=ProviderSecrets).values

    async with world.vault():
        # Either vault may answer; the one that started before the variable was set knows of none.
        found = [await keys_of("vast") for _ in range(30)]
        assert {"api_key": "hunter2-provider"} in found
        assert await keys_of("local") == {}


# The bucket ---------------------------------------------------------------------------------------


async def lend(machine: Machine, bus: NatsBus) -> S3Store:
    sealed = await bus.request(
        machine.subject("store_credential"), machine.secrets_request, Sealed, timeout_s=10
    )
    return S3Store(msgspec.json.decode(machine.open(sealed), type=StoreCredential), tries=1)


async def test_an_attempt_reads_its_job_and_writes_only_its_own_prefix(bucket_world: VaultWorld):
    world = bucket_world
    job, other = await world.submit(), await world.submit()
    first, second = await world.order(job, 1), await world.order(job, 2)

    def prefix(owner: JobId, number: int) -> str:
        return prefix_of("", owner, Attempt(number), Incarnation(incarnation(number)))

    async with world.agent(first) as one, world.agent(second) as two:
        mine, newer = await lend(first, one), await lend(second, two)
        await mine.put(f"{prefix(job, 1)}packs/a", b"1")
        await newer.put(f"{prefix(job, 2)}packs/b", b"2")
        assert (await newer.get(f"{prefix(job, 1)}packs/a")).data == b"1"
        for key in (
            f"{prefix(job, 1)}packs/a",
            f"{prefix(job, 3)}packs/a",
            f"jobs/{job}/HEAD",
            f"jobs/{job}/code/x",
            f"{prefix(other, 2)}packs/a",
            "elsewhere",
        ):
            with pytest.raises(StoreDeniedError):
                await newer.put(key, b"forged")
                pytest.fail(f"attempt 2 may write {key}")
        with pytest.raises(StoreDeniedError):
            await newer.delete([f"{prefix(job, 1)}packs/a"])
        with pytest.raises(StoreDeniedError):
            await newer.get(f"jobs/{other}/code/x")
        assert (await newer.get(f"{prefix(job, 1)}packs/a")).data == b"1"
        await world.say(job, ev.Ready(attempt=2))
        await world.say(job, ev.Takeover(attempt=2))
        with pytest.raises(SupersededError):
            await lend(first, one)
        await lend(second, two)


async def test_people_and_actors_get_keys_of_their_own_reach(bucket_world: VaultWorld):
    world = bucket_world
    private = secrets.token_bytes(32)
    key = public_of(private)

    def opened(sealed: Sealed) -> S3Store:
        plain = unseal(private, sealed.box)
        return S3Store(msgspec.json.decode(plain, type=StoreCredential), tries=1)

    new = job_id(secrets.token_bytes(9))
    async with world.person() as person:
        request = UploadCredentialRequest(job=new, seal_key=key)
        upload = opened(
            await person.request(subjects.UPLOAD_CREDENTIAL, request, Sealed, timeout_s=10)
        )
        await upload.put(f"jobs/{new}/code/packs/x", b"code")
        with pytest.raises(StoreDeniedError):
            await upload.put(f"jobs/{new}/HEAD", b"x")
        await world.say(new, ev.Submitted(spec=ev.JobSpec(command=["x"])))
        with pytest.raises(DeniedError):
            await person.request(subjects.UPLOAD_CREDENTIAL, request, Sealed, timeout_s=10)
        read = opened(
            await person.request(
                subjects.read_credential(new),
                ReadCredentialRequest(seal_key=key),
                Sealed,
                timeout_s=10,
            )
        )
        assert (await read.get(f"jobs/{new}/code/packs/x")).data == b"code"
        with pytest.raises(StoreDeniedError):
            await read.put(f"jobs/{new}/code/packs/x", b"forged")

    async def broker(*, write: bool) -> S3Store:
        request = BrokerStoreRequest(seal_key=key, write=write)
        return opened(
            await world.bus.request(subjects.vault("broker_store"), request, Sealed, timeout_s=10)
        )

    writer, reader = await broker(write=True), await broker(write=False)
    await writer.put(f"jobs/{new}/HEAD", b"head")
    assert sorted([stat.key async for stat in reader.list("jobs/")]) == [
        f"jobs/{new}/HEAD",
        f"jobs/{new}/code/packs/x",
    ]
    with pytest.raises(StoreDeniedError):
        await reader.put(f"jobs/{new}/HEAD", b"x")
    await writer.delete([f"jobs/{new}/code/packs/x"])
    assert [stat.key async for stat in reader.list("jobs/")] == [f"jobs/{new}/HEAD"]
