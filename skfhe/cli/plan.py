"""``skfhe plan``: what the parties agree on before any data is touched."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
from sklearn.utils._param_validation import InvalidParameterError

from ..linear_model import EncryptedDPLogisticRegression
from ..neural_network import EncryptedDPMLPClassifier
from ..plan import TrainingPlan
from ..planning import check_plan
from ..schema import Schema
from ._common import (
    FILE,
    NEW_FILE,
    emit,
    force_option,
    json_option,
    party_list,
    require_new,
    say,
    write_file,
)

_MODELS = {"logistic": EncryptedDPLogisticRegression, "mlp": EncryptedDPMLPClassifier}
# Parameters that have options of their own, or are no matter of a plan.
_NOT_SET = frozenset(
    {
        *("epsilon", "delta", "degree", "classes", "backend", "context", "ledger"),
        *("n_jobs", "random_state", "verbose"),
    }
)


@click.command()
@click.argument("out", type=NEW_FILE, metavar="OUT.json")
@click.option(
    "--samples",
    type=click.IntRange(min=1),
    required=True,
    help="Rows of all owners together, or a public bound on them.",
)
@click.option("--schema", "schema_path", type=FILE, help="Columns, classes and bounds (JSON).")
@click.option("--features", type=click.IntRange(min=1), help="Columns, where there is no schema.")
@click.option("--classes", type=click.IntRange(min=2), help="Classes, where there is no schema.")
@click.option("--model", type=click.Choice([*_MODELS]), default="logistic", show_default=True)
@click.option("--epsilon", type=float, default=1.0, show_default=True, help="The guarantee.")
@click.option("--delta", type=float, default=1e-5, show_default=True, help="The guarantee.")
@click.option("--degree", type=int, help="Of the polynomials; by default the model's.")
@click.option("--owners", type=click.IntRange(min=1), default=1, show_default=True)
@click.option(
    "--colluding",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    help="How many owners may pool what they know; one who holds the key counts.",
)
@click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="NAME=VALUE",
    help="Another parameter of the model, its value as JSON; may be repeated.",
)
@force_option
@json_option
def plan(
    out: Path,
    samples: int,
    schema_path: Path | None,
    features: int | None,
    classes: int | None,
    model: str,
    owners: int,
    colluding: int,
    settings: tuple[str, ...],
    force: bool,
    as_json: bool,
    **terms: float | None,
) -> None:
    """Compute the training plan and write it to OUT.json.

    For whoever proposes the run. Everything in a plan is public and computed from what is said
    here alone: no data is touched. All parties get the same file and check its guarantee; every
    message of the run carries its digest.

    To train on files, give a schema: {"features": ["age", "dose"], "label": "ill", "classes":
    ["no", "yes"], "bounds": {"age": [0, 120], "dose": [0, 5]}}. Bounds and classes come from the
    field's knowledge, not from the rows.

    \b
    skfhe plan plan.json --samples 30000 --schema schema.json \\
        --owners 3 --colluding 1 --epsilon 1 --set max_iter=8
    """
    require_new(out, force)
    schema = _schema(schema_path, features, classes)
    if schema is not None:
        features, classes = len(schema.features), len(schema.classes)
    parameters = {name: value for name, value in terms.items() if value is not None}
    parameters |= _settings(settings, _MODELS[model], schema)
    try:
        made = _MODELS[model](**parameters).plan(
            samples, features, classes, n_owners=owners, n_colluding=colluding
        )
    except InvalidParameterError as error:
        raise click.UsageError(str(error)) from None
    made = replace(made, schema=schema)
    check_plan(made)
    write_file(out, made.to_json(indent=1).encode())
    if schema is None:
        say("note: without a schema the plan cannot be used for files of rows.")
    if owners > 1 and colluding == 0:
        say(
            "warning: with --colluding 0 nothing is promised against the owners themselves: an "
            "owner alone knows its own noise. The table of the plan has figures; --colluding 1 "
            "promises them."
        )
    emit(as_json, {"file": out, **_content(made)}, str(made))


def _schema(path: Path | None, features: int | None, classes: int | None) -> Schema | None:
    if path is None:
        if features is None or classes is None:
            raise click.UsageError("give --schema, or --features and --classes.")
        return None
    if features is not None or classes is not None:
        raise click.UsageError("the schema says how many features and classes there are.")
    return Schema.read(path.read_bytes())


def _settings(pairs: tuple[str, ...], model: type, schema: Schema | None) -> dict[str, Any]:
    """Parameters of the model out of NAME=VALUE."""
    known = sorted(set(model().get_params()) - _NOT_SET)
    found: dict[str, Any] = {}
    for pair in pairs:
        name, equals, text = pair.partition("=")
        if not equals or name not in known:
            raise click.UsageError(f"--set takes NAME=VALUE with a name out of {known}.")
        try:
            found[name] = json.loads(text)
        except ValueError:
            found[name] = text  # such as minimax
    if isinstance(found.get("class_weight"), dict):
        found["class_weight"] = _by_index(found["class_weight"], schema)
    return found


def _by_index(weights: dict[str, Any], schema: Schema | None) -> dict[Any, Any]:
    """Weights of classes by their index: JSON names them by text."""
    labels = [str(one) for one in schema.classes] if schema else None
    result = {}
    for name, weight in weights.items():
        if labels is None and name.isdecimal():
            result[int(name)] = weight
        elif labels and name in labels:
            result[labels.index(name)] = weight
        else:
            raise click.UsageError(f"class_weight must name classes, got {name!r}.")
    return result


def _content(made: TrainingPlan) -> dict[str, Any]:
    p, g, cost = made.problem, made.guarantee, made.prediction
    return {
        "plan": made.digest,
        "samples": p.n_samples,
        "features": p.n_features,
        "classes": p.n_classes,
        "epsilon": g.epsilon,
        "delta": g.delta,
        "neighboring": made.certificate.neighboring,
        "owners": g.n_owners,
        "colluding": g.n_colluding,
        "steps": made.optimizer.max_iter,
        "releases": g.n_releases,
        "parties": party_list(made.parties()),
        "predicted": {
            "seconds_per_step": cost.seconds_per_step,
            "key_bytes": cost.key_bytes,
            "data_bytes": cost.data_bytes,
            "step_bytes": cost.step_bytes,
            "memory_bytes": cost.memory_bytes,
        },
    }
