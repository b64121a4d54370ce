"""The key holder's client: the same methods and errors as of one that is here."""

import logging
import pickle
import threading
import time

import pytest
from helpers import BACKENDS, relative, scheme_of, seeded_noise
from service_helpers import (
    EVALUATOR,
    OWNER,
    Authority,
    Side,
    Wrapped,
    free_port,
    holder,
    serving,
    shared_plan,
)

from skfhe import KeyHolder
from skfhe.exceptions import BudgetExceeded, KeyBurned, MessageError, PlanMismatch, StateError
from skfhe.protocol import data_owner, messages
from skfhe.protocol.folder_state import FolderState
from skfhe.protocol.outcome import unpack_outcome
from skfhe.service import Access, Limits, RemoteKeyHolder


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return Authority.make(tmp_path_factory.mktemp("authority"))


def trained(key_holder, scheme, frame, public_key):
    """All of a run, through whatever stands for the key holder."""
    side = Side(key_holder, scheme, public_key)
    side.prepare(frame)
    for step in range(side.plan.optimizer.max_iter):
        key_holder.release(side.reply(step))
    return unpack_outcome(key_holder.outcome(), side.plan, key_holder.run)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_run_is_the_same_from_afar(backend, authority, monkeypatch):
    plan = shared_plan(n_owners=2, max_iter=2, standardize=True)
    scheme = scheme_of(plan, backend)
    monkeypatch.setattr(data_owner, "discrete_gaussian", seeded_noise())
    here = holder(plan, backend)
    local = trained(here, scheme, here.frame, here.public_key())
    monkeypatch.setattr(data_owner, "discrete_gaussian", seeded_noise())
    there = holder(plan, backend)
    with (
        serving(there, authority) as service,
        service.remote(plan) as evaluator,
        service.remote(plan, OWNER) as owner,
    ):
        assert evaluator.run == there.run
        remote = trained(evaluator, scheme, owner.frame, owner.public_key())
        assert evaluator.status() == owner.status() == there.status()
        assert evaluator.status().done
        assert owner.outcome() == evaluator.outcome() == there.outcome()
        with pytest.raises(KeyBurned):
            evaluator.weights()
    assert relative(remote.model, local.model) < (1e-12 if backend == "simulated" else 1e-3)
    assert [r.interval for r in remote.records] == [r.interval for r in local.records]


def test_the_plan_comes_from_the_key_holder_or_is_compared():
    plan = shared_plan()
    with serving(holder(plan)) as service:
        with service.remote() as remote:
            assert remote.plan == plan
            assert repr(remote) == f"RemoteKeyHolder('{service.url}', plan={plan.digest[:12]})"
        with pytest.raises(PlanMismatch, match=shared_plan(epsilon=2.0).digest[:12]):
            service.remote(shared_plan(epsilon=2.0))


def test_another_run_in_the_same_place_is_noticed():
    plan = shared_plan()
    with serving(holder(plan)) as service:
        remote = service.remote(plan)
    with serving(holder(plan), port=service.port), pytest.raises(PlanMismatch, match="run"):
        remote.status()


@pytest.mark.parametrize(
    "error",
    [
        MessageError("m: truncated"),
        PlanMismatch("p: another step"),
        KeyBurned("k: the run is over"),
        BudgetExceeded("b: nothing is left"),
    ],
)
def test_errors_come_back_as_they_were(error):
    def refuse(reply):
        raise error

    with serving(Wrapped(holder(), release=refuse)) as service, service.remote() as remote:
        with pytest.raises(type(error)) as caught:
            remote.release(b"anything")
        assert str(caught.value) == str(error)
        assert remote.status().step == 0


def test_a_burned_key_is_told_at_once():
    key_holder = holder()
    with serving(key_holder) as service, service.remote(patience=60.0) as remote:
        key_holder.burn()
        for call in (remote.weights, remote.evaluation_keys, lambda: remote.release(b"")):
            with pytest.raises(KeyBurned):
                call()
        assert remote.status().burned
        with service.http(None) as http:
            assert http.get("/health").json() == {"status": "burned"}


def test_strangers_are_turned_away():
    with serving(holder()) as service:
        for token in (None, "x" * 40):
            with pytest.raises(PermissionError, match="bearer token"):
                service.remote(token=token)
        with (
            service.remote(token=OWNER) as remote,
            pytest.raises(PermissionError, match="evaluator"),
        ):
            remote.weights()


def test_it_waits_for_a_service_that_starts_again(authority):
    """On the same port, with the same key holder."""
    key_holder = holder()
    with serving(key_holder, authority) as service:
        remote = service.remote(patience=20.0)
        before = remote.weights()
    answers = []
    thread = threading.Thread(target=lambda: answers.append(remote.weights()))
    thread.start()
    time.sleep(1.0)
    assert not answers
    with serving(key_holder, authority, port=service.port):
        thread.join(timeout=20)
    assert answers == [before]
    remote.close()


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_run_goes_on_after_a_restart(backend, tmp_path):
    """From the state in a folder: the same weights, and no step twice."""
    plan = shared_plan(n_owners=2, max_iter=2)
    scheme = scheme_of(plan, backend)
    state = FolderState.create(tmp_path / "state", plan)
    key_holder = KeyHolder(plan, scheme, state=state)
    with serving(key_holder) as service:
        remote = service.remote(plan)
        side = Side(remote, scheme, service.remote(plan, OWNER).public_key())
        side.prepare(service.remote(plan, OWNER).frame)
        reply = side.reply(0)
        remote.release(reply)
        weights = remote.weights()
    state.close()
    state = FolderState(tmp_path / "state")
    with serving(KeyHolder(plan, scheme, state=state), port=service.port):
        assert remote.status().step == 1
        remote.release(reply)  # as if its answer had been lost
        assert remote.status().step == 1 and remote.weights() == weights
        remote.release(side.reply(1))
        assert remote.status().done
        unpack_outcome(remote.outcome(), plan, remote.run)
    state.close()


