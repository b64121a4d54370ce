"""``skfhe inspect``: what a file or folder contains, without keys."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from ..exceptions import MessageError, PlanMismatch
from ..plan import TrainingPlan
from ..privacy.ledger import PrivacyLedger
from ..protocol.manifest import MANIFEST, read_manifest, statistic_file
from ..protocol.messages import describe
from ..protocol.outcome import pack_status
from ..protocol.places import Place, StoredMessage
from ..protocol.recorded import RecordedRun
from ..schema import Schema
from ._common import emit, json_option, rows

_SQLITE = b"SQLite format 3\0"


@click.command()
@click.argument("path")
@click.option("--verify", is_flag=True, help="Check every file of an encrypted data set.")
@json_option
def inspect(path: str, verify: bool, as_json: bool) -> None:
    """Tell what PATH contains: a file, a folder, or the URL of an encrypted data set.

    For everybody. No key is needed or read. It knows plans, schemas, messages, encrypted data
    sets, key holders' folders, evaluators' checkpoints and privacy ledgers. A message's checksum
    is always checked; those of a data set's files with --verify. Checksums find accidents, not
    forgers.

    \b
    skfhe inspect plan.json
    skfhe inspect /shared/ward0 --verify --json
    """
    content = _content(path, verify)
    page = [(name, one) for name, one in content.items() if name not in ("contains", "path")]
    emit(as_json, content, rows(f"{path}: {content['contains']}", page))


def _content(path: str, verify: bool) -> dict[str, Any]:
    folder = "://" in path or Path(path).is_dir()
    return {"path": path, **(_folder(Place(path), verify) if folder else _file(Path(path)))}


def _folder(place: Place, verify: bool) -> dict[str, Any]:
    if place.exists(MANIFEST):
        return _dataset(place, verify)
    if place.exists(statistic_file("moments")) or place.exists("rows-00000.skfhe"):
        return {"contains": "encrypted data set, not complete yet", "complete": False}
    if place.exists("journal"):
        return _keys(RecordedRun(place.url))
    if place.exists("keys.skfhe"):
        names = [one for one in ("moments", "curvature", "step") if place.exists(f"{one}.skfhe")]
        answers = {name: describe(place.read(f"{name}.skfhe")) for name in names}
        keys = describe(place.read("keys.skfhe"))
        kept = {name: header.get("step", name) for name, header in answers.items()}
        found = {"plan": keys.get("plan"), "run": keys.get("run"), "answers": kept}
        return {"contains": "checkpoint of an evaluator", **found}
    raise ValueError(f"{place.url} is no folder of this package.")


def _dataset(place: Place, verify: bool) -> dict[str, Any]:
    manifest = read_manifest(place)
    content = {
        "contains": "encrypted data set",
        "complete": True,
        **{name: manifest[name] for name in ("version", "plan", "run", "owner")},
        "encrypted_under": "public key" if manifest["public_key"] else "secret key",
        "samples": manifest["n_samples"],
        "shards": len(manifest["shards"]),
        "bytes": sum(file["bytes"] for file in manifest["shards"]),
        "noise": len(manifest["noise"]),
        "noise_bytes": sum(file["bytes"] for file in manifest["noise"]),
    }
    if verify:
        content["verified"] = _verified(place, manifest)
    return content


def _verified(place: Place, manifest: dict[str, Any]) -> int:
    """How many files there are, all of which are what the manifest says.

    Raises
    ------
    MessageError, PlanMismatch
        For those that are missing or altered, or of another plan, run or owner.
    """
    failed, count = [], 0
    for file in _files(manifest):
        message = StoredMessage(place.url, file["name"], file["bytes"], file["sha256"])
        count += 1
        try:
            header = describe(message.read())
        except MessageError:
            failed.append(file["name"])
            continue
        if any(header.get(name) != manifest[name] for name in ("plan", "run", "owner")):
            raise PlanMismatch(f"{place.url}/{file['name']} is of another plan, run or owner.")
    if failed:
        raise MessageError(
            f"{len(failed)} of {count} files in {place.url} are missing or were altered: "
            f"{', '.join(failed[:5])}{', ...' if len(failed) > 5 else ''}."
        )
    return count


def _files(manifest: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield from manifest["shards"]
    yield from manifest["noise"]
    if manifest["curvature"]:
        yield manifest["curvature"]


def _keys(run: RecordedRun) -> dict[str, Any]:
    releases = [{"name": one.name, "done": one.values is not None} for one in run.releases()]
    return {
        "contains": "folder of a key holder",
        **pack_status(run.status()),
        "has_key": run.has_key,
        "releases": releases,
    }


def _file(path: Path) -> dict[str, Any]:
    with open(path, "rb") as file:
        start = file.read(16)
    if start.startswith(b"SKFHE"):
        header = describe(path.read_bytes())
        kind, sizes = header.pop("kind"), header.pop("sections")
        return {"contains": f"message: {kind}", "sections": sizes, "checksum": "right", **header}
    if start == _SQLITE:
        return _database(path)
    if start.startswith(b"PK"):
        raise ValueError(
            f"{path} is a zip archive, as skops writes them, and no file of this package; "
            "skops.io.get_untrusted_types tells what a model needs."
        )
    if start.lstrip().startswith(b"{"):
        return _text(path)
    raise ValueError(f"{path} is no file of this package.")


def _database(path: Path) -> dict[str, Any]:
    connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)
    try:
        tables = {one for (one,) in connection.execute("SELECT name FROM sqlite_master")}
    except sqlite3.Error:
        raise ValueError(f"{path} is a damaged database.") from None
    finally:
        connection.close()
    if "run" in tables:
        raise ValueError(f"{path} is a key holder's journal; inspect its folder, {path.parent}.")
    ledger = PrivacyLedger.open(path)
    entries = [
        {
            "number": one.number,
            "time": one.time.isoformat(timespec="seconds"),
            "mechanism": one.mechanism,
            "dataset": one.dataset,
            "neighboring": one.neighboring,
            "plan": one.digest,
            "n_releases": one.n_releases,
            "squared_mu": one.squared_mu,
        }
        for one in ledger.entries()
    ]
    return {
        "contains": "privacy ledger",
        "budget": {"epsilon": ledger.epsilon, "delta": ledger.delta},
        "spent": ledger.spent()._asdict(),
        "remaining": ledger.remaining()._asdict(),
        "entries": entries,
    }


def _text(path: Path) -> dict[str, Any]:
    data = path.read_bytes()
    try:
        keys = set(json.loads(data))
    except (ValueError, RecursionError):
        raise ValueError(f"{path} is no JSON.") from None
    if {"problem", "guarantee"} <= keys:
        return _plan(TrainingPlan.from_json(data))
    if "shards" in keys:
        raise ValueError(f"{path} is a manifest; inspect its folder, {path.parent}.")
    if "features" not in keys:
        raise ValueError(f"{path} is no file of this package.")
    schema = Schema.read(data)
    return {
        "contains": "schema",
        "features": schema.features,
        "label": schema.label,
        "classes": schema.classes,
        "bounds": bool(schema.low),
    }


def _plan(plan: TrainingPlan) -> dict[str, Any]:
    problem, guarantee = plan.problem, plan.guarantee
    return {
        "contains": "training plan",
        "plan": plan.digest,
        "samples": problem.n_samples,
        "features": problem.n_features,
        "classes": problem.n_classes,
        "hidden_units": problem.hidden_units,
        "epsilon": guarantee.epsilon,
        "delta": guarantee.delta,
        "owners": guarantee.n_owners,
        "colluding": guarantee.n_colluding,
        "steps": plan.optimizer.max_iter,
        "schema": plan.schema is not None,
        "parties": [f"{one.party}: {one.guarantee}" for one in plan.parties()],
    }
