"""What a reader of a job has seen so far: pure bookkeeping, so that nothing is shown twice or left out."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import msgspec

from vaultlayer import events as ev
from vaultlayer.fold import fold
from vaultlayer.job import Job
from vaultlayer.messages import StoredEvent, StoredLog


class Happened(msgspec.Struct, frozen=True, kw_only=True):
    """One new log entry; `event` is None for a kind that this version does not know."""

    seq: int
    kind: str
    body: msgspec.Raw
    event: ev.Event | None

    @property
    def at(self) -> float:
        """When it was written, for people."""
        return self.event.at if self.event is not None else 0.0


class Printed(msgspec.Struct, frozen=True, kw_only=True):
    """New output of the script; `missing_b` bytes before it are stored nowhere."""

    attempt: int
    offset: int
    text: str
    at: float = 0.0
    missing_b: int = 0


@dataclass
class EventReader:
    """Takes pages of entries in any overlap and gives each entry once, in order."""

    seq: int = 0
    job: Job | None = None
    """The fold of all that was taken."""

    def take(self, page: Iterable[StoredEvent]) -> list[Happened]:
        """Give what is new in a page."""
        fresh: list[Happened] = []
        for stored in page:
            if stored.seq <= self.seq:
                continue
            self.seq = stored.seq
            event = ev.decode(stored.kind, bytes(stored.body))
            if event is not None:
                self.job = fold(self.job, event, stored.seq)
            fresh.append(Happened(seq=stored.seq, kind=stored.kind, body=stored.body, event=event))
        return fresh

    @property
    def is_over(self) -> bool:
        """Whether the job has its outcome."""
        return self.job is not None and bool(self.job.outcome)


@dataclass
class LogReader:
    """Takes stored chunks, perhaps doubled or overlapping, and gives each byte once."""

    seq: int = 0
    is_late: bool = False
    """The reader began in the middle on purpose: what came before is not missing."""
    _ends: dict[tuple[int, str], int] = field(default_factory=dict[tuple[int, str], int])

    def take(self, page: Iterable[StoredLog]) -> list[Printed]:
        """Give what is new in a page, in stored order."""
        fresh: list[Printed] = []
        for stored in page:
            if stored.seq <= self.seq:
                continue
            self.seq = stored.seq
            if printed := self._new_part(stored):
                fresh.append(printed)
        return fresh

    def _new_part(self, stored: StoredLog) -> Printed | None:
        """Cut off what was seen; offsets count bytes of the text's UTF-8."""
        chunk, of = stored.chunk, (stored.attempt, stored.chunk.incarnation)
        data = chunk.text.encode()
        known = self._ends.get(of, chunk.offset if self.is_late else 0)
        end = chunk.offset + len(data)
        if end <= known:
            return None
        self._ends[of] = end
        text = chunk.text
        if chunk.offset < known:
            text = data[known - chunk.offset :].decode(errors="replace")
        return Printed(
            attempt=stored.attempt,
            offset=max(known, chunk.offset),
            text=text,
            at=chunk.at,
            missing_b=max(0, chunk.offset - known),
        )


AGENT = "[vaultlayer] "
"""How lines begin that the agent puts between those of the script."""


_ECHO = re.compile(
    r"(\[vaultlayer\] )?(attempt \d+ (on|starts|goes on)\b|checkpoint \d+ .*is safe|tier [A-E]:|notice: )"
)


def is_echo(line: str) -> bool:
    """Tell whether a line of the agent's only says what the job's log says too."""
    return bool(_ECHO.match(line))


@dataclass
class Voices:
    """Tells the agent's own lines from the script's output, which is given on exactly as it was."""

    _held: str = ""
    _at_line_start: bool = True

    def feed(self, text: str) -> list[tuple[bool, str]]:
        """Give (whether it is the agent's, text): the agent's by whole lines, without mark and newline."""
        parts: list[tuple[bool, str]] = []
        for piece in re.findall(r"[^\n]*\n|[^\n]+", self._held + text):
            self._held = ""
            begins = self._at_line_start
            is_ours = begins and piece.startswith(AGENT)
            is_whole = piece.endswith("\n")
            if not is_whole and (is_ours or (begins and AGENT.startswith(piece))):
                self._held = piece
                break
            self._at_line_start = is_whole
            parts.append((True, piece.removeprefix(AGENT).rstrip()) if is_ours else (False, piece))
        return parts

    def flush(self) -> list[tuple[bool, str]]:
        """Give what was held back because it could have become a line of the agent's."""
        rest, self._held = self._held, ""
        return [(False, rest)] if rest else []


@dataclass
class Lines:
    """Cuts a stream of text into whole lines; what a carriage return overwrites is dropped."""

    _rest: str = ""

    @property
    def partial(self) -> str:
        """The line that is not ended yet, as it would stand on a screen now."""
        return self._rest.rstrip("\r")

    def feed(self, text: str) -> list[str]:
        """Give the lines that `text` completes."""
        *whole, rest = (self._rest + text).split("\n")
        bare = rest.rstrip("\r")
        self._rest = _shown(rest) + ("\r" if rest != bare else "")
        return [_shown(line) for line in whole]

    def flush(self) -> list[str]:
        """Give what is left as a line of its own."""
        rest, self._rest = self.partial, ""
        return [rest] if rest else []


def _shown(line: str) -> str:
    """Give what stands on a screen after a line's carriage returns."""
    return line.rstrip("\r").rpartition("\r")[2]


def tail(printed: Sequence[Printed], most: int) -> list[Printed]:
    """Give the last `most` lines of what was printed; the agent's own are not counted."""
    room = _tail_length("".join(one.text for one in printed), most)
    kept: list[Printed] = []
    for one in reversed(printed):
        if room <= 0:
            break
        cut = max(0, len(one.text) - room)
        room -= len(one.text)
        dropped, text = one.text[:cut], one.text[cut:]
        kept.append(
            msgspec.structs.replace(
                one,
                text=text,
                offset=one.offset + len(dropped.encode()),
                missing_b=0 if dropped else one.missing_b,
            )
        )
    kept.reverse()
    return kept


def _tail_length(text: str, most: int) -> int:
    """Count the characters of the last `most` lines; what follows the last newline is a line too."""
    lines: list[str] = re.findall(r"[^\n]*\n|[^\n]+", text)
    begin, counted = len(lines), 0
    while begin and counted < most:
        begin -= 1
        counted += not lines[begin].startswith(AGENT)
    return sum(map(len, lines[begin:]))
