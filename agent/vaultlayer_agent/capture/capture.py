"""Turns what the script leaves on disk into cuts: sets of files that the next attempt can go on from.

A cut holds all that is new against the code, at one moment: complete checkpoints by hard link, other files
by copy while they are young. Half-written checkpoints are left out. Two ways lead to a cut:

* the hook says that a checkpoint is complete: it is cut at once, while the hook waits for our answer, so
  logs and checkpoint agree, and rotation cannot delete under us. A save of a single file may be one of
  several that belong together, so its cut is held a while (`group.py`);
* without hooks the places are looked at every half second (never more than a twentieth of the time).

Only the newest cut waits for the consumer; older ones are dropped unseen.
"""

import os
import time
from collections.abc import AsyncGenerator, Callable, Iterable
from pathlib import Path

import anyio
import anyio.to_thread

from vaultlayer.checkpoint.manifest import Manifest
from vaultlayer.checkpoint.source import SourceFile
from vaultlayer.errors import DiskFullError
from vaultlayer.logging import get_logger
from vaultlayer_agent.capture.aside import move_aside
from vaultlayer_agent.capture.code import Code
from vaultlayer_agent.capture.complete import Finding
from vaultlayer_agent.capture.cut import LOOSE, Cut
from vaultlayer_agent.capture.events import BEGIN, BYE, END, FAILED, HookEvent
from vaultlayer_agent.capture.eye import LEADING, Eye, Key, Told, View, rank_of
from vaultlayer_agent.capture.group import Group
from vaultlayer_agent.capture.plan import SMALL_B, Item, as_left, copied_b, plan_files, plan_image
from vaultlayer_agent.capture.quiet import find_descendants
from vaultlayer_agent.capture.scan import entry_of
from vaultlayer_agent.capture.shelf import Shelf
from vaultlayer_agent.capture.tier import Seen, find_tier
from vaultlayer_agent.capture.tree import Tree

LOOK_S = 0.5
LOOK_LEAST_S = 0.05
LOOK_SHARE = 0.05
LOOK_MOST_S = 20.0
QUIET_S = 2.0
MOVING_MOST_S = 30.0
OUTPUT_S = 30.0
OUTPUT_BESIDE_S = 600.0
ENDED_MOST = 1000
INLINE_SCAN_S = 0.05
INLINE_FILES = 2000


