"""Bus credentials: the file, its mode, and that nothing leaks."""

import stat
from pathlib import Path

import pytest

from vaultlayer.bus.credential import (
    BusCredential,
    format_credential,
    parse_credential,
    read_credential,
    write_credential,
)
from vaultlayer.errors import ConfigError

CREDENTIAL = BusCredential(jwt="eyJ0.eyJq.c2ln-_", seed="SUAFAKESEED")


def test_a_credential_survives_its_file(tmp_path: Path) -> None:
    path = tmp_path / "creds" / "broker.creds"
    write_credential(path, CREDENTIAL)
    write_credential(path, CREDENTIAL)
    assert read_credential(path) == CREDENTIAL
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert [p.name for p in path.parent.iterdir()] == ["broker.creds"]


def test_a_file_of_nats_own_tools_is_read() -> None:
    text = (
        "-----BEGIN NATS USER JWT-----\r\neyJ0.eyJq.c2ln\r\n------END NATS USER JWT------\r\n\r\n"
        "************************* IMPORTANT *************************\r\n"
        "-----BEGIN USER NKEY SEED-----\r\nSUABC\r\n------END USER NKEY SEED------\r\n"
    )
    assert parse_credential(text) == BusCredential(jwt="eyJ0.eyJq.c2ln", seed="SUABC")


@pytest.mark.parametrize("part", ["JWT", "SEED"])
def test_half_a_credential_is_refused(tmp_path: Path, part: str) -> None:
    path = tmp_path / "half.creds"
    path.write_text(format_credential(CREDENTIAL).replace(part, "OTHER"))
    with pytest.raises(ConfigError) as caught:
        read_credential(path)
    assert CREDENTIAL.jwt not in str(caught.value)


def test_a_missing_file_says_how_to_get_one(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="vaultlayer init"):
        read_credential(tmp_path / "none.creds")


def test_a_printed_credential_shows_no_secret() -> None:
    shown = f"{CREDENTIAL} {CREDENTIAL!r} {[CREDENTIAL]}"
    assert CREDENTIAL.jwt not in shown
    assert CREDENTIAL.seed not in shown
