"""Questions and their answers: one subscription a connection, one token a question."""

from collections import deque
from collections.abc import Generator
from contextlib import contextmanager
from itertools import count

import anyio
from nats.aio.msg import Msg

from vaultlayer.errors import VaultLayerError

ANSWERS_MAX = 4096
"""Answers that one question holds before they are fetched; what comes above is dropped."""


class Answers:
    """What came to one question, in order of arrival."""

    def __init__(self, reply: str, subject: str) -> None:
        self.reply = reply
        self.subject = subject
        self._came: deque[Msg | None] = deque()
        self._error: VaultLayerError | None = None
        self._news = anyio.Event()

    def push(self, message: Msg | None) -> None:
        """Take in an answer, or None for a connection that was made anew."""
        if len(self._came) < ANSWERS_MAX:
            self._came.append(message)
        self._news.set()

    def fail(self, error: VaultLayerError) -> None:
        """Let whoever waits get this error, after what came before it."""
        self._error = error
        self._news.set()

    async def next(self) -> Msg | None:
        """Wait for the next answer; None says that the connection was made anew, where that is told."""
        while not self._came:
            if self._error is not None:
                raise self._error
            self._news = anyio.Event()
            await self._news.wait()
        return self._came.popleft()


class Inbox:
    """The open questions of one connection.

    Args:
        prefix: the subject below which this connection alone is answered; one token is added per question.
    """

    def __init__(self, prefix: str) -> None:
        self._prefix = prefix
        self._open: dict[str, Answers] = {}
        self._numbers = count(1)

    @property
    def pattern(self) -> str:
        """What the connection must subscribe to."""
        return f"{self._prefix}.*"

    @contextmanager
    def opened(self, subject: str) -> Generator[Answers]:
        """Give a question about `subject` a token of its own while the context is open."""
        token = str(next(self._numbers))
        answers = self._open[token] = Answers(f"{self._prefix}.{token}", subject)
        try:
            yield answers
        finally:
            del self._open[token]

    async def take(self, message: Msg) -> None:
        """Hand a message to its question; one that nobody asks any more is dropped."""
        answers = self._open.get(message.subject.rpartition(".")[2])
        if answers is not None:
            answers.push(message)

    def lost(self, error: VaultLayerError) -> None:
        """Fail the questions whose answers can no longer be counted on."""
        for answers in self._open.values():
            answers.fail(error)

    def denied(self, subject: str, error: VaultLayerError) -> None:
        """Fail the questions about a subject; `subject` comes in lower case from the server."""
        for answers in self._open.values():
            if answers.subject.lower() == subject:
                answers.fail(error)
