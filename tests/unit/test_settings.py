"""A broken configuration names its line and its field, and the nearest field that there is."""

from pathlib import Path

import pytest

from vaultlayer.errors import ConfigError, NotInitialisedError
from vaultlayer.settings import load_settings, parse_settings
from vaultlayer_actors.drivers import check_options

GOOD = """\
version = 1

[bus]
urls = ["nats://bus.example:4222"]

[lease]
profile = "default"

[providers.local]
allow = true
slots = 2
"""


@pytest.mark.parametrize(
    ("old", "new", "line", "field"),
    [
        ("version = 1", "version = 2", 1, "version"),
        ("version = 1", 'version = "1"', 1, "version"),
        ("urls =", "url =", 4, "bus.url"),
        ("nats://bus.example:4222", "bus.example:4222", 4, "bus.urls"),
        ("nats://bus.example:4222", "http://user:hunter2@bus", 4, "bus.urls"),
        ("profile =", "profil =", 7, "lease.profil"),
        ('profile = "default"', "beat_s = 0", 7, "lease.beat_s"),
        ("allow = true", 'allow = "yes"', 10, "providers.local.allow"),
        ("[lease]", "[run]\nkeep_last = 0\n[lease]", 7, "run.keep_last"),
        ("[lease]", '[store]\nendpoint = "s3.example"\n[lease]', 7, "store.endpoint"),
    ],
)
def test_a_fault_names_its_line_and_field(old: str, new: str, line: int, field: str) -> None:
    assert old in GOOD
    with pytest.raises(ConfigError) as caught:
        parse_settings(GOOD.replace(old, new), "config.toml")
    assert caught.value.what == f"config.toml, line {line}: {field} cannot be used"
    assert "hunter2" not in str(caught.value)


def test_a_misspelt_field_is_told_the_nearest() -> None:
    with pytest.raises(ConfigError) as caught:
        parse_settings(GOOD.replace("profile =", "profil ="), "config.toml")
    assert (caught.value.mend or "").startswith("profile is the nearest known field")


def test_what_is_no_toml_names_its_line() -> None:
    with pytest.raises(ConfigError) as caught:
        parse_settings(GOOD.replace("[lease]", "[lease"), "config.toml")
    assert "line 6" in (caught.value.why or "")


def test_lease_numbers_that_contradict_one_another_name_the_table() -> None:
    with pytest.raises(ConfigError) as caught:
        parse_settings(GOOD.replace('profile = "default"', "broker_s = 1.0"), "config.toml")
    assert caught.value.what.startswith("config.toml, line 6: [lease]")


def test_a_missing_or_unreadable_file_says_so(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    with pytest.raises(NotInitialisedError):
        load_settings(path)
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match="UTF-8"):
        load_settings(path)


@pytest.mark.parametrize(
    ("new", "line", "field"),
    [("slot = 2", 11, "slot"), ("slots = 0", 11, "slots"), ('slots = "2"', 11, "slots")],
)
def test_a_fault_in_a_drivers_own_table_names_its_line(
    tmp_path: Path, new: str, line: int, field: str
) -> None:
    path = tmp_path / "config.toml"
    path.write_text(GOOD.replace("slots = 2", new))
    with pytest.raises(ConfigError) as caught:
        check_options(load_settings(path), path)
    assert f"line {line}: providers.local.{field} cannot be used" in caught.value.what


def test_a_table_that_its_driver_understands_passes(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text(GOOD)
    check_options(load_settings(path), path)
    path.write_text(GOOD.replace("[providers.local]", "[providers.nowhere]"))
    with pytest.raises(ConfigError, match="no driver is called 'nowhere'"):
        check_options(load_settings(path), path)
