"""Starting and stopping the service: what it refuses, and that a release is not broken off."""

import json
import signal
import ssl
import subprocess
import sys
import threading
import time
from pathlib import Path

import httpx
import pytest
from helpers import scheme_of
from service_helpers import (
    ACCESS,
    BYTES,
    EVALUATOR,
    OWNER,
    Authority,
    Side,
    Wrapped,
    holder,
    serving,
    shared_plan,
    wait_until,
)
from test_service_limits import head

from skfhe.service import Access, Limits, RemoteKeyHolder, serve


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return Authority.make(tmp_path_factory.mktemp("authority"))


class Slow:
    """A key holder whose releases wait until they are let go."""

    def __init__(self):
        self.plain = holder()
        side = Side(self.plain, scheme_of(self.plain.plan, "simulated"), self.plain.public_key())
        side.prepare(self.plain.frame)
        self.reply = side.reply()
        self.begun, self.go = threading.Event(), threading.Event()
        self.calls = 0
        self.key_holder = Wrapped(self.plain, release=self.release)

    def release(self, reply):
        self.calls += 1
        self.begun.set()
        assert self.go.wait(20)
        self.plain.release(reply)


def test_a_stop_waits_for_a_release():
    """The client gets its answer, too."""
    slow, answers = Slow(), []
    with serving(slow.key_holder) as service:

        def release():
            with service.http() as http:
                answers.append(http.post("/v1/release", content=slow.reply, headers=BYTES))

        thread = threading.Thread(target=release)
        thread.start()
        assert slow.begun.wait(10)
        service.server.should_exit = True
        time.sleep(0.5)
        assert service.thread.is_alive() and slow.plain.status().step == 0
        with pytest.raises(httpx.ConnectError), service.http() as http:
            http.get("/health")  # nobody new is let in
        slow.go.set()
        thread.join(timeout=10)
    assert [answer.status_code for answer in answers] == [204]
    assert slow.plain.status().step == 1


def test_a_stop_waits_for_a_release_longer_than_for_its_answer():
    slow = Slow()
    with serving(slow.key_holder, limits=Limits(stop_seconds=1)) as service:
        connection = service.connect()
        connection.sendall(head(content_length=len(slow.reply)) + slow.reply)
        assert slow.begun.wait(10)
        service.server.should_exit = True
        time.sleep(2.0)
        assert service.thread.is_alive() and slow.plain.status().step == 0
        slow.go.set()
        service.thread.join(timeout=10)
        connection.close()
    assert slow.plain.status().step == 1


def test_a_client_that_goes_away_does_not_end_a_release():
    """It asks again, and the step has been taken once."""
    slow = Slow()
    with serving(slow.key_holder) as service:
        connection = service.connect()
        connection.sendall(head(content_length=len(slow.reply)) + slow.reply)
        assert slow.begun.wait(10)
        connection.close()
        with service.http(None) as http:
            assert http.get("/health").status_code == 200  # waits for nothing
        slow.go.set()
        with service.http() as http:
            answer = http.post("/v1/release", content=slow.reply, headers=BYTES)
            assert answer.status_code == 204
            assert http.get("/v1/status").json()["step"] == 1
    assert slow.calls == 2


