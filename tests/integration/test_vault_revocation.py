"""Revocation on a real server: at once, for good, whoever pushes and whatever restarts."""

import os
import signal
import time
from collections.abc import AsyncGenerator
from pathlib import Path

import anyio
import pytest

from vaultlayer import subjects
from vaultlayer.bus.credential import read_credential
from vaultlayer.bus.jwt import KeyKind, amend_account, make_seed, public_key
from vaultlayer.bus.nats import NatsBus, open_bus
from vaultlayer.errors import (
    BrokerDownError,
    DeniedError,
    InputError,
)
from vaultlayer.messages import (
    Enrolment,
    Sealed,
)
from vaultlayer_actors.credential_vault.accounts import Accounts
from vaultlayer_actors.credential_vault.actor import SETTLE_S
from vaultlayer_actors.credential_vault.keys import KeyStore
from vaultlayer_actors.credential_vault.master import scopes
from vaults import Machine, VaultWorld, one_vault

pytestmark = [pytest.mark.integration, pytest.mark.anyio]


@pytest.fixture
async def world(tmp_path: Path) -> AsyncGenerator[VaultWorld]:
    async with one_vault(tmp_path / "home") as world:
        yield world


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
    with anyio.fail_after(10):
        # Our own connection may be back before the vault's.
        while not await is_served(world, fresh):
            await anyio.sleep(0.05)


async def is_served(world: VaultWorld, machine: Machine) -> bool:
    try:
        async with world.agent(machine):
            return True
    except BrokerDownError:
        return False


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
