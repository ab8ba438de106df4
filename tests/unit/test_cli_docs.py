"""docs/cli.md and docs/configuration.md say what the code says."""

import importlib.util
import re
import tomllib
from pathlib import Path

import msgspec
import pytest

from vaultlayer.job import CheckpointState, Job
from vaultlayer.lease import PROFILES
from vaultlayer.messages import JobRow, Progress
from vaultlayer.settings import Settings, parse_settings
from vaultlayer.simulated import SimulatedProvider
from vaultlayer_cli.app import GROUPS
from vaultlayer_cli.checks import Check
from vaultlayer_cli.config_file import Bucket, config_text
from vaultlayer_cli.provider_rows import ProviderRow
from vaultlayer_cli.reading import Printed

DOCS = Path(__file__).parent.parent.parent / "docs"
CLI = (DOCS / "cli.md").read_text()
CONFIGURATION = (DOCS / "configuration.md").read_text()


def test_the_generated_parts_of_the_page_are_what_the_code_says() -> None:
    spec = importlib.util.spec_from_file_location("cli_pages", DOCS / "cli_pages.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert module.render(CLI) == CLI, "run: python docs/cli_pages.py"


def json_row(*starts: str) -> set[str]:
    """The field names that the JSON table lists in the row that begins so."""
    for line in CLI.splitlines():
        if line.startswith("| " + " | ".join(starts)):
            names = re.findall(r"`([a-z_]+)(?::[^`]*)?`", line.split("|")[3])
            return set(names)
    raise AssertionError(starts)


@pytest.mark.parametrize(
    ("row", "struct", "more"),
    [
        (("`ps`",), JobRow, set[str]()),
        (("`checkpoints`",), CheckpointState, {"is_newest"}),
        (("`show`",), Job, {"status", "spent_usd"}),
        (("`run`, `watch`, `logs`",), Printed, {"type"}),
        (("`run`, `watch`", "each sign"), Progress, {"type", "attempt"}),
        (("`providers`",), ProviderRow, {"held", "missing", "unknown"}),
        (("`sim`",), SimulatedProvider, set[str]()),
    ],
)
def test_the_json_table_lists_the_fields_that_are_printed(
    row: tuple[str, ...], struct: type[msgspec.Struct], more: set[str]
) -> None:
    assert json_row(*row) == set(struct.__struct_fields__) | more


def test_the_json_table_lists_the_fields_of_a_check() -> None:
    assert json_row("`doctor`") - {"ok", "warn", "fail"} == set(Check.__struct_fields__)


def test_every_command_with_json_has_a_row() -> None:
    table = CLI.split("## JSON")[1].split("## Exit")[0]
    without = {"demo", "actor"}
    for group in GROUPS.values():
        for name in group:
            assert name in without or f"`{name}`" in table, name


def tables() -> dict[str, type[msgspec.Struct]]:
    """The configuration's tables by name, the top level as an empty name."""
    found: dict[str, type[msgspec.Struct]] = {"": Settings}
    for field in msgspec.structs.fields(Settings):
        if isinstance(field.type, type) and issubclass(field.type, msgspec.Struct):
            found[field.name] = field.type
    return found


def documented(table: str) -> dict[str, str]:
    """Field name and default, as the page has them."""
    head = f"## [{table}]" if table else "## Top level"
    part = CONFIGURATION.split(head + "\n")[1].split("\n## ")[0].split("<!--")[0]
    rows = re.findall(r"^\| `([a-z_]+)` \| [^|]* \| ([^|]*) \|", part, re.MULTILINE)
    return {name: default.strip() for name, default in rows}


@pytest.mark.parametrize("table", tables())
def test_every_field_is_documented_with_its_default(table: str) -> None:
    rows = documented(table)
    for field in msgspec.structs.fields(tables()[table]):
        if isinstance(field.type, type) and issubclass(field.type, msgspec.Struct):
            assert f"`[{field.name}]`" in CONFIGURATION
            continue
        if field.name == "providers":
            assert "`[providers.<name>]`" in CONFIGURATION
            continue
        default = (
            field.default if field.default is not msgspec.NODEFAULT else field.default_factory()
        )
        told = rows.pop(field.name)
        assert told in {f"`{msgspec.json.encode(default).decode()}`", "of the profile"}, field.name
    assert rows == {}, "documented, but not there"


def test_the_lease_profiles_are_documented() -> None:
    for name, terms in PROFILES.items():
        numbers = " | ".join(f"{getattr(terms, field):g}" for field in terms.__struct_fields__)
        assert f"| `{name}` | {numbers} |" in CONFIGURATION


def test_the_example_is_a_whole_configuration() -> None:
    example = CONFIGURATION.split("```toml\n")[1].split("```")[0]
    assert parse_settings(example, "example").allowed == ["local"]


def test_what_init_writes_can_be_read() -> None:
    assert parse_settings(config_text(), "local") == parse_settings(
        "[providers.local]\nallow = true\n", "same"
    )
    bucket = Bucket(endpoint="https://x.r2.example", bucket='odd "name"', root="a/b")
    settings = parse_settings(config_text(bucket), "bucket")
    assert (settings.store.endpoint, settings.store.bucket) == (bucket.endpoint, bucket.bucket)
    assert "key" not in tomllib.loads(config_text(bucket))["store"]
