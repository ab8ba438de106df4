"""Credentials that are traded for a token of about an hour, as OAuth providers want it.

A token that cannot be had leaves the call unsent, so that even a create may be tried again.
"""

from collections.abc import AsyncGenerator, Callable

import anyio
import httpx
import msgspec

from vaultlayer.driver import Clock
from vaultlayer.errors import AuthError

EARLY_S = 120.0
"""How long before its end a token is no longer used."""


class Grant(msgspec.Struct, kw_only=True):
    """A token endpoint's answer."""

    access_token: str
    expires_in: float = 3600.0


class TokenAuth(httpx.Auth):
    """Asks for a token, signs calls with it, and asks anew when it is old or no longer accepted.

    Args:
        provider: its name, for errors.
        ask: makes the request for a token; may raise AuthError.
        clock: where time comes from.
    """

    requires_response_body = True

    def __init__(self, provider: str, ask: Callable[[], httpx.Request], clock: Clock) -> None:
        self._provider = provider
        self._ask = ask
        self._clock = clock
        self._token = ""
        self._good_until_s = 0.0
        self._lock = anyio.Lock()

    async def async_auth_flow(
        self, request: httpx.Request
    ) -> AsyncGenerator[httpx.Request, httpx.Response]:
        """Sign one request.

        Raises:
            AuthError: the credential gives no token.
        """
        async with self._lock:
            is_new = not self._token or self._clock.now_s() >= self._good_until_s
            if is_new:
                await self._take((yield self._ask()))
        self._sign(request)
        answer = yield request
        if answer.status_code != 401 or is_new:
            return
        async with self._lock:
            await self._take((yield self._ask()))
        self._sign(request)
        yield request

    def _sign(self, request: httpx.Request) -> None:
        request.headers["Authorization"] = f"Bearer {self._token}"

    async def _take(self, answer: httpx.Response) -> None:
        body = await answer.aread()
        if answer.status_code in {400, 401, 403}:
            raise AuthError(
                f"{self._provider} does not accept the API key",
                why=f"HTTP {answer.status_code} when a token was asked for",
                mend=f"vaultlayer providers key {self._provider}",
            )
        try:
            grant = msgspec.json.decode(body, type=Grant, strict=False)
        except msgspec.MsgspecError:
            why = f"the token endpoint answered HTTP {answer.status_code}"
            raise httpx.ConnectError(why) from None
        self._token = grant.access_token
        self._good_until_s = self._clock.now_s() + grant.expires_in - EARLY_S
