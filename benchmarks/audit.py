"""Attack trained models: how much of the claimed epsilon does an attacker really see?

Canaries are rows along one axis each, too long for every bound, so that they are shortened to it;
every run includes each of them by the toss of a coin, and the attacker guesses the tosses. The
steps are so short that weights stay near zero, where every canary's residual is the largest that
the certificate allows: the worst case. Two views:

- *key holder*: moments, second moments and all noised gradient sums. A canary's score is the sum
  over releases of what it would have added, times what was released, over the variance of the
  noise, as the likelihood ratio of Gaussian noise has it. That the other canaries are in the sums
  as well makes it no more than a good guess for the moments, which they share.
- *public*: the final weights. A canary's score is how far its own weight is above the mean of it
  over runs.

Two lower bounds on epsilon, each with 95 % confidence:

- *guesses*: of the c most confident of all m guesses at most a binomial number is right,
  P <= e^epsilon / (1 + e^epsilon) each, whatever the guesses depend on, but for delta (T. Steinke,
  M. Nasr, M. Jagielski, "Privacy auditing with one (1) training run", NeurIPS 2023, Theorem 5.2;
  the number of guesses is fixed beforehand). What delta costs grows with the number of canaries,
  so the first runs are counted only.
- *curve*: the guesses' rates of false and missed alarms at one threshold bound the mu of a
  Gaussian trade-off curve (Nasr and others, "Tight auditing of differentially private machine
  learning", USENIX Security 2023), which is turned into epsilon at delta. It assumes that the
  mechanism is Gaussian, and that canaries on different axes are told apart independently.

`--noise 0.5` trains with half the noise that was claimed: what a broken package would do.
"""

from __future__ import annotations

import argparse
import math
import time
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from joblib import Parallel, delayed
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.stats import beta, binom, norm

from skfhe import EncryptedDPLogisticRegression, KeyHolder, TrainingPlan
from skfhe.privacy.accounting import gaussian_delta
from skfhe.privacy.statistics import integer_sums
from skfhe.protocol import data_owner
from skfhe.protocol.schemes import plan_scheme
from skfhe.protocol.session import Costs, run_session

CONFIDENCE = 0.95
# Shares of all guesses that are counted, fixed before the data: the most confident ones.
GUESSED = (1.0, 0.3, 0.1, 0.03)
# What delta may add to the chance of as many right guesses.
DELTA_COST = 0.002


class View(NamedTuple):
    """Scores of canaries, and whether each was included; both of shape (n_runs, n_canaries)."""

    scores: NDArray
    included: NDArray


class WatchedKeyHolder(KeyHolder):
    """A key holder that scores canaries by what it sees."""

    def __init__(self, plan: TrainingPlan, scheme, canaries: NDArray):
        super().__init__(plan, scheme)
        self._canaries = canaries
        self.scores = np.zeros(len(canaries))

    def _score(self, added: NDArray, released: NDArray, noise: float) -> None:
        """The likelihood ratio of each canary, up to a constant."""
        self.scores += (added @ released - np.sum(added**2, axis=1) / 2) / noise**2

    def _take(self, release, values: NDArray, certified) -> None:
        frame, certificate = self._course.frame, self.plan.certificate
        if certified is None:
            statistic = self.plan.preparation.statistics[release.name]
            added = [integer_sums(release.name, self.plan, frame, c[None]) for c in self._canaries]
            released = values[: statistic.length]
            self._score(np.array(added, dtype=float), released, statistic.noise_units)
        else:
            polynomial = certificate.polynomials[certified.indices[0]]
            rows, divisor = frame.rows(self._canaries), certified.contribution
            residuals = polynomial(rows @ self._course.optimizer.point) - 1.0
            noise = self.plan.guarantee.noise_multiplier * certificate.sensitivity
            sums = values / self.plan.encryption.output_scale
            gradient = self._course.model.sums(sums, certified)[:, 0]
            self._score(residuals * rows / divisor, gradient / divisor, noise)
        super()._take(release, values, certified)


def make_plan(n_canaries: int, epsilon: float, delta: float) -> TrainingPlan:
    """No intercept, so that canaries share no gradient; short steps."""
    model = EncryptedDPLogisticRegression(
        epsilon,
        delta,
        degree=3,
        fit_intercept=False,
        learning_rate=1e-4,
        momentum=0.0,
        averaging=1e-6,
    )
    return model.plan(n_canaries, n_canaries)


