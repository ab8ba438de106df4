"""Vendors' own clients beside the tests, in an environment of their own: what they accept is the wire format.

`VAULTLAYER_TEST_WITNESS` names the interpreter that has them; without it these tests are skipped. A client
runs as a program that prints one JSON value, against a simulator that runs here.
"""

import json
import os
import ssl
from pathlib import Path
from typing import Any

import anyio
import pytest

VARIABLE = "VAULTLAYER_TEST_WITNESS"
CLIENT_S = 60.0

_CERTIFICATE = """
import datetime, ipaddress, pathlib, sys
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
key = ec.generate_private_key(ec.SECP256R1())
name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
now = datetime.datetime.now(datetime.timezone.utc)
alt = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
made = (
    x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    .serial_number(1).not_valid_before(now - datetime.timedelta(hours=1))
    .not_valid_after(now + datetime.timedelta(days=1)).add_extension(alt, False)
    .add_extension(x509.BasicConstraints(True, None), True).sign(key, hashes.SHA256())
)
pem = serialization.Encoding.PEM
out = pathlib.Path(sys.argv[1])
(out / "key.pem").write_bytes(key.private_bytes(
    pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()))
(out / "ca.pem").write_bytes(made.public_bytes(pem))
print("null")
"""


def interpreter() -> str:
    """The Python that has the vendors' clients; skips where there is none."""
    found = os.environ.get(VARIABLE, "")
    if not found:
        pytest.skip(f"{VARIABLE} names no interpreter: make test-witness")
    return found


async def witness_says(program: str, *arguments: str, **environ: str) -> Any:
    """Run a vendor's client and give what it prints."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    with anyio.fail_after(CLIENT_S):
        done = await anyio.run_process(
            [interpreter(), "-c", program, *arguments], check=False, env={**kept, **environ}
        )
    assert done.returncode == 0, done.stderr.decode()
    return json.loads(done.stdout)


async def certificate(path: Path) -> tuple[ssl.SSLContext, str]:
    """Make a certificate of 127.0.0.1; gives what a server needs and the file that clients trust."""
    await witness_says(_CERTIFICATE, str(path))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path / "ca.pem", path / "key.pem")
    return context, str(path / "ca.pem")


async def witness_runs(name: str, *arguments: str, **environ: str) -> str:
    """Run a program of the vendors' environment and give what it prints."""
    kept = {key: os.environ[key] for key in ("PATH", "HOME", "LANG") if key in os.environ}
    own = {**kept, "COLUMNS": "200", **environ}
    command = [str(Path(interpreter()).parent / name), *arguments]
    with anyio.fail_after(CLIENT_S):
        done = await anyio.run_process(command, check=False, env=own)
    assert done.returncode == 0, (arguments, done.stdout.decode(), done.stderr.decode())
    return done.stdout.decode()
