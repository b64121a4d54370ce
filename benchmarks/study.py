"""The study behind the defaults: one constant or option changed at a time.

    python benchmarks/study.py --quick                        two minutes: few sets, few seeds
    python benchmarks/study.py                                everything
    python benchmarks/study.py --sets digits wine --variants DAMPING STEPS
    python benchmarks/study.py --networks                     networks in the linear model's place

Every variant has the same splits and the same seeds, so that differences are paired. Cells are
test accuracies in percent, means over seeds and epsilons; the last columns are the mean over sets
and its difference to the defaults, with the standard error of splits and noise together: a
difference below two of these is nothing. What another sample of sets would give is not in it.
"""

from __future__ import annotations

import argparse
import math
import time
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple
from unittest.mock import patch

import numpy as np
import study_sets
from joblib import Parallel, delayed
from numpy.typing import NDArray
from objective import ObjectivePerturbation
from sklearn.linear_model import LogisticRegression
from study_network_variants import NETWORK_VARIANTS
from study_variants import DEFAULTS, VARIANTS, Variant

from skfhe import EncryptedDPLogisticRegression, EncryptedDPMLPClassifier
from skfhe.planning import defaults, encryption, network_defaults

EPSILONS = (0.5, 1.0, 2.0, 5.0)
QUICK_SETS = ["breast_cancer", "lbw", "uis", "edin", "digits", "made_600x8"]
QUICK_VARIANTS = 8
DETAILED = ("defaults", "one release")


class Result(NamedTuple):
    """Accuracies of one set at one epsilon.

    Attributes
    ----------
    scores : dict of str to ndarray of shape (n_seeds,)
        By variant; NaN where it does not apply.
    plain, majority : float
        Means of logistic regression without any noise, and of the most frequent class.
    """

    scores: dict[str, NDArray]
    plain: float
    majority: float


def run(name: str, epsilon: float, variants: list[Variant], seeds: int) -> Result:
    """Fit all variants to all splits of one set."""
    warnings.simplefilter("ignore")
    splits = [study_sets.load(name, seed) for seed in range(seeds)]
    with _encryption_once():
        scores = {one.name: _scores(one, splits, name, epsilon) for one in variants}
    plain = [
        LogisticRegression(max_iter=3000)
        .fit(split.X_train, split.y_train)
        .score(split.X_test, split.y_test)
        for split in splits
    ]
    frequent = [np.mean(split.y_test == _mode(split.y_train)) for split in splits]
    return Result(scores, float(np.mean(plain)), float(np.mean(frequent)))


@contextmanager
def _encryption_once() -> Iterator[None]:
    """Within, parameters that served a plan of the same degree are tried before a search.

    Whether they serve is checked as ever. Accuracy hardly depends on them, and the search takes
    longer than a fit.
    """
    search, chosen, found = encryption._searched, encryption._chosen, {}

    def searched(sizing):
        key = sizing.requirement.polynomials[0].degree
        if key in found:
            yield [found[key]]
        yield from search(sizing)

    def remember(sizing, candidate, *rest):
        choice = chosen(sizing, candidate, *rest)
        found[sizing.requirement.polynomials[0].degree] = candidate
        return choice

    with (
        patch.object(encryption, "_searched", searched),
        patch.object(encryption, "_chosen", remember),
        patch.object(encryption, "choose", lru_cache(maxsize=None)(encryption.choose)),
    ):
        yield


def _scores(variant: Variant, splits: list, name: str, epsilon: float) -> NDArray:
    """Test accuracies of one variant, one seed per split."""
    scores, plan = np.full(len(splits), np.nan), None
    with ExitStack() as stack:
        for constant, value in variant.constants.items():
            module = network_defaults if variant.kind == "network" else defaults
            stack.enter_context(patch.object(module, constant, value))
        for seed, split in enumerate(splits):
            # Independent noise in every cell; variants share it as far as they draw the same.
            state = seed + 1000 * study_sets.NAMES.index(name) + round(1e5 * epsilon)
            shape = (*split.X_train.shape, len(np.unique(split.y_train)))
            if not variant.applies(shape[2]):
                break
            if variant.kind == "objective":
                model = ObjectivePerturbation(epsilon, random_state=state, **variant.parameters)
            else:
                network = variant.kind == "network"
                kind = EncryptedDPMLPClassifier if network else EncryptedDPLogisticRegression
                model = kind(
                    epsilon, backend="simulated", random_state=state, **variant.parameters
                )
                # A plan depends on the shape alone, which all splits of a set share.
                if plan is None:
                    plan = model.plan(*shape)
                model.plan = lambda *_, plan=plan, **__: plan
            model.fit(split.X_train, split.y_train)
            scores[seed] = model.score(split.X_test, split.y_test)
    return scores


def _mode(y: NDArray) -> object:
    labels, counts = np.unique(y, return_counts=True)
    return labels[counts.argmax()]


def table(results: dict[tuple[str, float], Result], variants: list[Variant]) -> str:
    """The results as Markdown, epsilons averaged."""
    sets = list(dict.fromkeys(name for name, _ in results))
    epsilons = list(dict.fromkeys(epsilon for _, epsilon in results))

    def grid(variant: Variant) -> NDArray:
        """Shape (sets, epsilons, seeds)."""
        return np.array(
            [[results[name, e].scores[variant.name] for e in epsilons] for name in sets]
        )

    base = grid(DEFAULTS)
    lines = [
        "| | " + " | ".join(sets) + " | mean | difference |",
        "|---|" + "---:|" * (len(sets) + 2),
    ]
    for reference in ("plain", "majority"):
        values = [getattr(results[name, epsilons[0]], reference) for name in sets]
        lines.append(_line(reference, np.array(values), float(np.mean(values)), ""))
    for variant in variants:
        scores = grid(variant)
        there = ~np.isnan(scores).any(axis=(1, 2))
        paired = (scores - base)[there]
        text = "" if variant.name == DEFAULTS.name else _difference(paired)
        if not there.all():
            text += f" ({there.sum()} sets)"
        mean = scores[there].mean() if there.any() else math.nan
        lines.append(_line(variant.name, scores.mean(axis=(1, 2)), mean, text))
    return "\n".join(lines)


