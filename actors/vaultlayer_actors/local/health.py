"""Asking a server on loopback whether it serves, without a client library's start-up cost."""

import anyio

ANSWER_S = 1.0
_ANSWER_MAX_B = 4096


async def http_status(port: int, path: str) -> int:
    """Give the status of `GET path` on loopback; 0 when nobody answers within a second."""
    request = f"GET {path} HTTP/1.0\r\nHost: 127.0.0.1\r\n\r\n".encode()
    try:
        with anyio.fail_after(ANSWER_S):
            async with await anyio.connect_tcp("127.0.0.1", port) as stream:
                await stream.send(request)
                answer = await stream.receive(_ANSWER_MAX_B)
    except (OSError, TimeoutError, anyio.EndOfStream, anyio.BrokenResourceError):
        return 0
    words = answer.split(None, 2)
    return int(words[1]) if len(words) > 1 and words[1].isdigit() else 0
