"""Writes the generated pages of docs/: protocol, test matrix and providers, each from what the code says.

`python docs/generate.py` writes them; `tests/unit/test_docs.py` fails when they differ from the code.
"""

import inspect
import re
from importlib.metadata import entry_points
from pathlib import Path

import msgspec

from vaultlayer import events, messages, subjects
from vaultlayer.driver import Manifest
from vaultlayer.ids import Attempt, JobId
from vaultlayer.messages import actors, agents, people
from vaultlayer.simulated import simulator_names
from vaultlayer_cli.sweep.records import SMOKES, Record, newest, read

DOCS = Path(__file__).parent
JOB = JobId("j7k3mz9qta")

SAMPLES = {
    "job": JOB,
    "attempt": Attempt(2),
    "verb": "<verb>",
    "kind": "<kind>",
    "what": "<what>",
    "provider": "<provider>",
    "actor": "<actor>",
    "name": "<name>",
    "account": "<account>",
    "index": 0,
    "streams": 4,
}


def first_line(doc: str | None) -> str:
    """Give the first sentence of a docstring, on one line, safe in a table."""
    text = re.sub(r"\s+", " ", (doc or "").strip().split("\n\n")[0])
    return text.replace("|", "\\|")


def field_row(field: msgspec.structs.FieldInfo) -> str:
    """Spell one field: its name, its type, and a question mark when it may be left out."""
    kind = getattr(field.type, "__name__", None) or str(field.type)
    if not isinstance(field.type, type) or getattr(field.type, "__args__", None):
        kind = re.sub(r"\b(?:vaultlayer|msgspec|builtins)(?:\.\w+)*\.(\w+)", r"\1", str(field.type))
    return f"`{field.name}{'' if field.required else '?'}: {kind}`".replace("|", "\\|")


def struct_row(cls: type[msgspec.Struct], skip: frozenset[str] = frozenset()) -> str:
    """Spell one message as a table row."""
    fields = [field_row(f) for f in msgspec.structs.fields(cls) if f.name not in skip]
    return f"| `{cls.__name__}` | {first_line(cls.__doc__)} | {', '.join(fields) or '(none)'} |"


def subject_rows() -> list[str]:
    """Render every subject function with sample arguments, and every constant subject."""
    rows: list[str] = []
    for name, value in vars(subjects).items():
        if isinstance(value, str) and value.startswith("vl.") and name.isupper():
            rows.append(f"| `{value}` | constant `{name}` |")
        if inspect.isfunction(value) and value.__module__ == subjects.__name__:
            if name.startswith(("parse_", "stream_")):
                continue
            arguments = [SAMPLES[parameter] for parameter in inspect.signature(value).parameters]
            rows.append(f"| `{value(*arguments)}` | {first_line(value.__doc__)} |")
    return rows


def structs_of(module: object) -> list[type[msgspec.Struct]]:
    """Give the messages that a module defines, in the order of the file."""
    return [
        cls
        for cls in vars(module).values()
        if inspect.isclass(cls)
        and issubclass(cls, messages.Message)
        and cls.__module__ == getattr(module, "__name__", "")
    ]


def protocol() -> str:
    """Render docs/protocol.md."""
    common = frozenset(field.name for field in msgspec.structs.fields(events.Event))
    lines = [
        "# Protocol",
        "",
        "Written by `python docs/generate.py` from `vaultlayer/subjects.py`, `vaultlayer/messages/` and",
        "`vaultlayer/events.py`; a test fails when this page and the code differ. Bodies are JSON. A",
        f"refusal carries the header `{messages.ERROR_HEADER}: <code>` and an `ErrorBody` (`code`, `what`,",
        f"`why?`, `mend?`, `retryable?`). Protocol version {messages.PROTOCOL}, log schema {events.SCHEMA}.",
        "A published field is never reused; readers ignore fields and event types that they do not know.",
        "",
        "## Subjects",
        "",
        f"Sample job `{JOB}`, attempt 2. The fourth token is the job's slot: the first byte of SHA-256 of",
        "its id.",
        "",
        "| subject | meaning |",
        "| --- | --- |",
        *subject_rows(),
        "",
        "## Log entries",
        "",
        "Every entry carries "
        + ", ".join(f"`{name}`" for name in sorted(common))
        + "; `type` is the name",
        "below in snake case, and the last token of the subject.",
        "",
        "| entry | meaning | own fields |",
        "| --- | --- | --- |",
        *[struct_row(cls, common) for cls in events.EVENT_TYPES.values()],
    ]
    for title, module in (
        ("People and the broker", people),
        ("Agents and the broker", agents),
        ("Actors among themselves", actors),
    ):
        lines += ["", f"## {title}", "", "| message | meaning | fields |", "| --- | --- | --- |"]
        lines += [struct_row(cls) for cls in structs_of(module)]
    return "\n".join(lines) + "\n"


def smoke_cell(record: Record | None) -> str:
    """Spell one smoke job's newest result."""
    if record is None:
        return "not run"
    if not record.passed:
        return f"FAILED: {record.detail}"
    step = "" if record.resumed_step is None else f", went on from step {record.resumed_step}"
    return (
        f"passed{step}; training {record.train_s:.1f} s, wall clock {record.wall_s:.1f} s, "
        f"${record.cost_usd:.4f}, job `{record.job}`"
    )


