"""EC2's query protocol as a server speaks it: form fields, Signature Version 4, XML. For the simulator."""

import hashlib
import hmac
import re
from collections.abc import Mapping, Sequence
from urllib.parse import parse_qsl
from xml.sax.saxutils import escape

import msgspec
from aiohttp import web

NAMESPACE = "http://ec2.amazonaws.com/doc/2016-11-15/"
REQUEST_ID = "59dbff89-35bd-4eac-99ed-be587EXAMPLE"

_AUTHORISATION = re.compile(
    r"AWS4-HMAC-SHA256 Credential=([^/]+)/(\d+)/([^/]+)/ec2/aws4_request, ?"
    r"SignedHeaders=([^,]+), ?Signature=([0-9a-f]{64})"
)


class Form:
    """The fields of a request: `Filter.1.Value.2` and the like."""

    def __init__(self, body: str) -> None:
        self.text = body
        self._fields = dict(parse_qsl(body, keep_blank_values=True))

    def get(self, name: str, default: str = "") -> str:
        """Give one field."""
        return self._fields.get(name, default)

    def items(self, name: str) -> list[str]:
        """Give `name.1`, `name.2` … in order."""
        found: list[str] = []
        while (value := self._fields.get(f"{name}.{len(found) + 1}")) is not None:
            found.append(value)
        return found

    def groups(self, name: str) -> list["Form"]:
        """Give what lies below `name.1.`, `name.2.` … in order."""
        found: list[Form] = []
        while below := self.below(f"{name}.{len(found) + 1}"):
            found.append(below)
        return found

    def below(self, prefix: str) -> "Form | None":
        """Give the fields below a name; None when there are none."""
        start = f"{prefix}."
        fields = {
            name.removeprefix(start): value
            for name, value in self._fields.items()
            if name.startswith(start)
        }
        if not fields:
            return None
        made = Form("")
        made._fields = fields
        return made

    def without(self, *names: str) -> dict[str, str]:
        """Give all fields but some."""
        return {name: value for name, value in self._fields.items() if name not in names}


class Signed(msgspec.Struct, frozen=True):
    """What an Authorization header claims."""

    access_key_id: str
    date: str
    region: str
    headers: tuple[str, ...]
    signature: str


def signed_by(request: web.Request) -> Signed | None:
    """Read the Authorization header; None where there is none of version 4 for EC2."""
    found = _AUTHORISATION.fullmatch(request.headers.get("Authorization", ""))
    if found is None:
        return None
    key_id, date, region, headers, signature = found.groups()
    return Signed(key_id, date, region, tuple(headers.split(";")), signature)


def signature_of(request: web.Request, body: bytes, signed: Signed, secret: str) -> str:
    """Compute the signature that a request should have (docs: Signature Version 4, query in the body)."""
    headers = "".join(f"{name}:{request.headers[name].strip()}\n" for name in signed.headers)
    canonical = "\n".join(
        [
            request.method,
            request.path,
            request.query_string,
            headers,
            ";".join(signed.headers),
            hashlib.sha256(body).hexdigest(),
        ]
    )
    scope = f"{signed.date}/{signed.region}/ec2/aws4_request"
    digest = hashlib.sha256(canonical.encode()).hexdigest()
    text = "\n".join(["AWS4-HMAC-SHA256", request.headers["X-Amz-Date"], scope, digest])
    key = f"AWS4{secret}".encode()
    for part in (signed.date, signed.region, "ec2", "aws4_request", text):
        key = hmac.new(key, part.encode(), hashlib.sha256).digest()
    return key.hex()


Tree = str | int | float | bool | None | Mapping[str, "Tree"] | Sequence["Tree"]


def element(name: str, value: Tree) -> str:
    """Give a value as XML: a list as `item`s, a mapping as its members, nothing for None."""
    if value is None:
        return ""
    if isinstance(value, Mapping):
        inner = "".join(element(key, below) for key, below in value.items())
    elif isinstance(value, bool):
        inner = str(value).lower()
    elif isinstance(value, str | int | float):
        inner = escape(str(value))
    else:
        inner = "".join(element("item", below) for below in value)
    return f"<{name}>{inner}</{name}>"


def answer(action: str, members: Mapping[str, Tree]) -> web.Response:
    """Give the answer to an action."""
    inner = element("requestId", REQUEST_ID) + "".join(
        element(name, value) for name, value in members.items()
    )
    name = f"{action}Response"
    return _xml(f'<{name} xmlns="{NAMESPACE}">{inner}</{name}>', 200)


def refused(status: int, code: str, text: str) -> web.Response:
    """Give an error in EC2's shape."""
    error = element("Errors", {"Error": {"Code": code, "Message": text}})
    return _xml(f"<Response>{error}{element('RequestID', REQUEST_ID)}</Response>", status)


def _xml(text: str, status: int) -> web.Response:
    head = '<?xml version="1.0" encoding="UTF-8"?>\n'
    return web.Response(text=head + text, status=status, content_type="text/xml")
