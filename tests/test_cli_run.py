"""Whole runs from the command line: on one machine, and as five processes with TLS."""

import json
import os
import signal
import tempfile

import numpy as np
import pytest
import skops.io
from cli_helpers import SCHEMA, Site, answer, invoke, make_table, processes
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline

from skfhe import EncryptedDPLogisticRegression, PrivacyLedger, TrainingPlan
from skfhe.cli.encrypt import _checked
from skfhe.exceptions import StateError
from skfhe.protocol.folder_state import FolderState
from skfhe.protocol.outcome import unpack_outcome
from skfhe.protocol.recorded import RecordedRun
from skfhe.protocol.rows import check_rows
from skfhe.sources import rows_of

QUICK = ("--degree", 3, "--set", "max_iter=2", "--epsilon", 20)


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """One owner who is the key holder too, with keys, before anything else was done."""
    folder = tmp_path_factory.mktemp("home")
    site = Site.make(folder, [make_table(300)], *QUICK)
    (folder / "passphrase").write_text("a long and quiet passphrase\n")
    (folder / "passphrase").chmod(0o600)
    return site


def passphrase(site):
    return "--passphrase-file", site.folder / "passphrase"


def keygen(site, name):
    """Keys of a run of its own."""
    keys = site.folder / name
    budget = ("--ledger", site.folder / f"{name}.ledger", "--ledger-epsilon", 50)
    invoke("keygen", site.plan, keys, *budget, "--ledger-delta", 1e-5, *passphrase(site))
    return keys


@pytest.fixture(scope="module")
def done(home):
    """A whole run on one machine, each command as often as it is needed."""
    keys, secret = keygen(home, "keys"), passphrase(home)
    own = ("--keys", keys, *secret, "--wait", 0)
    encrypt = ["encrypt", home.plan, home.data(0), home.folder / "rows0.csv", *own]
    fit = ["fit", home.plan, home.data(0), "--checkpoint", home.folder / "cp", *own]
    release = ["release", home.plan, home.folder / "model.skops", "--keys", keys]
    assert "moments" in invoke(*fit, code=8).stderr
    assert "frame" in invoke(*encrypt, code=8).stderr
    invoke("keyholder", "frame", keys, home.folder / "frame", code=8)
    assert "complete folders" in invoke(*fit, code=8).stderr
    invoke("keyholder", "frame", keys, home.folder / "frame")
    first = answer(*encrypt)
    assert (first["samples"], first["owner"], first["shards"]) == (300, 0, 1)
    invoke(*release, code=8)
    status = answer("keyholder", "status", keys)
    assert (status["prepared"], status["step"], status["done"]) == (["moments"], 0, False)
    trained = answer(*fit)
    assert trained["done"] and trained["steps"] == len(trained["step_seconds"]) == 2
    invoke(*release, "--report")
    return home, keys, encrypt, fit, release


def test_a_run_on_one_machine(done):
    site, keys, encrypt, fit, _ = done
    table = site.tables[0]
    model = skops.io.load(site.folder / "model.skops")  # trusts nothing but scikit-learn
    assert model.score(table[SCHEMA["features"]], table["ill"]) > 0.8
    run = RecordedRun(keys)
    released = unpack_outcome(run.holder.outcome(), run.plan, run.run)
    ours = EncryptedDPLogisticRegression.from_released(run.plan, released)
    np.testing.assert_array_equal(model[-1].coef_, ours.coef_)
    np.testing.assert_array_equal(model[-1].intercept_, ours.intercept_)
    # Called again, everybody finds that there is nothing to do.
    assert "nothing is left" in invoke(*fit).stderr
    assert invoke(*encrypt, code=6).stderr.startswith("error: this run is done")
    assert answer("keyholder", "status", keys)["burned"]


