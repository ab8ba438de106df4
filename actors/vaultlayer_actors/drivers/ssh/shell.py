"""One call to one host: the system's ssh in batch mode, our script on its standard input."""

import tempfile
from collections.abc import Sequence
from importlib import resources
from pathlib import Path

import anyio
import msgspec

from vaultlayer.errors import DriverError
from vaultlayer_actors.drivers.ssh.reading import DONE, Found, fault, read, refusal

CONNECT_S = 10
ANSWER_S = 60.0
"""A start waits for others' starts, a stop for processes to die."""
END = "VAULTLAYER_BOOT_SCRIPT"


class Host(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One machine of `[providers.ssh] hosts`."""

    address: str
    """Name, IP address or an alias of `~/.ssh/config`."""
    name: str = ""
    """How it is shown; empty: its address."""
    user: str = ""
    port: int = 0
    """0: as `~/.ssh/config` says, else 22."""
    key_file: str = ""
    """Private key; empty: ssh's own choice, an agent included."""
    known_hosts: str = ""
    """File of host keys; empty: ssh's own."""
    gpu: str = ""
    gpu_count: int = 0
    """Jobs share the host by GPU; one without any takes one job."""
    price_usd_h: float = 0.0
    """What an hour of the whole machine costs you."""

    @property
    def label(self) -> str:
        """Its name."""
        return self.name or self.address

    @property
    def target(self) -> str:
        """`user@address`."""
        return f"{self.user}@{self.address}" if self.user else self.address

    @property
    def units(self) -> int:
        """How many parts it has that jobs may take."""
        return max(1, self.gpu_count)


def by_hand(host: Host) -> list[str]:
    """Give the command with which a person connects to a host."""
    words = ["ssh"]
    if host.port:
        words += ["-p", str(host.port)]
    if host.key_file:
        words += ["-i", host.key_file]
    if host.known_hosts:
        words += ["-o", f"UserKnownHostsFile={host.known_hosts}"]
    return [*words, host.target]


def command(host: Host) -> list[str]:
    """Give the command of a call: it asks nobody anything, and accepts no host key by itself."""
    options = {
        "BatchMode": "yes",
        "StrictHostKeyChecking": "yes",
        "ConnectTimeout": str(CONNECT_S),
        "ServerAliveInterval": "5",
        "ServerAliveCountMax": "3",
        "ForwardAgent": "no",
        "LogLevel": "ERROR",
    }
    if host.key_file:
        options |= {"IdentitiesOnly": "yes"}
    words = ["ssh", "-T"]
    for name, value in options.items():
        words += ["-o", f"{name}={value}"]
    if host.key_file:
        words += ["-i", str(Path(host.key_file).expanduser())]
    if host.known_hosts:
        words += ["-o", f"UserKnownHostsFile={Path(host.known_hosts).expanduser()}"]
    if host.port:
        words += ["-p", str(host.port)]
    return [*words, "--", host.target, "sh -s"]


async def ask(host: Host, *call: str, script: str = "") -> list[Found]:
    """Let a host do one thing and give the instances that it tells of.

    Args:
        host: which one.
        call: `list`, `start NAME UNITS OF_ALL IS_GPU` or `stop NAME`.
        script: the boot script of a start.

    Raises:
        CapacityError: its GPUs are taken.
        AuthError: it does not let us in, or its host key is not the known one.
        DriverError: it cannot be reached, or failed; what it has done is then unknown.
    """
    try:
        with anyio.fail_after(ANSWER_S), tempfile.TemporaryFile() as sent:
            # A file, and no pipe: ssh may end before it has read, and must still say why.
            sent.write(_input(call, script).encode())
            sent.seek(0)
            done = await anyio.run_process(command(host), stdin=sent, check=False)
    except TimeoutError:
        why = f"no answer in {ANSWER_S:g} s"
        raise DriverError(f"{host.target} cannot be reached", why=why, retryable=True) from None
    except OSError as error:
        raise DriverError(
            "ssh cannot be started", why=str(error), mend="install openssh-client"
        ) from None
    answer = done.stdout.decode(errors="replace")
    if (refused := refusal(answer)) is not None:
        raise refused
    found = read(answer)
    if done.returncode or found is None:
        said = done.stderr.decode(errors="replace")
        raise fault(host.target, done.returncode or 255, said, by_hand(host))
    return found


def _input(call: Sequence[str], script: str) -> str:
    """Give what the host's shell reads: our functions, one call, and a last line that proves its end."""
    functions = resources.files(__package__ or "").joinpath("host.sh").read_text()
    words = " ".join(f"'{word}'" for word in call)
    if any("'" in word for word in call) or END in script.splitlines():
        raise DriverError("a name or a script cannot be sent as it is")
    here, body = (f" <<'{END}'", f"{script}\n{END}\n") if script else ("", "")
    return f"{functions}\n{words}{here} || exit\n{body}echo '{DONE}'\n"
