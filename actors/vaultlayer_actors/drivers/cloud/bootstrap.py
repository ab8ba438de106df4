"""How a machine learns what it is for: one script, wrapped as each provider takes it.

```text
user data of a VM       the script itself (`script`), run by cloud-init because it begins with `#!`
#cloud-config           `cloud_config`, for providers that take nothing else
one command             `one_line`, for providers that run a single shell command at the first boot
containers              `first_stage` as the command, the script in pieces in the environment (`pieces`)
```

The pieces are base64 of gzip, 256 characters each at most, for providers that allow no longer value.
"""

import base64
import gzip
import json
import re
import textwrap
from collections.abc import Mapping
from importlib import resources

import msgspec

from vaultlayer.driver import BootPayload, Order

PIECE_B = 250
"""Vast.ai allows 256 characters in one environment value."""
PIECE_NAME = "VL_B"
_LINE = re.compile(r"echo ([A-Za-z0-9+/=]+) \| base64 -d \| gzip -d")


def script_of(order: Order, *, is_vm: bool, wheels_url: str = "") -> str:
    """Give the whole bootstrap of a machine as POSIX sh; it holds the enrol-only credential.

    Args:
        order: whose boot payload the machine gets.
        is_vm: whether the machine is shut down at the end, or its container just ends.
        wheels_url: a .tar.gz of wheels that the provider's table names; empty: the order's.
    """
    state = order.boot.state_path or f"${{HOME:-/root}}/.vaultlayer/{order.name}"
    boot = msgspec.structs.replace(order.boot, gpu=order.offer.gpu, gpu_count=order.offer.gpu_count)
    wheels_url = wheels_url or order.wheels_url
    if "'" in wheels_url:
        raise ValueError("a URL of wheels has no quotes")
    text = resources.files(__package__ or "").joinpath("bootstrap.sh").read_text()
    values = {
        "@STATE@": state,
        "@VERSION@": order.boot.version,
        "@WHEELS@": wheels_url,
        "@VM@": "1" if is_vm else "0",
        "@BOOT@": msgspec.json.encode(boot).decode(),
    }
    for name, value in values.items():
        text = text.replace(name, value)
    return text


def pieces(script: str) -> dict[str, str]:
    """Give a script as environment values of at most 250 characters."""
    packed = base64.b64encode(gzip.compress(script.encode(), 9, mtime=0)).decode()
    return {
        f"{PIECE_NAME}{number}": piece
        for number, piece in enumerate(textwrap.wrap(packed, PIECE_B))
    }


def first_stage() -> str:
    """Give the command of a container: it puts the pieces together and becomes the script."""
    return (
        f'umask 077;i=0;while eval "p=\\${{{PIECE_NAME}$i-}}";[ -n "$p" ];do printf %s "$p";'
        "i=$((i+1));done|base64 -d|gzip -d>/tmp/.vl-$$&&exec sh /tmp/.vl-$$"
    )


def one_line(script: str) -> str:
    """Give a script as one line of sh that also stands unquoted in YAML."""
    packed = base64.b64encode(gzip.compress(script.encode(), 9, mtime=0)).decode()
    return (
        "umask 077 && f=$(mktemp /tmp/.vl-XXXXXX) && "
        f"echo {packed} | base64 -d | gzip -d >$f && sh $f"
    )


def unpack(env: dict[str, str]) -> str:
    """Put the pieces in an environment together again."""
    parts: list[str] = []
    while part := env.get(f"{PIECE_NAME}{len(parts)}"):
        parts.append(part)
    return gzip.decompress(base64.b64decode("".join(parts))).decode()


def cloud_config(script: str) -> str:
    """Give a script as `#cloud-config`, which is YAML of which JSON is a part."""
    entry = {
        "path": "/root/vaultlayer-boot.sh",
        "permissions": "0700",
        "content": script,
    }
    config = {"write_files": [entry], "runcmd": [["sh", "/root/vaultlayer-boot.sh"]]}
    return f"#cloud-config\n{json.dumps(config)}\n"


def told(env: Mapping[str, str], script: str) -> BootPayload:
    """Read what a machine was told, in whichever wrapping; for simulators.

    Raises:
        ValueError, IndexError: the boot script is not ours.
    """
    if f"{PIECE_NAME}0" in env:
        return boot_of(unpack(dict(env)))
    if found := _LINE.search(script):
        script = gzip.decompress(base64.b64decode(found[1])).decode()
    return boot_of(script)


def boot_of(script: str) -> BootPayload:
    """Read the boot payload out of a rendered script; for simulators."""
    head, tail = "<<'VAULTLAYER_BOOT'\n", "\nVAULTLAYER_BOOT"
    inner = script.split(head, 1)[1].split(tail, 1)[0]
    return msgspec.json.decode(inner, type=BootPayload)
