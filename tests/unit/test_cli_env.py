"""The script's environment, as a person gives it."""

from pathlib import Path

import pytest

from vaultlayer.errors import EnvError
from vaultlayer_cli.environment import (
    gather_env,
    host_part,
    parse_env_text,
    parse_item,
    read_env_file,
)


@pytest.mark.parametrize(
    ("line", "value"),
    [
        ("K=v", "v"),
        ("export K=v", "v"),
        ("K = v", "v"),
        ("K=", ""),
        ("K=a b  ", "a b"),
        ("K=a # remark", "a"),
        ("K=a#b", "a#b"),
        ("K=#b", ""),
        ("K='a # b'", "a # b"),
        ('K="a # b" # c', "a # b"),
        (r"K='a\nb'", r"a\nb"),
        (r'K="a\nb"', "a\nb"),
        (r'K="say \"x\" \$5 \\"', 'say "x" $5 \\'),
        ('K="two\nlines"', "two\nlines"),
        ("K=a=b", "a=b"),
        ("K=https://x/?a=1&b=2", "https://x/?a=1&b=2"),
    ],
)
def test_a_dotenv_line_is_read_as_other_tools_read_it(line: str, value: str) -> None:
    assert parse_env_text(line, "f") == {"K": value}


def test_comments_blanks_and_crlf_are_no_lines() -> None:
    assert parse_env_text("# a\n\n  # b\r\nK=1\r\nL=2\n", "f") == {"K": "1", "L": "2"}


@pytest.mark.parametrize(
    ("text", "line"),
    [("A=1\nhello\n", 2), ("A='x\n", 1), ('A="1" 2\n', 1), ("A=1\n\n1B=2", 3), ('A="a\nb"\n=x', 3)],
)
def test_a_line_that_cannot_be_read_is_named_and_its_value_is_not(text: str, line: int) -> None:
    with pytest.raises(EnvError) as caught:
        parse_env_text(text, "my.env")
    assert f"my.env, line {line}" in caught.value.what
    assert "hello" not in str(caught.value)


def test_a_missing_or_binary_file_is_an_env_error(tmp_path: Path) -> None:
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    for name in ("absent", "binary"):
        with pytest.raises(EnvError, match=name):
            read_env_file(tmp_path / name)


def test_a_name_alone_takes_the_value_from_here() -> None:
    assert parse_item("HF_TOKEN", {"HF_TOKEN": "s"}) == ("HF_TOKEN", "s")
    assert parse_item("A=b=c", {}) == ("A", "b=c")
    assert parse_item("A=", {}) == ("A", "")


@pytest.mark.parametrize("item", ["", "=x", "1A=x", "A-B=x", "MISSING"])
def test_an_item_that_names_no_variable_is_refused(item: str) -> None:
    with pytest.raises(EnvError):
        parse_item(item, {})


def test_a_refused_item_does_not_show_its_value() -> None:
    with pytest.raises(EnvError) as caught:
        parse_item("bad name=hunter2", {})
    assert "hunter2" not in str(caught.value)


def test_what_is_said_later_wins_and_flags_win_over_files(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    one.write_text("A=1\nB=1\nC=1\n")
    two.write_text("B=2\nC=2\n")
    assert gather_env([one, two], ["C=3"], {}) == {"A": "1", "B": "2", "C": "3"}


def test_only_what_a_local_script_needs_of_this_machine_goes_with_it() -> None:
    environ = {
        "PATH": "/bin",
        "LC_ALL": "C",
        "AWS_SECRET_ACCESS_KEY": "s",
        "PS1": "$",
        "HOME": "/h",
    }
    assert host_part(environ) == {"PATH": "/bin", "LC_ALL": "C", "HOME": "/h"}