def test_the_report(done):
    site, *_ = done
    report = json.loads((site.folder / "model.json").read_text())
    plan = TrainingPlan.from_json(site.plan.read_bytes())
    assert report["plan"] == plan.digest and report["trusted"] == []
    assert report["privacy"]["epsilon"] == 20 and report["privacy"]["guaranteed"]
    assert len(report["records"]) == 2
    assert {one["party"] for one in report["parties"]} >= {"public", "evaluator"}


def test_the_ledger_paid_once(done):
    ledger = PrivacyLedger.open(done[0].folder / "keys.ledger")
    (entry,) = ledger.entries()
    assert entry.n_releases == 4 and ledger.spent().epsilon == pytest.approx(20, rel=1e-3)
    content = answer("inspect", ledger.path)
    assert content["spent"]["epsilon"] == ledger.spent().epsilon
    assert content["entries"][0]["plan"] == entry.digest


def test_inspect_knows_everything(done):
    site, keys, *_ = done
    plan, folder = TrainingPlan.from_json(site.plan.read_bytes()), site.folder
    assert answer("inspect", keys)["releases"][-1] == {"name": 1, "done": True}
    assert not answer("inspect", keys)["has_key"]
    message = answer("inspect", keys / "public-key.skfhe")
    assert message["contains"] == "message: public key" and message["plan"] == plan.digest
    data = answer("inspect", site.data(0), "--verify")
    assert (data["samples"], data["noise"], data["verified"]) == (300, 2, 4)
    assert answer("inspect", folder / "cp")["answers"]["step"] == 1
    assert answer("inspect", folder / "schema.json")["contains"] == "schema"
    assert "skops" in invoke("inspect", folder / "model.skops", code=4).stderr
    for name in ("rows0.csv", "model.json", "ca", "nothing"):
        invoke("inspect", folder / name, code=4)
    invoke("inspect", keys / "journal", code=4)


