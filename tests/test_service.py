"""The key holder's service: who may call what, what it answers, and what it tells of errors."""

import hashlib
import io
import json
import logging
import re
from pathlib import Path

import numpy as np
import pytest
from helpers import gather, make, scheme_of
from service_helpers import (
    BYTES,
    EVALUATOR,
    OWNER,
    Side,
    Wrapped,
    holder,
    serving,
    wait_until,
)

from skfhe import TrainingPlan
from skfhe.crypto.simulated import SimulatedKeys
from skfhe.exceptions import BudgetExceeded, KeyBurned, MessageError, PlanMismatch, StateError
from skfhe.protocol import messages
from skfhe.service import Access
from skfhe.service.endpoints import ENDPOINTS, PUBLIC_ERRORS
from skfhe.service.logs import json_logs

ROLES = {
    "/v1/status": "both",
    "/v1/plan": "both",
    "/v1/model": "both",
    "/v1/public-key": "owner",
    "/v1/frame": "owner",
    "/v1/evaluation-keys": "evaluator",
    "/v1/weights": "evaluator",
    "/v1/prepare": "evaluator",
    "/v1/release": "evaluator",
}
TOKENS = {"evaluator": EVALUATOR, "owner": OWNER}


@pytest.fixture(scope="module")
def running():
    """A service for tests that change nothing."""
    with serving(holder()) as service:
        yield service


@pytest.fixture
def decryptions(monkeypatch):
    """Counts every decryption of the simulated backend."""
    seen, decrypt = [], SimulatedKeys.decrypt

    def counted(self, *arguments):
        seen.append(arguments)
        return decrypt(self, *arguments)

    monkeypatch.setattr(SimulatedKeys, "decrypt", counted)
    return seen


def side_of(key_holder):
    """Evaluator and owner beside a key holder, rows loaded."""
    side = Side(key_holder, scheme_of(key_holder.plan, "simulated"), key_holder.public_key())
    side.prepare(key_holder.frame)
    return side


def test_every_role_may_call_its_own(decryptions):
    """And nothing else: nor can a stranger call anything."""
    assert ROLES.keys() == {endpoint.path for endpoint in ENDPOINTS.values()}
    with serving(holder()) as service:
        for endpoint in ENDPOINTS.values():
            for role, token in TOKENS.items():
                with service.http(token) as http:
                    answer = http.request(endpoint.method, endpoint.path, headers=BYTES)
                if ROLES[endpoint.path] in (role, "both"):
                    assert answer.status_code not in (401, 403), (endpoint, role)
                else:
                    assert answer.status_code == 403, (endpoint, role)
                    assert answer.json()["error"] == "Forbidden"
            with service.http(None) as http:
                answer = http.request(endpoint.method, endpoint.path, headers=BYTES)
                assert answer.status_code == 401
                assert answer.headers["www-authenticate"] == "Bearer"
    assert not decryptions


@pytest.mark.parametrize(
    "authorization",
    [
        "Bearer " + EVALUATOR[:-1],
        "Bearer " + EVALUATOR + "x",
        "Bearer " + EVALUATOR.upper(),
        "Bearer",
        "Basic " + EVALUATOR,
        EVALUATOR,
        "Bearer " + hashlib.sha256(EVALUATOR.encode()).hexdigest(),
        "Bearer \xff\xfe" + EVALUATOR,
    ],
)
def test_a_wrong_token_opens_nothing(authorization, running):
    with running.http(None) as http:
        header = {"authorization": authorization.encode("latin-1")}
        answer = http.get("/v1/status", headers=header)
    assert answer.status_code == 401
    assert answer.json()["error"] == "Unauthorized"


def test_the_documentation_lists_every_endpoint():
    text = (Path(__file__).parent.parent / "docs" / "guide" / "service.md").read_text()
    listed = re.findall(r"^\| `(\w+) (/v1/\S+)` \| (\w+) \|", text, re.MULTILINE)
    assert {path: role for _, path, role in listed} == ROLES
    assert {(m, p) for m, p, _ in listed} == {(e.method, e.path) for e in ENDPOINTS.values()}
    for kind, status in PUBLIC_ERRORS.items():
        assert f"| {status} | `{kind.__name__}` |" in text


def test_health_needs_no_token_and_tells_one_word():
    with serving(holder()) as service, service.http(None) as http:
        answer = http.get("/health")
        assert answer.status_code == 200 and answer.json() == {"status": "ok"}
        assert http.head("/health").status_code == 200
        assert http.post("/health").status_code == 405


