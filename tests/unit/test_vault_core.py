"""The vault's policy: who is given what, as the log stands."""

import base64
import stat
from pathlib import Path

import msgspec
import pytest

from vaultlayer import events as ev
from vaultlayer.bus.jwt import read_jwt
from vaultlayer.driver import Offer
from vaultlayer.errors import ErrorBody, SealError
from vaultlayer.fold import fold
from vaultlayer.ids import JobId
from vaultlayer.job import Job
from vaultlayer.messages import PROTOCOL, Enrol
from vaultlayer_actors.credential_vault import core
from vaultlayer_actors.credential_vault.keys import KeyStore
from vaultlayer_actors.credential_vault.master import (
    NOISE_B,
    MasterKeys,
    account_jwts,
    credentials,
    make_keys,
    operator_jwt,
    overlaid,
)

JOB = JobId("j23456789a")
ENROL = Enrol(incarnation="inc1", user_key="UFIRST", seal_key="S1")
OTHER = Enrol(incarnation="inc1", user_key="USECOND", seal_key="S1")


def job_of(*events: ev.Event) -> Job:
    state: Job | None = None
    for seq, event in enumerate((ev.Submitted(spec=ev.JobSpec(command=["x"])), *events), 1):
        event = msgspec.structs.replace(event, job=JOB, cmd_id=f"c{seq}", at=float(seq))
        state = fold(state, event, seq)
    assert state is not None
    return state


def ordered(number: int, incarnation: str = "inc1") -> ev.Ordered:
    return ev.Ordered(
        attempt=number,
        incarnation=incarnation,
        provider="p",
        offer=Offer(provider="p", offer_id="o"),
    )


def enrolled(number: int, request: Enrol = ENROL) -> ev.Enrolled:
    return ev.Enrolled(attempt=number, user_key=request.user_key, seal_key=request.seal_key)


def code(found: object) -> str:
    return found.code if isinstance(found, ErrorBody) else ""


SUPERSEDED = job_of(
    ordered(1), enrolled(1), ordered(2, "inc2"), ev.Ready(attempt=2), ev.Takeover(attempt=2)
)


def test_the_first_key_wins_and_the_same_key_again_changes_nothing():
    fresh = job_of(ordered(1))
    decided = core.enrol_decision(fresh, 1, ENROL)
    assert isinstance(decided, ev.Enrolled)
    assert (decided.attempt, decided.user_key, decided.seal_key) == (1, "UFIRST", "S1")
    taken = job_of(ordered(1), decided)
    assert core.enrol_decision(taken, 1, ENROL) is None
    assert core.enrolled_fault(taken, 1, ENROL) is None
    assert code(core.enrol_decision(taken, 1, OTHER)) == "denied"
    resealed = msgspec.structs.replace(ENROL, seal_key="S2")
    assert code(core.enrol_decision(taken, 1, resealed)) == "denied"


@pytest.mark.parametrize(
    ("job", "number", "incarnation", "expected"),
    [
        (None, 1, "inc1", "job-unknown"),
        (job_of(), 1, "inc1", "superseded"),
        (job_of(ordered(1)), 1, "another", "superseded"),
        (SUPERSEDED, 1, "inc1", "superseded"),
        (job_of(ordered(1), ev.Lost(attempt=1, evidence="x")), 1, "inc1", "superseded"),
        (job_of(ordered(1), ev.Released(attempt=1, reason="x")), 1, "inc1", "superseded"),
        (job_of(ordered(1), ev.Finished(outcome="failed")), 1, "inc1", "superseded"),
        (SUPERSEDED, 2, "inc2", ""),
        (job_of(ordered(1), ev.Suspected(attempt=1, evidence="x")), 1, "inc1", ""),
    ],
)
def test_only_a_current_attempt_is_given_anything(
    job: Job | None, number: int, incarnation: str, expected: str
):
    assert code(core.current_fault(job, number, incarnation)) == expected
    request = msgspec.structs.replace(ENROL, incarnation=incarnation)
    assert code(core.enrol_decision(job, number, request)) == expected


def test_a_machine_that_may_enrol_is_made_only_for_a_live_attempt_without_a_key():
    assert core.enrol_credential_fault(job_of(ordered(1)), 1) is None
    assert code(core.enrol_credential_fault(job_of(ordered(1), enrolled(1)), 1)) == "denied"
    lost = job_of(ordered(1), ev.Lost(attempt=1, evidence="x"))
    assert code(core.enrol_credential_fault(lost, 1)) == "superseded"
    assert code(core.enrol_credential_fault(job_of(), 1)) == "superseded"
    assert code(core.enrol_credential_fault(None, 1)) == "job-unknown"


def test_an_agent_of_a_later_protocol_is_refused():
    later = msgspec.structs.replace(ENROL, protocol=PROTOCOL + 1)
    assert code(core.enrol_decision(job_of(ordered(1)), 1, later)) == "denied"


def test_code_is_uploaded_only_before_the_job_exists():
    assert core.upload_fault(None, JOB) is None
    assert code(core.upload_fault(job_of(), JOB)) == "denied"
    for bad in ("", "j1", "../jobs", "J23456789A", "j23456789a/"):
        assert code(core.upload_fault(None, bad)) == "input-bad"


def test_no_reach_is_wider_than_its_reader_needs():
    attempt = core.attempt_reach("root", JOB, 2, "inc2")
    assert attempt.read == [f"root/jobs/{JOB}/"]
    assert attempt.write == f"root/jobs/{JOB}/a2-inc2/"
    assert not attempt.may_delete
    upload = core.upload_reach("", JOB)
    assert (upload.read, upload.write) == ([f"jobs/{JOB}/code/"], f"jobs/{JOB}/code/")
    assert core.read_reach("", JOB).write == ""
    # An empty root must not become the empty prefix, which is the whole bucket.
    assert core.broker_reach("", write=True).read == ["jobs/"]
    assert core.broker_reach("/r/", write=False) == core.Reach(read=["r/jobs/"])


