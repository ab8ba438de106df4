"""Allowing and banning by one line, and keys on their way to the vault."""

from pathlib import Path

import msgspec
import pytest

from vaultlayer.driver import Manifest
from vaultlayer.errors import ConfigError, EnvError, FlagError, NotInitialisedError
from vaultlayer.settings import Home, parse_settings
from vaultlayer_cli.config_edit import set_allow, with_allow
from vaultlayer_cli.provider_keys import fields_of, read_values
from vaultlayer_cli.providers import known_driver

TEXT = """\
# mine
version = 1

[providers.local]   # this machine
slots = 2
allow = true  # for now

[providers."vast"]
# a market
disk_gb = 40

[lease]
profile = "default"
"""


def changed_lines(old: str, new: str) -> list[str]:
    return [line for line in new.splitlines() if line not in old.splitlines()]


def test_banning_changes_one_line_and_keeps_its_comment() -> None:
    new = with_allow(TEXT, "local", allow=False)
    assert changed_lines(TEXT, new) == ["allow = false  # for now"]
    assert len(new.splitlines()) == len(TEXT.splitlines())


def test_a_table_without_the_line_gets_it_below_its_head() -> None:
    new = with_allow(TEXT, "vast", allow=True)
    assert parse_settings(new, "f").providers["vast"] == {"allow": True, "disk_gb": 40}
    assert new.replace("allow = true\n# a market", "# a market") == TEXT


def test_a_provider_without_a_table_gets_one_at_the_end() -> None:
    new = with_allow(TEXT, "aws", allow=True)
    assert new.startswith(TEXT)
    assert parse_settings(new, "f").allowed == ["local", "aws"]


def test_the_line_of_another_table_is_never_touched() -> None:
    text = TEXT.replace("[lease]", "[providers.lambda]\nallow = true\n[lease]")
    settings = parse_settings(with_allow(text, "vast", allow=False), "f")
    assert settings.providers["lambda"]["allow"] is True
    assert settings.providers["vast"]["allow"] is False


def home_with(path: Path, text: str | None) -> Home:
    home = Home(config=path, state=path)
    if text is not None:
        home.config_file.write_text(text)
    return home


def test_nothing_is_written_when_nothing_changes(tmp_path: Path) -> None:
    home = home_with(tmp_path, TEXT)
    before = home.config_file.stat().st_mtime_ns
    assert not set_allow(home, "local", allow=True)
    assert not set_allow(home, "aws", allow=False)
    assert home.config_file.stat().st_mtime_ns == before
    assert set_allow(home, "local", allow=False)
    assert "allow = false  # for now" in home.config_file.read_text()


def test_a_file_that_cannot_be_changed_line_by_line_is_left_as_it_was(tmp_path: Path) -> None:
    text = "version = 1\nproviders = { local = { allow = true } }\n"
    home = home_with(tmp_path, text)
    with pytest.raises(ConfigError):
        set_allow(home, "local", allow=False)
    assert home.config_file.read_text() == text
    with pytest.raises(NotInitialisedError):
        set_allow(home_with(tmp_path / "none", None), "local", allow=True)


def test_one_field_takes_the_text_as_it_is() -> None:
    assert fields_of("  abc\n", ["api_key"], "vast") == {"api_key": "abc"}
    with pytest.raises(EnvError):
        fields_of(" \n", ["api_key"], "vast")


def test_several_fields_are_an_object_with_just_these_names() -> None:
    fields = ["access_key", "secret_key"]
    good = {"access_key": "a", "secret_key": "s3cr3t"}
    assert fields_of(msgspec.json.encode(good).decode(), fields, "aws") == good
    for bad in ('{"access_key": "s3cr3t"}', '{"access_key": 1, "secret_key": "s3cr3t"}', "s3cr3t"):
        with pytest.raises(EnvError) as caught:
            fields_of(bad, fields, "aws")
        assert "s3cr3t" not in f"{caught.value}{caught.value.__cause__}{caught.value.mend}"


def test_who_needs_no_key_is_asked_for_none() -> None:
    class Kind:
        manifest = Manifest(name="local")
        options = msgspec.Struct

        def build(self, context: object) -> object:
            raise AssertionError(context)

    with pytest.raises(FlagError):
        read_values(Kind(), None)  # type: ignore[arg-type]


def test_a_name_that_no_driver_has_is_told_the_nearest() -> None:
    with pytest.raises(FlagError) as caught:
        known_driver("locl")
    assert "local" in (caught.value.mend or "")
