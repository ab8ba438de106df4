"""Whether a file has stopped changing: its size and time stand still, and none of our processes writes it."""

import os
from collections.abc import Iterable
from pathlib import Path

from vaultlayer_agent.capture.tree import Tree, changed

PROC = Path("/proc")
WRITABLE = 0o200


class Quiet:
    """Remembers when each name was last seen to differ from the look before.

    Args:
        quiet_s: how long a file must stand still.
    """

    def __init__(self, quiet_s: float) -> None:
        self._quiet_s = quiet_s
        self._changed_s: dict[str, float] = {}
        self._before: Tree | None = None

    def observe(self, tree: Tree, now_s: float) -> set[str]:
        """Take the next look; give the names that changed since the last one.

        The first look is the base: what it shows is taken to have been there.
        """
        moved = changed(self._before, tree) if self._before is not None else set[str]()
        self._before = tree
        self._changed_s = {
            name: at_s for name, at_s in self._changed_s.items() if now_s - at_s < self._quiet_s
        }
        self._changed_s.update(dict.fromkeys(moved, now_s))
        return moved

    def settle(self) -> None:
        """Nobody writes any more: all that has moved stands still."""
        self._changed_s.clear()

    def is_quiet(self, name: str, now_s: float) -> bool:
        """Whether the name, or all that lies below it, has stood still long enough."""
        below = f"{name}/"
        return not any(
            now_s - at_s < self._quiet_s
            for moved, at_s in self._changed_s.items()
            if moved == name or moved.startswith(below)
        )


def find_descendants(pid: int) -> set[int]:
    """Give the processes that stem from a process, itself not among them; none where there is no /proc."""
    found: set[int] = set()
    waiting = [pid]
    while waiting:
        tasks = PROC / str(waiting.pop()) / "task"
        for child in _children(tasks):
            if child not in found:
                found.add(child)
                waiting.append(child)
    return found


def _children(tasks: Path) -> list[int]:
    children: list[int] = []
    try:
        for task in tasks.iterdir():
            children += [int(word) for word in (task / "children").read_text().split()]
    except OSError:
        return children
    return children


def open_for_writing(pids: Iterable[int]) -> set[str]:
    """Give the real paths of the files that these processes have open for writing."""
    paths: set[str] = set()
    for pid in pids:
        try:
            with os.scandir(PROC / str(pid) / "fd") as descriptors:
                for descriptor in descriptors:
                    # The link's own mode shows how the file was opened.
                    if descriptor.stat(follow_symlinks=False).st_mode & WRITABLE:
                        paths.add(str(Path(descriptor.path).readlink()))
        except OSError:
            continue
    return paths