def attack(
    plan: TrainingPlan, backend: str, noise: float, seed: int
) -> tuple[NDArray, NDArray, NDArray]:
    """One run: the key holder's scores, the final weights, and the tosses."""
    canaries = 1e3 * np.eye(plan.problem.n_features)
    included = np.random.default_rng(seed).random(len(canaries)) < 0.5
    X, targets = canaries[included], np.ones(included.sum(), dtype=int)
    honest = data_owner.discrete_gaussian
    data_owner.discrete_gaussian = lambda sigma, *rest: honest(max(1, round(noise * sigma)), *rest)
    try:
        key_holder = WatchedKeyHolder(plan, plan_scheme(plan, backend), canaries)
        outcome = run_session(key_holder, X, targets, Costs())
    finally:
        data_owner.discrete_gaussian = honest
    return key_holder.scores, outcome.released.model[:, 0], included


def views(plan: TrainingPlan, backend: str, noise: float, n_runs: int, n_jobs: int):
    """What key holder and public see of all runs."""
    results = Parallel(n_jobs)(
        delayed(attack)(plan, backend, noise, seed) for seed in range(n_runs)
    )
    holder, weights, included = (np.array(part) for part in zip(*results, strict=True))
    return {
        # Moments that canaries share shift all scores of a run.
        "key holder": View(holder - np.median(holder, axis=1, keepdims=True), included),
        "public": View(weights - weights.mean(axis=0), included),
    }


def bound_by_guesses(view: View, delta: float) -> float:
    """The largest epsilon that the number of right guesses refutes."""
    n_runs = max(1, int(DELTA_COST / (2 * delta * view.scores.shape[1])))
    scores, included = view.scores[:n_runs], view.included[:n_runs]
    above = scores - np.median(scores)
    right = ((above > 0) == included).ravel()[np.argsort(-np.abs(above), axis=None)]
    best = 0.0
    for share in GUESSED:
        count = max(1, round(share * right.size))
        hits = int(right[:count].sum())

        def excess(epsilon, count=count, hits=hits):
            chance = binom.sf(hits - 1, count, 1 / (1 + math.exp(-epsilon)))
            return chance + 2 * right.size * delta - (1 - CONFIDENCE) / len(GUESSED)

        if excess(0.0) < 0:
            best = max(best, brentq(excess, 0.0, 50.0))
    return best


def bound_by_curve(view: View, delta: float) -> float:
    """Epsilon of the least mu that the rates of alarms at the median allow."""
    alarm = view.scores > np.median(view.scores)
    hits, false = alarm[view.included], alarm[~view.included]
    tail = (1 - CONFIDENCE) / 2
    least = beta.ppf(tail, hits.sum(), hits.size - hits.sum() + 1)
    most = beta.ppf(1 - tail, false.sum() + 1, false.size - false.sum())
    mu = norm.ppf(least) - norm.ppf(most)
    if not mu > 1e-3:
        return 0.0
    if gaussian_delta(1e-6, mu) <= delta:
        return 0.0
    return brentq(lambda epsilon: gaussian_delta(epsilon, mu) - delta, 1e-6, 100.0)


@dataclass(frozen=True)
class Audit:
    """Bounds from one view."""

    view: str
    guesses: float
    curve: float


def audit(
    epsilon: float,
    delta: float,
    n_canaries: int,
    n_runs: int,
    *,
    backend: str = "simulated",
    noise: float = 1.0,
    n_jobs: int = 1,
) -> list[Audit]:
    """Lower bounds on epsilon from attacks on `n_runs` runs."""
    plan = make_plan(n_canaries, epsilon, delta)
    seen = views(plan, backend, noise, n_runs, n_jobs)
    return [
        Audit(name, bound_by_guesses(view, delta), bound_by_curve(view, delta))
        for name, view in seen.items()
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=1000)
    parser.add_argument("--canaries", type=int, default=100, help="per run (100)")
    parser.add_argument("--epsilon", type=float, default=1.0)
    parser.add_argument("--delta", type=float, default=1e-5)
    parser.add_argument("--backend", choices=["simulated", "tenseal"], default="simulated")
    parser.add_argument("--noise", type=float, default=1.0, help="share of the noise claimed (1)")
    parser.add_argument("--n-jobs", type=int, default=2)
    o = parser.parse_args()
    start = time.perf_counter()
    found = audit(
        o.epsilon, o.delta, o.canaries, o.runs, backend=o.backend, noise=o.noise, n_jobs=o.n_jobs
    )
    print(
        f"claimed epsilon {o.epsilon:g} at delta {o.delta:g}; {o.runs} runs, {o.backend}, "
        f"{o.canaries} canaries each, {o.noise:g} of the noise, "
        f"{time.perf_counter() - start:.0f} s"
    )
    for one in found:
        worst = max(one.guesses, one.curve)
        verdict = "CAUGHT: more than claimed" if worst > o.epsilon else "within the claim"
        print(
            f"  {one.view:11} epsilon at least {one.guesses:.3f} (guesses), "
            f"{one.curve:.3f} (curve): {verdict}"
        )


if __name__ == "__main__":
    main()
