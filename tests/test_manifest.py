"""The manifest of a stored data set: as documented, and of no use to a forger."""

import hashlib
import json

import pytest
from dataset_helpers import PREPARED, Owners, everything
from helpers import make

from skfhe import EncryptedDataset
from skfhe.exceptions import MessageError, PlanMismatch
from skfhe.protocol.session import Costs, make_evaluator


@pytest.mark.parametrize("n_owners", [1, 2])
def test_the_manifest_is_what_is_documented(tmp_path, n_owners):
    """Read by hand: skfhe/protocol/manifest.py says how."""
    plan = make(n=9000, n_owners=n_owners, **PREPARED)
    parties = Owners(plan, "simulated")
    folders = [tmp_path / str(i) for i in range(n_owners)]
    parties.save(folders)
    for index, folder in enumerate(folders):
        content = json.loads((folder / "manifest.json").read_bytes())
        checksum = content.pop("checksum")
        text = json.dumps(content, sort_keys=True, separators=(",", ":"))
        assert checksum == hashlib.sha256(text.encode()).hexdigest()
        files = [*content.pop("shards"), *content.pop("noise"), content.pop("curvature")]
        rows = [file.pop("n_samples") for file in files if "n_samples" in file]
        for file in files:
            data = (folder / file.pop("name")).read_bytes()
            assert file == {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
        key = n_owners > 1 and hashlib.sha256(parties.holder.public_key()).hexdigest()
        assert content == {
            "format": "skfhe encrypted data set",
            "version": 1,
            "plan": plan.digest,
            "run": parties.holder.run,
            "public_key": key or None,
            "owner": index,
            "n_samples": sum(rows),
        }
        assert sum(rows) == len(parties.rows(index)[0])
        names = {f"rows-{i:05}.skfhe" for i in range(len(rows))}
        noise = {f"noise/{name}.skfhe" for name in ("0000", "0001", "curvature")}
        assert everything(folder).keys() == {"manifest.json", *names, *noise}


def forged(folder, change):
    """Another manifest with a right checksum."""
    path = folder / "manifest.json"
    content = json.loads(path.read_bytes())
    del content["checksum"]
    change(content)
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    checksum = hashlib.sha256(text.encode()).hexdigest()
    path.write_bytes(json.dumps({**content, "checksum": checksum}).encode())


def shard(**fields):
    return lambda content: content["shards"][0].update(fields)


REFUSED = {
    "another version": lambda c: c.update(version=2),
    "no version": lambda c: c.pop("version"),
    "another format": lambda c: c.update(format="zip"),
    "more fields": lambda c: c.update(more=1),
    "no run": lambda c: c.pop("run"),
    "a negative size": shard(bytes=-1),
    "a huge size": shard(bytes=2**60),
    "a size that is none": shard(bytes=1.5),
    "a true size": shard(bytes=True),
    "another sum": shard(n_samples=7),
    "a negative count": shard(n_samples=-1),
    "a huge count": lambda c: (shard(n_samples=2**70)(c), c.update(n_samples=2**70)),
    "no checksum": shard(sha256="00"),
    "no name": shard(name=None),
    "a path": shard(name="../../etc/passwd"),
    "an absolute path": shard(name="/etc/passwd"),
    "a path with a suffix": shard(name="../rows-00000.skfhe"),
    "a path through noise": shard(name="noise/../rows-00000.skfhe"),
    "a newline": shard(name="rows-00000.skfhe\n"),
    "a URL": shard(name="memory://x.skfhe"),
    "shards of another type": lambda c: c.update(shards={}),
    "a shard of another type": lambda c: c["shards"].append([]),
    "noise of another type": lambda c: c.update(noise=None),
    "an owner of another type": lambda c: c.update(owner="0"),
    "a plan of another type": lambda c: c.update(plan=["ab" * 32]),
    "nested": lambda c: c.update(run=[[[]]]),
}


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    parties = Owners(make(n=9000, **PREPARED), "simulated")
    parties.save([folder])
    return parties, everything(folder)


@pytest.fixture
def folder(saved, tmp_path):
    for name, data in saved[1].items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(data)
    return tmp_path


@pytest.mark.parametrize("change", REFUSED.values(), ids=REFUSED)
def test_forged_manifests_are_refused(folder, change):
    forged(folder, change)
    with pytest.raises(MessageError) as caught:
        EncryptedDataset.load(folder)
    assert len(str(caught.value)) < 300


USELESS = {
    "a file twice": lambda c: c["shards"].__setitem__(1, {**c["shards"][0], "n_samples": 1024}),
    "noise as rows": lambda c: c["shards"][0].update(
        {name: c["noise"][0][name] for name in ("name", "bytes", "sha256")}
    ),
    "noise twice": lambda c: c["noise"].__setitem__(1, c["noise"][0]),
    "less noise": lambda c: c["noise"].pop(),
    "no curvature": lambda c: c.update(curvature=None),
    "too long": shard(bytes=2**47),
    "too short": shard(bytes=10),
    "another owner": lambda c: c.update(owner=1),
    "another file": shard(name="rows-00009.skfhe"),
    "rows told wrongly": lambda c: (
        c["shards"][0].update(n_samples=1000),
        c.update(n_samples=c["n_samples"] - 3096),
    ),
    "too many rows": lambda c: (
        c["shards"][0].update(n_samples=4097),
        c.update(n_samples=c["n_samples"] + 1),
    ),
}


@pytest.mark.parametrize("change", USELESS.values(), ids=USELESS)
def test_manifests_that_lie_are_found_out(saved, folder, change):
    forged(folder, change)
    fresh = make_evaluator(saved[0].holder, Costs())
    with pytest.raises((MessageError, PlanMismatch)):
        dataset = EncryptedDataset.load(folder)
        fresh.load(dataset.shards)
        fresh.aggregate("curvature", [message.read() for message in dataset.curvature])
        for shard in dataset.shards:
            fresh._worker.chunk(shard)
        for step in range(2):
            fresh._shares("noise", dataset.noise_of(step), 1, step=step)


@pytest.mark.parametrize("nested", [b"[", b'{"format":', b'{"format":["skfhe"],"a":'])
def test_manifests_nested_too_deeply(folder, nested):
    for depth in (900, 1000, 100_000):
        (folder / "manifest.json").write_bytes(nested * depth)
        with pytest.raises(MessageError):
            EncryptedDataset.load(folder)
