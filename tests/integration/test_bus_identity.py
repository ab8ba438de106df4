"""Credentials on a real nats-server: what a user may not do is told, expiry and renewal included."""

import secrets
import time
from collections.abc import Generator
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path

import anyio
import pytest

from buses import until
from servers import NatsServer, running_nats
from vaultlayer import events as ev
from vaultlayer import subjects
from vaultlayer.bus.credential import BusCredential, read_credential, write_credential
from vaultlayer.bus.jwt import (
    KeyKind,
    Scope,
    SubjectList,
    Template,
    make_seed,
    mint_account,
    mint_operator,
    mint_scoped_user,
    mint_user,
    public_key,
)
from vaultlayer.bus.nats import NatsBus, open_bus
from vaultlayer.bus.permissions import AGENT, BROKER, attempt_tags
from vaultlayer.bus.streams import ensure_streams
from vaultlayer.errors import DeniedError
from vaultlayer.ids import ActorId, Attempt, JobId
from vaultlayer.messages import Done

pytestmark = [pytest.mark.anyio, pytest.mark.integration]

JOB = JobId("jabcdefghj")
ONE = Attempt(1)


def seed(kind: KeyKind) -> str:
    return make_seed(kind, secrets.token_bytes(32))


@dataclass
class Realm:
    """An operator with one account, and the server that believes it."""

    server: NatsServer
    account: str
    scope: str

    def agent(
        self, attempt: Attempt = ONE, *, life_s: float = 3600.0, key: str = ""
    ) -> BusCredential:
        user = key or seed(KeyKind.USER)
        jwt = mint_scoped_user(
            self.scope,
            public_key(user),
            account_key=public_key(self.account),
            name="agent",
            tags=attempt_tags(JOB, attempt),
            now_s=time.time(),
            life_s=life_s,
        )
        return BusCredential(jwt=jwt, seed=user)

    def broker(self, template: Template = BROKER) -> BusCredential:
        user = seed(KeyKind.USER)
        jwt = mint_user(
            self.account, public_key(user), name="broker", template=template, now_s=time.time()
        )
        return BusCredential(jwt=jwt, seed=user)

    def open_agent(
        self, credential: BusCredential, attempt: Attempt = ONE
    ) -> AbstractAsyncContextManager[NatsBus]:
        return open_bus(
            [self.server.url],
            credential,
            inbox=subjects.agent_inbox(JOB, attempt),
            name="agent",
            connect_timeout_s=5.0,
        )

    def open_broker(self) -> AbstractAsyncContextManager[NatsBus]:
        inbox = subjects.actor_inbox(ActorId("broker"))
        return open_bus([self.server.url], self.broker(), inbox=inbox, name="broker")


@pytest.fixture
def realm(tmp_path: Path) -> Generator[Realm]:
    operator, system, account, scope = (
        seed(KeyKind.OPERATOR),
        seed(KeyKind.ACCOUNT),
        seed(KeyKind.ACCOUNT),
        seed(KeyKind.ACCOUNT),
    )
    now_s = time.time() - 5
    accounts = {
        system: mint_account(operator, public_key(system), name="SYS", now_s=now_s),
        account: mint_account(
            operator,
            public_key(account),
            name="VL",
            now_s=now_s,
            scopes=[Scope(key=public_key(scope), role="agent", template=AGENT)],
            jetstream=True,
        ),
    }
    operator_jwt = mint_operator(
        operator, name="op", system_account=public_key(system), now_s=now_s
    )
    preload = "\n".join(f"{public_key(key)}: {jwt}" for key, jwt in accounts.items())
    extra = (
        f"operator: {operator_jwt}\nsystem_account: {public_key(system)}\n"
        f"resolver: MEMORY\nresolver_preload: {{\n{preload}\n}}\n"
    )
    with running_nats(tmp_path, extra=extra) as server:
        yield Realm(server, account, scope)


async def test_a_credential_from_its_file_opens_the_bus(realm: Realm, tmp_path: Path) -> None:
    path = tmp_path / "creds" / "agent.creds"
    write_credential(path, realm.agent())
    async with realm.open_agent(read_credential(path)) as bus:
        assert bus.is_connected
        assert not bus.is_refused


