"""Makes cuts of ghost snapshots: the files as they were at its moment, and what a replay to it needs."""

import time
from pathlib import Path
from typing import Protocol

import anyio.to_thread
import msgspec

from vaultlayer.checkpoint.source import SourceFile
from vaultlayer.errors import VaultLayerError
from vaultlayer.logging import get_logger
from vaultlayer_agent.capture import muster as ms
from vaultlayer_agent.capture.cut import Cut
from vaultlayer_agent.capture.events import HookEvent
from vaultlayer_agent.capture.muster import Act
from vaultlayer_agent.capture.plan import Item
from vaultlayer_agent.capture.scan import scan
from vaultlayer_agent.capture.stage import How

ROOT = "ghost"
"""Root of the ghost's own files in a checkpoint."""

BASE = "base"
"""Root of the files that lay beside the code when the recorded launch began."""

FRAMEWORK = "ghost"
NUMBER = "ghost_number"
"""In a checkpoint's `meta`: which snapshot its files belong to."""

ASK_MOST_S = 9.0
"""A hook that has waited longer than this for an answer may have gone on: what was put aside is no image."""


class Shelves(Protocol):
    """What is needed of a capture."""

    async def put_image_aside(self) -> Cut:
        """Put aside every file as it is now."""
        ...

    def add(self, cut: Cut, items: list[Item], place: Path) -> list[SourceFile]:
        """Put more files aside for a cut."""
        ...

    def release(self, cut: Cut) -> None:
        """Drop what was put aside."""
        ...


class Taken(msgspec.Struct, frozen=True, kw_only=True):
    """What a snapshot has cost, as the hook and the agent measured it."""

    number: int
    step: int
    stall_s: float
    state_b: int
    size_b: int


def cost_of(event: HookEvent, aside_s: float) -> Taken:
    """Read what a hook says of a proved snapshot."""
    meta = event.meta
    return Taken(
        number=number_of(event),
        step=event.step or 0,
        stall_s=_float(meta.get("stall_ms", "")) / 1e3 + aside_s,
        state_b=int(_float(meta.get("state_b", ""))),
        size_b=int(_float(meta.get("size_b", ""))),
    )


def number_of(event: HookEvent) -> int:
    """Give the number of the snapshot that an event speaks of, 0 when it bears none."""
    return int(_float(event.meta.get("number", "")))


def _float(text: str) -> float:
    try:
        return max(0.0, float(text))
    except ValueError:
        return 0.0


def ghost_items(place: Path, names: dict[str, int]) -> list[Item]:
    """Choose what a replay to a snapshot needs: the snapshot, the closed segments before it, the open one.

    The snapshot before it is in the checkpoint before this one, with the files of its own moment.

    Args:
        place: the ghost directory.
        names: number of the snapshot by the name of each process's subdirectory.
    """
    items: list[Item] = []
    for process, number in names.items():
        tree = scan(place / process)
        wanted: dict[str, How] = {f"snap-{number}.vls": "link", f"log-{number}.seg": "copy"}
        wanted |= {f"log-{one}.seg": "link" for one in range(number)}
        missing = sorted(set(wanted) - set(tree))
        if missing:
            raise FileNotFoundError(f"the ghost of {process} lacks {missing[0]}")
        items += [Item(ROOT, f"{process}/{name}", tree[name], how) for name, how in wanted.items()]
    return items


def reached_step(place: Path) -> int | None:
    """Give the last step that a recorded process has made, the farthest of all ranks; None: none is known.

    Args:
        place: the ghost directory.
    """
    steps = [
        step for path in place.glob("*/reached") if (step := int.from_bytes(_read(path), "little"))
    ]
    return max(steps, default=None)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""


class Snapshots:
    """The snapshots of one run of the script. Not thread-safe.

    Args:
        place: the ghost directory.
        base: a copy of what lay beside the code at the launch.
        shelves: puts files aside.
        ask_most_s: how long a hook waits for an answer for certain.
    """

    def __init__(
        self, place: Path, base: Path, shelves: Shelves, *, ask_most_s: float = ASK_MOST_S
    ) -> None:
        self._place = place
        self._base = base
        self._shelves = shelves
        self._ask_most_s = ask_most_s
        self._muster = ms.IDLE
        self._aside: Cut | None = None
        self._aside_s = 0.0
        self._begun_s = 0.0
        self._processes: dict[str, int] = {}
        self._taken: Taken | None = None

    async def begun(self, event: HookEvent) -> Act:
        """A rank waits at its boundary; on `take` the files were put aside before this returns."""
        number, step = number_of(event), event.step or 0
        if not self._muster.begun:
            self._begun_s = time.monotonic()
        self._muster, act = ms.begin(self._muster, event.pid, number, step, event.world)
        if act is Act.NOTHING:
            return act
        self._drop()
        if act is Act.TAKE:
            await self._take()
        return act

    async def _take(self) -> None:
        self._processes, self._taken = {}, None
        start_s = time.monotonic()
        try:
            cut = await self._shelves.put_image_aside()
        except (OSError, VaultLayerError) as error:
            get_logger().warning("snapshot_not_staged", why=str(error))
            return
        end_s = time.monotonic()
        if end_s - self._begun_s > self._ask_most_s:
            get_logger().warning("snapshot_late", took_s=round(end_s - self._begun_s, 3))
            self._shelves.release(cut)
            return
        self._aside, self._aside_s = cut, end_s - start_s

    async def ended(self, event: HookEvent) -> tuple[Cut, Taken] | None:
        """A rank's snapshot is proved; gives the cut once all ranks' are."""
        step, number = self._muster.step, number_of(event)
        known = event.pid in self._muster.begun and number == self._muster.number
        self._muster, act = ms.end(self._muster, event.pid, number)
        if known:
            self._processes[Path(event.path).parent.name] = number
            taken = cost_of(event, self._aside_s)
            if self._taken is None or taken.stall_s > self._taken.stall_s:
                self._taken = taken
        if act is not Act.PUBLISH:
            return None
        cut, self._aside = self._aside, None
        if cut is None or self._taken is None:
            return None
        try:
            files = await anyio.to_thread.run_sync(self._add, cut, dict(self._processes))
        except (OSError, VaultLayerError) as error:
            get_logger().warning("snapshot_not_staged", why=str(error))
            self._shelves.release(cut)
            return None
        return self._cut(cut, files, step, number), self._taken

    def _add(self, cut: Cut, processes: dict[str, int]) -> list[SourceFile]:
        base = [Item(BASE, name, entry, "link") for name, entry in scan(self._base).items()]
        return [
            *self._shelves.add(cut, ghost_items(self._place, processes), self._place),
            *self._shelves.add(cut, base, self._base),
        ]

    def _cut(self, cut: Cut, files: list[SourceFile], step: int, number: int) -> Cut:
        return msgspec.structs.replace(
            cut,
            files=[*cut.files, *files],
            step=step,
            framework=FRAMEWORK,
            latest="",
            meta={**cut.meta, NUMBER: str(number)},
        )

    def voided(self, event: HookEvent) -> Act:
        """A snapshot came to nothing, or (a `bye`) its process is gone."""
        self._muster, act = ms.void(self._muster, event.pid, number_of(event))
        if act is Act.DROP:
            self._drop()
        return act

    def close(self) -> None:
        """Drop what was put aside; after the script has ended."""
        self._muster = ms.IDLE
        self._drop()

    def _drop(self) -> None:
        if self._aside is not None:
            self._shelves.release(self._aside)
            self._aside = None