def test_a_revocation_outlives_every_jwt_of_its_user_and_is_then_forgotten():
    now_s = 1000.0
    first = core.revoked({}, ["UA"], now_s)
    assert first is not None
    # A JWT that a second vault signs at this very moment has a later time of issue: still void.
    assert first["UA"] > now_s + 60
    assert first["UA"] >= now_s + core.AGENT_LIFE_S
    assert core.revoked(first, ["UA"], now_s + 5) is None
    second = core.revoked(first, ["UB"], now_s + 5)
    assert second is not None
    assert set(second) == {"UA", "UB"}
    late = core.revoked(second, ["UC"], now_s + core.REVOKED_S + 10)
    assert late is not None
    assert set(late) == {"UC"}
    assert core.holds(second, first)
    assert not core.holds(first, second)


# Master keys --------------------------------------------------------------------------------------


def keys_of(byte: int = 0) -> MasterKeys:
    return make_keys(bytes((i * 7 + i // 32 + byte) % 256 for i in range(NOISE_B)), 1000.0)


def test_master_keys_are_distinct_and_say_nothing_of_themselves():
    keys = keys_of()
    seeds = [v for v in msgspec.structs.astuple(keys) if isinstance(v, str) and v.startswith("S")]
    assert len(seeds) == len(set(seeds)) == 8
    told = f"{keys!r} {keys} {[keys]}"
    for secret in [*seeds, keys.s3_secret_key, keys.seal.hex(), str(keys.seal)]:
        assert secret not in told


def test_what_is_signed_once_is_the_same_each_time_and_signed_by_the_operator():
    keys = keys_of()
    assert (operator_jwt(keys), account_jwts(keys)) == (operator_jwt(keys), account_jwts(keys))
    assert credentials(keys) == credentials(keys)
    operator = read_jwt(operator_jwt(keys))
    assert operator.nats["system_account"] == keys.system_key
    for key, jwt in account_jwts(keys).items():
        claims = read_jwt(jwt)
        assert (claims.sub, claims.iss) == (key, operator.sub)
    assert read_jwt(credentials(keys)["sys"].jwt).iss == keys.system_key
    assert read_jwt(credentials(keys)["cli"].jwt).iss == keys.account_key


def test_the_environment_adds_provider_and_bucket_keys():
    stored = msgspec.structs.replace(keys_of(), providers={"vast": {"api_key": "old", "x": "1"}})
    keys = overlaid(
        stored,
        {
            "VAULTLAYER_PROVIDER_VAST_API_KEY": "new",
            "VAULTLAYER_PROVIDER_RUNPOD_API_KEY": "r",
            "VAULTLAYER_PROVIDER_": "nobody",
            "VAULTLAYER_STORE_ACCESS_KEY": "a",
            "VAULTLAYER_HOME": "/h",
        },
    )
    assert keys.providers == {"vast": {"api_key": "new", "x": "1"}, "runpod": {"api_key": "r"}}
    assert (keys.store_access_key, keys.store_secret_key) == ("a", "")
    assert stored.providers == {"vast": {"api_key": "old", "x": "1"}}


def test_the_key_store_keeps_keys_sealed_and_private(tmp_path: Path):
    store = KeyStore(tmp_path / "keys", {})
    with pytest.raises(SealError):
        store.open()
    made = store.open_or_make(1.0)
    assert store.open_or_make(2.0) == made == KeyStore(tmp_path / "keys", {}).open()
    store.add_provider("vast", {"api_key": "hunter2"})
    assert store.open().providers == {"vast": {"api_key": "hunter2"}}
    raw = store.path.read_bytes()
    for secret in (b"hunter2", made.operator.encode(), made.s3_secret_key.encode()):
        assert secret not in raw
    for path in store.path.parent.iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert sorted(p.name for p in store.path.parent.iterdir()) == ["unlock.key", "vault.sealed"]


def test_an_unlocking_key_from_the_environment_leaves_no_file(tmp_path: Path):
    environ = {"VAULTLAYER_VAULT_KEY": base64.b64encode(b"k" * 32).decode()}
    made = KeyStore(tmp_path, environ).open_or_make(1.0)
    assert [p.name for p in tmp_path.iterdir()] == ["vault.sealed"]
    assert KeyStore(tmp_path, environ).open() == made
    wrong = {"VAULTLAYER_VAULT_KEY": base64.b64encode(b"w" * 32).decode()}
    for environ in (wrong, {}, {"VAULTLAYER_VAULT_KEY": "short"}):
        with pytest.raises(SealError) as raised:
            KeyStore(tmp_path, environ).open_or_make(1.0)
        told = str(raised.value)
        assert not any(value in told for value in environ.values())


def test_an_unlocking_key_that_others_can_read_is_refused(tmp_path: Path):
    store = KeyStore(tmp_path, {})
    store.open_or_make(1.0)
    store.unlock_path.chmod(0o644)
    with pytest.raises(SealError) as raised:
        store.open()
    assert "chmod 600" in raised.value.mend


def test_a_damaged_vault_is_told_without_its_content(tmp_path: Path):
    store = KeyStore(tmp_path, {})
    store.open_or_make(1.0)
    store.path.write_bytes(b'{"v":1,"box":"AAAA"}')
    with pytest.raises(SealError):
        store.open()
    store.path.write_bytes(b"not json")
    with pytest.raises(SealError) as raised:
        store.open()
    assert raised.value.__cause__ is None