def test_it_gives_up_in_the_end():
    start = time.monotonic()
    with pytest.raises(ConnectionError, match=r"within 0\.5 s, .*Connect") as caught:
        RemoteKeyHolder(f"http://127.0.0.1:{free_port()}", token=EVALUATOR, patience=0.5)
    assert time.monotonic() - start < 5
    # Neither the request nor its headers hang on to the error.
    assert caught.value.__cause__ is None and EVALUATOR not in str(caught.value)


def test_it_slows_down_when_told():
    limits = Limits(requests_per_minute=60, burst=2)
    with serving(holder(), limits=limits) as service, service.remote(shared_plan()) as remote:
        start = time.monotonic()
        for _ in range(2):
            remote.status()
        assert 0.9 < time.monotonic() - start < 5
        service.stop()
        statuses = [e["status"] for e in service.events() if e["event"] == "request"]
    # Refused once: it waits for as long as it is told to.
    assert statuses == [200, 200, 429, 200]


def test_a_state_that_cannot_be_written_is_waited_for():
    """The same request goes well once the storage is mended."""
    tries = []

    def release(reply):
        tries.append(reply)
        if len(tries) < 2:
            raise StateError("/srv/secret/place cannot be written")

    limits = {"patience": 20.0}
    with (
        serving(Wrapped(holder(), release=release)) as service,
        service.remote(**limits) as remote,
    ):
        remote.release(b"the same")
        assert tries == [b"the same"] * 2
        assert "secret/place" not in service.logs.getvalue()


def test_internal_errors_are_not_repeated():
    def fail(reply):
        tries.append(reply)
        raise ZeroDivisionError("a row")

    tries = []
    with serving(Wrapped(holder(), release=fail)) as service, service.remote() as remote:
        with pytest.raises(RuntimeError, match="status 500") as caught:
            remote.release(b"x")
        assert "a row" not in str(caught.value) and len(tries) == 1


@pytest.mark.parametrize(
    "url",
    [
        "http://example.org:8443",
        "http://192.0.2.1",
        "ftp://127.0.0.1",
        "127.0.0.1:8443",
        "",
        "https://",
        "https://user:secret@127.0.0.1",
        "https://127.0.0.1/?token=secret",
        None,
    ],
)
def test_addresses_that_are_none_or_not_safe(url):
    with pytest.raises(ValueError, match="url must") as caught:
        RemoteKeyHolder(url, token=EVALUATOR, patience=0.0)
    assert "secret" not in str(caught.value)


def test_files_and_tokens_are_checked_before_anybody_is_asked(tmp_path, authority):
    url = f"https://127.0.0.1:{free_port()}"
    with pytest.raises(ValueError, match="at least 32") as caught:
        RemoteKeyHolder(url, token="hunter2")
    assert "hunter2" not in str(caught.value)
    with pytest.raises(ValueError, match="must be a PEM file"):
        RemoteKeyHolder(url, ca=tmp_path / "absent.pem")
    with pytest.raises(ValueError, match="must be PEM files"):
        RemoteKeyHolder(url, ca=authority.ca, certificate=(authority.ca, authority.ca))


def test_the_services_certificate_is_always_verified(authority, tmp_path):
    """Neither another CA's certificate passes nor one for another name; and it says so at once."""
    other = Authority.make(tmp_path / "other")
    with serving(holder(), authority) as service:
        for url, ca in (
            (service.url, other.ca),
            (service.url, None),
            (service.url.replace("127.0.0.1", "localhost"), authority.ca),
        ):
            start = time.monotonic()
            with pytest.raises(ConnectionError, match="TLS"):
                RemoteKeyHolder(url, token=EVALUATOR, ca=ca, patience=60.0)
            assert time.monotonic() - start < 20


def test_clients_need_a_certificate_of_the_right_authority(authority, tmp_path):
    """Instead of tokens, or beside them."""
    other = Authority.make(tmp_path / "other")
    everything = Access.by_certificate()
    with serving(holder(), authority, everything, client_ca=authority.ca) as service:
        with service.remote(token=None, certificate=authority.client) as remote:
            remote.weights(), remote.public_key(), remote.frame()
        for certificate in (None, other.client, authority.server):
            with pytest.raises(ConnectionError):
                service.remote(token=EVALUATOR, certificate=certificate, patience=0.5)
    with serving(holder(), authority, client_ca=authority.ca) as service:
        with pytest.raises(PermissionError):
            service.remote(token=None, certificate=authority.client)
        with service.remote(certificate=authority.client) as remote:
            remote.weights()


def test_the_token_stays_where_it_is(caplog):
    """In no repr, log or pickle."""
    with caplog.at_level(logging.DEBUG), serving(holder()) as service:
        with service.remote() as remote:
            remote.weights()
            assert EVALUATOR not in repr(remote) + repr(vars(remote))
            with pytest.raises(TypeError, match="token"):
                pickle.dumps(remote)
        assert caplog.records
        assert EVALUATOR not in caplog.text + service.logs.getvalue()


def test_closing_the_client_leaves_the_key_holder_alone():
    key_holder = holder()
    with serving(key_holder) as service:
        with service.remote() as remote:
            remote.weights()
        assert not key_holder.status().burned
        digest = messages.unpack(key_holder.weights(), "weights", key_holder.plan.digest)
        assert digest
