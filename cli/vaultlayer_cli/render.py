"""How a job's life is shown as it happens: lines for people, objects for programs."""

import os
import sys
import time

import msgspec

from vaultlayer import events as ev
from vaultlayer.job import Job, spent_usd
from vaultlayer.messages import Progress
from vaultlayer_cli.events_text import QUIET, event_text, style_of
from vaultlayer_cli.reading import Happened, Printed, Voices, is_echo
from vaultlayer_cli.terminal import has_colour, paint, print_json, say
from vaultlayer_cli.units import duration_text, size_text, usd_text


class JsonView:
    """One object a line on stdout; `type` is the entry's kind, `output`, `progress` or `notice`."""

    def happened(self, entry: Happened) -> None:
        """One log entry."""
        print_json(entry_object(entry))

    def printed(self, output: Printed) -> None:
        """Output of the script."""
        print_json({"type": "output", **msgspec.to_builtins(output)})

    def progressed(self, attempt: int, progress: Progress) -> None:
        """Where the script is just now."""
        fields = {name: getattr(progress, name) for name in progress.__struct_fields__}
        print_json({"type": "progress", "attempt": attempt, **fields})

    def told(self, text: str) -> None:
        """Something about the connection."""
        print_json({"type": "notice", "text": text})


def entry_object(entry: Happened) -> dict[str, object]:
    """Give a log entry as `events --json` prints it; the sealed environment is left out."""
    body = msgspec.json.decode(entry.body, type=dict[str, object])
    spec = body.get("spec")
    if isinstance(spec, dict):
        body["spec"] = {name: value for name, value in spec.items() if name != "env_sealed"}  # pyright: ignore[reportUnknownVariableType]
    head: dict[str, object] = {"seq": entry.seq, "type": entry.kind, "at": 0.0, "attempt": 0}
    return {**head, **body}


class PlainView:
    """The script's output on stdout exactly as it was; what we say, line by line on stderr."""

    def __init__(self) -> None:
        self._voices: dict[int, Voices] = {}
        self._since = 0.0
        self._is_mid_line = False
        self._is_shared = _is_same_file(1, 2)

    def happened(self, entry: Happened) -> None:
        """One log entry."""
        if isinstance(entry.event, ev.Submitted):
            self._since = entry.at
        if entry.kind in QUIET:
            return
        self._line(entry_text(entry, self._since), style_of(entry.event) if entry.event else "")

    def printed(self, output: Printed) -> None:
        """Output of the script."""
        if output.missing_b:
            self.told(missing_text(output))
        voices = self._voices.setdefault(output.attempt, Voices())
        for is_agent, text in voices.feed(output.text):
            if not is_agent:
                self._write(text)
            elif not is_echo(text):
                self._line(agent_text(text), "dim")

    def close(self) -> None:
        """Show what was held back."""
        for voices in self._voices.values():
            for _, text in voices.flush():
                self._write(text)

    def progressed(self, attempt: int, progress: Progress) -> None:
        """Nothing: lines that stay are no place for what changes by the second."""

    def told(self, text: str) -> None:
        """Something about the connection."""
        self._line(text, "yellow")

    def _write(self, text: str) -> None:
        sys.stdout.write(text)
        sys.stdout.flush()
        self._is_mid_line = not text.endswith("\n")

    def _line(self, text: str, style: str) -> None:
        if self._is_mid_line and self._is_shared:
            sys.stdout.write("\n")
            sys.stdout.flush()
            self._is_mid_line = False
        say(paint(text, style, colour=has_colour(sys.stderr)))


def _is_same_file(one: int, other: int) -> bool:
    try:
        return os.path.sameopenfile(one, other)
    except OSError:
        return False


def entry_text(entry: Happened, since: float) -> str:
    """Give an entry's line with its time since the job was submitted."""
    text = event_text(entry.event) if entry.event else entry.kind.replace("_", " ")
    return f"{elapsed_text(entry.at, since):>7}  {text}"


def agent_text(text: str) -> str:
    """Give a line of the agent's, in line with those of the log."""
    return f"{'':>7}  {text}"


def elapsed_text(at: float, since: float) -> str:
    """Give `+13.2s` since the job's beginning."""
    if not since or not at:
        return ""
    seconds = max(0.0, at - since)
    return f"+{seconds:.1f}s" if seconds < 60 else f"+{duration_text(seconds)}"


def missing_text(output: Printed) -> str:
    """Say that output is stored nowhere."""
    return f"{size_text(output.missing_b)} of output of attempt {output.attempt} are not stored"


def summary_text(job: Job, now_s: float) -> str:
    """Give the last line about a job that is over: how, how long, how many, how much."""
    parts = [
        counted(job.attempt_count, "attempt"),
        counted(job.checkpoint_count, "checkpoint"),
        usd_text(spent_usd(job, now_s)),
    ]
    took = duration_text((job.finished_at or now_s) - job.submitted_at)
    return f"{job.job} {job.status} after {took}: {', '.join(parts)}"


def counted(count: int, noun: str) -> str:
    """Give `1 attempt` or `3 attempts`."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def farewell(job: Job) -> list[str]:
    """Give what a person should know after the end, and do next."""
    lines = [summary_text(job, time.time())]
    billing = [a for a in job.attempts.values() if a.created_at and not a.gone_at]
    if any(a.price_usd_h for a in billing):
        lines.append(f"{counted(len(billing), 'machine')} may still be billing until seen gone")
    if job.head is not None:
        lines.append(f"outputs: vaultlayer pull {job.job}")
    return lines
