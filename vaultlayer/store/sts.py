"""Who mints keys to one part of the bucket: a protocol, and STS AssumeRole.

Only the credential vault holds a minter, for it holds the bucket's master key.
"""

import re
from collections.abc import Sequence
from typing import Any, Protocol

import anyio
import msgspec

from vaultlayer.errors import ConfigError, StoreDeniedError, StoreError, StoreUnreachableError
from vaultlayer.messages.people import StoreCredential
from vaultlayer.store.session import bare_session

SHORTEST_S = 900
"""STS mints nothing shorter (AWS and SeaweedFS)."""

POLICY_MOST = 2048
"""Characters of an inline session policy (AWS, SeaweedFS, MinIO)."""

ANY_ROLE = "arn:aws:iam::000000000000:role/vaultlayer"
"""Where none is set: MinIO and others mint without one, and only their client insists on a name."""

MINT_S = 20.0
_PLAIN = re.compile(r"[A-Za-z0-9/._=-]*\Z")


class Bucket(msgspec.Struct, frozen=True, kw_only=True):
    """A bucket with its master key. Never log it."""

    endpoint: str
    bucket: str
    region: str
    root: str
    access_key: str
    secret_key: str


class Minter(Protocol):
    """Makes keys to one part of one bucket, for minutes."""

    async def mint(
        self,
        read_prefixes: Sequence[str],
        write_prefix: str,
        duration_s: float,
        *,
        may_delete: bool = False,
    ) -> StoreCredential:
        """Mint a key that reads and lists below `read_prefixes` and writes below `write_prefix`.

        Args:
            read_prefixes: whole prefixes with a closing slash; the first is named in the credential.
                An empty string means the whole bucket.
            write_prefix: likewise; empty: the key may not write at all.
            duration_s: how long it lives; a store may round it up (STS: to 900 s).
            may_delete: whether it may also delete below `write_prefix`: for sweepers, never for agents.

        Raises:
            ConfigError: a prefix could match more than it says, or the policy grows too long.
            StoreDeniedError: the master key may not mint.
            StoreUnreachableError: the minting service does not answer.
        """
        ...


def check_prefixes(prefixes: Sequence[str]) -> None:
    """Refuse a prefix that a policy would read as a pattern, or that has no closing slash."""
    for prefix in prefixes:
        if not _PLAIN.match(prefix) or (prefix and not prefix.endswith("/")) or ".." in prefix:
            raise ConfigError(
                f"{prefix!r} cannot limit a key",
                why="a prefix ends with a slash and holds only letters, digits and ._=-/",
            )


def session_policy(
    bucket: str, read_prefixes: Sequence[str], write_prefix: str, *, may_delete: bool = False
) -> str:
    """Give the inline session policy, at most 2048 characters.

    Raises:
        ConfigError: a prefix could match more than it says, or there are too many.
    """
    check_prefixes([*read_prefixes, write_prefix])
    arn = f"arn:aws:s3:::{bucket}"
    statements: list[dict[str, object]] = []
    if read_prefixes:
        statements.append(
            _allow(["s3:GetObject"], [f"{arn}/{prefix}*" for prefix in read_prefixes])
        )
        listing = _allow(["s3:ListBucket"], [arn])
        if "" not in read_prefixes:
            listing["Condition"] = {
                "StringLike": {"s3:prefix": [f"{prefix}*" for prefix in read_prefixes]}
            }
        statements.append(listing)
    if write_prefix:
        verbs = ["s3:PutObject", "s3:DeleteObject"] if may_delete else ["s3:PutObject"]
        statements.append(_allow(verbs, [f"{arn}/{write_prefix}*"]))
    policy = msgspec.json.encode({"Version": "2012-10-17", "Statement": statements}).decode()
    if len(policy) > POLICY_MOST:
        raise ConfigError(
            "the session policy grows too long",
            why=f"{len(policy)} characters, at most {POLICY_MOST}",
        )
    return policy


def _allow(actions: list[str], resources: list[str]) -> dict[str, object]:
    return {"Effect": "Allow", "Action": actions, "Resource": resources}


