"""Bounds for work in parallel: bytes held in memory, and one error out of a group of tasks."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import cast

import anyio
from anyio.abc import TaskGroup

from vaultlayer.errors import VaultLayerError


class ByteBudget:
    """How many bytes may be held at once. One task takes, others give back; the taker waits."""

    def __init__(self, most_b: int) -> None:
        self._most_b = most_b
        self._held_b = 0
        self._freed = anyio.Event()

    async def take(self, size_b: int) -> None:
        """Wait until so many bytes may be held; more than there are is let through alone."""
        while self._held_b and self._held_b + size_b > self._most_b:
            self._freed = anyio.Event()
            await self._freed.wait()
        self._held_b += size_b

    def give(self, size_b: int) -> None:
        """Give bytes back."""
        self._held_b -= size_b
        self._freed.set()


@asynccontextmanager
async def task_group() -> AsyncGenerator[TaskGroup]:
    """Open a task group whose failure is the first error in it, not a group of errors."""
    try:
        async with anyio.create_task_group() as group:
            yield group
    except BaseExceptionGroup as errors:
        raise _first(errors) from None


def _first(errors: BaseExceptionGroup[BaseException]) -> BaseException:
    """Give the error to show: one of ours if there is one, else the first."""
    leaves: list[BaseException] = []
    pending: list[BaseException] = [errors]
    while pending:
        error = pending.pop(0)
        if isinstance(error, BaseExceptionGroup):
            pending.extend(cast("BaseExceptionGroup[BaseException]", error).exceptions)
        else:
            leaves.append(error)
    ours = [error for error in leaves if isinstance(error, VaultLayerError)]
    return (ours or leaves)[0]
