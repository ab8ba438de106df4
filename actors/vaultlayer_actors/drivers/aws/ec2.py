"""Calls of EC2 in every region with one key: spaced, repeated, with errors that say what to do.

botocore's own model writes the requests and reads the answers; its retries, its configuration files and
its environment variables stay out. Every call here may be repeated: RunInstances carries a token.
"""

import time
from collections.abc import Collection, Mapping
from contextlib import AsyncExitStack
from functools import cache
from typing import Any, TypeVar

import msgspec

from vaultlayer.driver import Clock
from vaultlayer.errors import AmbiguousCreateError, DriverError, ThrottledError
from vaultlayer.store.session import bare_session
from vaultlayer_actors.drivers.aws.reading import Failure, error_of
from vaultlayer_actors.drivers.aws.wire import Page
from vaultlayer_actors.drivers.cloud.api import skew_of
from vaultlayer_actors.drivers.cloud.limiter import Limiter
from vaultlayer_actors.drivers.cloud.scrub import scrub

T = TypeVar("T")
P = TypeVar("P", bound=Page)

PAGE = 100

TRIES = 4
PAUSE_S = 0.5
THROTTLED_S = 2.5
CONNECT_S = 5.0
ANSWER_S = 30.0

NEVER_SENT = {"EndpointConnectionError", "ConnectTimeoutError", "ProxyConnectionError", "SSLError"}
"""Failures of botocore's after which EC2 cannot have seen the call."""

REPEATED = (DriverError, AmbiguousCreateError, ThrottledError)


class Key(msgspec.Struct, frozen=True, kw_only=True):
    """An access key of AWS."""

    access_key_id: str
    secret_access_key: str

    def __repr__(self) -> str:
        """Show neither half."""
        return "Key(…)"


