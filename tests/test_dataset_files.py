"""What owners leave in folders: the same training as from memory, whole or not there at all."""

import dataclasses
import uuid

import numpy as np
import pandas as pd
import pytest
from dataset_helpers import PREPARED, Owners, everything
from helpers import BACKENDS, make, make_rows, owners_of, scheme_of, seeded_noise

from skfhe import DataOwner, EncryptedDataset, KeyHolder
from skfhe.exceptions import MessageError, PlanMismatch
from skfhe.protocol import data_owner, messages
from skfhe.protocol.dataset import is_complete, shares_of
from skfhe.protocol.folder_state import FolderState
from skfhe.protocol.models import model_of
from skfhe.protocol.places import Place, StoredMessage
from skfhe.protocol.preparation import plain_frame
from skfhe.protocol.schemes import plan_scheme
from skfhe.protocol.session import Costs, make_evaluator, train_dataset
from skfhe.schema import Schema
from skfhe.sources import ArraySource, rows_of


def assert_same(found, expected, backend):
    tolerance = 1e-9 if backend == "simulated" else 1e-4
    np.testing.assert_allclose(found, expected, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("n_owners, classes", [(1, 3), (3, 2)])
def test_folders_train_as_memory_does(monkeypatch, tmp_path, backend, n_owners, classes):
    plan = make(n=9000, classes=classes, n_owners=n_owners, **PREPARED)
    monkeypatch.setattr(data_owner, "discrete_gaussian", seeded_noise())
    memory = Owners(plan, backend)
    parts = [owner.dataset(*memory.rows(i)) for i, owner in enumerate(memory.owners)]
    expected = memory.train(EncryptedDataset.concat(*parts))
    monkeypatch.setattr(data_owner, "discrete_gaussian", seeded_noise())
    stored = Owners(plan, backend)
    folders = [tmp_path / "local", f"memory://{uuid.uuid4().hex}/data/", tmp_path / "c"][:n_owners]
    stored.save(folders)
    dataset = EncryptedDataset.load(*folders, plan_digest=plan.digest)
    assert all(isinstance(s.message, StoredMessage) for s in dataset.shards)
    assert dataset.n_samples == 9000 and len(dataset.shards) > n_owners
    assert all(map(is_complete, folders))
    assert_same(stored.train(dataset), expected, backend)


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_rows_come_from_files(tmp_path, monkeypatch, kind):
    """From files of a few hundred rows each, the same weights as from an array."""
    schema = Schema(tuple("abcd"), "sick", ("no", "yes"))
    plan = dataclasses.replace(make(n=9000, **PREPARED), schema=schema)
    found = []
    for source in ("array", kind):
        monkeypatch.setattr(data_owner, "discrete_gaussian", seeded_noise())
        parties = Owners(plan, "simulated")
        X, targets = parties.rows(0)
        if source == "array":
            rows = ArraySource(X, targets)
        else:
            frame = pd.DataFrame(X, columns=list("abcd"))
            frame["sick"] = np.array(schema.classes)[targets]
            for start in range(0, len(frame), 700):
                path, part = tmp_path / f"{start:05}.{kind}", frame[start : start + 700]
                part.to_csv(path) if kind == "csv" else part.to_parquet(path, row_group_size=90)
            rows = rows_of(str(tmp_path / f"*.{kind}"), schema=plan.schema)
        parties.owners[0].save(tmp_path / source, rows)
        found.append(parties.train(EncryptedDataset.load(tmp_path / source)))
    assert_same(found[1], found[0], "simulated")


def test_a_shard_is_written_before_the_next_rows_are_read(tmp_path, monkeypatch):
    parties = Owners(make(n=9000, **PREPARED), "simulated")
    events, batches, write = [], ArraySource.batches, Place.write

    def noted(source, size):
        for rows, targets in batches(source, size):
            events.append(len(rows))
            yield rows, targets

    def noted_write(place, name, data):
        events.append(name)
        write(place, name, data)

    monkeypatch.setattr(ArraySource, "batches", noted)
    monkeypatch.setattr(Place, "write", noted_write)
    parties.save([tmp_path])
    assert events == [
        *[4096, 4096, 808, "noise/curvature.skfhe"],
        *[4096, "rows-00000.skfhe", 4096, "rows-00001.skfhe", 808, "rows-00002.skfhe"],
        *["noise/0000.skfhe", "noise/0001.skfhe", "manifest.json"],
    ]


class Interrupted(Exception):
    pass


def failing(after):
    """A `Place.write` that writes so many files and is then interrupted."""
    write, left = Place.write, [after]

    def interrupted(place, name, data):
        if not left[0]:
            raise Interrupted
        left[0] -= 1
        write(place, name, data)

    return interrupted


@pytest.mark.parametrize("backend", BACKENDS)
def test_interrupted_at_any_write(tmp_path, monkeypatch, backend):
    """Noise that is there may have been seen: it is kept to the last byte."""
    n_files, plan = 1 + 3 + 2 + 1, make(n=9000, **PREPARED)
    for after in range(n_files) if backend == "simulated" else (5,):
        folder = tmp_path / str(after)
        parties = Owners(plan, backend)
        with monkeypatch.context() as patch:
            patch.setattr(Place, "write", failing(after))
            with pytest.raises(Interrupted):
                parties.save([folder])
        before = everything(folder) if folder.exists() else {}
        assert len(before) == after and not is_complete(folder)
        with pytest.raises(MessageError, match="manifest"):
            EncryptedDataset.load(folder)
        parties.owners = parties.again()
        parties.save([folder])
        ended = everything(folder)
        assert len(ended) == n_files
        for name, data in before.items():
            kept = name.startswith("noise/")  # rows are encrypted anew, where they are encrypted
            assert kept or backend == "simulated" or ended[name] != data, name
            assert not kept or ended[name] == data, name
        assert np.isfinite(parties.train(EncryptedDataset.load(folder))).all()


def test_moments_stay_what_they_were(tmp_path):
    plan = make(n=500, **PREPARED)
    holder = KeyHolder(plan, scheme_of(plan, "simulated"))
    X, _ = make_rows(plan)
    assert shares_of("moments", [tmp_path]) is None
    owners_of(holder)[0].save_moments(tmp_path, X)
    (first,) = shares_of("moments", [tmp_path])
    owners_of(holder)[0].save_moments(tmp_path, X)
    assert shares_of("moments", [tmp_path]) == [first]
    assert shares_of("moments", [tmp_path, tmp_path / "b"]) is None


@pytest.mark.parametrize("other", ["run", "plan", "owner"])
def test_noise_of_another_run_plan_or_owner_is_not_taken_over(tmp_path, monkeypatch, other):
    """A folder left by an interrupted owner is completed by that owner alone."""
    plan = make(n=9000, n_owners=2, **PREPARED)
    parties = Owners(plan, "simulated")
    monkeypatch.setattr(Place, "write", failing(3))
    with pytest.raises(Interrupted):
        parties.owners[0].save(tmp_path, *parties.rows(0))
    monkeypatch.undo()
    kept = (tmp_path / "noise" / "curvature.skfhe").read_bytes()
    if other == "owner":
        stranger = parties.again()[1]
    elif other == "run":
        stranger = Owners(plan, "simulated").owners[0]
    else:
        stranger = Owners(make(n=9001, n_owners=2, **PREPARED), "simulated").owners[0]
    with pytest.raises(PlanMismatch, match=other):
        stranger.save(tmp_path, *parties.rows(0))
    assert (tmp_path / "noise" / "curvature.skfhe").read_bytes() == kept
    assert not is_complete(tmp_path)


def test_a_complete_folder_is_left_alone(tmp_path):
    parties = Owners(make(n=500, **PREPARED), "simulated")
    parties.save([tmp_path])
    before = everything(tmp_path)
    parties.owners = parties.again()
    with pytest.raises(PlanMismatch, match="choose another folder"):
        parties.save([tmp_path])
    assert everything(tmp_path) == before


@pytest.mark.parametrize("n_owners, d, most", [(1, 31, 26), (2, 63, 52)])
def test_bytes_on_disk_per_value(tmp_path, n_owners, d, most):
    """Chunks that are full, and columns that fill their ciphertexts but for the intercept."""
    plan = make(n=4096, d=d, n_owners=n_owners, max_iter=2)
    X, targets = make_rows(plan)
    rows = slice(4096 // n_owners)
    owners_of(KeyHolder(plan))[0].save(tmp_path, X[rows], targets[rows])
    sizes = [path.stat().st_size for path in tmp_path.glob("rows-*.skfhe")]
    per_value = sum(sizes) / X[rows].size
    print(f"{per_value:.2f} bytes per value")
    assert per_value <= most


def test_parts_must_be_of_one_plan_and_in_order(tmp_path):
    plan = make(n=9000, n_owners=2, **PREPARED)
    parties = Owners(plan, "simulated")
    folders = [tmp_path / "a", tmp_path / "b"]
    parties.save(folders)
    a, b = map(EncryptedDataset.load, folders)
    with pytest.raises(PlanMismatch, match="plan"):
        EncryptedDataset.load(*folders, plan_digest=make().digest)
    other = dataclasses.replace(a, plan_digest="0" * 64)
    with pytest.raises(ValueError, match="one plan"):
        EncryptedDataset.concat(other, b)
    with pytest.raises(ValueError, match="folder"):
        EncryptedDataset.load()
    for wrong in ((b, a), (a,), (a, a)):
        with pytest.raises(PlanMismatch):
            parties.train(EncryptedDataset.concat(*wrong))


def test_a_single_owner_with_the_key(tmp_path):
    """From the key holder's folder: seeded ciphertexts, half as large as under the public key."""
    plan = make(n=300, max_iter=2)
    FolderState.create(tmp_path / "keys", plan).close()
    state = FolderState(tmp_path / "keys")
    holder = KeyHolder(plan, state=state)
    X, targets = make_rows(plan)
    _, (public,) = messages.unpack(holder.public_key(), "public key", plan.digest)
    under_public_key = plan_scheme(plan).encryptor(public)
    with pytest.raises(PlanMismatch, match="secret key"):  # errors would be larger than planned
        DataOwner(plan, under_public_key, holder.run)
    owner = DataOwner.with_secret_key(tmp_path / "keys")
    owner.save(tmp_path / "secret", X, targets)
    (shard,) = EncryptedDataset.load(tmp_path / "secret").shards
    _, sections = messages.unpack(shard.message.read(), "rows", plan.digest)
    packed = model_of(plan).pack(plain_frame(plan).rows(X), targets)
    for plain, section in zip(packed, sections, strict=True):
        whole = under_public_key.encrypt(plain.slots, plain.scale, plain.level)
        assert len(section) < 0.55 * len(whole)
    evaluator = make_evaluator(holder, Costs())
    train_dataset(evaluator, EncryptedDataset.load(tmp_path / "secret"), holder, Costs())
    assert holder.done
    state.close()
