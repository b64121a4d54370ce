"""What the client does about answers that no honest key holder gives."""

import gzip
import json
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from service_helpers import EVALUATOR, holder, shared_plan

from skfhe.exceptions import MessageError
from skfhe.protocol.outcome import pack_status
from skfhe.service import RemoteKeyHolder
from skfhe.service.limits import LARGEST_PLAN, LARGEST_STATUS, largest_answer

BYTES, JSON = "application/octet-stream", "application/json"
STATUS = pack_status(holder().status())


def answer(body=b"", media=BYTES, status=200, **headers):
    """Status, headers and body; a header that is None is left out."""
    length = len(body) if isinstance(body, bytes) else None
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    return status, {"content-type": media, "content-length": length, **given}, body


@contextmanager
def false_key_holder(answers):
    """Answers by path, the status being right by default; yields a client and what was asked."""
    asked = []
    answers = {"/v1/status": answer(json.dumps(STATUS).encode(), JSON), **answers}

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            status, headers, body = answers[self.path]
            self.send_response(status)
            for name, value in headers.items():
                if value is not None:
                    self.send_header(name, str(value))
            self.end_headers()
            try:
                for part in [body] if isinstance(body, bytes) else body:
                    self.wfile.write(part)
            except OSError:
                pass  # the client has seen enough

        def log_message(self, *_):
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()

    def client(plan=None):
        url = f"http://127.0.0.1:{server.server_port}"
        return RemoteKeyHolder(url, plan, token=EVALUATOR, patience=1.0, timeout=5.0)

    try:
        yield client, asked
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def endless(taken):
    """A body without end, which counts how much of it was sent."""
    while True:
        taken.append(2**16)
        yield bytes(2**16)


@pytest.mark.parametrize(
    "bad",
    [
        answer(b"x", content_length=10**12),
        answer(b"x", content_length="9" * 20),
        answer(b"hello", "text/html"),
        answer(b"hello", ""),
        answer(b"x", status=206),
        answer(gzip.compress(bytes(10**6)), content_encoding="gzip"),
        answer(b"", status=307, location="/v1/status"),
        answer(b"", status=404),
        answer(b"[]", JSON, 409),
        answer(b"\xff\x00", JSON, 410),
        answer(b'{"error": "KeyBurned", "message": 3}', JSON, 410),
        answer(b'{"error": "KeyBurned", "message": "no"}', JSON, 400),
        answer(b"[" * 10_000, JSON, 400),
        answer(b" " * 10**5 + b"{}", JSON, 402),
    ],
)
def test_answers_that_are_none(bad):
    with (
        false_key_holder({"/v1/weights": bad}) as (client, asked),
        client(shared_plan()) as remote,
    ):
        with pytest.raises(MessageError, match="no answer of a key holder"):
            remote.weights()
        assert asked == ["/v1/status", "/v1/weights"]  # neither again nor elsewhere


def test_a_body_without_end_is_not_read():
    plan, taken = shared_plan(), []
    bad = {"/v1/weights": answer(endless(taken))}
    with false_key_holder(bad) as (client, _), client(plan) as remote:
        with pytest.raises(MessageError, match="beyond"):
            remote.weights()
        remote.status()
    # What the sockets hold comes on top of what was read.
    assert sum(taken) < largest_answer(plan, "weights") + 32 * 1024**2


@pytest.mark.parametrize(
    "status",
    [
        b"",
        b"null",
        b"[" * 10_000,
        json.dumps({**STATUS, "step": "0"}).encode(),
        json.dumps({**STATUS, "more": 0}).encode(),
        b" " * (LARGEST_STATUS + 1),
    ],
)
def test_a_status_that_is_none(status):
    bad = {"/v1/status": answer(status, JSON)}
    with false_key_holder(bad) as (client, _), pytest.raises(MessageError):
        client(shared_plan())


@pytest.mark.parametrize(
    "plan",
    [b"{}", shared_plan().to_json().encode()[:-20], b" " * (LARGEST_PLAN + 1)],
)
def test_a_plan_that_is_none(plan):
    bad = {"/v1/plan": answer(plan, JSON)}
    with false_key_holder(bad) as (client, _), pytest.raises(MessageError):
        client()


def test_errors_do_nothing_to_a_terminal():
    text = json.dumps({"error": "MessageError", "message": "\x1b[2Jall is well\r\n" + "x" * 9000})
    bad = {"/v1/weights": answer(text.encode(), JSON, 400)}
    with (
        false_key_holder(bad) as (client, _),
        client(shared_plan()) as remote,
        pytest.raises(MessageError, match="all is well") as caught,
    ):
        remote.weights()
    assert str(caught.value).isprintable() and len(str(caught.value)) <= 1000