def by_epsilon(results: dict[tuple[str, float], Result], variants: list[Variant]) -> str:
    """Differences to the defaults by epsilon, sets averaged, as Markdown."""
    epsilons = list(dict.fromkeys(epsilon for _, epsilon in results))
    lines = [
        "| difference to the defaults | " + " | ".join(f"ε = {e:g}" for e in epsilons) + " |",
        "|---|" + "---:|" * len(epsilons),
    ]
    for variant in variants:
        if variant.name == DEFAULTS.name:
            continue
        cells = []
        for epsilon in epsilons:
            paired = np.array(
                [
                    [one.scores[variant.name] - one.scores[DEFAULTS.name]]
                    for (_, e), one in results.items()
                    if e == epsilon and not np.isnan(one.scores[variant.name]).any()
                ]
            )
            cells.append(_difference(paired))
        lines.append(f"| {variant.name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def detail(results: dict[tuple[str, float], Result], variants: list[Variant]) -> str:
    """Every set at every epsilon, for a few variants, as Markdown."""
    lines = ["| | ε | " + " | ".join(one.name for one in variants) + " |"]
    lines.append("|---|---:|" + "---:|" * len(variants))
    for (name, epsilon), one in results.items():
        means = [one.scores[variant.name].mean() for variant in variants]
        cells = ["" if math.isnan(mean) else f"{100 * mean:.1f}" for mean in means]
        lines.append(f"| {name} | {epsilon:g} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _difference(paired: NDArray) -> str:
    """Mean of differences (sets, epsilons, seeds), and its standard error over seeds."""
    if not paired.size:
        return ""
    by_seed = paired.mean(axis=1)
    sets, seeds = by_seed.shape
    spread = by_seed.std(axis=1, ddof=1) if seeds > 1 else np.full(sets, np.nan)
    error = np.sqrt(np.sum(spread**2 / seeds)) / sets
    return f"{100 * by_seed.mean():+.2f} ± {100 * error:.2f}"


def _line(name: str, values: NDArray, mean: float, difference: str) -> str:
    cells = ["" if math.isnan(value) else f"{100 * value:.1f}" for value in values]
    cells.append("" if math.isnan(mean) else f"{100 * mean:.2f}")
    return f"| {name} | " + " | ".join([*cells, difference]) + " |"


def selected(variants: list[Variant], words: list[str]) -> list[Variant]:
    """The defaults, and variants whose names have one of the words in them."""
    if not words:
        return variants
    first, *rest = variants
    return [first, *(v for v in rest if any(word.lower() in v.name.lower() for word in words))]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sets", nargs="+", choices=study_sets.NAMES, help="(default: all)")
    parser.add_argument("--variants", nargs="+", default=[], help="words of their names (all)")
    parser.add_argument("--epsilons", nargs="+", type=float, default=EPSILONS)
    parser.add_argument("--seeds", type=int, help="splits, each with noise of its own (10)")
    parser.add_argument("--n-jobs", type=int, default=2, help="processes (2)")
    parser.add_argument("--networks", action="store_true", help="study the network's defaults")
    parser.add_argument("--quick", action="store_true", help="a few sets, variants and seeds")
    parser.add_argument("--output", type=Path, help="a Markdown file to write to as well")
    options = parser.parse_args()
    every = NETWORK_VARIANTS if options.networks else VARIANTS
    variants = selected(every, options.variants)
    if options.quick and not options.variants:
        variants = every[:QUICK_VARIANTS]
    usual = study_sets.NETWORK_STUDY if options.networks else study_sets.LINEAR_STUDY
    sets = options.sets or (QUICK_SETS if options.quick else usual)
    seeds = options.seeds or (5 if options.quick else 10)
    start = time.perf_counter()
    keys = [(name, epsilon) for name in sets for epsilon in options.epsilons]
    found = Parallel(n_jobs=options.n_jobs, return_as="generator")(
        delayed(run)(*key, variants, seeds) for key in keys
    )
    results: dict[tuple[str, float], Result] = {}
    for key, result in zip(keys, found, strict=True):
        results[key] = result
        if key[1] != options.epsilons[-1]:
            continue
        text = report(results, variants, seeds, time.perf_counter() - start)
        if options.output:
            options.output.write_text(text)
    print(text)


def report(
    results: dict[tuple[str, float], Result], variants: list[Variant], seeds: int, seconds: float
) -> str:
    """All tables of the sets that are done."""
    epsilons = dict.fromkeys(epsilon for _, epsilon in results)
    head = (
        f"{seeds} splits per set, epsilon {', '.join(f'{e:g}' for e in epsilons)}, "
        f"{seconds / 60:.0f} minutes."
    )
    detailed = [one for one in variants if one.kind != "estimator" or one.name in DETAILED]
    parts = [head, table(results, variants), by_epsilon(results, variants)]
    return "\n\n".join([*parts, detail(results, detailed)]) + "\n"


if __name__ == "__main__":
    main()
