"""Logistic regression by diffprivlib, on tasks handed over by utility.py.

    .venv-diffprivlib/bin/python benchmarks/peer_diffprivlib.py tasks.json

Its defaults, and as `data_norm` the public norm that ours has, 2 sqrt(d) / 3, to which it shortens
longer rows. Perturbing the objective is pure epsilon-DP for rows that are replaced, which covers a
row that becomes zero: one run stands for both relations. Several classes share epsilon.
"""

from __future__ import annotations

import json
import math
import sys
import time
import warnings

import diffprivlib
import numpy as np
from diffprivlib.models import LogisticRegression


def main() -> None:
    warnings.simplefilter("ignore")
    with open(sys.argv[1]) as file:
        tasks = json.load(file)
    for index, task in enumerate(tasks):
        start = time.perf_counter()
        with np.load(task["file"]) as split:
            data_norm = 2 * math.sqrt(split["X_train"].shape[1]) / 3
            model = LogisticRegression(
                epsilon=task["epsilon"],
                data_norm=data_norm,
                n_jobs=1,
                random_state=task["seed"],
            ).fit(split["X_train"], split["y_train"])
            score = model.score(split["X_test"], split["y_test"])
        cell = {
            "task": index,
            "accuracy": float(score),
            "seconds": time.perf_counter() - start,
            "version": f"diffprivlib {diffprivlib.__version__}",
        }
        print(json.dumps(cell), flush=True)


if __name__ == "__main__":
    main()
