"""Calls of a provider's HTTP API: spaced, repeated only where that is safe, with errors that say what to do.

A call is *safe* when doing it twice does no harm: reads and deletes are, creates are not. A create whose
answer is lost, or is a server's failure, raises AmbiguousCreateError: nobody knows what came of it.
"""

import ssl
import time
from collections.abc import Callable, Collection, Mapping
from email.utils import parsedate_to_datetime
from typing import Any

import httpx

from vaultlayer.driver import Clock
from vaultlayer.errors import AmbiguousCreateError, DriverError, ThrottledError
from vaultlayer_actors.drivers.cloud.limiter import Limiter
from vaultlayer_actors.drivers.cloud.reply import Reply, error_of_status, retry_after_s
from vaultlayer_actors.drivers.cloud.scrub import scrub

TRIES = 4
PAUSE_S = 0.5
CONNECT_S = 5.0
ANSWER_S = 30.0
RETRIED = frozenset({408, 429, 500, 502, 503, 504})

NEVER_SENT = (
    httpx.ConnectError,
    httpx.ConnectTimeout,
    httpx.PoolTimeout,
    httpx.UnsupportedProtocol,
)
"""Failures after which the provider cannot have seen the call."""


def skew_of(date: str, now: float) -> float | None:
    """Give by how many seconds a `Date` header is ahead of our clock; it has whole seconds only.

    Args:
        date: as HTTP spells it; empty or unreadable gives None.
        now: Unix seconds here.
    """
    try:
        told = parsedate_to_datetime(date).timestamp()
    except (TypeError, ValueError):
        return None
    off_s = told - now
    return 0.0 if -1.5 < off_s < 0.5 else round(off_s, 1)


Classify = Callable[[Reply], DriverError | None]
"""What a failed answer means at this provider; None: as its HTTP status says."""


def _unclassified(_reply: Reply) -> DriverError | None:
    return None


class Bearer(httpx.Auth):
    """The API key as a bearer token; it is part of no repr.

    Args:
        key: the secret.
        scheme: what stands before it.
        header: the header's name.
    """

    def __init__(self, key: str, *, scheme: str = "Bearer", header: str = "Authorization") -> None:
        self._value = f"{scheme} {key}".strip()
        self._header = header

    def auth_flow(self, request: httpx.Request):  # noqa: ANN201  httpx's own generator type
        """Sign one request."""
        request.headers[self._header] = self._value
        yield request


class Api:
    """One provider's API with one credential.

    Args:
        provider: its name, for errors.
        endpoint: scheme, host and path prefix; calls append to it.
        auth: what signs a request.
        limiter: the credential's.
        clock: where time comes from.
        classify: what failures mean here; asked before the HTTP status is.
        secrets: values that no error may show.
        verify: a CA file for a private endpoint; True for the system's.
    """

    def __init__(
        self,
        *,
        provider: str,
        endpoint: str,
        auth: httpx.Auth | None,
        limiter: Limiter,
        clock: Clock,
        classify: Classify = _unclassified,
        secrets: Collection[str] = (),
        verify: bool | str = True,
    ) -> None:
        self._provider = provider
        self._limiter = limiter
        self._clock = clock
        self._classify = classify
        self._secrets = tuple(secrets)
        self.skew_s: float | None = None
        """By how much the provider's clock was ahead of ours at its last answer; None: it has not told."""
        self._client = httpx.AsyncClient(
            base_url=endpoint.rstrip("/"),
            auth=auth,
            timeout=httpx.Timeout(ANSWER_S, connect=CONNECT_S),
            headers={"User-Agent": "vaultlayer"},
            verify=ssl.create_default_context(cafile=verify) if isinstance(verify, str) else verify,
            trust_env=False,
        )

    def __repr__(self) -> str:
        """Name the provider; never the credential."""
        return f"Api({self._provider!r}, {str(self._client.base_url)!r})"

    async def call(
        self,
        method: str,
        path: str,
        *,
        call: str,
        is_safe: bool | None = None,
        accept: Collection[int] = (),
        **request: Any,
    ) -> Reply:
        """Make one call and give its answer.

        Args:
            method: of HTTP.
            path: below the endpoint.
            call: the call's name: its interval in the limiter, and part of errors.
            is_safe: whether it may be repeated; by default GET, HEAD, PUT and DELETE may.
            accept: statuses beside 2xx that are answers, not failures (404 of a get or a delete).
            request: `json`, `params`, `data`, `content`, `headers` as httpx takes them.

        Raises:
            AmbiguousCreateError: an unsafe call may or may not have been carried out.
            ThrottledError, AuthError, BalanceError, CapacityError, DriverError: as classified.
        """
        safe = method in {"GET", "HEAD", "PUT", "DELETE"} if is_safe is None else is_safe
        for attempt in range(1, TRIES + 1):
            await self._limiter.wait(call)
            try:
                reply = await self._send(method, path, call=call, is_safe=safe, request=request)
            except httpx.HTTPError as error:
                if attempt == TRIES or not (safe or isinstance(error, NEVER_SENT)):
                    raise self._unanswered(call, error, is_safe=safe) from None
                await self._clock.sleep(PAUSE_S * 2**attempt)
                continue
            if reply.status < 300 or reply.status in accept:
                return reply
            error = self._classify(reply) or error_of_status(reply)
            if attempt == TRIES or not self._may_retry(reply, error):
                raise error
            if isinstance(error, ThrottledError):
                self._limiter.hold(call, retry_after_s(reply))
            else:
                await self._clock.sleep(PAUSE_S * 2**attempt)
        raise AssertionError("the last try answers or raises")

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    def _may_retry(self, reply: Reply, error: DriverError) -> bool:
        # A call that came too often was not carried out, so that even a create may be repeated.
        if isinstance(error, ThrottledError):
            return error.retryable
        return reply.is_safe and error.retryable and reply.status in RETRIED

    async def _send(
        self, method: str, path: str, *, call: str, is_safe: bool, request: Mapping[str, Any]
    ) -> Reply:
        answer = await self._client.request(method, path, **request)
        self.skew_s = skew_of(answer.headers.get("Date", ""), time.time())
        return Reply(
            provider=self._provider,
            call=call,
            status=answer.status_code,
            headers={name.lower(): value for name, value in answer.headers.items()},
            body=answer.content,
            text=scrub(answer.text, self._secrets),
            is_safe=is_safe,
        )

    def _unanswered(self, call: str, error: httpx.HTTPError, *, is_safe: bool) -> DriverError:
        never_sent = isinstance(error, NEVER_SENT)
        cls = DriverError if is_safe or never_sent else AmbiguousCreateError
        why = scrub(str(error), self._secrets)
        return cls(
            f"{self._provider} did not answer {call}",
            why=f"{type(error).__name__}: {why}".rstrip(": "),
            retryable=True,
        )
