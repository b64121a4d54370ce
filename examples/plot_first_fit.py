"""
A first fit
===========

A logistic regression is trained on encrypted rows and released with differential privacy, in a
pipeline like any other. You see what you have to say yourself (bounds and a budget), what a
fitted model states about its privacy, and what the budget costs in accuracy.

The rows are scikit-learn's breast cancer data. They are public and stand here for rows that are
not: that is why the examples of this gallery may show exact test accuracies.
"""

# %%
# Rows with bounds from the field
# -------------------------------
# The guarantee needs a bound on every row, and it must not come from the rows: a minimum or a
# maximum is the value of a single patient. The bounds below are clinical ranges. Values outside
# are clipped; the columns are then scaled to [-1, 1].

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_breast_cancer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline

from skfhe import BoundsScaler, EncryptedDPLogisticRegression

X, y = load_breast_cancer(return_X_y=True)
X_train, X_test, y_train, y_test = train_test_split(X, y, random_state=0, stratify=y)

# Radius, texture, perimeter, area, smoothness, compactness, concavity, concave points, symmetry
# and fractal dimension of the cells: the mean, its standard error and the worst value.
low = (
    [6, 9, 40, 140, 0.05, 0.01, 0, 0, 0.1, 0.04]
    + [0.1, 0.3, 0.7, 6, 0.001, 0.002, 0, 0, 0.007, 0.0008]
    + [7, 12, 50, 180, 0.07, 0.02, 0, 0, 0.15, 0.05]
)
high = (
    [29, 40, 190, 2600, 0.17, 0.35, 0.43, 0.21, 0.31, 0.1]
    + [2.9, 4.9, 22, 550, 0.032, 0.14, 0.4, 0.053, 0.08, 0.03]
    + [37, 50, 260, 4300, 0.23, 1.1, 1.3, 0.3, 0.67, 0.21]
)

# %%
# Fit
# ---
# ``fit`` makes keys, encrypts rows and noise, computes every gradient on ciphertexts and decrypts
# noised sums alone. Here one process plays all parties, through the bytes that would pass between
# them. Results differ from run to run, because the noise does.

scaler = BoundsScaler((low, high))
model = make_pipeline(scaler, EncryptedDPLogisticRegression(epsilon=2.0))
model.fit(X_train, y_train)

# %%
# What was promised
# -----------------
# ``privacy_`` states the guarantee and what it rests on. Below it, the lines say who could see
# what, and what protects a row from them.

private = model[-1]
private.privacy_

# %%
# What it costs in accuracy
# -------------------------
# Beside it, plain logistic regression on the same columns: no encryption, no noise.

plain = make_pipeline(scaler, LogisticRegression()).fit(X_train, y_train)
print(f"plain, in the clear      {plain.score(X_test, y_test):.3f}")
print(f"encrypted and private    {model.score(X_test, y_test):.3f}")
print(f"always the same class    {np.mean(y_test == 1):.3f}")

# %%
# The figure has one point for each of the held-out patients: how sure the plain model is of
# "benign", and how sure the private one is. Look at the two grey quarters, where the models
# disagree: few points lie there, close to a corner where neither model is sure.

fig, ax = plt.subplots(figsize=(6, 5), layout="constrained")
for label, name, marker, color in (
    (0, "malignant", "^", "#D55E00"),
    (1, "benign", "o", "#0072B2"),
):
    rows = X_test[y_test == label]
    ax.scatter(
        plain.decision_function(rows),
        model.decision_function(rows),
        marker=marker,
        color=color,
        alpha=0.6,
        label=name,
    )
left, right = ax.get_xlim()
bottom, top = ax.get_ylim()
ax.fill_between([left, 0], 0, top, color="0.9", zorder=0)
ax.fill_between([0, right], bottom, 0, color="0.9", zorder=0)
ax.set(
    xlim=(left, right),
    ylim=(bottom, top),
    xlabel="plain model: log odds of benign",
    ylabel="private model: log odds of benign",
    title="Held-out patients, told apart by both models",
)
ax.legend(title="diagnosis", loc="upper left")
plt.show()

# %%
# What it costs in time
# ---------------------
# ``history_`` holds seconds, bytes and functions of released values; no loss, and no statistic of
# the rows. On a set as small as this, planning and making keys take longer than the steps.

for phase, seconds in private.history_["phase_seconds"].items():
    print(f"{phase:<10}{seconds:6.2f} s")
for what, size in private.history_["bytes"].items():
    print(f"{what:<10}{size / 1e6:6.2f} MB")

# %%
# A plain model to take away
# --------------------------
# ``to_sklearn`` gives a ``LogisticRegression`` with the same predictions, for use where this
# package is not installed. Whatever is done with a released model costs no further privacy.

released = make_pipeline(model[0], private.to_sklearn())
assert (released.predict(X_test) == model.predict(X_test)).all()
released[-1]

# %%
# :doc:`/start` goes through the same steps for a table of your own, and :doc:`/guide/estimators`
# through parameters and fitted attributes.
