"""How far the script is: read from its output, or better, told by the hook inside it."""

import re
from collections import deque

import anyio
import msgspec

LINE_MAX = 2000
"""A longer line is no progress line."""

RATE_WINDOW_S = 30.0

_NUMBER = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?|nan|inf"
_STEP = re.compile(
    r"(?<![\w.])(?:global[_ ]step|optimizer[_ ]step|step|iter(?:ation)?|update)s?\b\s*[:=#]?\s*\[?\s*(\d+)"
    r"(?:\s*(?:/|of)\s*(\d+))?",
    re.IGNORECASE,
)
_LOSS = re.compile(
    rf"(?<![\w.])(?:train(?:ing)?[_/ ])?loss\b['\"]?\s*[:=]?\s*({_NUMBER})", re.IGNORECASE
)
_BAR = re.compile(
    r"^(?P<label>[^|]*?):?\s*\d{1,3}%\|[^|]*\|\s*(?P<step>\d+)/(?P<steps>\d+)\s*\[(?P<rest>.*)"
)
_EPOCH = re.compile(r"^epoch\s+(\d+)", re.IGNORECASE)
_SLASHED = re.compile(r"^\W*(\d+)\s*/\s*(\d+)\b.*\bloss\b", re.IGNORECASE)
_DICT = re.compile(r"\{.*\}")
_FOREIGN_BARS = re.compile(
    r"map|filter|download|load|generat|token|fetch|casting|concat|pack|sanity|valid|eval|test|predict|adding|truncat|extract|upload|saving",
    re.IGNORECASE,
)


class Reading(msgspec.Struct, frozen=True, kw_only=True):
    """What one line tells; None where it tells nothing."""

    step: int | None = None
    steps: int | None = None
    loss: float | None = None


def read_line(line: str) -> Reading | None:
    """Read one line of output, without its end; None when it is no progress line.

    Known: dictionaries as the HF Trainer and JSON loggers print them, tqdm bars (those of data loading
    and evaluation are passed over), Lightning's bars, and prose such as `step 12/100 loss 3.4`.
    """
    text = line.strip()
    if not text or len(text) > LINE_MAX:
        return None
    if bar := _BAR.match(text):
        return _read_bar(bar)
    if (found := _DICT.search(text)) and (reading := _read_dict(found[0])):
        return reading
    return _read_prose(text)


def _read_bar(bar: re.Match[str]) -> Reading | None:
    label, rest = bar["label"], bar["rest"]
    if _FOREIGN_BARS.search(label):
        return None
    step, steps = int(bar["step"]), int(bar["steps"])
    loss = _LOSS.search(rest)
    if (epoch := _EPOCH.match(label)) and steps:
        return Reading(step=int(epoch[1]) * steps + step, loss=_number(loss))
    return Reading(step=step, steps=steps or None, loss=_number(loss))


def _read_dict(text: str) -> Reading | None:
    """Read `{'loss': 3.4, 'step': 12}`, in Python's or JSON's spelling."""
    try:
        fields = msgspec.json.decode(text.replace("'", '"'), type=dict[str, object])
    except msgspec.MsgspecError:
        return None
    step = _first(fields, "step", "global_step", "iter", "iteration", "train/global_step")
    loss = _first(fields, "loss", "train_loss", "train/loss", "training_loss")
    if step is None and loss is None:
        return None
    steps = _first(fields, "max_steps", "total_steps")
    return Reading(
        step=int(step) if step is not None else None,
        steps=int(steps) if steps is not None else None,
        loss=loss,
    )


def _first(fields: "dict[str, object]", *names: str) -> float | None:
    for name in names:
        value = fields.get(name)
        if isinstance(value, str):
            try:
                value = float(value)
            except ValueError:
                continue
        if isinstance(value, int | float) and not isinstance(value, bool):
            return value
    return None


def _read_prose(text: str) -> Reading | None:
    loss = _LOSS.search(text)
    if step := _STEP.search(text):
        return Reading(
            step=int(step[1]), steps=int(step[2]) if step[2] else None, loss=_number(loss)
        )
    if slashed := _SLASHED.match(text):
        return Reading(step=int(slashed[1]), steps=int(slashed[2]), loss=_number(loss))
    return Reading(loss=_number(loss)) if loss else None


