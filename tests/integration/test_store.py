"""The store against a real S3 server: who may do what."""

import base64
import hmac
import json

import anyio
import msgspec
import pytest
from botocore.exceptions import ClientError

from stores import JOB, ONE, OTHER, TWO, admin_credential, client, denied, keys, minter
from vaultlayer.errors import (
    StoreDeniedError,
    StoreError,
)
from vaultlayer.store.s3 import S3Store, open_store, probe
from weed import WeedServer

pytestmark = [pytest.mark.integration, pytest.mark.anyio, pytest.mark.usefixtures("admin")]


async def test_an_attempts_key_reads_its_job_and_writes_its_own_prefix(
    server: WeedServer, admin: S3Store
) -> None:
    mine = open_store(await minter(server).mint([JOB], ONE, 900))
    assert (await mine.get(f"{TWO}x")).data == b"theirs"
    assert bytes(await mine.get_range(f"{JOB}code/x", 1, 3)) == b"hei"
    assert (await mine.head(f"{JOB}HEAD")).size_b == 6
    assert await keys(mine, JOB) == {f"{ONE}x", f"{TWO}x", f"{JOB}HEAD", f"{JOB}code/x"}
    await mine.put(f"{ONE}packs/1", b"mine")
    await mine.put(f"{ONE}manifests/1", b"mine", only_if_absent=True)
    assert (await admin.get(f"{ONE}packs/1")).data == b"mine"


async def test_an_attempts_key_can_do_nothing_else(server: WeedServer, admin: S3Store) -> None:
    mine = open_store(await minter(server).mint([JOB], ONE, 900))
    for key in (
        f"{TWO}x",
        f"{JOB}HEAD",
        f"{JOB}code/x",
        f"{OTHER}a1-cccccccc/x",
        "elsewhere",
        f"{JOB}a1-aaaaaaaa",
    ):
        await denied(mine.put(key, b"forged"))
        await denied(mine.put(key, b"forged", only_if_absent=True))
    for key in (f"{ONE}x", f"{TWO}x", f"{JOB}HEAD", f"{OTHER}a1-cccccccc/x"):
        await denied(mine.delete([key]))
    for key in (f"{OTHER}a1-cccccccc/x", "elsewhere"):
        await denied(mine.get(key))
        await denied(mine.get_range(key, 0, 1))
        await denied(mine.head(key))
    for prefix in (OTHER, "jobs/", ""):
        await denied(keys(mine, prefix))
    for key in await keys(admin, ""):
        assert (await admin.get(key)).data == b"theirs"


async def test_dots_in_a_key_do_not_lead_out_of_the_prefix(
    server: WeedServer, admin: S3Store
) -> None:
    credential = await minter(server).mint([JOB], ONE, 900)
    with pytest.raises(StoreError):
        await open_store(credential).put(f"{ONE}../a2-bbbbbbbb/x", b"forged")
    async with client(server, "s3", credential) as s3:
        for key in (
            "../a2-bbbbbbbb/x",
            "../HEAD",
            "%2e%2e/HEAD",
            "../../j999999999/a1-cccccccc/x",
            "./../HEAD",
        ):
            try:
                await s3.put_object(Bucket=server.bucket, Key=ONE + key, Body=b"forged")
            except ClientError:
                continue
    found = {key: (await admin.get(key)).data for key in await keys(admin, "")}
    assert all(key.startswith(ONE) for key, data in found.items() if data == b"forged")
    assert len([key for key, data in found.items() if data == b"theirs"]) == 6


async def test_a_minted_key_cannot_mint_a_wider_one(server: WeedServer) -> None:
    mine = await minter(server).mint([JOB], ONE, 900)
    async with client(server, "sts", mine) as sts:
        for call, arguments in (
            (sts.assume_role, {"RoleArn": server.role_arn, "RoleSessionName": "more"}),
            (sts.get_session_token, {}),
            (sts.get_federation_token, {"Name": "more"}),
        ):
            try:
                answer = await call(**arguments)
            except ClientError:
                continue
            found = answer["Credentials"]
            wider = open_store(
                admin_credential(
                    server,
                    access_key=found["AccessKeyId"],
                    secret_key=found["SecretAccessKey"],
                    session_token=found["SessionToken"],
                )
            )
            await denied(wider.put(f"{TWO}x", b"forged"))
            await denied(wider.get(f"{OTHER}a1-cccccccc/x"))