def test_matrix() -> str:
    """Render docs/test-matrix.md from the records of sweeps."""
    found = newest(read(DOCS / "test-matrix.jsonl"))
    drivers = sorted(point.name for point in entry_points(group="vaultlayer.drivers"))
    lines = [
        "# Test matrix",
        "",
        "Written by `python docs/generate.py` from `docs/test-matrix.jsonl`, to which",
        "`vaultlayer sweep PROVIDER --record docs/test-matrix.jsonl` adds. Each cell is the newest result",
        "of one smoke job, run through the ordinary product. *Simulated*: the provider's address was that of",
        "a simulator on the same machine, whose instances run the real bootstrap and agent. *Live*: the",
        "provider itself.",
        "",
        "| provider | smoke job | simulated | live |",
        "| --- | --- | --- | --- |",
    ]
    for name in drivers:
        live = "local" if name == "local" else "live"
        for smoke in SMOKES:
            simulated = (
                "-" if name == "local" else smoke_cell(found.get((name, "simulated", smoke)))
            )
            real = smoke_cell(found.get((name, live, smoke)))
            lines.append(f"| {name} | {smoke} | {simulated} | {real} |")
    return "\n".join(lines) + "\n"


PROVIDERS = """\
# Providers

Written by `python docs/generate.py` from the drivers' own manifests; a test fails when they differ.

```console
$ vaultlayer providers                  # what is allowed, keyed, left to spend, validated
$ vaultlayer providers allow vast       # one line of the configuration
$ vaultlayer providers key vast         # hands the key to the vault, sealed; it never leaves the broker
$ vaultlayer providers check vast       # key, rights, balance, clock and offers, asked of the provider itself
$ vaultlayer sweep vast --budget 5      # smoke jobs, end to end
$ vaultlayer sim up vast                # the same provider simulated on this machine, for nothing
```

Records of sweeps: [test-matrix.md](test-matrix.md). A provider that is missing here can be a package of
somebody's own: [writing-a-driver.md](writing-a-driver.md).

*Notice*: how long before it is taken a machine is told. *Same order twice*: whether the provider itself
keeps a repeated create from making a second machine; elsewhere we look by name first. *Seen after*: how
long a listing may lag behind a create. *Stopped machines*: whether one that is halted stays, and is billed
for its disk.
"""


HEADS = (
    "provider",
    "",
    "unit",
    "kinds",
    "notice",
    "billed by",
    "same order twice",
    "seen after",
    "stopped machines",
    "drills",
    "simulator",
)


def seconds(value: float) -> str:
    """Spell seconds, nothing for none."""
    return f"{value:g} s" if value else "-"


def manifest_row(manifest: Manifest, *, is_simulated: bool) -> str:
    """Spell one provider as a table row."""
    cells = [
        f"`{manifest.name}`",
        manifest.title,
        manifest.unit or "-",
        "on demand, spot" if manifest.can_spot else "on demand",
        seconds(manifest.notice_s),
        seconds(manifest.billing_step_s),
        "one machine" if manifest.idempotent else "looked up by name",
        seconds(manifest.visibility_s),
        "stay" if manifest.can_stop else "-",
        ", ".join(manifest.drills) or "-",
        "yes" if is_simulated else "-",
    ]
    return f"| {' | '.join(cells)} |"


def provider_text(manifest: Manifest, module: str) -> list[str]:
    """Tell of one provider what the table has no room for."""
    keys = [f"`{name}`: {told}" for name, told in manifest.keys.items()]
    package = module.split(":", maxsplit=1)[0]
    readme = DOCS.parent / "actors" / package.replace(".", "/") / "README.md"
    lines = ["", f"## {manifest.title or manifest.name}", ""]
    lines += [f"Key: {'; '.join(keys)}." if keys else "It needs no key.", ""]
    if manifest.unverified:
        lines += [f"Nobody could check yet: {'; '.join(manifest.unverified)}.", ""]
    if readme.exists():
        lines += [
            f"Options, traps and sources: [README](../{readme.relative_to(DOCS.parent)}).",
            "",
        ]
    return lines[:-1]


def providers() -> str:
    """Render docs/providers.md."""
    points = sorted(entry_points(group="vaultlayer.drivers"), key=lambda point: point.name)
    ours = [point for point in points if point.value.startswith("vaultlayer_actors.")]
    manifests = [(point.load().manifest, point.value) for point in ours]
    lines = [
        PROVIDERS,
        f"| {' | '.join(HEADS)} |",
        f"|{' --- |' * len(HEADS)}",
    ]
    lines += [manifest_row(m, is_simulated=m.name in simulator_names()) for m, _ in manifests]
    for manifest, module in manifests:
        lines += provider_text(manifest, module)
    return "\n".join(lines) + "\n"


PAGES = {"protocol.md": protocol, "test-matrix.md": test_matrix, "providers.md": providers}


def main() -> None:
    """Write every generated page."""
    for name, render in PAGES.items():
        (DOCS / name).write_text(render())


if __name__ == "__main__":
    main()
