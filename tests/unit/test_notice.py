"""What a machine hears of its end: the metadata services of EC2 and Compute Engine, and the file."""

import threading
import time
from collections.abc import Generator
from datetime import UTC, datetime
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import anyio
import pytest

from vaultlayer_agent.metadata import AWS_SPOT_S, AwsLook, GceLook, ask, base_url
from vaultlayer_agent.notice import FILE_NAME, Notice, watch_file
from vaultlayer_agent.watchers import watch_metadata, watcher_of

TOKEN = "AQAEAE-token"
SPOT = "/latest/meta-data/spot/instance-action"
REBALANCE = "/latest/meta-data/events/recommendations/rebalance"
PREEMPTED = "/computeMetadata/v1/instance/preempted"


class Service(ThreadingHTTPServer):
    """Version 2 of EC2's service, and Google's: no answer without the token or the header."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.says: dict[str, str] = {}
        self.tokens = 0
        self.good = ""

    @property
    def base(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class Handler(BaseHTTPRequestHandler):
    server: Service  # pyright: ignore[reportIncompatibleVariableOverride]

    def do_PUT(self) -> None:
        if not self.headers.get("X-aws-ec2-metadata-token-ttl-seconds"):
            self.answer(400, "")
            return
        self.server.tokens += 1
        self.server.good = f"{TOKEN}-{self.server.tokens}"
        self.answer(200, self.server.good)

    def do_GET(self) -> None:
        text = self.server.says.get(self.path)
        if self.path.startswith("/latest"):
            told = self.headers.get("X-aws-ec2-metadata-token") == self.server.good != ""
            self.answer(401 if not told else 404 if text is None else 200, text or "")
        else:
            told = self.headers.get("Metadata-Flavor") == "Google"
            self.answer(200 if told else 403, text or "FALSE")

    def answer(self, status: int, text: str) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, *_: object) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        pass


@pytest.fixture
def service() -> Generator[Service]:
    made = Service()
    thread = threading.Thread(target=made.serve_forever, args=(0.01,))
    thread.start()
    yield made
    made.shutdown()
    thread.join()
    made.server_close()


def action(in_s: float) -> str:
    ends = datetime.fromtimestamp(time.time() + in_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return f'{{"action": "terminate", "time": "{ends}"}}'


def test_ec2_is_asked_by_token_and_silence_is_no_notice(service: Service) -> None:
    look = AwsLook(service.base)
    assert look() is None
    assert look() is None
    assert service.tokens == 1


def test_a_spot_notice_tells_how_long_the_machine_lives(service: Service) -> None:
    service.says[SPOT] = action(90.0)
    notice = AwsLook(service.base)()
    assert notice is not None
    assert notice.source == "aws-spot"
    assert 80.0 <= notice.grace_s <= 90.0


@pytest.mark.parametrize(
    ("text", "grace_s"),
    [
        (action(-50.0), 0.0),
        (action(9000.0), AWS_SPOT_S),
        ("{}", AWS_SPOT_S),
        ('{"time": "soon"}', AWS_SPOT_S),
        ("<html>", AWS_SPOT_S),
    ],
)
def test_a_clock_that_differs_or_a_strange_text_is_a_notice_all_the_same(
    service: Service, text: str, grace_s: float
) -> None:
    service.says[SPOT] = text
    notice = AwsLook(service.base)()
    assert notice is not None
    assert notice.grace_s == grace_s


def test_a_recommendation_to_leave_is_heard_and_the_real_notice_after_it(service: Service) -> None:
    look = AwsLook(service.base)
    service.says[REBALANCE] = '{"noticeTime": "2026-06-23T02:28:00Z"}'
    first = look()
    service.says[SPOT] = action(100.0)
    second = look()
    assert first is not None
    assert second is not None
    assert (first.source, second.source) == ("aws-rebalance", "aws-spot")
    assert second.grace_s < first.grace_s


def test_a_token_that_has_expired_is_renewed(service: Service) -> None:
    look = AwsLook(service.base)
    look()
    service.good = "another"
    service.says[SPOT] = action(60.0)
    assert look() is not None
    assert service.tokens == 2


def test_compute_engine_turns_a_word(service: Service) -> None:
    look = GceLook(service.base)
    assert look() is None
    service.says[PREEMPTED] = "TRUE"
    assert look() == Notice(grace_s=30.0, source="gce-preempted")


def test_a_service_that_is_not_there_is_no_notice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VAULTLAYER_METADATA_URL", "http://127.0.0.1:9/")
    assert base_url() == "http://127.0.0.1:9"
    assert ask(base_url(), {}).status == 0
    assert AwsLook(base_url())() is None
    assert GceLook(base_url())() is None


@pytest.mark.anyio
async def test_the_watcher_hears_the_service_and_the_file_once_each(
    service: Service, tmp_path: Path
) -> None:
    service.says[REBALANCE] = "{}"
    watch = partial(watch_metadata, lambda: AwsLook(service.base), 0.01)
    heard: list[str] = []
    with anyio.fail_after(20):
        async for notice in watch(tmp_path):
            heard.append(notice.source)
            if notice.source == "aws-rebalance":
                (tmp_path / FILE_NAME).write_text('{"grace_s": 5.0}')
            elif notice.source == "file":
                service.says[SPOT] = action(60.0)
            else:
                break
    assert heard == ["aws-rebalance", "file", "aws-spot"]


def test_each_provider_has_its_watcher() -> None:
    assert watcher_of("vast") is watch_file
    assert watcher_of("aws") is not watch_file
    assert watcher_of("gcp") is not watch_file
