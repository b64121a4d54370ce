"""Five processes that train as one would: three owners, an evaluator, a key holder with TLS.

The rows are as many and as wide as those of NHANES III in the literature on encrypted training
(15,649 rows of 15 columns).
"""

import json
import shutil
import signal

import numpy as np
import pytest
import skops.io
from cli_helpers import Site, invoke, make_table, processes
from helpers import relative

from skfhe import DataOwner, EncryptedDataset, EncryptedDPLogisticRegression, KeyHolder
from skfhe.plan import TrainingPlan
from skfhe.privacy.statistics import integer_sums
from skfhe.protocol import data_owner, messages
from skfhe.protocol.manifest import noise_file, statistic_file
from skfhe.protocol.places import Place
from skfhe.protocol.preparation import plain_frame, unpack_frame
from skfhe.protocol.schemes import plan_scheme
from skfhe.protocol.session import Costs, make_evaluator, prepare
from skfhe.protocol.vault import owner_key
from skfhe.sources import rows_of

SIZES = (3_000, 5_000, 7_649)
NAMES = [f"column{i}" for i in range(15)]
WIDE = {
    "features": NAMES,
    "label": "died",
    "classes": [0, 1],
    "bounds": {name: [0, 10 + i] for i, name in enumerate(NAMES)},
}


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Site, model and frame of a run in five processes, with a copy of its key."""
    folder = tmp_path_factory.mktemp("site")
    tables = [make_table(n, seed, WIDE) for seed, n in enumerate(SIZES)]
    site = Site.make(folder, tables, "--epsilon", 1, "--colluding", 1, schema=WIDE)
    budget = ("--ledger", folder / "ledger", "--ledger-epsilon", 1, "--ledger-delta", 1e-5)
    invoke("keygen", site.plan, folder / "keys", *budget)
    shutil.copytree(folder / "keys", folder / "copy")
    with processes(folder) as start:
        service = start("service", *site.serve(folder / "keys"), "--json")
        url = json.loads(service.first_line())["url"]
        parties = [start(f"owner{i}", *site.encrypt(i, url)) for i in site.owners]
        parties.append(start("evaluator", *site.fit(url)))
        for party in parties:
            party.finish(seconds=180)
        invoke("release", site.plan, folder / "model.skops", *site.connection(url))
        service.popen.send_signal(signal.SIGTERM)
        service.finish()
    invoke("keyholder", "frame", folder / "keys", folder / "frame")
    return site, skops.io.load(folder / "model.skops")


def noise_of(site, plan):
    """What every owner drew, release by release: read off its messages with the copied key."""
    _, run, secret = owner_key(site.folder / "copy")
    keys = plan_scheme(plan).restore((), secret)
    used, statistics = plan.encryption, plan.preparation.statistics
    frame = unpack_frame((site.folder / "frame").read_bytes(), plan, run)

    def opened(i, name, kind, level, scale):
        data = Place(site.data(i)).read(name)
        _, sections = messages.unpack(data, kind, plan.digest, run=run, owner=i)
        return np.concatenate([keys.decrypt(one, level, scale) for one in sections])

    def statistic(i, name):
        rows = rows_of(site.folder / f"rows{i}.csv", schema=plan.schema)
        stored = plain_frame(plan) if name == "moments" else frame
        own = sum(integer_sums(name, plan, stored, X) for X, _ in rows.batches(4096))
        share = opened(i, statistic_file(name), "statistic", used.product_level, 1.0)
        return share[: statistics[name].length] - own

    steps = range(plan.optimizer.max_iter)
    return [
        {
            **{name: statistic(i, name) for name in statistics},
            **{t: opened(i, noise_file(t), "noise", 0, used.output_scale) for t in steps},
        }
        for i in site.owners
    ]


def in_one_process(site, plan, drawn, monkeypatch):
    """The same plan, rows and noise, with all parties in this process."""
    queue = [noise["moments"] for noise in drawn]
    for noise in drawn:
        queue += [noise["curvature"], *(noise[t] for t in range(plan.optimizer.max_iter))]
    found = iter(queue)
    monkeypatch.setattr(
        data_owner, "discrete_gaussian", lambda *_: np.rint(next(found)).astype(np.int64)
    )
    sources = [rows_of(site.folder / f"rows{i}.csv", schema=plan.schema) for i in site.owners]
    key_holder = KeyHolder(plan)
    public, evaluator = key_holder.public_key(), make_evaluator(key_holder, Costs())
    owners = [DataOwner.with_public_key(plan, public, i) for i in site.owners]
    shares = [o.statistic("moments", source) for o, source in zip(owners, sources, strict=True)]
    prepare(evaluator, key_holder, "moments", lambda: shares, Costs())
    for owner in owners:
        owner.adopt(key_holder.frame())
    parts = [owner.dataset(source) for owner, source in zip(owners, sources, strict=True)]
    dataset = EncryptedDataset.concat(*parts)
    return EncryptedDPLogisticRegression().fit_encrypted(dataset, key_holder)


def test_five_processes_train_what_one_does(trained, monkeypatch):
    """The same noise gives the same weights: noise itself moves them a thousand times as far."""
    site, pipeline = trained
    plan = TrainingPlan.from_json(site.plan.read_bytes())
    drawn = noise_of(site, plan)
    together = in_one_process(site, plan, drawn, monkeypatch)
    found, expected = (
        np.append(model.coef_, model.intercept_) for model in (pipeline[-1], together)
    )
    gap = relative(found, expected)
    assert gap < 1e-5
    other = [{name: -values for name, values in noise.items()} for noise in drawn]
    elsewhere = in_one_process(site, plan, other, monkeypatch)
    moved = relative(np.append(elsewhere.coef_, elsewhere.intercept_), expected)
    assert moved > 1000 * gap
    print(f"relative gap {gap:.1e}, moved by other noise {moved:.1e}")


def test_the_model_predicts_on_raw_columns(trained):
    site, pipeline = trained
    for table in site.tables:
        assert pipeline.score(table[NAMES], table["died"]) > 0.85


def test_every_owner_used_its_share_of_the_noise(trained):
    """Each one's variance is sigma^2/(M - c), so that any M - c of them reach sigma."""
    site, _ = trained
    plan = TrainingPlan.from_json(site.plan.read_bytes())
    share = plan.encryption.noise_units / np.sqrt(2)
    for noise in noise_of(site, plan):
        values = np.concatenate([noise[t] for t in range(plan.optimizer.max_iter)])
        assert np.std(values) == pytest.approx(share, rel=0.02)
