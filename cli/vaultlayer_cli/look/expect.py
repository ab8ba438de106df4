"""The tier that a script is expected to resume by, from the facts of its text. Pure.

In doubt nothing is said. What is said is "expected": the tier itself is found at run time.
"""

from collections.abc import Callable

import msgspec

from vaultlayer_cli.look.facts import Facts
from vaultlayer_cli.look.flags import suggest

TOLD = frozenset("DE")
"""Tiers of which a person is told before anything is spent."""


class Choice(msgspec.Struct, frozen=True, kw_only=True):
    """What the job allows.

    `hooks`: they are wanted, and this interpreter will find them. `no_ghost`: what rules snapshots out, ""
    for nothing. `resume_args`: the job has resume arguments.
    """

    hooks: bool = True
    no_ghost: str = ""
    resume_args: bool = False


class Expected(msgspec.Struct, frozen=True, kw_only=True):
    """What is expected of one script.

    `tier`: A to E, "" when the text does not say. `why`: what it means, for people.
    `resume_args`: a line for `--resume-args` that looks right and is not given.
    """

    tier: str = ""
    why: str = ""
    resume_args: str = ""

    @property
    def lines(self) -> list[str]:
        """What a person is told before anything is spent; nothing of what is well, or not known."""
        if self.tier not in TOLD:
            return []
        told = [f"expected tier {self.tier}: {self.why}"]
        if self.resume_args:
            told.append(f"it has a flag that looks right: --resume-args '{self.resume_args}'")
        return told


def expect(facts: Facts, choice: Choice) -> Expected:
    """Give what is expected."""
    tier, why = next(filter(None, (rule(facts, choice) for rule in _RULES)), ("", ""))
    fits = "" if choice.resume_args or tier == "A" else suggest(facts.flags)
    return Expected(tier=tier, why=why, resume_args=fits)


Verdict = tuple[str, str] | None


def _is_recorded(facts: Facts, choice: Choice) -> bool:
    trains = facts.steps and ("torch" in facts.frameworks or _wraps_torch(facts))
    return choice.hooks and not choice.no_ghost and trains and not facts.spawns


def _wraps_torch(facts: Facts) -> bool:
    return bool({"lightning", "accelerate", "hf", "keras-torch"} & facts.frameworks)


def _trainer(facts: Facts, choice: Choice) -> Verdict:
    if "hf" not in facts.frameworks or not choice.hooks:
        return None
    settings = facts.settings
    never = settings.get("save_strategy") == "no"
    partly = [
        name for name in ("save_only_model", "ignore_data_skip") if settings.get(name) == "True"
    ]
    if not (never or partly or facts.online):
        return "A", "HF Trainer: goes on from its last checkpoint, at the exact step"
    if _is_recorded(facts, choice):
        return None
    if never:
        return "E", "HF Trainer with save_strategy=no and no snapshots: it starts from zero again"
    return "C", "HF Trainer: goes on from its last checkpoint, but not exactly"


def _ghost(facts: Facts, choice: Choice) -> Verdict:
    on_other = "keras" in facts.frameworks and "keras-torch" not in facts.frameworks
    if on_other or not _is_recorded(facts, choice):
        return None
    return "B", "PyTorch: goes on at the exact step, by replay"


def _hooked(facts: Facts, choice: Choice) -> Verdict:
    found = [name for name in ("lightning", "keras") if name in facts.frameworks]
    if not found or not choice.hooks or not facts.steps:
        return None
    return "C", f"{found[0].capitalize()}: goes on from its last checkpoint, not exactly"


def _by_itself(facts: Facts, choice: Choice) -> Verdict:
    saves = facts.saves == "loop" or "hf" in facts.frameworks
    if not saves or not (facts.reloads or choice.resume_args or _resumes_trainer(facts)):
        return None
    return "C", "goes on from its own last save, as exactly as it saves"


def _resumes_trainer(facts: Facts) -> bool:
    given = facts.settings.get("resume_from_checkpoint", "")
    return "hf" in facts.frameworks and given not in {"", "None", "False"}


def _files(facts: Facts, choice: Choice) -> Verdict:
    if facts.saves != "loop" and "hf" not in facts.frameworks:
        return None
    how = "HF Trainer" if "hf" in facts.frameworks else facts.saver
    return "D", (
        f"it saves ({how}), but nothing reads that again: after an interruption its files are safe "
        f"and it starts from zero{_because(facts, choice)}"
    )


def _nothing(facts: Facts, choice: Choice) -> Verdict:
    if facts.strange or not facts.frameworks:
        return None
    at_end = " before its end" if facts.saves == "end" else ""
    return "E", (
        f"it saves nothing{at_end} that a restart could use: after an interruption it starts from zero"
        f"{_because(facts, choice)}"
    )


def _because(facts: Facts, choice: Choice) -> str:
    """Say what keeps a PyTorch script from being recorded."""
    if not {"torch", "lightning", "accelerate"} & facts.frameworks:
        return ""
    if not choice.hooks:
        return " (the hooks are off)"
    if choice.no_ghost:
        return f" ({choice.no_ghost})"
    if facts.spawns:
        return " (training in children that the script starts itself is not recorded)"
    return " (no optimizer step or backward pass is seen in it)"


_RULES: tuple[Callable[[Facts, Choice], Verdict], ...] = (
    _trainer,
    _ghost,
    _hooked,
    _by_itself,
    _files,
    _nothing,
)