def test_what_an_evaluator_and_an_owner_get():
    key_holder = holder()
    with serving(key_holder) as service:
        with service.http() as http:
            status = http.get("/v1/status")
            assert status.headers["content-type"] == "application/json"
            assert status.headers["cache-control"] == "no-store"
            assert status.json()["run"] == key_holder.run and status.json()["step"] == 0
            plan = http.get("/v1/plan").text
            assert TrainingPlan.from_json(plan) == key_holder.plan
            assert http.get("/v1/weights").content == key_holder.weights()
            assert http.get("/v1/evaluation-keys").content == key_holder.evaluation_keys()
            early = http.get("/v1/model")
            assert (early.status_code, early.json()["error"]) == (409, "PlanMismatch")
        with service.http(OWNER) as http:
            assert http.get("/v1/public-key").content == key_holder.public_key()
            assert http.get("/v1/frame").content == key_holder.frame()


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/", 404),
        ("GET", "/v1/statuses", 404),
        ("GET", "/v1/status/", 404),
        ("GET", "/v1/../v1/nothing", 404),
        ("GET", "/V1/STATUS", 404),
        ("GET", "/v1/release", 405),
        ("POST", "/v1/weights", 405),
        ("HEAD", "/v1/weights", 405),
        ("DELETE", "/v1/status", 405),
        ("BREW", "/v1/status", 405),
    ],
)
def test_unknown_paths_and_methods(method, path, status, running):
    with running.http() as http:
        answer = http.request(method, path)
        assert answer.status_code == status
        assert method == "HEAD" or answer.json()["error"]
        assert not answer.is_redirect
    # A stranger does not learn which paths there are.
    with running.http(None) as http:
        assert http.request(method, path).status_code == 401


def test_a_step_is_released_once(decryptions):
    """The same reply again gets the same answer, another one a refusal; neither is decrypted."""
    key_holder = holder()
    side = side_of(key_holder)
    reply = side.reply()
    digest = key_holder.plan.digest
    header, sections = messages.unpack(reply, "gradient", digest)
    fields = {k: v for k, v in header.items() if k not in ("kind", "plan", "sections")}
    other = messages.pack("gradient", digest, sections, **fields, more=1)
    with serving(key_holder) as service, service.http() as http:
        for _ in range(3):
            answer = http.post("/v1/release", content=reply, headers=BYTES)
            assert (answer.status_code, answer.content) == (204, b"")
        for bad in (
            other,
            messages.pack("gradient", digest, sections, **{**fields, "step": 2}),
            messages.pack("gradient", digest, sections, **{**fields, "run": "0" * 32}),
            messages.pack("gradient", "0" * 64, sections, **fields),
        ):
            answer = http.post("/v1/release", content=bad, headers=BYTES)
            assert (answer.status_code, answer.json()["error"]) == (409, "PlanMismatch")
        for bad in (b"", b"junk", reply[:-1], reply[:1000] + b"x" + reply[1001:]):
            answer = http.post("/v1/release", content=bad, headers=BYTES)
            assert (answer.status_code, answer.json()["error"]) == (400, "MessageError")
        # The plan has no statistics.
        answer = http.post("/v1/prepare", content=b"junk", headers=BYTES)
        assert (answer.status_code, answer.json()["error"]) == (409, "PlanMismatch")
        assert http.get("/v1/status").json()["step"] == 1
    assert len(decryptions) == 1


def test_an_impossible_vector_ends_the_run(decryptions):
    parties = gather(make(), "simulated")
    parties.key_holder.weights()
    huge = np.full(parties.plan.encryption.poly_modulus_degree, 1e30)
    forged = parties.gradient_message(huge, seeded=False)
    with serving(parties.key_holder) as service, service.http() as http:
        for _ in range(2):
            answer = http.post("/v1/release", content=forged, headers=BYTES)
            assert (answer.status_code, answer.json()["error"]) == (410, "KeyBurned")
        assert http.get("/v1/weights").status_code == 410
        assert http.get("/health").json() == {"status": "burned"}
        assert http.get("/v1/status").json()["burned"]
    assert len(decryptions) == 1


SECRET = "a row: 3.14159 of patient 27"


@pytest.mark.parametrize(
    ("error", "status", "name"),
    [
        (MessageError("told"), 400, "MessageError"),
        (BudgetExceeded("told"), 402, "BudgetExceeded"),
        (PlanMismatch("told"), 409, "PlanMismatch"),
        (KeyBurned("told"), 410, "KeyBurned"),
        (StateError(SECRET), 503, "Unavailable"),
        (ValueError(SECRET), 500, "InternalError"),
        (PermissionError(SECRET), 500, "InternalError"),
        (AssertionError(SECRET), 500, "InternalError"),
    ],
)
def test_what_is_told_of_errors(error, status, name, capfd):
    """The package's own texts; of all others nothing, neither to the client nor in the log."""

    def fail(reply):
        raise error

    with serving(Wrapped(holder(), release=fail)) as service, service.http() as http:
        answer = http.post("/v1/release", content=b"x", headers=BYTES)
        assert (answer.status_code, answer.json()["error"]) == (status, name)
        assert (answer.json()["message"] == "told") == (status < 500)
        assert http.get("/v1/status").status_code == 200  # it goes on
    told = answer.text + service.logs.getvalue() + "".join(capfd.readouterr())
    assert SECRET not in told and "Traceback" not in told
    if status >= 500:
        (event,) = [e for e in service.events() if e["event"] == "error"]
        assert event["error"] == type(error).__name__
        assert re.fullmatch(r"test_service\.py:\d+", event["where"])


