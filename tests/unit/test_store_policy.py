"""What a minted key may do, and what a store's answer means: pure."""

import base64
import hashlib
import hmac
import json
import subprocess
import sys
from typing import Any

import pytest

from vaultlayer.errors import (
    ConfigError,
    StoreConflictError,
    StoreDeniedError,
    StoreError,
    StoreMissingError,
    StoreUnreachableError,
)
from vaultlayer.store.faults import fault_of
from vaultlayer.store.r2 import R2Minter
from vaultlayer.store.sts import POLICY_MOST, Bucket, session_policy
from vaultlayer.store.weed import weed_arguments, weed_config_files, weed_ports, weed_sockets

JOB = "some/root/jobs/j234567892/"
OWN = f"{JOB}a1-abcdefgh/"
R2 = Bucket(
    endpoint="https://0123abcd.r2.cloudflarestorage.com",
    bucket="ckpt",
    region="auto",
    root="",
    access_key="parent-id",
    secret_key="parent-secret",
)


def test_an_agents_policy_reads_its_job_and_writes_its_own_prefix_and_no_more() -> None:
    policy = json.loads(session_policy("b", [JOB], OWN))
    allowed = {
        (action, resource)
        for statement in policy["Statement"]
        for action in statement["Action"]
        for resource in statement["Resource"]
    }
    assert allowed == {
        ("s3:GetObject", f"arn:aws:s3:::b/{JOB}*"),
        ("s3:ListBucket", "arn:aws:s3:::b"),
        ("s3:PutObject", f"arn:aws:s3:::b/{OWN}*"),
    }
    listing = next(s for s in policy["Statement"] if "s3:ListBucket" in s["Action"])
    assert listing["Condition"] == {"StringLike": {"s3:prefix": [f"{JOB}*"]}}


def test_a_readers_policy_writes_nowhere() -> None:
    assert "Put" not in session_policy("b", [JOB], "")
    assert "Delete" not in session_policy("b", [JOB], OWN)
    assert "Delete" in session_policy("b", [JOB], OWN, may_delete=True)


@pytest.mark.parametrize(
    "prefix",
    ["jobs/*/", "jobs/?/", "jobs/${aws:username}/", "jobs/j1", "jobs/../x/", 'jobs/"/', "jobs/ /"],
)
def test_a_prefix_that_would_match_more_than_it_says_is_refused(prefix: str) -> None:
    with pytest.raises(ConfigError):
        session_policy("b", [prefix], "")
    with pytest.raises(ConfigError):
        session_policy("b", [], prefix)


def test_a_policy_never_grows_above_what_sts_takes() -> None:
    assert (
        len(session_policy("b" * 63, [f"{'r' * 200}/jobs/j234567892/"], f"{'r' * 200}/x/"))
        <= POLICY_MOST
    )
    with pytest.raises(ConfigError):
        session_policy("b", [f"jobs/{n:060}/" for n in range(40)], "")


def claims_of(token: str, key: bytes) -> dict[str, Any]:
    """Read a session token as R2 would; fails on a wrong signature."""
    text = base64.b64decode(token).removeprefix(b"jwt/")
    signed, _, signature = text.rpartition(b".")
    expected = base64.urlsafe_b64encode(hmac.digest(key, signed, "sha256")).rstrip(b"=")
    assert signature == expected
    part = signed.split(b".")[1]
    return json.loads(base64.urlsafe_b64decode(part + b"=" * (-len(part) % 4)))


def test_an_r2_key_for_an_agent_is_two_keys_one_to_read_the_job_and_one_to_write_its_own_prefix() -> (
    None
):
    found = R2Minter(R2, "0123abcd").sign([JOB], OWN, 900, now_s=1000)
    write = claims_of(found.session_token, b"parent-secret")
    read = claims_of(found.read_session_token, b"parent-secret")
    assert (write["actions"], write["paths"]["prefixPaths"]) == (["PutObject"], [OWN])
    assert read["paths"]["prefixPaths"] == [JOB]
    assert not {"PutObject", "DeleteObject", "DeleteObjects"} & set(read["actions"])
    assert (read["exp"], read["aud"]) == (1900, "0123abcd.r2.cloudflarestorage.com")
    jwt = base64.b64decode(found.session_token).removeprefix(b"jwt/")
    assert found.secret_key == hashlib.sha256(jwt).hexdigest()
    assert "parent-secret" not in repr(found)