async def test_a_key_that_only_reads_writes_nowhere(server: WeedServer) -> None:
    reader = open_store(await minter(server).mint([JOB], "", 900))
    assert (await reader.get(f"{ONE}x")).data == b"theirs"
    await denied(reader.put(f"{ONE}x", b"forged"))
    await denied(reader.delete([f"{ONE}x"]))


async def test_a_sweepers_key_deletes_and_says_nothing_of_what_is_gone_already(
    server: WeedServer, admin: S3Store
) -> None:
    broker = open_store(await minter(server).mint(["jobs/"], "jobs/", 900, may_delete=True))
    await broker.delete([f"{ONE}x", f"{ONE}never-was"])
    assert f"{ONE}x" not in await keys(admin, JOB)
    await probe(broker, JOB)


async def test_a_wrong_secret_key_or_token_is_refused_and_named_no_secret(
    server: WeedServer,
) -> None:
    mine = await minter(server).mint([JOB], ONE, 900)
    for changes in (
        {"secret_key": "wrong-secret-value"},
        {"access_key": "nobody"},
        {"session_token": mine.session_token[:-6] + "AAAAAA"},
        {"session_token": ""},
    ):
        bad = open_store(msgspec.structs.replace(mine, **changes))
        with pytest.raises(StoreDeniedError) as caught:
            await bad.get(f"{ONE}x")
        assert mine.secret_key not in str(caught.value)
        assert mine.session_token not in str(caught.value)
    with pytest.raises(StoreDeniedError):
        await minter(server, secret_key="wrong").mint([JOB], ONE, 900)


async def test_an_expired_key_is_refused(server: WeedServer) -> None:
    """The server mints for 900 s at least, so an expired token is signed here as it would sign it."""
    mine = await minter(server).mint([JOB], ONE, 900)
    head, body, _ = mine.session_token.split(".")

    def signed(change_s: int) -> str:
        claims = json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))
        claims["exp"] += change_s
        part = base64.urlsafe_b64encode(json.dumps(claims).encode()).rstrip(b"=")
        text = head.encode() + b"." + part
        return (
            text
            + b"."
            + base64.urlsafe_b64encode(hmac.digest(b"k" * 32, text, "sha256")).rstrip(b"=")
        ).decode()

    still_good = open_store(msgspec.structs.replace(mine, session_token=signed(-1)))
    assert (await still_good.get(f"{ONE}x")).data == b"theirs"
    expired = open_store(msgspec.structs.replace(mine, session_token=signed(-901)))
    await denied(expired.get(f"{ONE}x"))


async def test_new_keys_are_used_without_losing_the_call_that_was_refused(
    server: WeedServer, admin: S3Store
) -> None:
    good = await minter(server).mint([JOB], ONE, 900)
    store = open_store(msgspec.structs.replace(good, secret_key="stale"))
    async with anyio.create_task_group() as group:
        group.start_soon(store.put, f"{ONE}renewed", b"1" * 3_000_000)
        await anyio.lowlevel.checkpoint()
        store.refresh(good)
    assert (await admin.head(f"{ONE}renewed")).size_b == 3_000_000


async def test_a_second_key_is_used_for_reading(server: WeedServer) -> None:
    writer = await minter(server).mint([], ONE, 900)
    reader = await minter(server).mint([JOB], "", 900)
    both = open_store(
        msgspec.structs.replace(
            writer,
            read_access_key=reader.access_key,
            read_secret_key=reader.secret_key,
            read_session_token=reader.session_token,
        )
    )
    await both.put(f"{ONE}y", b"1")
    assert (await both.get(f"{TWO}x")).data == b"theirs"
    await denied(open_store(writer).get(f"{TWO}x"))


async def test_no_variable_of_the_environment_changes_where_or_how_we_write(
    server: WeedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {
        "AWS_PROFILE": "nobody",
        "AWS_SESSION_TOKEN": "stray",
        "AWS_ENDPOINT_URL_S3": "http://127.0.0.1:1",
        "AWS_ENDPOINT_URL_STS": "http://127.0.0.1:1",
        "AWS_SKIP_SIGNATURE": "true",
        "AWS_VIRTUAL_HOSTED_STYLE_REQUEST": "true",
        "AWS_REGION": "mars-1",
    }.items():
        monkeypatch.setenv(name, value)
    store = open_store(await minter(server).mint([JOB], ONE, 900))
    await store.put(f"{ONE}z", b"1")
    assert (await store.head(f"{ONE}z")).size_b == 1