async def test_an_agent_is_answered_below_its_own_inbox(realm: Realm) -> None:
    async def hear(_subject: str, _payload: bytes) -> Done:
        return Done()

    def own(subject: str) -> str:
        job, attempt, _ = subjects.parse_agent(subject)
        return subjects.agent_inbox(job, attempt)

    async with (
        realm.open_broker() as broker,
        realm.open_agent(realm.agent()) as agent,
        broker.serve(subjects.agents("beat"), hear, allowed=own),
    ):
        await agent.request(subjects.agent(JOB, ONE, "beat"), Done(), Done)


async def test_a_subject_out_of_reach_is_denied_at_once_and_the_bus_stays(realm: Realm) -> None:
    async with realm.open_agent(realm.agent()) as agent:
        began_s = time.monotonic()
        for subject in (
            subjects.agent(JOB, Attempt(2), "beat"),
            subjects.SUBMIT,
            "$JS.API.STREAM.NAMES",
        ):
            with pytest.raises(DeniedError):
                await agent.request(subject, Done(), Done)
        with pytest.raises(DeniedError):
            async with agent.subscribe("vl.live.>"):
                pass
        assert time.monotonic() - began_s < 2.0
        async with agent.subscribe(subjects.controls(JOB, ONE)):
            assert agent.is_connected


async def test_a_foreign_inbox_is_denied_when_opening(realm: Realm) -> None:
    with pytest.raises(DeniedError):
        async with realm.open_agent(realm.agent(), Attempt(2)):
            pass


async def test_a_stranger_is_refused_at_once(realm: Realm) -> None:
    stranger = BusCredential(jwt=realm.agent().jwt, seed=seed(KeyKind.USER))
    began_s = time.monotonic()
    with pytest.raises(DeniedError) as caught:
        async with realm.open_agent(stranger):
            pass
    assert time.monotonic() - began_s < 2.0
    assert stranger.jwt not in str(caught.value)


async def test_an_expired_credential_is_refused_and_a_new_one_is_taken_up(realm: Realm) -> None:
    key = seed(KeyKind.USER)
    async with realm.open_agent(realm.agent(life_s=2.0, key=key)) as agent:
        await until(lambda: agent.is_refused)
        with pytest.raises(DeniedError, match="refuses this credential"):
            await agent.publish(subjects.agent(JOB, ONE, "progress"), Done())
        await agent.renew(realm.agent(key=key))
        await until(lambda: agent.is_connected)
        assert not agent.is_refused
        await agent.publish(subjects.agent(JOB, ONE, "progress"), Done())


async def test_a_credential_renewed_in_time_is_never_refused(realm: Realm) -> None:
    key = seed(KeyKind.USER)
    connected: list[float] = []
    async with (
        realm.open_broker() as broker,
        realm.open_agent(realm.agent(life_s=3.0, key=key)) as agent,
    ):
        agent.on_reconnect(lambda: connected.append(time.monotonic()))
        async with agent.subscribe(subjects.controls(JOB, ONE)) as controls:
            await agent.renew(realm.agent(key=key))
            await until(lambda: len(connected) == 1)
            with anyio.move_on_after(3.5):
                while not agent.is_refused:
                    await anyio.sleep(0.05)
            assert not agent.is_refused
            assert len(connected) == 1
            await broker.publish(subjects.control(JOB, ONE, "stop"), Done())
            with anyio.fail_after(5):
                assert (await anext(controls)).payload == b"{}"


async def test_a_denied_append_is_told_and_not_waited_for(realm: Realm) -> None:
    reader = Template(pub=SubjectList(allow=["$JS.API.>"]), sub=SubjectList(allow=["_INBOX.>"]))
    async with (
        realm.open_broker() as broker,
        open_bus([realm.server.url], realm.broker(reader), inbox="_INBOX.reader", name="r") as bus,
    ):
        await ensure_streams(broker, 1)
        began_s = time.monotonic()
        with pytest.raises(DeniedError):
            await bus.job_log(1).append(ev.Cleared(job=JOB, cmd_id="c"), after=0)
        assert time.monotonic() - began_s < 2.0
        assert await bus.job_log(1).read(JOB) == []
