"""A store that costs next to nothing: keeps what is PUT in memory and gives ranges of it back.

It speaks just enough S3 for one benchmark and checks no signature. Run as a process of its own, so that
its CPU is not counted: `python benchmarks/sink.py PORT`.
"""

import re
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar

KEY = re.compile(r"<Key>.*?</Key>")
RANGE = re.compile(r"bytes=(\d+)-(\d+)")


class Sink(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    objects: ClassVar[dict[str, memoryview]] = {}

    def do_PUT(self) -> None:
        """Keep an object."""
        data = bytearray(int(self.headers["Content-Length"]))
        view = memoryview(data)
        filled = 0
        while filled < len(data):
            filled += self.rfile.readinto1(view[filled:])  # type: ignore[attr-defined]
        self.objects[self.path] = view
        self._reply(200)

    def do_POST(self) -> None:
        """Forget everything: the only POST is a batch delete."""
        asked = self.rfile.read(int(self.headers["Content-Length"])).decode()
        self.objects.clear()
        gone = "".join(f"<Deleted>{key}</Deleted>" for key in KEY.findall(asked))
        self._reply(200, f"<DeleteResult>{gone}</DeleteResult>".encode())

    def do_GET(self) -> None:
        """Give an object or a range of it."""
        data = self.objects.get(self.path)
        if data is None:
            self._reply(404)
            return
        found = RANGE.match(self.headers.get("Range", ""))
        if not found:
            self._reply(200, data)
            return
        start, end = int(found[1]), min(int(found[2]) + 1, len(data))
        self._reply(206, data[start:end], f"bytes {start}-{end - 1}/{len(data)}")

    def _reply(self, status: int, body: bytes | memoryview = b"", span: str = "") -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("ETag", '"sink"')
        self.send_header("Last-Modified", "Thu, 01 Jan 2026 00:00:00 GMT")
        if span:
            self.send_header("Content-Range", span)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  the base's own name
        """Say nothing."""


if __name__ == "__main__":
    ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Sink).serve_forever()