def _number(found: re.Match[str] | None) -> float | None:
    return float(found[1]) if found else None


class Snapshot(msgspec.Struct, frozen=True, kw_only=True):
    """Where the script is now."""

    step: int | None = None
    steps: int | None = None
    loss: float | None = None
    rate: float | None = None
    """Steps a second over the last half minute."""


class Tracker:
    """Gathers readings; once the hook speaks of steps, the output is asked for nothing but the loss."""

    def __init__(self, *, resumed_step: int | None = None) -> None:
        self.resumed_step = resumed_step
        """Where the attempt resumed, once that is known."""
        self._is_hooked = False
        self._is_told = False
        self._tail = ""
        self._history: deque[tuple[float, int]] = deque()
        self._stepped = anyio.Event()
        self.now = Snapshot()
        self.made: int | None = None
        """Optimizer steps as the ghost counts them, the numbers by which its snapshots go."""
        self.first_step: int | None = None
        """The first optimizer step made in this attempt."""

    def feed(self, text: str, now_s: float) -> bool:
        """Take output as it comes; whether anything is new."""
        *lines, self._tail = re.split(r"[\r\n]+", self._tail + text)
        if len(self._tail) > LINE_MAX:
            self._tail = ""
        is_new = False
        # Only the newest lines can matter; a burst of thousands must not stall the beats.
        for line in [*lines, self._bar_in_tail()][-200:]:
            if reading := read_line(line):
                is_new = self.read(reading, now_s) or is_new
        return is_new

    def _bar_in_tail(self) -> str:
        """A bar ends in no newline until it is redrawn, so it is read as it stands."""
        return self._tail if "%|" in self._tail and self._tail.rstrip().endswith("]") else ""

    def read(self, reading: Reading, now_s: float, *, hooked: bool = False) -> bool:
        """Take one reading; whether it changes anything."""
        before = self.now
        self._is_hooked = self._is_hooked or (hooked and reading.step is not None)
        step, steps = reading.step, reading.steps
        if self._is_hooked and not hooked:
            step, steps = None, None
        if step is not None and not self._is_told:
            self._is_told = True
            self._history.clear()
        self.now = Snapshot(
            step=before.step if step is None else step,
            steps=before.steps if steps is None else steps,
            loss=before.loss if reading.loss is None else reading.loss,
            rate=self._rate(step, now_s) if step is not None else before.rate,
        )
        self._note_first(step)
        return self.now != before

    @property
    def step(self) -> int | None:
        """The step for the log: by the ghost's count where there is one, else as it is shown."""
        return self.now.step if self.made is None else self.made

    def begin(self, resumed_step: int | None) -> None:
        """The script is started, to go on from a step."""
        self.resumed_step, self.made = resumed_step, None

    def count(self, made: int, now_s: float) -> None:
        """Take the ghost's count of the steps made; shown only of a script whose output tells none."""
        if self.made is not None and made <= self.made:
            return
        self.made = made
        self._note_first(made)
        if not self._is_told:
            rate = self._rate(made, now_s)
            self.now = msgspec.structs.replace(self.now, step=made, rate=rate)

    def uncount(self) -> None:
        """The ghost counts no more."""
        self.made = None

    def _note_first(self, step: int | None) -> None:
        """Note a step that is new: a bar, and a Trainer that goes live, begin with the resumed one."""
        if self.first_step is None and step and step != self.resumed_step:
            self.first_step = step
            self._stepped.set()

    async def wait_first_step(self) -> int:
        """Wait until an optimizer step was made in this attempt; give its number."""
        await self._stepped.wait()
        assert self.first_step is not None
        return self.first_step

    def _rate(self, step: int, now_s: float) -> float | None:
        history = self._history
        if history and step < history[-1][1]:
            history.clear()
        if not history or step != history[-1][1]:
            history.append((now_s, step))
        while len(history) > 2 and now_s - history[0][0] > RATE_WINDOW_S:
            history.popleft()
        (then_s, then), (last_s, last) = history[0], history[-1]
        return (last - then) / (last_s - then_s) if last_s > then_s else None