def test_the_log_tells_what_happened_and_no_secret(decryptions):
    key_holder = holder()
    side = side_of(key_holder)
    reply = side.reply()
    with serving(key_holder) as service, service.http() as http:
        http.post("/v1/release?token=in-the-query", content=reply, headers=BYTES)
        http.get("/v1/weights", headers={"x-secret": "in-a-header"})
        http.get("/v1/in-the-path")
        http.request("IN-THE-METHOD", "/v1/status")
        http.get("/v1/status", headers={"authorization": "Bearer in-the-token" + "x" * 32})
        http.get("/health")
        wait_until(lambda: len(service.events()) == 6)
    text = service.logs.getvalue()
    events = service.events()
    assert [(e["method"], e["path"], e["role"], e["status"]) for e in events] == [
        ("POST", "/v1/release", "evaluator", 204),
        ("GET", "/v1/weights", "evaluator", 200),
        ("GET", None, "evaluator", 404),
        (None, "/v1/status", "evaluator", 405),
        ("GET", "/v1/status", None, 401),
        ("GET", "/health", None, 200),
    ]
    assert events[0]["bytes_in"] == len(reply) and events[0]["bytes_out"] == 0
    assert events[1]["bytes_out"] == len(key_holder.weights())
    fields = {"time", "level", "event", "method", "path", "role", "status", "seconds"}
    for event in events:
        assert event.keys() == fields | {"bytes_in", "bytes_out"}
    assert not re.search(r"in-the|in-a|token|IN-THE", text)
    assert reply[100:120].hex() not in text


def test_the_servers_own_words_are_cut_short():
    """Neither further lines, which may quote a task's exception, nor a traceback."""
    logger = logging.getLogger("uvicorn.error")
    before = logger.handlers[:], logger.level, logger.propagate
    with json_logs(stream := io.StringIO()):
        try:
            raise ValueError(SECRET)
        except ValueError:
            logger.error("it failed\n%s", SECRET, exc_info=True)
        logger.error("x" * 1000)
        logger.info("started")
    assert (logger.handlers, logger.level, logger.propagate) == before
    first, second = map(json.loads, stream.getvalue().splitlines())
    assert (first["message"], first["error"]) == ("it failed", "ValueError")
    assert second["message"] == "x" * 200 and SECRET not in stream.getvalue()


# Tokens.


@pytest.mark.parametrize("token", ["", "short", "x" * 31, "x" * 31 + "é", "x" * 20 + " " * 20])
def test_bad_tokens_are_refused_and_not_shown(token):
    with pytest.raises(ValueError, match="at least 32") as caught:
        Access(evaluator=[token])
    assert len(token) < 2 or token not in str(caught.value)


def test_tokens_are_kept_as_digests_only():
    access = Access(evaluator=[EVALUATOR], owner=[OWNER, OWNER + "2"])
    assert repr(access) == "Access(evaluator=1, owner=2)"
    assert EVALUATOR not in str(vars(access)) and OWNER not in str(vars(access))
    assert access.role(f"Bearer {OWNER}2") == access.role(f"bearer {OWNER}") == "owner"
    with pytest.raises(ValueError, match="both roles") as caught:
        Access(evaluator=[EVALUATOR], owner=[EVALUATOR])
    assert EVALUATOR not in str(caught.value)
    with pytest.raises(ValueError, match="at least one token"):
        Access()


def test_token_files(tmp_path):
    path = tmp_path / "tokens"
    path.write_text(f"# of the first hospital\n{OWNER}\n\n{OWNER}2\n")
    path.chmod(0o600)
    access = Access.from_files(owner=path)
    assert access.role(f"Bearer {OWNER}") == access.role(f"Bearer {OWNER}2") == "owner"
    assert access.role("Bearer # of the first hospital") is None
    for mode in (0o604, 0o644, 0o660, 0o666):
        path.chmod(mode)
        with pytest.raises(ValueError, match=f"mode {mode:04o}; use chmod 600"):
            Access.from_files(owner=path)
    path.chmod(0o440)
    Access.from_files(owner=path)  # as systemd and Kubernetes hand out secrets
    path.chmod(0o600)
    path.write_text(f"{OWNER}\nhunter2\n")
    with pytest.raises(ValueError, match="line 2") as caught:
        Access.from_files(owner=path)
    assert "hunter2" not in str(caught.value)
    path.write_text("# nothing\n")
    with pytest.raises(ValueError, match="a token a line"):
        Access.from_files(evaluator=path)
