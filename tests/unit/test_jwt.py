"""NATS identities are well-formed, signed by whom they say, and cannot be widened by a tag."""

import base64

import msgspec
import pytest

from vaultlayer.bus import jwt
from vaultlayer.bus.jwt import KeyKind, Scope
from vaultlayer.bus.permissions import AGENT, CLI, attempt_tags
from vaultlayer.errors import DeniedError
from vaultlayer.ids import Attempt, JobId, slot_of

JOB = JobId("j23456789a")


def seed(kind: KeyKind, byte: int) -> str:
    return jwt.make_seed(kind, bytes([byte]) * 32)


OPERATOR = seed(KeyKind.OPERATOR, 1)
ACCOUNT = seed(KeyKind.ACCOUNT, 2)
SCOPE = seed(KeyKind.ACCOUNT, 3)
USER = seed(KeyKind.USER, 4)
SCOPES = [Scope(key=jwt.public_key(SCOPE), role="agent", template=AGENT)]


def test_a_key_spells_its_kind_and_survives_the_clients_own_reader():
    nkeys = pytest.importorskip("nkeys")
    for kind, letter in ((KeyKind.OPERATOR, "O"), (KeyKind.ACCOUNT, "A"), (KeyKind.USER, "U")):
        own = seed(kind, 7)
        assert own.startswith("S" + letter)
        assert jwt.public_key(own).startswith(letter)
        pair = nkeys.from_seed(bytearray(own.encode()))
        assert pair.public_key.decode() == jwt.public_key(own)
        assert pair.sign(b"nonce") == jwt.sign(own, b"nonce")


def test_a_mistyped_key_is_seen():
    good = jwt.public_key(USER)
    assert jwt.is_public_key(good, KeyKind.USER)
    assert not jwt.is_public_key(good, KeyKind.ACCOUNT)
    assert not jwt.is_public_key(good[:-1] + ("A" if good[-1] != "A" else "B"), KeyKind.USER)
    assert not jwt.is_public_key("", KeyKind.USER)
    assert not jwt.is_public_key("no key at all!", KeyKind.USER)
    with pytest.raises(DeniedError):
        jwt.public_key(good)


def test_a_jwt_reads_as_it_was_minted_and_a_changed_one_is_refused():
    minted = jwt.mint_user(
        ACCOUNT, jwt.public_key(USER), name="cli", template=CLI, now_s=1_700_000_000.9
    )
    claims = jwt.read_jwt(minted)
    assert (claims.iss, claims.sub) == (jwt.public_key(ACCOUNT), jwt.public_key(USER))
    assert claims.iat == 1_700_000_000
    assert claims.exp == 0
    assert claims.nats["pub"] == {"allow": ["vl.cmd.>", "vl.q.>"]}
    head, body, signature = minted.split(".")
    forged = base64.urlsafe_b64encode(
        base64.urlsafe_b64decode(body + "==").replace(b"vl.cmd.>", b"vl.job.>")
    )
    with pytest.raises(DeniedError):
        jwt.read_jwt(f"{head}.{forged.rstrip(b'=').decode()}.{signature}")
    for garbage in ("", "a.b", "a.b.c", minted[:-3]):
        with pytest.raises(DeniedError):
            jwt.read_jwt(garbage)


def test_a_scoped_user_carries_tags_and_no_permissions_of_its_own():
    minted = jwt.mint_scoped_user(
        SCOPE,
        jwt.public_key(USER),
        account_key=jwt.public_key(ACCOUNT),
        name="a2",
        tags=attempt_tags(JOB, Attempt(2)),
        now_s=100.0,
        life_s=900.0,
    )
    claims = jwt.read_jwt(minted)
    assert claims.exp == 1000
    assert claims.tags == [f"slot:{slot_of(JOB)}", f"job:{JOB}", "attempt:2"]
    # The server refuses a scoped user with any permission or limit, even an empty one.
    assert not {"pub", "sub", "subs", "data", "payload"} & set(claims.nats)


@pytest.mark.parametrize("value", ["*", ">", "a.b", "J2", "", "a b", "x\n"])
def test_a_tag_that_could_widen_the_template_is_refused(value: str):
    with pytest.raises(DeniedError):
        jwt.mint_scoped_user(
            SCOPE,
            jwt.public_key(USER),
            account_key=jwt.public_key(ACCOUNT),
            name="x",
            tags={"job": value},
            now_s=0.0,
            life_s=1.0,
        )


def test_an_amended_account_is_always_newer_and_keeps_what_we_do_not_know():
    minted = jwt.mint_account(
        OPERATOR,
        jwt.public_key(ACCOUNT),
        name="VL",
        now_s=500.0,
        scopes=SCOPES,
        jetstream=True,
    )
    first = jwt.read_jwt(minted)
    assert first.nats["limits"]["streams"] == -1
    user = jwt.public_key(USER)
    # The clock stands still, or even goes back: the server must still prefer the newer one.
    amended = jwt.amend_account(
        minted, OPERATOR, now_s=400.0, revocations={user: 10_000}, scopes=SCOPES
    )
    second = jwt.read_jwt(amended)
    assert second.iat > first.iat
    assert second.jti != first.jti
    assert second.revocations == {user: 10_000}
    assert second.nats["limits"] == first.nats["limits"]
    assert second.nats["signing_keys"][0]["template"]["pub"]["allow"] == [
        "vl.agent.{{tag(slot)}}.{{tag(job)}}.{{tag(attempt)}}.>"
    ]
    strange = msgspec.structs.replace(second, nats={**second.nats, "later": {"x": 1}})
    resigned = jwt._mint(  # pyright: ignore[reportPrivateUsage]
        OPERATOR, sub=strange.sub, name="VL", iat=second.iat, nats=strange.nats
    )
    third = jwt.amend_account(resigned, OPERATOR, now_s=600.0, revocations={}, scopes=SCOPES)
    assert jwt.read_jwt(third).nats["later"] == {"x": 1}


def test_minting_is_a_function_of_its_arguments():
    def mint() -> str:
        return jwt.mint_operator(OPERATOR, name="vl", system_account="AX", now_s=5.0)

    assert mint() == mint()
