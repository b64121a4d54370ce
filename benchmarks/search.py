"""An encrypted grid search under one budget: seconds, and whether the ledger is exact."""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import datasets
from sklearn.model_selection import GridSearchCV

from skfhe import EncryptedDPLogisticRegression, PrivacyLedger
from skfhe.privacy.accounting import calibrate
from skfhe.privacy.composition import Composition
from skfhe.privacy.ledger import composed_epsilon

GRID = {"degree": [3, 5, 7], "epsilon": [0.5, 1.0, 2.0]}
FOLDS = 3
DELTA = 1e-5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--n-jobs", type=int, default=2, help="processes (2)")
    options = parser.parse_args()
    split = datasets.breast_cancer()
    with TemporaryDirectory() as folder:
        ledger = PrivacyLedger(Path(folder) / "budget", epsilon=20.0, delta=DELTA)
        search = GridSearchCV(
            EncryptedDPLogisticRegression(ledger=ledger), GRID, cv=FOLDS, n_jobs=options.n_jobs
        )
        start = time.perf_counter()
        search.fit(split.X_train, split.y_train)
        seconds = time.perf_counter() - start
        best = search.best_params_["epsilon"]
        epsilons = [*GRID["epsilon"]] * (len(GRID["degree"]) * FOLDS) + [best]
        asked = Composition(sum(calibrate(e, 0.99 * DELTA, 1) ** -2 for e in epsilons))
        entries = ledger.entries()
        print(
            f"fits                  {len(epsilons)}, encrypted, {options.n_jobs} processes\n"
            f"seconds               {seconds:.1f}\n"
            f"ledger                {len(entries)} entries\n"
            f"epsilon spent         {ledger.spent().epsilon:.4f} of {ledger.epsilon:g}; "
            f"the fits' own guarantees compose to {composed_epsilon(asked, DELTA):.4f}\n"
            f"best                  {search.best_params_}, "
            f"test accuracy {search.score(split.X_test, split.y_test):.3f}"
        )


if __name__ == "__main__":
    main()
