"""
How wide may bounds be?
=======================

The guarantee needs bounds that do not come from the rows, and from the field one often knows them
roughly. Here bounds are made too narrow and too wide on purpose. You see that twice too wide does
no harm, and what the noised moments do about the rest.
"""

# %%
# What bounds do
# --------------
# ``BoundsScaler`` clips every column to its bounds and scales it to [-1, 1]. Look at the mean area
# of cells below. With clinical bounds it fills the interval. With a quarter of their width most
# values are clipped to an end. With eight times the width all values are nearly the same number.

# sphinx_gallery_thumbnail_number = 2
import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_breast_cancer
from sklearn.model_selection import StratifiedShuffleSplit, cross_val_score, train_test_split
from sklearn.pipeline import make_pipeline

from skfhe import BoundsScaler, EncryptedDPLogisticRegression

X, y = load_breast_cancer(return_X_y=True)
X = X[:, :10]
low = np.array([6, 9, 40, 140, 0.05, 0.01, 0, 0, 0.1, 0.04])
high = np.array([29, 40, 190, 2600, 0.17, 0.35, 0.43, 0.21, 0.31, 0.1])


def scaler(width):
    """Bounds about the middle of the clinical ranges, so many times as wide."""
    middle, half = (low + high) / 2, (high - low) / 2
    return BoundsScaler((middle - width * half, middle + width * half))


fig, axes = plt.subplots(1, 3, figsize=(8, 2.8), sharey=True, layout="constrained")
for ax, width in zip(axes, (0.25, 1, 8), strict=True):
    area = scaler(width).fit_transform(X)[:, 3]
    ax.hist(area, bins=np.linspace(-1, 1, 41), color="#0072B2")
    ax.set(xlabel="mean area, scaled", title=f"{width:g} times the width")
axes[0].set_ylabel("rows")
plt.show()

# %%
# What they cost
# --------------
# The noise is for rows as long as the bounds allow. Rows that are short beside it drown. Part of
# that is mended: by default a tenth of the budget goes into noised means and mean squares of the
# columns, by which owners centre and scale their rows before they encrypt them
# (``standardize=True``).
#
# The points are means and standard deviations of four fits on four splits, with epsilon = 1. They
# are **simulated**: the same circuit and the same noise, but nothing is encrypted. The diamond is
# one encrypted fit. Look how flat the upper curve is between 1 and 2, and how much earlier the
# lower one falls.

widths = [0.25, 1, 2, 4, 8, 16]
splits = StratifiedShuffleSplit(4, test_size=0.25, random_state=0)
fig, ax = plt.subplots(figsize=(6.4, 4), layout="constrained")
for standardize, color, marker in ((True, "#0072B2", "o"), (False, "#D55E00", "s")):
    simulated = EncryptedDPLogisticRegression(
        epsilon=1.0, degree=1, standardize=standardize, backend="simulated"
    )
    scores = np.array(
        [cross_val_score(make_pipeline(scaler(w), simulated), X, y, cv=splits) for w in widths]
    )
    ax.errorbar(
        widths,
        scores.mean(axis=1),
        scores.std(axis=1),
        color=color,
        marker=marker,
        capsize=3,
        label=f"standardize={standardize}",
    )

X_train, X_test, y_train, y_test = train_test_split(X, y, random_state=0, stratify=y)
model = make_pipeline(scaler(1), EncryptedDPLogisticRegression(epsilon=1.0, degree=1))
score = model.fit(X_train, y_train).score(X_test, y_test)
ax.plot(1, score, "D", color="k", label="encrypted, standardize=True")
ax.axhline(np.mean(y), color="0.3", ls=":", label="always the same class")
ax.set_xscale("log", base=2)
ax.set_xticks(widths, [f"{width:g}" for width in widths])
ax.set(xlabel="width of the bounds, in clinical ranges", ylabel="test accuracy")
ax.legend(fontsize=9)
plt.show()

# %%
# So: rather twice too wide than clipped, and a guess within a factor of two is good enough. Do not
# take the minimum and the maximum of the rows instead. They are values of single patients, and
# nothing can tell from a bound where it came from.
#
# :doc:`/guide/preprocessing` has the other scalers, among them one that pays for its means and
# variances from a budget, and :doc:`/security/sharp-edges` what else leaks before a fit.
