"""
One budget for a search
=======================

A grid search fits many models on the same rows and looks at many scores. Each of them is a
release. Here fits and scores pay from one ledger: you see beforehand what the search will cost,
run it on ciphertexts, and see afterwards what was spent on what.
"""

# %%
# A pipeline that pays
# --------------------
# Is a handwritten digit odd? The estimator and the scorer get the same ledger, and so do all
# clones that the search makes. Everything pays before it releases, and is refused if the budget
# does not suffice.

# sphinx_gallery_thumbnail_number = 2
import textwrap

import matplotlib.pyplot as plt
import numpy as np
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.model_selection import GridSearchCV, KFold, train_test_split
from sklearn.pipeline import make_pipeline

from skfhe import (
    BoundsScaler,
    BudgetExceeded,
    EncryptedDPLogisticRegression,
    PrivacyBudgetDisplay,
    PrivacyLedger,
    privacy_report,
    private_scorer,
)

X, digit = load_digits(return_X_y=True)
y = np.where(digit % 2, "odd", "even")
X_train, X_test, y_train, y_test = train_test_split(X, y, test_size=300, random_state=0)

ledger = PrivacyLedger(epsilon=4.0, delta=1e-5, dataset="digits")
model = make_pipeline(
    BoundsScaler((0, 16)),
    EncryptedDPLogisticRegression(epsilon=1.0, classes=["even", "odd"], ledger=ledger),
)
search = GridSearchCV(
    model,
    {"encrypteddplogisticregression__degree": [1, 3]},
    cv=KFold(3, shuffle=True),
    scoring=private_scorer(0.5, ledger),
    error_score="raise",
)

# %%
# Four settings matter.
#
# - ``classes`` names the labels in public. A fold may lack one, and then a single row would decide
#   what the classes are.
# - ``KFold(shuffle=True)`` divides by the number of rows. A number as ``cv`` would stratify: the
#   label of one row would decide on the folds of others.
# - ``private_scorer`` adds noise to the number of correct predictions. Rows held out are private,
#   too.
# - ``error_score="raise"`` ends the search when the budget does. scikit-learn's default would go
#   on with a score of NaN.

# %%
# Before: what will it cost?
# --------------------------
# ``privacy_report`` goes through the search without data, and counts.

print(privacy_report(search, n_samples=len(X_train), n_features=X.shape[1]))

# %%
# The total is less than the sum of the lines: noise adds up in its squares. There is no section
# "Not covered by these figures", because nothing else in this search learns from the rows.
#
# The run
# -------
# Six fits on two thirds of the rows, six scores on the rest, one fit on all rows. All of them are
# encrypted.

search.fit(X_train, y_train)
results = search.cv_results_
scores = np.array([results[f"split{fold}_test_score"] for fold in range(3)])
for degree, score in zip((1, 3), results["mean_test_score"], strict=True):
    print(f"degree {degree}: private score {score:.3f}")
print(f"chosen: {search.best_params_}")
print(f"accuracy on rows that nobody paid for: {search.best_estimator_.score(X_test, y_test):.3f}")

# %%
# The scores are released values, so they may be shown. Each is off by about 4/(εn), which the bars
# show: a difference that is no longer than a bar says nothing. Look whether the bars of the two
# degrees overlap. If they do, the lower degree is the better choice, since it is faster.

n_held_out = len(X_train) / 3
fig, ax = plt.subplots(figsize=(5, 3.8), layout="constrained")
for fold, (score, marker) in enumerate(zip(scores, "os^", strict=True)):
    places = np.array([0, 1]) + 0.1 * (fold - 1)
    label = f"fold {fold + 1}"
    ax.errorbar(places, score, 4 / (0.5 * n_held_out), fmt=marker, capsize=3, label=label)
ax.set_xticks([0, 1], ["degree 1", "degree 3"])
ax.set(xlim=(-0.5, 1.5), ylabel="private accuracy", title="What the search saw")
ax.legend()
plt.show()

# %%
# After: what has it cost?
# ------------------------
# The ledger has an entry for every fit and every score. Dark is what an entry added, light what
# had been spent before. Look how later entries of a kind add less than earlier ones, because of
# the squares. On the right is the same total at other deltas.

print(f"{len(ledger.entries())} entries")
print(f"spent      epsilon = {ledger.spent().epsilon:.3f}")
print(f"remaining  epsilon = {ledger.remaining().epsilon:.3f} for one more fit")
PrivacyBudgetDisplay.from_ledger(ledger)
plt.show()

# %%
# When it does not suffice
# ------------------------
# A fit that the ledger cannot pay for is refused before a key is made or a row is encrypted.

greedy = clone(model).set_params(encrypteddplogisticregression__epsilon=3.9)
try:
    greedy.fit(X_train, y_train)
except BudgetExceeded as refused:
    print(textwrap.fill(f"BudgetExceeded: {refused}", 76))
print(f"still {len(ledger.entries())} entries")

# %%
# :doc:`/guide/budget` has ledgers on file and across processes, and what no budget covers. The
# notebook ``examples/degree_by_grid_search.ipynb`` goes through a search more slowly.
