"""What tests of sources share: the same rows in a frame and in files."""

from itertools import pairwise

import numpy as np
import pandas as pd

from skfhe.schema import Schema

N = 1000
FEATURES, CLASSES = ("c", "a", "b"), ("no", "yes")
PLAIN = Schema(FEATURES, "sick", CLASSES)
BOUNDED = Schema(FEATURES, "sick", CLASSES, (-1.0, 0.1, -3.0), (1.0, 0.7, 2.5))


def make_frame():
    """More columns than the schemas take, in another order."""
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(rng.normal(size=(N, 3)), columns=list("abc"))
    frame.insert(1, "sick", np.array(CLASSES)[rng.integers(0, 2, N)])
    frame["note"] = 'a comma, a "quote"\nand a line'
    return frame


def write_files(frame, folder):
    """The rows in one file of each kind, and in parts of very different lengths, one empty."""
    frame.to_csv(folder / "all.csv", index=False)
    frame.to_csv(folder / "all.csv.gz", index=False)
    frame.to_parquet(folder / "all.parquet", row_group_size=77)
    parts = [frame.iloc[a:b] for a, b in pairwise([0, 1, 333, 333, 900, N])]
    for kind in ("csv", "parquet"):
        (folder / kind).mkdir()
        (folder / kind / "_SUCCESS").write_text("")
        for i, part in enumerate(parts):
            path = folder / kind / f"part-{i}.{kind}"
            part.to_csv(path, index=False) if kind == "csv" else part.to_parquet(path)
    return folder


def whole(source, size=300):
    """All rows and class indices of one pass."""
    rows, indices = zip(*source.batches(size), strict=True)
    return np.vstack(rows), np.concatenate(indices)
