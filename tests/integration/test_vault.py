"""The vault on real servers: one key an attempt, narrow keys to the bucket, no secret on disk."""

import secrets
from collections.abc import AsyncGenerator
from pathlib import Path

import anyio
import msgspec
import pytest

from vaultlayer import events as ev
from vaultlayer import subjects
from vaultlayer.bus.jwt import public_key, read_jwt
from vaultlayer.bus.nats import NatsBus
from vaultlayer.errors import (
    DeniedError,
    InputError,
    StoreDeniedError,
    SupersededError,
)
from vaultlayer.ids import Attempt, Incarnation, JobId, job_id, prefix_of
from vaultlayer.messages import (
    BrokerStoreRequest,
    Done,
    Enrolment,
    ProviderSecrets,
    ProviderSecretsRequest,
    ReadCredentialRequest,
    Sealed,
    StoreCredential,
    UploadCredentialRequest,
    VaultKey,
)
from vaultlayer.sealing import public_of, seal, unseal
from vaultlayer.settings import Settings
from vaultlayer.store.s3 import S3Store
from vaults import Machine, VaultWorld, incarnation, one_vault, vault_world

pytestmark = [pytest.mark.integration, pytest.mark.anyio]


@pytest.fixture
async def world(tmp_path: Path) -> AsyncGenerator[VaultWorld]:
    async with one_vault(tmp_path / "home") as world:
        yield world


@pytest.fixture
async def bucket_world(tmp_path: Path) -> AsyncGenerator[VaultWorld]:
    """With a bucket of its own."""
    async with vault_world(tmp_path / "home", Settings()) as world, world.vault():
        yield world


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


# Secrets -------------------------------------------------------------------------------------------


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
        assert await keys_of("vast") == {"api_key": "hunter2-provider"}
        assert await keys_of("local") == {}


# The bucket ----------------------------------------------------------------------------------------


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