class Ec2:
    """The API of one account.

    Args:
        key: what signs.
        endpoint: of all regions, for tests and private clouds; empty: AWS's own of each region.
        limiter: the key's.
        clock: where time comes from.
        ca_file: certificates that a private endpoint is checked against; empty: the system's.
    """

    def __init__(
        self, key: Key, *, endpoint: str, limiter: Limiter, clock: Clock, ca_file: str = ""
    ) -> None:
        self._key = key
        self._endpoint = endpoint
        self._limiter = limiter
        self._clock = clock
        self._ca_file = ca_file
        self._stack = AsyncExitStack()
        self._clients: dict[str, Any] = {}
        self.skew_s: float | None = None
        """By how much AWS's clock was ahead of ours at its last answer; None: it has not told."""

    def __repr__(self) -> str:
        """Name the endpoint; never the key."""
        return f"Ec2({self._endpoint!r})"

    async def call(
        self,
        region: str,
        operation: str,
        kind: type[T],
        *,
        call: str,
        accept: Collection[str] = (),
        **request: Any,
    ) -> T | None:
        """Make one call and give its answer; None where the error's code is one of `accept`.

        Args:
            region: where.
            operation: botocore's name of it (`describe_instances`).
            kind: the shape of the answer.
            call: the call's name: its interval in the limiter, and part of errors.
            accept: codes that are answers, not failures.
            request: its parameters.

        Raises:
            AmbiguousCreateError: a create may or may not have been carried out.
            ThrottledError, AuthError, BalanceError, CapacityError, DriverError: as classified.
        """
        is_unclear = False
        for attempt in range(1, TRIES + 1):
            await self._limiter.wait(call)
            try:
                return await self._once(
                    region, operation, kind, call=call, accept=accept, request=request
                )
            except DriverError as error:
                is_unclear |= isinstance(error, AmbiguousCreateError)
                if type(error) not in REPEATED or not error.retryable:
                    raise
                if attempt == TRIES:
                    raise _last(error, is_unclear=is_unclear) from None
                if isinstance(error, ThrottledError):
                    self._limiter.hold(call, THROTTLED_S * attempt)
                else:
                    await self._clock.sleep(PAUSE_S * 2**attempt)
        raise AssertionError("the last try answers or raises")

    async def pages(
        self, region: str, operation: str, kind: type[P], *, call: str, **request: Any
    ) -> list[P]:
        """Make one listing's calls, page by page, and give all its pages."""
        pages: list[P] = []
        token = ""
        while True:
            more = {"NextToken": token} if token else {}
            page = await self.call(
                region, operation, kind, call=call, MaxResults=PAGE, **more, **request
            )
            assert page is not None, "nothing was accepted"
            pages.append(page)
            if not page.next_token or page.next_token == token:
                return pages
            token = page.next_token

    async def close(self) -> None:
        """Close the connections."""
        self._clients.clear()
        await self._stack.aclose()

    async def _once(
        self,
        region: str,
        operation: str,
        kind: type[T],
        *,
        call: str,
        accept: Collection[str],
        request: Mapping[str, Any],
    ) -> T | None:
        from botocore.exceptions import (  # noqa: PLC0415  loaded on first use
            BotoCoreError,
            ClientError,
            ParamValidationError,
        )

        client = await self._client(region)
        try:
            answer = await getattr(client, operation)(**request)
            self._note_clock(answer)
            return msgspec.convert(answer, kind, strict=False)
        except ClientError as error:
            failure = self._failure(call, error)
            if failure.code in accept:
                return None
            raise error_of(failure) from None
        except ParamValidationError as error:
            raise DriverError(f"{call} cannot be asked of AWS", why=self._scrub(error)) from None
        except msgspec.ValidationError as error:
            # A page of a proxy's, with 200: it is neither an empty list nor an answer to a create.
            raise _unanswered(call, f"something unexpected: {error}") from None
        except (BotoCoreError, OSError, TimeoutError) as error:
            name = type(error).__name__
            raise _unanswered(
                call, f"{name}: {self._scrub(error)}", was_sent=name not in NEVER_SENT
            ) from None

    def _note_clock(self, answer: Any) -> None:
        headers: dict[str, str] = answer.get("ResponseMetadata", {}).get("HTTPHeaders", {})
        self.skew_s = skew_of(headers.get("date", ""), time.time())

    def _failure(self, call: str, error: Any) -> Failure:
        self._note_clock(error.response)
        told: dict[str, Any] = error.response.get("Error", {})
        meta: dict[str, Any] = error.response.get("ResponseMetadata", {})
        return Failure(
            call=call,
            code=str(told.get("Code", "")),
            text=self._scrub(told.get("Message", "")),
            status=int(meta.get("HTTPStatusCode", 0)),
        )

    def _scrub(self, text: object) -> str:
        return scrub(str(text), [self._key.secret_access_key, self._key.access_key_id])

    async def _client(self, region: str) -> Any:
        if region not in self._clients:
            made = _make_client(region, self._key, self._endpoint, self._ca_file)
            self._clients[region] = await self._stack.enter_async_context(made)
        return self._clients[region]


def _unanswered(call: str, why: str, *, was_sent: bool = True) -> DriverError:
    cls = AmbiguousCreateError if call == "create" and was_sent else DriverError
    return cls(f"AWS did not answer {call}", why=why, retryable=True)


def _last(error: DriverError, *, is_unclear: bool) -> DriverError:
    """Give the error of the last try; an earlier try may have made a machine all the same."""
    if is_unclear and not isinstance(error, AmbiguousCreateError):
        return AmbiguousCreateError(error.what, why=error.why, retryable=True)
    return error


@cache
def _session() -> Any:
    """Keep one session: it has read the model of EC2, which takes a third of a second."""
    return bare_session()


def _make_client(region: str, key: Key, endpoint: str, ca_file: str) -> Any:
    from aiobotocore.config import AioConfig  # noqa: PLC0415  loaded on first use

    return _session().create_client(
        "ec2",
        region_name=region,
        endpoint_url=endpoint or None,
        verify=ca_file or None,
        aws_access_key_id=key.access_key_id,
        aws_secret_access_key=key.secret_access_key,
        config=AioConfig(
            connect_timeout=CONNECT_S,
            read_timeout=ANSWER_S,
            retries={"total_max_attempts": 1},
            proxies={},
            user_agent="vaultlayer",
            parameter_validation=True,
        ),
    )
