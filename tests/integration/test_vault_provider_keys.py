"""API keys of providers: handed over sealed, kept sealed, given to their own pool only."""

import secrets
from collections.abc import AsyncGenerator
from pathlib import Path

import anyio
import msgspec
import pytest

from vaultlayer import subjects
from vaultlayer.bus.nats import NatsBus
from vaultlayer.errors import InputError, SealError
from vaultlayer.messages import (
    Done,
    ProviderKey,
    ProviderKeysReply,
    ProviderSecrets,
    ProviderSecretsRequest,
    Sealed,
    VaultKey,
)
from vaultlayer.sealing import public_of, seal, unseal
from vaults import VaultWorld, one_vault

pytestmark = [pytest.mark.integration, pytest.mark.anyio]
SECRET = "hunter2-of-the-provider"


@pytest.fixture
async def world(tmp_path: Path) -> AsyncGenerator[VaultWorld]:
    async with one_vault(tmp_path / "home") as world:
        yield world


async def hand_over(bus: NatsBus, provider: str, plain: bytes) -> None:
    key = (await bus.request(subjects.VAULT_KEY, Done(), VaultKey)).key
    request = ProviderKey(provider=provider, box=seal(key, plain))
    await bus.request(subjects.PROVIDER_KEY, request, Done)


def values(**fields: str) -> bytes:
    return msgspec.json.encode(ProviderSecrets(values=fields))


async def keys_of(world: VaultWorld, provider: str) -> dict[str, str]:
    private = secrets.token_bytes(32)
    request = ProviderSecretsRequest(provider=provider, seal_key=public_of(private))
    sealed = await world.bus.request(subjects.vault("provider_secrets"), request, Sealed)
    return msgspec.json.decode(unseal(private, sealed.box), type=ProviderSecrets).values


async def test_a_key_that_a_person_hands_over_reaches_every_vault_and_no_other_provider(
    world: VaultWorld,
) -> None:
    async with world.vault(), world.person() as person:
        await hand_over(person, "vast", values(api_key=SECRET))
        # Two vaults share the requests, so that either has to know what the other was given.
        assert [await keys_of(world, "vast") for _ in range(12)] == [{"api_key": SECRET}] * 12
        assert await keys_of(world, "runpod") == {}


async def test_people_are_shown_which_fields_are_held_and_never_a_value(world: VaultWorld) -> None:
    async with world.person() as person:
        await hand_over(person, "aws", values(access_key="AK", secret_key=SECRET))
        reply = await person.request(subjects.PROVIDER_KEYS, Done(), ProviderKeysReply)
    assert reply.fields == {"aws": ["access_key", "secret_key"]}


async def test_keys_handed_over_at_once_are_all_kept(world: VaultWorld) -> None:
    names = [f"p{number}" for number in range(8)]
    async with world.vault(), world.person() as person:
        async with anyio.create_task_group() as group:
            for name in names:
                group.start_soon(hand_over, person, name, values(api_key=name))
        reply = await person.request(subjects.PROVIDER_KEYS, Done(), ProviderKeysReply)
    assert sorted(reply.fields) == names


async def test_nothing_of_it_is_on_disk_in_the_clear(world: VaultWorld) -> None:
    async with world.person() as person:
        await hand_over(person, "vast", values(api_key=SECRET))
    files = [path for path in world.home.state.rglob("*") if path.is_file()]
    assert any(path.name == "vault.sealed" for path in files)
    assert [path for path in files if SECRET.encode() in path.read_bytes()] == []


async def test_keys_without_values_are_taken_away(world: VaultWorld) -> None:
    async with world.person() as person:
        await hand_over(person, "vast", values(api_key=SECRET))
        await hand_over(person, "vast", values())
    assert await keys_of(world, "vast") == {}


async def test_the_pools_of_that_provider_are_told(world: VaultWorld) -> None:
    subject = subjects.pool("vast", "rekeyed")
    async with world.bus.subscribe(subject) as heard, world.person() as person:
        await hand_over(person, "vast", values(api_key=SECRET))
        with anyio.fail_after(10):
            assert SECRET.encode() not in (await anext(heard)).payload


@pytest.mark.parametrize(
    ("provider", "plain"),
    [
        ("No Name", values(api_key="x")),
        ("vast", values(Field="x")),
        ("vast", values(api_key="  ")),
        ("vast", values(api_key="x" * 17_000)),
        ("vast", b'{"values": {"api_key": 5}}'),
    ],
)
async def test_what_is_no_key_is_refused_without_being_quoted(
    world: VaultWorld, provider: str, plain: bytes
) -> None:
    async with world.person() as person:
        with pytest.raises(InputError) as caught:
            await hand_over(person, provider, plain)
    assert "x" * 50 not in str(caught.value)
    assert await keys_of(world, "vast") == {}


async def test_a_key_sealed_to_somebody_else_is_refused(world: VaultWorld) -> None:
    stranger = public_of(secrets.token_bytes(32))
    request = ProviderKey(provider="vast", box=seal(stranger, values(api_key=SECRET)))
    async with world.person() as person:
        with pytest.raises(SealError):
            await person.request(subjects.PROVIDER_KEY, request, Done)
