"""A capture on a test's own directories, and short ways to ask it."""

from contextlib import aclosing
from pathlib import Path

import anyio

from vaultlayer.checkpoint.manifest import Manifest
from vaultlayer_agent.capture import Capture, Cut, HookEvent

QUIET_S = 0.3
LIMIT_S = 20


def capture_of(work: Path, *, code: Manifest | None = None, **places: Path) -> Capture:
    return Capture(
        places={"work": work, **places},
        code=code,
        staging=work.parent / "staging",
        quiet_s=QUIET_S,
    )


def names(cut: Cut) -> set[str]:
    return {file.name for file in cut.files if file.kind != "dir"}


def content(cut: Cut, name: str) -> bytes:
    return next(file.path.read_bytes() for file in cut.files if file.name == name)


def end_of(path: Path, framework: str = "hf", step: int | None = None, **meta: str) -> HookEvent:
    return HookEvent(
        kind="checkpoint_end", framework=framework, path=str(path), step=step, pid=1, meta=meta
    )


def begin_of(path: Path, framework: str = "torch") -> HookEvent:
    return HookEvent(kind="checkpoint_begin", framework=framework, path=str(path), pid=1)


async def take(capture: Capture) -> Cut:
    with anyio.fail_after(LIMIT_S):
        async with aclosing(capture.cuts()) as cuts:
            return await anext(cuts)


async def nothing_for(capture: Capture, wait_s: float) -> bool:
    with anyio.move_on_after(wait_s):
        async with aclosing(capture.cuts()) as cuts:
            await anext(cuts)
            return False
    return True
