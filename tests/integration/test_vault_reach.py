"""What each bus credential reaches on a real server, and what it does not."""

from collections.abc import AsyncGenerator
from pathlib import Path

import anyio
import msgspec
import pytest

from vaultlayer import subjects
from vaultlayer.bus.credential import read_credential
from vaultlayer.bus.jwt import public_key, read_jwt
from vaultlayer.bus.nats import NatsBus, open_bus
from vaultlayer.errors import (
    DeniedError,
    VaultLayerError,
)
from vaultlayer.ids import Attempt
from vaultlayer.messages import (
    ControlMessage,
    Done,
    Enrolment,
    Sealed,
    VaultKey,
)
from vaultlayer.sealing import is_seal_key
from vaultlayer_actors.credential_vault.core import AGENT_LIFE_S, ENROL_LIFE_S
from vaults import VaultWorld, one_vault

pytestmark = [pytest.mark.integration, pytest.mark.anyio]


@pytest.fixture
async def world(tmp_path: Path) -> AsyncGenerator[VaultWorld]:
    async with one_vault(tmp_path / "home") as world:
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


async def test_an_agent_speaks_on_its_own_attempts_subjects_only(world: VaultWorld):
    job, other = await world.submit(), await world.submit()
    machine = await world.order(job, 1)
    async with world.agent(machine) as agent:
        for verb in ("beat", "ckpt", "log", "store_credential", "exit", "enrol"):
            await ask(agent, machine.subject(verb))
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


async def test_an_agent_cannot_make_the_server_speak_for_it(world: VaultWorld):
    """A stream acknowledges to whatever reply subject a publisher names, with the server's own rights."""
    victim, job = await world.submit(), await world.submit()
    machine = await world.order(job, 1)
    before = await world.ledger.read(victim)
    async with (
        world.agent(machine) as agent,
        world.bus.subscribe("vl.ctl.>") as orders,
    ):
        for reply in (
            subjects.control(victim, Attempt(1), "fenced"),
            subjects.event(victim, "finished"),
        ):
            for verb in ("log", "beat", "progress", "secrets"):
                await agent.connection.publish(machine.subject(verb), b"{}", reply=reply)
        await agent.request(machine.subject("secrets"), machine.secrets_request, Sealed)
        with anyio.move_on_after(0.3) as waited:
            pytest.fail(f"the server said {await anext(orders)}")
        assert waited.cancelled_caught
    assert await world.ledger.read(victim) == before