def test_an_r2_key_that_only_reads_is_one_key() -> None:
    found = R2Minter(R2, "0123abcd").sign([JOB], "", 900, now_s=1000)
    assert "PutObject" not in claims_of(found.session_token, b"parent-secret")["actions"]
    assert not found.read_access_key
    with pytest.raises(ConfigError):
        R2Minter(R2, "0123abcd").sign([], "", 900, now_s=1000)


@pytest.mark.parametrize(
    ("kind", "text", "expected", "retryable"),
    [
        ("GenericError", "HTTP error: error sending request", StoreUnreachableError, True),
        ("GenericError", "Got invalid DeleteObjects response", StoreUnreachableError, True),
        ("GenericError", "status code: 503 x", StoreUnreachableError, True),
        ("GenericError", "status code: 429 x", StoreUnreachableError, True),
        (
            "GenericError",
            "status code: 500 <Code>InternalError</Code>",
            StoreUnreachableError,
            True,
        ),
        ("GenericError", "status code: 400 <Code>ExpiredToken</Code>", StoreDeniedError, False),
        ("GenericError", "(code: AccessDenied)", StoreDeniedError, False),
        ("PermissionDeniedError", "status code: 403", StoreDeniedError, False),
        ("FileNotFoundError", "<Code>NoSuchKey</Code>", StoreMissingError, False),
        ("GenericError", "status code: 404 <Code>NoSuchBucket</Code>", StoreMissingError, False),
        ("GenericError", "status code: 416 <Code>InvalidRange</Code>", StoreMissingError, False),
        ("AlreadyExistsError", "status code: 412", StoreConflictError, False),
        ("PreconditionError", "status code: 412", StoreConflictError, False),
        ("GenericError", "status code: 400 <Code>EntityTooLarge</Code>", StoreError, False),
    ],
)
def test_each_answer_of_a_store_becomes_the_right_error(
    kind: str, text: str, expected: type[StoreError], retryable: bool
) -> None:
    found = fault_of(text, kind=kind, what="cannot write k", endpoint="http://e")
    assert type(found) is expected
    assert found.retryable is retryable


def test_what_a_store_repeats_of_a_request_never_reaches_a_message() -> None:
    text = (
        "status code: 403 <Code>SignatureDoesNotMatch</Code><StringToSign>AKIASECRET</StringToSign>"
    )
    found = fault_of(text, kind="PermissionDeniedError", what="cannot write k", endpoint="http://e")
    assert "AKIASECRET" not in str(found)


def test_no_port_of_the_embedded_server_is_left_to_its_default(tmp_path: Any) -> None:
    ports = weed_ports(18000, 18001)
    assert len(set(ports.every)) == 10
    arguments = weed_arguments(tmp_path, tmp_path, ports, bucket="b")
    for port in ports.every:
        assert sum(argument.endswith(f"={port}") for argument in arguments) == 1
    assert "-master.telemetry=false" in arguments
    assert all(str(path).startswith("/tmp/seaweedfs-") for path in weed_sockets(ports))


def test_only_the_admin_may_assume_the_embedded_servers_role() -> None:
    files = weed_config_files(access_key="a", secret_key="s", signing_key=b"k" * 32, bucket="b")
    trust = json.loads(files["iam.json"])["roles"][0]["trustPolicy"]["Statement"]
    assert [one["Principal"] for one in trust] == [{"AWS": "arn:aws:iam::000000000000:user/admin"}]


def test_importing_the_store_loads_no_s3_library() -> None:
    code = """
import sys, vaultlayer.store.s3, vaultlayer.store.sts
print(sorted({m.split(".")[0] for m in sys.modules} & {"obstore", "aioboto3", "botocore", "httpx"}))
"""
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