class StsMinter:
    """Mints through AssumeRole with a session policy: AWS, SeaweedFS, MinIO.

    Args:
        bucket: the bucket and the key that may assume the role.
        role_arn: the role; what it may do is the most that any minted key can do.
        sts_endpoint: where STS answers; empty: the bucket's own endpoint.
    """

    def __init__(self, bucket: Bucket, role_arn: str, sts_endpoint: str = "") -> None:
        self._bucket = bucket
        self._role_arn = role_arn
        self._endpoint = sts_endpoint or bucket.endpoint

    async def mint(
        self,
        read_prefixes: Sequence[str],
        write_prefix: str,
        duration_s: float,
        *,
        may_delete: bool = False,
    ) -> StoreCredential:
        """Mint a key. See `Minter.mint`."""
        bucket = self._bucket
        policy = session_policy(bucket.bucket, read_prefixes, write_prefix, may_delete=may_delete)
        lives_s = max(SHORTEST_S, int(duration_s))
        keys = await self._assume(policy, lives_s)
        return StoreCredential(
            endpoint=bucket.endpoint,
            bucket=bucket.bucket,
            region=bucket.region,
            root=bucket.root,
            access_key=keys["AccessKeyId"],
            secret_key=keys["SecretAccessKey"],
            session_token=keys["SessionToken"],
            expires_in_s=float(lives_s),
            write_prefix=write_prefix,
            read_prefix=read_prefixes[0] if read_prefixes else "",
        )

    async def _assume(self, policy: str, lives_s: int) -> dict[str, Any]:
        # Loaded on first use: it takes a quarter of a second, and only the vault ever mints.
        from botocore.exceptions import (  # noqa: PLC0415
            BotoCoreError,
            ClientError,
            ParamValidationError,
        )

        try:
            with anyio.fail_after(MINT_S):
                async with _sts_client(self._bucket, self._endpoint) as client:
                    answer = await client.assume_role(
                        RoleArn=self._role_arn or ANY_ROLE,
                        RoleSessionName="vaultlayer",
                        Policy=policy,
                        DurationSeconds=lives_s,
                    )
        except ClientError as error:
            raise _mint_fault(error, self._endpoint) from None
        except ParamValidationError:
            raise ConfigError(
                "[store] role_arn cannot be used",
                why="STS takes no role of that name",
                mend="arn:aws:iam::ACCOUNT:role/NAME, or leave it out where the store needs none",
            ) from None
        except (BotoCoreError, TimeoutError) as error:
            raise StoreUnreachableError(
                "cannot mint a key to the bucket",
                why=f"{self._endpoint} does not answer ({type(error).__name__})",
                mend="check [store] endpoint, and that the store runs",
                retryable=True,
            ) from None
        keys: dict[str, Any] = answer["Credentials"]
        return keys


def _sts_client(bucket: Bucket, endpoint: str) -> Any:
    """Build an STS client that takes nothing from the environment or from AWS configuration files."""
    import aioboto3  # noqa: PLC0415  loaded on first use
    from aiobotocore.config import AioConfig  # noqa: PLC0415

    session: Any = aioboto3.Session(botocore_session=bare_session())
    return session.client(
        "sts",
        endpoint_url=endpoint,
        region_name=bucket.region,
        aws_access_key_id=bucket.access_key,
        aws_secret_access_key=bucket.secret_key,
        config=AioConfig(
            connect_timeout=5,
            read_timeout=10,
            retries={"total_max_attempts": 3, "mode": "standard"},
        ),
    )


def _mint_fault(error: Any, endpoint: str) -> StoreError:
    """Read a ClientError; of its text only the code is shown."""
    code = str(error.response.get("Error", {}).get("Code", ""))
    status = int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
    what = "cannot mint a key to the bucket"
    if status >= 500 or status == 429:
        return StoreUnreachableError(
            what, why=f"{endpoint} answers {status} {code}", retryable=True
        )
    if status in {400, 401, 403}:
        return StoreDeniedError(
            what,
            why=f"{endpoint} answers {status} {code}",
            mend="is the master key right, and may it assume the role that [store] role_arn names?",
        )
    return StoreError(what, why=f"{endpoint} answers {status} {code}")
