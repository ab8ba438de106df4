"""Looks at the places of a job: what lies there, which checkpoints are complete and at rest."""

import os
from collections.abc import Callable, Collection, Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

import msgspec

from vaultlayer_agent.capture.code import Code
from vaultlayer_agent.capture.complete import Finding, find_units, judge_file, judge_unit
from vaultlayer_agent.capture.plan import Sight, unit_of
from vaultlayer_agent.capture.quiet import Quiet, open_for_writing
from vaultlayer_agent.capture.scan import FileReader, scan
from vaultlayer_agent.capture.tree import Entry, Tree

Key = tuple[str, str, int]
"""Root, name and fingerprint of a checkpoint: another fingerprint, another checkpoint."""

LEADING = frozenset(
    {"hf", "dcp", "orbax", "accelerate", "deepspeed", "lightning", "keras", "vaultlayer"}
)
"""What these frameworks write is meant to be resumed from; a lone torch file may be anything."""


class View(NamedTuple):
    """One look.

    `keys`: the settled checkpoints. `moving`: singles that are being written now, or may be. `moved`: other
    files that changed since the look before.
    """

    sights: list[Sight]
    settled: dict[str, set[str]]
    keys: dict[Key, Finding]
    moving: list[tuple[str, str]]
    moved: set[tuple[str, str]]

    @property
    def newest(self) -> tuple[str, Finding] | None:
        """The settled checkpoint to go on from: a framework's own before a lone file, then the latest."""
        found = [(root, finding) for (root, _, _), finding in self.keys.items()]
        return max(found, key=lambda pair: rank_of(pair[1]), default=None)


class Told(msgspec.Struct):
    """What the hooks have said about single paths: being written by which process, and ended as what."""

    busy: dict[str, int] = {}
    ended: dict[str, Entry] = {}
    world: int = 0


def rank_of(finding: Finding) -> tuple[bool, int, int]:
    """Give what newer checkpoints are greater by."""
    return finding.framework in LEADING, finding.mtime_ns, finding.step or 0


class Eye:
    """Keeps from look to look what has been judged and what has moved.

    Args:
        places: directory of each root.
        code: what was sent and is not looked at.
        quiet_s: how long a file without a mark must stand still.
        pids: the processes that may have files open.
    """

    def __init__(
        self,
        places: Mapping[str, Path],
        code: Code,
        *,
        quiet_s: float,
        pids: Callable[[], Iterable[int]],
    ) -> None:
        self._places = places
        self._code = code
        self._pids = pids
        self._quiet = {root: Quiet(quiet_s) for root in places}
        self._judged: dict[tuple[str, str], tuple[int, int, Finding]] = {}
        self._whole: dict[tuple[str, str], frozenset[str]] = {}

    def scan(self) -> dict[str, Tree]:
        """Read all trees; safe in a worker thread."""
        trees: dict[str, Tree] = {}
        for root, place in self._places.items():
            others = [other for other in self._places.values() if other != place]
            trees[root] = self._code.strip(root, scan(place, skip=others), place)
        return trees

    def judge(
        self, trees: Mapping[str, Tree], told: Told, now_s: float, *, at_rest: bool = False
    ) -> View:
        """Turn trees into a view.

        Args:
            trees: what `scan` gave.
            told: what the hooks have said.
            now_s: monotonic time.
            at_rest: the script has ended: nothing moves any more.
        """
        view = View([], {}, {}, [], set())
        for root, tree in trees.items():
            moved = self._quiet[root].observe(tree, now_s)
            if at_rest:
                self._quiet[root].settle()
            view.sights.append(self._see(root, tree, told.world))
            self._settle(view, view.sights[-1], told, now_s, at_rest=at_rest)
            found = view.sights[-1]
            view.moved.update(
                (root, name)
                for name in moved
                if name not in found.singles and not unit_of(name, found.units)
            )
        return view

    def is_quiet(self, root: str, name: str, now_s: float) -> bool:
        """Whether a file stands still."""
        return self._quiet[root].is_quiet(name, now_s)

    def _see(self, root: str, tree: Tree, world: int) -> Sight:
        place = self._places[root]
        units = find_units(tree)
        parts: dict[str, Tree] = {unit: {} for unit in units}
        singles: dict[str, Finding] = {}
        for name, entry in tree.items():
            unit = unit_of(name, units)
            if unit:
                parts[unit][name[len(unit) + 1 :]] = entry
            elif entry.kind == "file":
                finding = self._judge_single(root, name, entry, place)
                if finding is not None:
                    singles[name] = finding
        for gone in [at for at in self._whole if at[0] == root and at[1] not in units]:
            del self._whole[gone]
        judged = {
            unit: self._judge_unit(root, unit, framework, parts[unit], world)
            for unit, framework in units.items()
        }
        return Sight(root, tree, judged, singles)

    def _judge_single(self, root: str, name: str, entry: Entry, place: Path) -> Finding | None:
        known = self._judged.get((root, name))
        print_ = hash(entry)
        if known is not None and known[0] == print_:
            return known[2]
        finding = judge_file(name, entry, FileReader(place))
        if finding is not None:
            self._judged[root, name] = (print_, 0, finding)
        return finding

    def _judge_unit(self, root: str, unit: str, framework: str, part: Tree, world: int) -> Finding:
        files = {name: entry for name, entry in part.items() if name and entry.kind != "dir"}
        print_ = hash((framework, world, tuple(sorted(files.items()))))
        known = self._judged.get((root, unit))
        if known is not None and known[0] == print_ and known[2].complete:
            return known[2]
        read = FileReader(self._places[root] / unit)
        finding = judge_unit(framework, unit, part, read, world=world)
        whole = self._whole.get((root, unit), frozenset[str]())
        if finding.complete and not whole <= set(files):
            # What was complete and now lacks a file is being deleted by rotation.
            finding = msgspec.structs.replace(finding, complete=False, why="it is being deleted")
        if finding.complete:
            self._whole[root, unit] = frozenset(files)
        self._judged[root, unit] = (print_, world, finding)
        return finding

    def _settle(self, view: View, sight: Sight, told: Told, now_s: float, *, at_rest: bool) -> None:
        settled = view.settled.setdefault(sight.root, set())
        writing = _Writing(self._pids)
        for name, finding in [*sight.units.items(), *sight.singles.items()]:
            path = os.fspath(self._places[sight.root] / name)
            known = at_rest or _is_ended(finding, path, sight, told)
            if (
                finding.complete
                and path not in told.busy
                and (known or self._stands_still(sight.root, name, path, now_s, writing))
            ):
                settled.add(name)
                view.keys[sight.root, name, self._judged[sight.root, name][0]] = finding
            elif finding.single:
                view.moving.append((sight.root, name))

    def _stands_still(
        self, root: str, name: str, path: str, now_s: float, writing: "_Writing"
    ) -> bool:
        return self._quiet[root].is_quiet(name, now_s) and not writing.reaches(path)


def _is_ended(finding: Finding, path: str, sight: Sight, told: Told) -> bool:
    """Whether its framework's mark, or the hook, says that its writer is done with it."""
    return finding.marked or told.ended.get(path) == sight.tree[finding.path]


class _Writing:
    """The files open for writing, asked of the system at most once a look, and only when it matters."""

    def __init__(self, pids: Callable[[], Iterable[int]]) -> None:
        self._pids = pids
        self._paths: Collection[str] | None = None

    def reaches(self, path: str) -> bool:
        if self._paths is None:
            self._paths = open_for_writing(self._pids())
        real = os.path.realpath(path)
        return any(
            open_path == real or open_path.startswith(f"{real}/") for open_path in self._paths
        )
