"""``skfhe release``: the model as a scikit-learn estimator."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click
import numpy as np
from sklearn.base import BaseEstimator
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler

from ..exceptions import KeyBurned
from ..linear_model import EncryptedDPLogisticRegression
from ..neural_network import EncryptedDPMLPClassifier
from ..plan import TrainingPlan
from ..privacy.guarantee import PrivacyGuarantee
from ..protocol.outcome import Released, RunStatus, unpack_outcome
from ..protocol.recorded import RecordedRun
from ..schema import Schema
from ..sources.columns import scaled
from ._common import (
    FILE,
    KEYS,
    NEW_FILE,
    emit,
    force_option,
    json_option,
    party_list,
    plain,
    read_plan,
    require_new,
    require_same,
    rows,
    say,
    wait_for,
    wait_option,
    write_file,
)
from ._connection import Connection, connection_options, require_one


@click.command()
@click.argument("plan_path", type=FILE, metavar="PLAN")
@click.argument("out", type=NEW_FILE, metavar="OUT.skops")
@connection_options
@click.option("--keys", type=KEYS, help="The key holder's folder, where that is here.")
@wait_option(0, "the last step")
@click.option("--report", is_flag=True, help="Write what is reported to OUT.json, too.")
@force_option
@json_option
def release(
    plan_path: Path,
    out: Path,
    connection: Connection | None,
    keys: Path | None,
    wait: float,
    report: bool,
    force: bool,
    as_json: bool,
) -> None:
    """Get the released model and write it to OUT.skops.

    For everybody whom the key holder lets ask; the model is public. A linear model comes as
    scikit-learn's LogisticRegression, with labels and column names of the plan's schema. If the
    schema has bounds, a MinMaxScaler comes before it, so that the model takes columns as they
    were. A network comes as skfhe's own estimator. skops.io.load reads the file without running
    code from it.

    \b
    skfhe release plan.json model.skops --report \\
        --key-holder https://keys.example.org:8443 --token-file token --ca ca.pem
    python -c "import skops.io; print(skops.io.load('model.skops'))"
    """
    require_one(key_holder=connection, keys=keys)
    beside = out.with_suffix(".json")
    require_new(out, force)
    if report:
        if beside == out:
            raise click.UsageError("the report would be written over the model: name it .skops.")
        require_new(beside, force)
    plan = read_plan(plan_path)
    with _outcome(plan, connection, keys) as (status, outcome):
        found = wait_for(lambda: _done(status()), wait, "the last step of the run")
        released = unpack_outcome(outcome(), plan, found.run)
    trusted = _write(out, plan, released)
    content = {"file": out, "run": found.run, **_report(plan, released), "trusted": trusted}
    if report:
        write_file(beside, json.dumps(plain(content), indent=1, allow_nan=False).encode())
    if not released.guaranteed:
        say("warning: an owner's noise came from a seed: this model has no privacy.")
    emit(as_json, content, _page(out, plan, released, trusted))


@contextmanager
def _outcome(
    plan: TrainingPlan, connection: Connection | None, keys: Path | None
) -> Iterator[tuple[Callable[[], RunStatus], Callable[[], bytes]]]:
    """Where the run stands, and the message of its model."""
    if connection is not None:
        with connection.open(plan) as holder:
            yield holder.status, holder.outcome
    else:
        require_same(plan, RecordedRun(keys).plan, f"the run in {keys}")
        yield (lambda: RecordedRun(keys).status()), (lambda: RecordedRun(keys).holder.outcome())


def _done(status: RunStatus) -> RunStatus | None:
    if status.burned and not status.done:
        raise KeyBurned("this run was ended before its last step: there is no model.")
    return status if status.done else None


def _write(out: Path, plan: TrainingPlan, released: Released) -> list[str]:
    """Write the model; returns the types that a reader must trust beyond scikit-learn's."""
    try:
        import skops.io
    except ImportError:
        raise ImportError(
            "writing models needs the extra `cli`: pip install 'skfhe[cli]'"
        ) from None
    data = skops.io.dumps(estimator_of(plan, released))
    write_file(out, data)
    return [str(one) for one in skops.io.get_untrusted_types(data=data)]


def estimator_of(plan: TrainingPlan, released: Released) -> BaseEstimator:
    """The released model, for columns as they are before the schema's bounds scale them."""
    if plan.problem.hidden_units:
        model: Any = EncryptedDPMLPClassifier.from_released(plan, released)
    else:
        model = EncryptedDPLogisticRegression.from_released(plan, released).to_sklearn()
    if plan.schema is None or not plan.schema.low:
        return model
    # The names of the columns are those of what comes in; scalers put out none.
    del model.feature_names_in_
    return make_pipeline(_scaler(plan.schema), model)


def _scaler(schema: Schema) -> MinMaxScaler:
    """Clips to the bounds and scales to [-1, 1], as rows were when they were encrypted."""
    low, high = np.array(schema.low), np.array(schema.high)
    scaler = MinMaxScaler(feature_range=(-1, 1), clip=True).fit([low, high])
    points = low + (high - low) * np.linspace(-0.5, 1.5, 9)[:, None]
    # Another order of arithmetic: it matters where bounds lie far from zero and close together.
    if not np.allclose(scaler.transform(points), scaled(points, schema), rtol=0, atol=1e-6):
        raise ValueError(
            "scikit-learn's MinMaxScaler is not exact enough for the schema's bounds, which are "
            "too close together for their size; plan with columns that are shifted or scaled "
            "beforehand, or use EncryptedDPLogisticRegression.from_released."
        )
    scaler.feature_names_in_ = np.array(schema.features, dtype=object)
    return scaler


def _report(plan: TrainingPlan, released: Released) -> dict[str, Any]:
    privacy = PrivacyGuarantee.of(plan, plan.guarantee.n_releases, released.guaranteed)
    return {
        "plan": plan.digest,
        "privacy": {
            "epsilon": privacy.epsilon,
            "delta": privacy.delta,
            "nominal_epsilon": privacy.nominal_epsilon,
            "guaranteed": privacy.guaranteed,
            "neighboring": privacy.neighboring,
            "n_releases": privacy.n_releases,
            "noise_multiplier": privacy.noise_multiplier,
            "n_owners": privacy.n_owners,
            "n_colluding": privacy.n_colluding,
        },
        "parties": party_list(privacy.parties()),
        "records": [asdict(record) for record in released.records],
    }


def _page(out: Path, plan: TrainingPlan, released: Released, trusted: list[str]) -> str:
    privacy = PrivacyGuarantee.of(plan, plan.guarantee.n_releases, released.guaranteed)
    pairs: list[tuple[str, Any]] = [("plan", plan.digest[:12]), ("privacy", str(privacy))]
    if trusted:
        pairs.append(("types to trust", ", ".join(trusted)))
    return rows(f"Model in {out}", pairs)