class Capture:
    """Watches the places of one job on one machine. Not thread-safe; one consumer.

    Args:
        places: directory of each root; `work` is the working directory.
        code: the job's code as it was sent.
        staging: where files are put aside; best on the same file system, for hard links.
        resume_args: whether the job has resume arguments.
        quiet_s: how long files without a mark of their own must stand still.
        pids: the script's processes; by default all that stem from this one.
    """

    def __init__(
        self,
        *,
        places: dict[str, Path],
        code: Manifest | None,
        staging: Path,
        resume_args: bool = False,
        quiet_s: float = QUIET_S,
        pids: Callable[[], Iterable[int]] = lambda: find_descendants(os.getpid()),
    ) -> None:
        self._places = {root: Path(os.path.realpath(place)) for root, place in places.items()}
        self._code = Code(code)
        self._eye = Eye(self._places, self._code, quiet_s=quiet_s, pids=pids)
        self._shelf = Shelf(staging)
        self._told = Told()
        self.seen = Seen(resume_args=resume_args)
        self._view: View | None = None
        self._keys: frozenset[Key] = frozenset()
        self._rewritten: set[tuple[str, str]] = set()
        self._pending: Cut | None = None
        self._group = Group[tuple[Cut, frozenset[Key]]]()
        self._wake = anyio.Event()
        self._numbers = 0
        self._looks = 0
        self._published = 0
        self._busy_shelf = False
        self.is_held = False
        """While true nothing new is cut by itself: a ghost snapshot speaks for the job, or is replayed."""
        self._scan_s = 0.0
        self._cut_s = time.monotonic()
        self._new_s: float | None = None
        self._dirty: dict[tuple[str, str], float] = {}
        self._logger = get_logger(part="capture")

    async def cuts(self) -> AsyncGenerator[Cut]:
        """Give a cut whenever there is a new complete checkpoint, or quiet output where there is none."""
        while True:
            if self._pending is not None:
                cut, self._pending = self._pending, None
                yield cut
                continue
            await self._wait()
            if self._group.left_s(time.monotonic()) == 0.0 and not self._told.busy:
                self._end_group(publish=True)
            if self._pending is None and not self.is_held:
                await self._look()

    def ended(self) -> None:
        """Note that the script has ended: no save is under way any more, whatever a hook has begun."""
        self._told.busy.clear()

    async def final(self, *, well: bool = False) -> Cut:
        """Give everything that is complete, after the script has ended; all there is when it ended `well`.

        Raises:
            DiskFullError: no space is left to put it aside.
        """
        self.ended()
        self._end_group(publish=False)
        self._drop_pending()
        view = self._judge(await anyio.to_thread.run_sync(self._eye.scan), at_rest=True)
        view.sights[:] = map(as_left, view.sights) if well else list(view.sights)
        return await self._shelve(view, final=True)

    async def put_image_aside(self) -> Cut:
        """Put aside every file as it is now, complete or not: what a ghost snapshot of this moment needs.

        Raises:
            DiskFullError: no space is left to put it aside.
        """
        view = self._judge(await anyio.to_thread.run_sync(self._eye.scan))
        now_ns = time.time_ns()
        items = [
            item for sight in view.sights for item in plan_image(sight.root, sight.tree, now_ns)
        ]
        return await anyio.to_thread.run_sync(lambda: self._put(view, items, final=False))

    def add(self, cut: Cut, items: Iterable[Item], place: Path) -> list[SourceFile]:
        """Put more files aside for a cut that was put aside; in a worker thread.

        Raises:
            DiskFullError: no space is left for the copies.
        """
        return self._shelf.add(cut.number, items, place)

    def publish(self, cut: Cut) -> None:
        """Give a cut that was put aside to the consumer, unless a later one went before it."""
        self._publish(cut, frozenset(self._view.keys) if self._view else frozenset())

    def release(self, cut: Cut) -> None:
        """Remove what was put aside for a cut."""
        self._shelf.drop(cut.number)

    def set_aside(self) -> list[str]:
        """Move incomplete checkpoint directories below `.vaultlayer/aside`, before the script starts.

        Most frameworks resume from the highest number, half-written or not. What is in the code stays.
        Gives the names moved; what is complete now counts as saved already.
        """
        view = self._judge(self._eye.scan(), at_rest=True)
        moved = [
            name
            for sight in view.sights
            for name, finding in sight.units.items()
            if not finding.complete
            and not self._code.has_below(sight.root, name)
            and move_aside(self._places[sight.root], name)
        ]
        self._view = self._judge(self._eye.scan(), at_rest=True)
        self._note_cut(frozenset(self._view.keys))
        return moved

    def latest(self) -> str:
        """Give the newest complete checkpoint, relative to the working directory, or ""."""
        newest = self._view.newest if self._view else None
        return self._relative(*newest) if newest else ""

    def tier(self) -> tuple[str, str]:
        """Give the tier as far as it is known, and what it means, in one line."""
        newest = self._view.newest if self._view else None
        self.seen.found = (
            {found.framework for found in self._view.keys.values()} if self._view else ()
        )
        self.seen.exact = newest is not None and newest[1].exact
        self.seen.latest = Path(newest[1].path).name if newest else ""
        return find_tier(self.seen)

    def heard(self, event: HookEvent) -> None:
        """Take what a hook says; at the end of a checkpoint its files are put aside before this returns."""
        self.seen.hooked = True
        world = event.meta.get("world", "")
        self._told.world = max(self._told.world, int(world) if world.isdecimal() else 0)
        path = os.path.realpath(event.path) if event.path else ""
        if event.kind == BEGIN:
            self._told.busy[path] = event.pid
            self._end_group(publish=self._group.begin(path, time.monotonic()))
        elif event.kind == FAILED:
            self._told.busy.pop(path, None)
        elif event.kind == BYE:
            self._told.busy = {at: pid for at, pid in self._told.busy.items() if pid != event.pid}
        elif event.kind == END:
            self._heard_end(path, event)
        elif event.kind == "train":
            self.seen.train = event.meta
        elif event.kind == "native":
            self.seen.native = event.framework
        elif event.kind == "loaded":
            self._heard_loaded(path)

    def _heard_end(self, path: str, event: HookEvent) -> None:
        self._told.busy.pop(path, None)
        self._group.end(time.monotonic())
        try:
            entry = entry_of(Path(path).lstat())
        except OSError:
            return
        if entry is not None:
            self._told.ended[path] = entry
            while len(self._told.ended) > ENDED_MOST:
                del self._told.ended[next(iter(self._told.ended))]
        self._wake.set()
        if self._scan_s > INLINE_SCAN_S or self._busy_shelf or self.is_held:
            return
        view = self._judge(self._eye.scan())
        if not frozenset(view.keys) - self._keys or (
            view.moving and entry and entry.kind == "file"
        ):
            return
        items = self._plan(view)
        if len(items) > INLINE_FILES or copied_b(items) > SMALL_B:
            return
        try:
            cut = self._put(view, items, final=False)
        except DiskFullError:
            self._logger.exception("checkpoint_not_staged")
            return
        if event.framework in LEADING:
            self._publish(cut, frozenset(view.keys))
        else:
            self._end_group(publish=False)
            self._group.hold((cut, frozenset(view.keys)))

    def _heard_loaded(self, path: str) -> None:
        for root, place in self._places.items():
            if path.startswith(f"{place}/") and not self._code.holds(
                root, os.path.relpath(path, place)
            ):
                self.seen.loads = True

    async def _wait(self) -> None:
        wait_s = min(max(LOOK_S, self._scan_s / LOOK_SHARE), LOOK_MOST_S)
        left_s = self._group.left_s(time.monotonic())
        wait_s = min(wait_s, max(left_s, LOOK_LEAST_S)) if left_s is not None else wait_s
        with anyio.move_on_after(wait_s):
            await self._wake.wait()
        self._wake = anyio.Event()

    async def _look(self) -> None:
        start_s = time.monotonic()
        looks = self._looks
        trees = await anyio.to_thread.run_sync(self._eye.scan)
        if looks != self._looks:
            # A hook made us look meanwhile; what we have is older than that.
            return
        view = self._judge(trees)
        self._scan_s = time.monotonic() - start_s
        if not self._wants_cut(view, time.monotonic()):
            return
        try:
            cut = await self._shelve(view, final=False)
        except DiskFullError:
            # The next look tries again; the script may have made room by then.
            self._logger.exception("checkpoint_not_staged")
            return
        self._publish(cut, frozenset(view.keys))

    def _wants_cut(self, view: View, now_s: float) -> bool:
        saving = self._group.is_saving(now_s) or bool(self._told.busy)
        new = frozenset(view.keys) - self._keys
        if not new:
            return not saving and self._wants_output(view, now_s)
        self._new_s = self._new_s or now_s
        patient = now_s - self._new_s < MOVING_MOST_S
        return any(view.keys[key].marked for key in new) or not (
            patient and (saving or view.moving)
        )

    def _wants_output(self, view: View, now_s: float) -> bool:
        """Whether output without a checkpoint is worth a cut: never beside one that resumes exactly."""
        found = {finding.framework for finding in view.keys.values()}
        if not self._dirty or found & LEADING:
            return False
        if now_s - self._cut_s < (OUTPUT_BESIDE_S if found else OUTPUT_S):
            return False
        waited_s = now_s - min(self._dirty.values())
        rests = any(self._eye.is_quiet(root, name, now_s) for root, name in self._dirty)
        return rests or waited_s > 2 * OUTPUT_S

    def _judge(self, trees: dict[str, Tree], *, at_rest: bool = False) -> View:
        now_s = time.monotonic()
        self._looks += 1
        view = self._eye.judge(trees, self._told, now_s, at_rest=at_rest)
        for place in view.moved:
            self._dirty.setdefault(place, now_s)
        self._view = view
        return view

    def _plan(self, view: View) -> list[Item]:
        now_s = time.monotonic()
        return [
            item
            for sight in view.sights
            for item in plan_files(
                sight,
                settled=view.settled[sight.root],
                is_quiet=lambda name, root=sight.root: self._eye.is_quiet(root, name, now_s),
                rewritten={name for root, name in self._rewritten if root == sight.root},
                now_ns=time.time_ns(),
            )
        ]

    async def _shelve(self, view: View, *, final: bool) -> Cut:
        items = self._plan(view)
        self._busy_shelf = True
        try:
            return await anyio.to_thread.run_sync(lambda: self._put(view, items, final=final))
        finally:
            self._busy_shelf = False

    def _put(self, view: View, items: list[Item], *, final: bool) -> Cut:
        self._numbers += 1
        number = self._numbers
        shelved = self._shelf.put(number, items, self._places, view.moving)
        gone = set(shelved.dropped)
        found = [
            (root, finding)
            for (root, name, _), finding in view.keys.items()
            if (root, name) not in gone
        ]
        newest = max(found, key=lambda pair: rank_of(pair[1]), default=None)
        letter, detail = self.tier()
        return Cut(
            files=shelved.files,
            step=newest[1].step if newest else None,
            framework=newest[1].framework if newest else LOOSE,
            tier=letter,
            detail=detail,
            final=final,
            meta={"torn": ",".join(shelved.torn)} if shelved.torn else {},
            latest=self._relative(*newest) if newest else "",
            number=number,
        )

    def _publish(self, cut: Cut, keys: frozenset[Key]) -> None:
        if cut.number < self._published:
            self.release(cut)
            return
        self._drop_pending()
        self._pending = cut
        self._published = cut.number
        self._note_cut(keys)
        self._wake.set()

    def _end_group(self, *, publish: bool) -> None:
        held = self._group.take()
        if held is not None and publish:
            self._publish(*held)
        elif held is not None:
            self.release(held[0])

    def _note_cut(self, keys: frozenset[Key]) -> None:
        known = {(root, name) for root, name, _ in self._keys}
        self._rewritten |= {key[:2] for key in keys - self._keys if key[:2] in known}
        self._keys = keys
        self._new_s = None
        self._shelf.keep_only(self._worth_keeping())
        self._dirty.clear()
        self._cut_s = time.monotonic()

    def _worth_keeping(self) -> list[tuple[str, str]]:
        """Give the singles of which a good copy is kept: those that are rewritten, and the newest one."""
        singles = [
            (finding.mtime_ns, (sight.root, name))
            for sight in (self._view.sights if self._view else [])
            for name, finding in sight.singles.items()
        ]
        kept = [place for _, place in singles if place in self._rewritten]
        return [*kept, max(singles)[1]] if singles else []

    def _drop_pending(self) -> None:
        if self._pending is not None:
            self.release(self._pending)
            self._pending = None

    def _relative(self, root: str, finding: Finding) -> str:
        return os.path.relpath(self._places[root] / finding.path, self._places.get("work", "."))