SCRIPT = """
import sys, time
sys.path[:0] = {paths!r}
from helpers import scheme_of
from skfhe import KeyHolder
from service_helpers import ACCESS, shared_plan
from skfhe.service import serve

class SlowKeyHolder(KeyHolder):
    def release(self, reply):
        print("releasing", flush=True)
        time.sleep(0.8)
        super().release(reply)
        print("released", self.status().step, flush=True)

plan = shared_plan()
key_holder = SlowKeyHolder(plan, scheme_of(plan, "simulated"))
serve(key_holder, ACCESS, port=0, certificate={certificate!r}, private_key={key!r})
print("burned" if key_holder.status().burned else "alive", flush=True)
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signals_stop_a_process_gracefully(number, authority):
    tests = Path(__file__).parent
    certificate, key = map(str, authority.server)
    paths = [str(tests), str(tests.parent)]
    script = SCRIPT.format(paths=paths, certificate=certificate, key=key)
    process = subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        listening = json.loads(process.stderr.readline())
        plan = shared_plan()
        assert listening["event"] == "listening" and listening["host"] == "127.0.0.1"
        assert listening["plan"] == plan.digest and listening["tls"] is True
        url = f"https://127.0.0.1:{listening['port']}"
        remote = RemoteKeyHolder(url, plan, token=EVALUATOR, ca=authority.ca, patience=5.0)
        owner = RemoteKeyHolder(url, plan, token=OWNER, ca=authority.ca, patience=5.0)
        side = Side(remote, scheme_of(plan, "simulated"), owner.public_key())
        side.prepare(owner.frame)
        reply, done = side.reply(), []
        thread = threading.Thread(target=lambda: done.append(remote.release(reply)))
        thread.start()
        assert process.stdout.readline() == "releasing\n"
        process.send_signal(number)
        thread.join(timeout=20)
        out, err = process.communicate(timeout=20)
    finally:
        process.kill()
    assert done == [None] and process.returncode == 0
    assert out == "released 1\nalive\n"
    events = [json.loads(line) for line in err.splitlines()]
    assert events[-1]["event"] == "stopped"
    assert "Traceback" not in err and EVALUATOR not in err


# What it refuses to start with.


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "example.org", ""])
def test_only_this_machine_is_spoken_to_without_tls(host):
    with pytest.raises(ValueError, match="loopback"):
        serve(holder(), ACCESS, host=host, port=0)


def test_somebody_must_be_asked_who_they_are(authority):
    certificate, key = authority.server
    everybody = Access.by_certificate()
    with pytest.raises(ValueError, match="client CA"):
        serve(holder(), everybody, port=0)
    with pytest.raises(ValueError, match="client CA"):
        serve(holder(), everybody, port=0, certificate=certificate, private_key=key)
    with pytest.raises(ValueError, match="belong to TLS"):
        serve(holder(), everybody, port=0, client_ca=authority.ca)


def test_files_that_are_no_certificates(authority, tmp_path):
    from cryptography.hazmat.primitives import serialization

    certificate, key = authority.server
    sealed = tmp_path / "sealed.key"
    private = serialization.load_pem_private_key(key.read_bytes(), None)
    sealed.write_bytes(
        private.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"passphrase"),
        )
    )
    for pair in (
        (authority.ca, key),
        (certificate, authority.client[1]),
        (certificate, tmp_path / "absent.key"),
        (certificate, sealed),  # and it does not ask on the terminal
        (certificate, None),
    ):
        with pytest.raises(ValueError, match="must be PEM files"):
            serve(holder(), ACCESS, port=0, certificate=pair[0], private_key=pair[1])
    with pytest.raises(ValueError, match="certificates of a CA"):
        serve(holder(), ACCESS, certificate=certificate, private_key=key, client_ca=key)


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1_1")
def test_old_versions_of_tls_are_refused(authority):
    with serving(holder(), authority) as service:
        context = authority.context()
        context.set_ciphers("ALL:@SECLEVEL=0")
        context.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
        context.maximum_version = ssl.TLSVersion.TLSv1_1
        with pytest.raises(httpx.ConnectError), httpx.Client(verify=context) as http:
            http.get(f"{service.url}/health")
        plain = f"http://127.0.0.1:{service.port}/health"
        with pytest.raises(httpx.TransportError):
            httpx.get(plain, trust_env=False)


def test_a_taken_port_is_told():
    with serving(holder()) as service, pytest.raises(OSError):
        serve(holder(), ACCESS, port=service.port)


def test_ready_tells_the_address():
    found = []

    def ready(host, port):
        found.append((host, port))
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        serve(holder(), ACCESS, port=0, ready=ready)
    ((host, port),) = found
    assert host == "127.0.0.1" and port > 0


def test_many_stops_leave_nothing_behind():
    before = threading.active_count()
    for _ in range(3):
        with serving(holder()) as service, service.remote(shared_plan()) as remote:
            remote.weights()
    wait_until(lambda: threading.active_count() <= before)


@pytest.mark.parametrize("missing", ["httpx", "starlette", "uvicorn"])
def test_a_missing_extra_is_named(missing):
    code = f"import sys; sys.modules[{missing!r}] = None; import skfhe.service"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 1
    assert "needs the extra `service`: pip install 'skfhe[service]'" in done.stderr