def test_verify_finds_what_was_altered(done, tmp_path):
    site, *_ = done
    for path in site.data(0).rglob("*.*"):
        target = tmp_path / path.relative_to(site.data(0))
        target.parent.mkdir(exist_ok=True)
        target.write_bytes(path.read_bytes())
    shard = tmp_path / "rows-00000.skfhe"
    data = bytearray(shard.read_bytes())
    data[len(data) // 2] ^= 1
    shard.write_bytes(data)
    invoke("inspect", tmp_path)
    assert "1 of 4" in invoke("inspect", tmp_path, "--verify", code=4).stderr
    assert "altered" in invoke("inspect", shard, code=4).stderr
    (tmp_path / "noise" / "0001.skfhe").unlink()
    assert "2 of 4" in invoke("inspect", tmp_path, "--verify", code=4).stderr
    (tmp_path / "manifest.json").unlink()
    assert not answer("inspect", tmp_path)["complete"]


def test_a_folder_of_another_run_is_not_taken_for_complete(done):
    """Its noise belongs to a key that is gone."""
    site, _, *_ = done
    keys = keygen(site, "other")
    rows = site.folder / "rows0.csv"
    own = ("--keys", keys, *passphrase(site))
    result = invoke("encrypt", site.plan, site.data(0), rows, *own, code=4)
    assert "another folder" in result.stderr


def test_what_is_given_must_fit(done, tmp_path):
    site, keys, *_ = done
    key, rows = keys / "public-key.skfhe", site.folder / "rows0.csv"
    arguments = ["encrypt", site.plan, tmp_path / "data", rows]
    assert "give one of" in invoke(*arguments, code=2).stderr
    assert "give one of" in invoke(*arguments, "--keys", keys, "--public-key", key, code=2).stderr
    assert "--keys" in invoke(*arguments, "--public-key", key, code=4).stderr
    assert "owner" in invoke(*arguments, "--keys", keys, "--owner", 1, code=4).stderr
    other = tmp_path / "plan.json"
    invoke("plan", other, "--samples", 300, "--schema", site.folder / "schema.json")
    assert "plan" in invoke("keygen", other, keys, code=4).stderr
    invoke("release", other, tmp_path / "model.skops", "--keys", keys, code=4)
    invoke("release", site.plan, site.folder / "model.skops", "--keys", keys, code=2)
    folders = ("a", "b", "--checkpoint", "c", "--keys", keys)
    assert "DATA" in invoke("fit", site.plan, *folders, code=2).stderr


def test_no_cell_of_a_table_is_shown(home, tmp_path):
    """Neither a bad number nor an unknown label."""
    keys = keygen(home, "careful")
    for column, cell in (("dose", "hushhush"), ("ill", "hushhush"), ("dose", "")):
        table = home.tables[0].astype(str)
        table.loc[7, column] = cell
        table.to_csv(tmp_path / "rows.csv", index=False)
        arguments = ("encrypt", home.plan, tmp_path / "data", tmp_path / "rows.csv")
        result = invoke(*arguments, "--keys", keys, *passphrase(home), "--check", code=4)
        assert "hushhush" not in result.output + result.stderr and repr(column) in result.stderr
    assert not (tmp_path / "data").exists()


def test_an_owner_may_look_at_its_rows(home):
    source = rows_of(home.tables[0], schema=TrainingPlan.from_json(home.plan.read_bytes()).schema)
    plan = TrainingPlan.from_json(home.plan.read_bytes())
    rows = np.vstack([batch for batch, _ in source.batches(77)])
    assert _checked(source, plan) == check_rows(rows, plan.problem.data_norm)


def test_a_run_never_forgets_what_pays_for_it(home, monkeypatch):
    """Killed in the middle of keygen, there is no run that could make a key for nothing."""
    keys = home.folder / "interrupted"
    budget = ("--ledger", home.folder / "pays", "--ledger-epsilon", 50, "--ledger-delta", 1e-5)

    def killed(*_):
        raise StateError("killed")

    with monkeypatch.context() as patch:
        patch.setattr(FolderState, "create", killed)
        invoke("keygen", home.plan, keys, *budget, *passphrase(home), code=4)
    assert (keys / "ledger.json").exists()
    FolderState.create(keys, TrainingPlan.from_json(home.plan.read_bytes())).close()
    assert "keygen" in invoke(*home.serve(keys), code=4).stderr
    assert not (keys / "secret.key").exists()
    invoke("keygen", home.plan, keys, *passphrase(home))
    assert len(PrivacyLedger.open(home.folder / "pays").entries()) == 1
    (home.folder / "pays").unlink()  # a key can be destroyed all the same
    invoke("keyholder", "burn", keys, "--yes", code=4)
    assert not (keys / "secret.key").exists()


def test_a_run_can_be_ended(home):
    keys = keygen(home, "ended")
    ledger = PrivacyLedger.open(home.folder / "ended.ledger")
    assert ledger.spent().epsilon > 19 and (keys / "secret.key").exists()
    assert answer("keygen", home.plan, keys, *passphrase(home))["run"] == RecordedRun(keys).run
    invoke("keyholder", "burn", keys, code=1, text="n\n")
    assert (keys / "secret.key").exists()
    state = FolderState(keys)
    with pytest.raises(StateError):
        FolderState(keys)
    assert "another process" in invoke("keyholder", "burn", keys, "--yes", code=4).stderr
    assert not answer("keyholder", "status", keys)["burned"], "the folder in use is looked at"
    state.close()
    # No passphrase, and the ledger that keygen was given.
    assert answer("keyholder", "burn", keys, "--yes")["burned"]
    assert not (keys / "secret.key").exists() and ledger.spent().epsilon == 0
    assert answer("keyholder", "burn", keys)["burned"]
    own = ("--keys", keys, *passphrase(home))
    invoke("fit", home.plan, home.data(0), "--checkpoint", "c", *own, code=6)
    invoke("release", home.plan, home.folder / "none.skops", "--keys", keys, code=6)
    invoke("keygen", home.plan, keys, *passphrase(home), code=6)


def test_separate_parties(tmp_path):
    """Three owners, an evaluator and a key holder as processes; the model is everybody's."""
    tables = [make_table(n, seed) for seed, n in enumerate((60, 140, 300))]
    site = Site.make(tmp_path, tables, *QUICK, "--colluding", 1)
    keys = tmp_path / "keys"
    budget = ("--ledger", tmp_path / "ledger", "--ledger-epsilon", 30, "--ledger-delta", 1e-5)
    invoke("keygen", site.plan, keys, *budget)
    with processes(tmp_path) as start:
        service = start("service", *site.serve(keys), "--json")
        listening = json.loads(service.first_line())
        url = listening["url"]
        owners = [start(f"owner{i}", *site.encrypt(i, url)) for i in (0, 1)]
        # The third owner cannot reach the service and gets its messages as files.
        frame, wait = tmp_path / "frame", ("--wait", 60)
        carrier = start("frame", "keyholder", "frame", keys, frame, *wait)
        data = (site.data(2), tmp_path / "rows2.csv", "--owner", 2, *wait)
        by_file = ("--public-key", keys / "public-key.skfhe", "--frame", frame)
        owners.append(start("owner2", "encrypt", site.plan, *data, *by_file))
        evaluator = start("evaluator", *site.fit(url), "--json")
        for process in (carrier, *owners):
            process.finish()
        trained = json.loads(evaluator.finish())
        assert trained["done"] and trained["run"] == listening["run"]
        status = answer("keyholder", "status", *site.connection(url))
        assert status["done"] and status["plan"] == trained["plan"]
        out = tmp_path / "model.skops"
        report = answer("release", site.plan, out, *site.connection(url))
        # A token of the wrong role, or of nobody.
        late = site.fit(url)[:-6] + site.connection(url, "owner")
        (tmp_path / "evaluator.token").write_text("x" * 40)
        invoke("keyholder", "status", *site.connection(url, "evaluator"), code=4)
        assert "nothing is left" in invoke(*late).stderr
        service.popen.send_signal(signal.SIGTERM)
        service.finish()
        logs = "".join(path.read_text() for path in tmp_path.glob("*.log"))
    assert site.token("owner") not in logs and '"stopped"' in logs
    model = skops.io.load(out)
    assert isinstance(model, Pipeline) and type(model[-1]) is LogisticRegression
    scores = [model.score(table[SCHEMA["features"]], table["ill"]) for table in tables]
    assert min(scores) > 0.8
    figures = {one["party"]: one for one in report["parties"]}
    assert figures["1 owner"]["promised"] and figures["public"]["epsilon"] < 20
    assert PrivacyLedger.open(tmp_path / "ledger").spent().epsilon == pytest.approx(20, rel=1e-3)


@pytest.mark.slow
def test_on_a_dask_cluster(tmp_path):
    """Real worker processes, and relative paths that they could not resolve."""
    distributed = pytest.importorskip("distributed")
    site = Site.make(tmp_path, [make_table(9000)], *QUICK, "--set", "standardize=false")
    keys = tmp_path / "keys"
    invoke("keygen", site.plan, keys)
    encrypted = answer("encrypt", site.plan, site.data(0), tmp_path / "rows0.csv", "--keys", keys)
    assert encrypted["shards"] > 1
    places = [os.path.relpath(one) for one in (site.data(0), tmp_path / "checkpoint")]
    options = ("--checkpoint", places[1], "--keys", keys)
    with (
        tempfile.TemporaryDirectory() as elsewhere,
        distributed.LocalCluster(
            n_workers=2,
            threads_per_worker=1,
            host="127.0.0.1",
            dashboard_address=None,
            local_directory=elsewhere,
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        client.run(os.chdir, elsewhere)
        address = cluster.scheduler_address
        assert answer("fit", site.plan, places[0], *options, "--dask", address)["done"]
        assert all(client.run(has_resident).values()), "every worker has computed"


def has_resident():
    """Whether a worker process keeps shards of a run."""
    from skfhe.protocol import mapping

    return bool(mapping._RESIDENTS)
