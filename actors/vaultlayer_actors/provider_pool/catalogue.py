"""What one provider offers, remembered: a slow answer is for the next who asks, a hung one keeps nobody.

An answer is fetched once for all who ask for the same need at once, and goes on being fetched when they have
stopped waiting.
"""

from collections.abc import Callable

import anyio
import anyio.abc
import msgspec

from vaultlayer.driver import Driver, Need, OfferList
from vaultlayer.errors import VaultLayerError
from vaultlayer.logging import Logger

FETCH_S = 20.0
"""A provider that lists its offers more slowly has none."""
FRESH_S = 10.0
"""A list younger than that, and than the provider's own polls, is given without asking again."""
STALE_S = 300.0
"""An older list is no answer any more: markets move within minutes."""
NEEDS_MAX = 64


class _Fetch:
    """One question on its way."""

    def __init__(self) -> None:
        self.done = anyio.Event()
        self.answer: OfferList | None = None


class Catalogue:
    """The newest lists of one provider, by need.

    Args:
        driver: whom to ask.
        mono_s: a clock that never jumps.
        group: where questions go on while nobody waits for them.
        logger: told of what a driver did not foresee.
    """

    def __init__(
        self,
        driver: Driver,
        *,
        mono_s: Callable[[], float],
        group: anyio.abc.TaskGroup,
        logger: Logger,
    ) -> None:
        self._driver = driver
        self._mono_s = mono_s
        self._group = group
        self._logger = logger
        self._kept: dict[Need, tuple[float, OfferList]] = {}
        self._fetches: dict[Need, _Fetch] = {}

    async def of(self, need: Need) -> OfferList:
        """Give what is offered, at most `need.wait_s` after the question; with its age when it is not new."""
        key = msgspec.structs.replace(need, wait_s=0.0)
        age_s, kept = self._newest(key)
        if kept is not None and age_s < min(FRESH_S, self._driver.manifest.poll_s):
            return msgspec.structs.replace(kept, age_s=age_s)
        fetch = self._fetches.get(key) or self._start(key)
        with anyio.move_on_after(need.wait_s):
            await fetch.done.wait()
        if fetch.answer is not None:
            return fetch.answer
        if kept is not None and age_s < STALE_S:
            return msgspec.structs.replace(kept, age_s=age_s)
        name = self._driver.manifest.name
        return OfferList(
            provider=name, refusal=f"{name} did not answer in {need.wait_s:g} s", late=True
        )

    def _newest(self, key: Need) -> tuple[float, OfferList | None]:
        at_s, kept = self._kept.get(key, (0.0, None))
        return self._mono_s() - at_s, kept

    def _start(self, key: Need) -> _Fetch:
        fetch = self._fetches[key] = _Fetch()
        self._group.start_soon(self._fetch, key, fetch)
        return fetch

    async def _fetch(self, key: Need, fetch: _Fetch) -> None:
        """Ask; only a real answer is kept, and a failure is the answer of those who wait now."""
        name = self._driver.manifest.name
        try:
            with anyio.fail_after(FETCH_S):
                fetch.answer = await self._driver.offers(key)
            self._keep(key, fetch.answer)
        except TimeoutError:
            refusal = f"{name} did not answer in {FETCH_S:g} s"
            fetch.answer = OfferList(provider=name, refusal=refusal, late=True)
        except VaultLayerError as error:
            why = f" ({error.why})" if error.why else ""
            fetch.answer = OfferList(provider=name, refusal=f"{error.what}{why}")
        except Exception as error:  # a driver's defect must not end the pool
            self._logger.exception("offers_failed", provider=name)
            refusal = f"its driver failed: {type(error).__name__}"
            fetch.answer = OfferList(provider=name, refusal=refusal)
        finally:
            self._fetches.pop(key, None)
            fetch.done.set()

    def _keep(self, key: Need, answer: OfferList) -> None:
        if len(self._kept) >= NEEDS_MAX:
            oldest = min(self._kept, key=lambda need: self._kept[need][0])
            del self._kept[oldest]
        self._kept[key] = (self._mono_s(), answer)
