"""Limits of the key holder's service on size, rate, time and connections."""

import asyncio
import threading
import time

import pytest
from helpers import make
from service_helpers import (
    BYTES,
    EVALUATOR,
    OWNER,
    Authority,
    Wrapped,
    holder,
    read_all,
    serving,
    wait_until,
)

from skfhe.service import Limits, connection
from skfhe.service.answers import MessageResponse
from skfhe.service.limits import Rate, largest_answer, largest_request

QUICK = Limits(head_seconds=0.4, body_seconds=0.4)


@pytest.fixture(autouse=True)
def brief(monkeypatch):
    """Connections end soon after their last answer."""
    monkeypatch.setattr(connection, "_LINGER", 0.3)


@pytest.fixture(scope="module", params=["plain", "tls"])
def authority(request, tmp_path_factory):
    """None for plain HTTP."""
    return Authority.make(tmp_path_factory.mktemp("a")) if request.param == "tls" else None


def head(method="POST", path="/v1/release", token=EVALUATOR, **headers):
    """A request's head as bytes."""
    lines = [f"{method} {path} HTTP/1.1", "host: 127.0.0.1", f"authorization: Bearer {token}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    lines += ["content-type: application/octet-stream", "", ""]
    return "\r\n".join(lines).encode()


def status_of(answer):
    return int(answer.split(b" ", 2)[1]) if answer else None


def read_until(peer, ending):
    """What comes before an ending, and the ending; TLS hands it out in pieces."""
    data = b""
    while not data.endswith(ending):
        part = peer.recv(65536)
        assert part, data
        data += part
    return data


def chunk(data):
    return f"{len(data):x}\r\n".encode() + data + b"\r\n"


@pytest.mark.parametrize("backend", ["simulated", "tenseal"])
def test_honest_messages_are_within_the_limits(backend):
    plan = make(n_owners=2)
    key_holder = holder(plan, backend)
    for name in ("evaluation_keys", "public_key", "weights", "frame"):
        assert len(getattr(key_holder, name)()) <= largest_answer(plan, name)
    # Yet they are not much too wide: of the order of what honest messages have at most.
    n, primes = plan.encryption.poly_modulus_degree, plan.encryption.primes
    assert largest_request(plan, "release") < 2 * 8 * n * 1.1 + 2**17
    assert largest_answer(plan, "public_key") < 2 * 8 * n * len(primes) * 1.1 + 2**17
    assert largest_request(plan, "weights") == 0


@pytest.mark.parametrize("length", ["one more", 10**12, "9" * 20, "9" * 5000])
def test_a_body_that_says_it_is_too_large_is_not_awaited(length, authority):
    """The answer comes before the body."""
    key_holder = holder()
    if length == "one more":
        length = largest_request(key_holder.plan, "release") + 1
    with serving(key_holder, authority) as service, service.connect() as peer:
        peer.sendall(head(content_length=length))
        answer = read_all(peer)  # to the end: the service closes the connection
        # What has too many digits for a number is refused as no request at all.
        assert status_of(answer) == (400 if len(str(length)) == 5000 else 413)


def test_a_body_at_the_limit_is_read():
    key_holder = holder()
    largest = largest_request(key_holder.plan, "release")
    with serving(key_holder) as service, service.http() as http:
        answer = http.post("/v1/release", content=bytes(largest), headers=BYTES)
        assert (answer.status_code, answer.json()["error"]) == (400, "MessageError")


def test_a_streamed_body_is_cut_off(authority):
    key_holder = holder()
    largest = largest_request(key_holder.plan, "release")
    sent = 0
    with serving(key_holder, authority) as service, service.connect() as peer:
        peer.sendall(head(transfer_encoding="chunked"))
        while sent <= largest:
            peer.sendall(chunk(bytes(2**14)))
            sent += 2**14
        answer = read_all(peer)
        assert status_of(answer) == 413
        service.stop()
        (event,) = [e for e in service.events() if e["event"] == "request"]
        assert event["status"] == 413 and event["bytes_in"] <= sent


@pytest.mark.parametrize("fields", [{"content_length": 5}, {"transfer_encoding": "chunked"}])
def test_questions_have_no_body(fields):
    with serving(holder()) as service, service.connect() as peer:
        peer.sendall(head("GET", "/v1/weights", **fields))
        assert status_of(read_all(peer)) == 413


def test_bodies_are_bytes():
    with serving(holder()) as service, service.http() as http:
        for headers in ({}, {"content-type": "text/plain"}, {"content-type": "application/json"}):
            answer = http.post("/v1/release", content=b"{}", headers=headers)
            assert (answer.status_code, answer.json()["error"]) == (415, "UnsupportedMediaType")


@pytest.mark.parametrize("part", [b"", b"SKFHE"])
def test_a_slow_body_is_given_up(part, authority):
    with serving(holder(), authority, limits=QUICK) as service, service.connect() as peer:
        start = time.monotonic()
        peer.sendall(head(content_length=1000) + part)
        assert status_of(read_all(peer)) == 408
        assert 0.3 < time.monotonic() - start < 5


@pytest.mark.parametrize("begun", [False, True])
@pytest.mark.parametrize("first", [False, True])
def test_a_slow_head_is_given_up(first, begun, authority):
    """Whether it is a connection's first request or not, and though bytes keep coming."""
    with serving(holder(), authority, limits=QUICK) as service, service.connect() as peer:
        if not first:
            peer.sendall(head("GET", "/v1/status"))
            assert status_of(read_until(peer, b"}")) == 200
        start, ended = time.monotonic(), threading.Event()

        def drip():
            while begun and not ended.wait(0.05):
                try:
                    peer.sendall(b"G")  # a method of many letters
                except OSError:
                    return

        thread = threading.Thread(target=drip)
        thread.start()
        assert not read_all(peer)
        assert time.monotonic() - start < 2
        ended.set()
        thread.join()


def test_a_head_has_a_size():
    """What has no end is not waited for."""
    with serving(holder()) as service, service.connect() as peer:
        peer.sendall(b"GET /v1/status HTTP/1.1\r\nx-padding: " + b"x" * 100_000)
        assert status_of(read_all(peer)) == 400
    assert "xxxx" not in service.logs.getvalue()


def test_every_role_has_a_rate_of_its_own():
    limits = Limits(requests_per_minute=6, burst=3)
    with serving(holder(), limits=limits) as service:
        with service.http() as http:
            statuses = [http.get("/v1/status").status_code for _ in range(5)]
            assert statuses == [200, 200, 200, 429, 429]
            late = http.get("/v1/status")
            assert late.json()["error"] == "TooManyRequests"
            assert 8 <= int(late.headers["retry-after"]) <= 10
        with service.http(OWNER) as http:
            assert http.get("/v1/status").status_code == 200
        with service.http(None) as http:
            # Strangers use up their own, and health has none.
            statuses = [http.get("/v1/status").status_code for _ in range(4)]
            assert statuses == [401, 401, 401, 429]
            assert {http.get("/health").status_code for _ in range(9)} == {200}


@pytest.mark.parametrize(("token", "status"), [(OWNER, 403), ("x" * 40, 401)])
def test_who_is_refused_gets_to_read_why(token, status, authority):
    """Though the body that nobody wants is still under way."""
    with serving(holder(), authority) as service, service.connect() as peer:
        body = bytes(200_000)
        peer.sendall(head(token=token, content_length=len(body)))
        for start in range(0, len(body), 20_000):
            peer.sendall(body[start : start + 20_000])
            time.sleep(0.01)
        peer.sendall(head("GET", "/v1/status"))
        assert status_of(read_until(peer, b'."}')) == status
        assert status_of(read_until(peer, b"false}")) == 200  # and may go on


def test_the_bucket_fills_again():
    now = [0.0]
    rate = Rate(Limits(requests_per_minute=60, burst=2), clock=lambda: now[0])
    assert [rate.wait("a") for _ in range(3)] == [0, 0, 1]
    now[0] = 0.75
    assert rate.wait("a") == pytest.approx(0.25)
    now[0] = 1.0
    assert rate.wait("a") == 0
    now[0] = 1000.0
    assert [rate.wait("a") for _ in range(3)] == [0, 0, 1]  # never more than the burst


def test_connections_are_counted():
    with serving(holder(), limits=Limits(connections=4)) as service:
        idle = [service.connect() for _ in range(5)]
        wait_until(lambda: len(service.server.server_state.connections) == 5)
        with service.http() as http:
            assert http.get("/v1/status").status_code == 503
        for peer in idle:
            peer.close()
        wait_until(lambda: not service.server.server_state.connections)
        with service.http() as http:
            assert http.get("/v1/status").status_code == 200


def test_calls_come_one_at_a_time():
    """However many ask at once."""
    running, most, plain = [], [], holder()

    def weights():
        running.append(1)
        most.append(len(running))
        time.sleep(0.02)
        running.pop()
        return plain.weights()

    with serving(Wrapped(plain, weights=weights)) as service:

        def ask():
            with service.http() as http:
                assert http.get("/v1/weights").status_code == 200

        threads = [threading.Thread(target=ask) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert most == [1] * 8


def test_large_answers_go_out_in_pieces():
    """So that no copy of the whole waits for a slow reader."""
    message, sent = bytes(range(256)) * 10_000, []

    async def send(event):
        sent.append(event)

    asyncio.run(MessageResponse(message)({"type": "http"}, None, send))
    pieces = [event["body"] for event in sent[1:]]
    assert b"".join(pieces) == message and max(map(len, pieces)) <= 2**20
    assert [event.get("more_body", False) for event in sent[1:]] == [True, True, True, False]
    assert (b"content-length", str(len(message)).encode()) in sent[0]["headers"]


def test_evaluation_keys_are_kept_once():
    plain, made = holder(), []

    def evaluation_keys():
        made.append(1)
        return plain.evaluation_keys()

    with serving(Wrapped(plain, evaluation_keys=evaluation_keys)) as service:
        for _ in range(3):
            with service.http() as http:
                assert http.get("/v1/evaluation-keys").content == plain.evaluation_keys()
    assert made == [1]
