"""Flags of a script that look as if they resumed it, and the `--resume-args` that would use them. Pure.

Names are those of public training scripts: the examples of Hugging Face (`--resume_from_checkpoint`) and of
PyTorch (`--resume`), Lightning (`--ckpt_path`), nanoGPT (`--init_from=resume`), detectron2 (`--resume`).
"""

import re

import msgspec

_RESUMING = re.compile(
    r"(?:auto_?)?resume(?:_?(?:from|path|file|dir|training|run|ckpt|checkpoint|model|step|epoch|state|latest|last))*\Z"
    r"|(?:restore|continue)(?:_?(?:from|path|file|dir|training|train|ckpt|checkpoint|latest|last))*\Z"
    r"|(?:load|from|start|init)_?(?:from_?)?(?:last_?|latest_?)?(?:ckpt|checkpoint)(?:_?(?:path|file|dir))?\Z"
    r"|(?:ckpt|checkpoint)(?:_?(?:path|file))?\Z"
    r"|(?:load|start|init|restart)_from\Z"
)
_RANKS = ("resume", "restore", "continue", "ckpt", "checkpoint", "load", "init", "start")
_WORD = "resume"


class Flag(msgspec.Struct, frozen=True, kw_only=True):
    """One flag as the script declares it.

    `spelling`: as it is typed, such as `--resume`. `is_switch`: it takes no value. `is_number`: it takes one.
    `choices`: what it may be, as far as the text says. `joined`: it wants `=` before its value.
    """

    spelling: str
    is_switch: bool = False
    is_number: bool = False
    choices: tuple[str, ...] = ()
    joined: bool = False

    @property
    def name(self) -> str:
        """Without dashes, in lower case."""
        return self.spelling.lstrip("-").replace("-", "_").lower()


def is_resuming(flag: Flag) -> bool:
    """Whether it looks like one that resumes."""
    return _RESUMING.match(flag.name) is not None and _use_of(flag) != ""


def suggest(flags: list[Flag]) -> str:
    """Give the value for `--resume-args` that looks best, "" when no flag looks like it."""
    found = sorted(
        (flag for flag in flags if is_resuming(flag)),
        key=lambda flag: (_rank(flag), len(flag.name)),
    )
    return _use_of(found[0]) if found else ""


def _rank(flag: Flag) -> int:
    return next((i for i, word in enumerate(_RANKS) if word in flag.name), len(_RANKS))


def _use_of(flag: Flag) -> str:
    """Spell the flag with what a restart would give it; "" when it cannot be known."""
    if flag.is_switch:
        return flag.spelling
    return f"{flag.spelling}{'=' if flag.joined else ' '}{value}" if (value := _value(flag)) else ""


def _value(flag: Flag) -> str:
    if flag.choices:
        return _WORD if _WORD in flag.choices else ""
    if flag.name in {"init_from", "start_from"}:
        # It names a model to begin with as often as a run to go on with.
        return ""
    if flag.is_number:
        return "{step}" if re.search("step|iter", flag.name) else ""
    return "{latest_dir}" if flag.name.endswith("dir") else "{latest}"
