"""What a host says and what ssh says, read without any host."""

from pathlib import Path

import pytest

from vaultlayer.driver import DriverContext
from vaultlayer.errors import ConfigError, DriverError
from vaultlayer_actors.drivers.ssh import DRIVER
from vaultlayer_actors.drivers.ssh.reading import fault, instance_of, read, refusal
from vaultlayer_actors.drivers.ssh.shell import Host, by_hand, command


def test_every_state_is_read_between_the_lines_of_a_talkative_login() -> None:
    text = """Welcome to box1!
VL1 is vl-jabcdefgh2-a1 running 0,1
VL1 is vl-jabcdefgh2-a2 starting 2
VL1 is vl-jabcdefgh2-a3 ended 3 with 137
VL1 is vl-jabcdefgh2-a4 dead -
VL1 is vl-jabcdefgh2-a5 levitating 4
VL1 done
"""
    found = read(text)
    assert found is not None
    told = [(one.state, sorted(one.units), one.detail) for one in found]
    assert told == [
        ("running", [0, 1], ""),
        ("booting", [2], ""),
        ("gone", [3], "ended with 137"),
        ("gone", [], "its processes are gone"),
        ("unknown", [4], "levitating"),
    ]
    assert instance_of("box1", found[0], 0.5).instance == "vl-jabcdefgh2-a1@box1"


@pytest.mark.parametrize("text", ["", "VL1 is vl-jabcdefgh2-a1 running 0\n", "Welcome!\n"])
def test_an_answer_that_was_cut_off_is_no_empty_list(text: str) -> None:
    assert read(text) is None


@pytest.mark.parametrize(
    ("line", "code"),
    [
        ("VL1 full 1 of 2 free", "no-capacity"),
        ("VL1 unfit no /proc: Linux is needed", "driver"),
        ("VL1 stuck 4711 4712", "driver"),
        ("VL1 busy another start holds the lock", "driver"),
    ],
)
def test_a_refusal_is_told(line: str, code: str) -> None:
    error = refusal(f"hello\n{line}\n")
    assert error is not None
    assert error.code == code
    assert refusal("VL1 is vl-jabcdefgh2-a1 running 0\nVL1 done\n") is None


@pytest.mark.parametrize(
    ("status", "said", "code", "mend"),
    [
        (
            255,
            "Host key verification failed.",
            "provider-auth",
            "compare the fingerprint: ssh box1",
        ),
        (255, "WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED!", "provider-auth", "ssh-keygen -R"),
        (255, "me@box1: Permission denied (publickey).", "provider-auth", "ssh-copy-id"),
        (255, "ssh: connect to host box1 port 22: Connection refused", "driver", None),
        (73, "mkdir: Read-only file system", "driver", None),
    ],
)
def test_each_failure_of_ssh_says_how_to_mend_it(
    status: int, said: str, code: str, mend: str | None
) -> None:
    error = fault("me@box1", status, said, ["ssh", "box1"])
    assert error.code == code
    assert (mend or "") in (error.mend or "")
    assert error.retryable == (code == "driver")


def test_the_command_asks_nobody_and_accepts_no_key() -> None:
    host = Host(address="box1", user="me", port=2222, key_file="~/k", known_hosts="/kh")
    words = command(host)
    assert {"BatchMode=yes", "StrictHostKeyChecking=yes", "IdentitiesOnly=yes"} <= set(words)
    assert str(Path("~/k").expanduser()) in words
    assert words[-3:] == ["--", "me@box1", "sh -s"]
    assert by_hand(host)[-1] == "me@box1"


@pytest.mark.parametrize(
    ("hosts", "why"),
    [
        ([], "no host"),
        ([{"address": "a"}, {"address": "a"}], "two hosts"),
        ([{"address": "a", "gpu": "RTX9999", "gpu_count": 1}], "GPUs of a"),
        ([{"address": "a", "gpu": "RTX4090"}], "GPUs of a"),
        ([{"address": "me@a"}], "cannot be a name"),
        ([{"adress": "a"}], "option"),
    ],
)
def test_a_table_that_cannot_be_used_is_told(
    hosts: list[dict[str, object]], why: str, tmp_path: Path
) -> None:
    context = DriverContext(options={"hosts": hosts}, secrets={}, state_path=tmp_path)
    with pytest.raises(ConfigError, match=why):
        DRIVER.build(context)


def test_the_only_host_is_freed_before_the_next_attempt_is_ordered(tmp_path: Path) -> None:
    for count in (1, 2):
        hosts = [{"address": f"box{number}"} for number in range(count)]
        context = DriverContext(options={"hosts": hosts}, secrets={}, state_path=tmp_path)
        assert DRIVER.build(context).manifest.sole == (count == 1)


def test_an_error_of_the_driver_is_one_of_ours() -> None:
    assert isinstance(fault("a", 1, "", ["ssh"]), DriverError)
