"""
One message in, one model out
=============================

With ``protocol="noninteractive"`` every owner sends one message of ciphertexts, the evaluator
trains alone, and the key holder decrypts the final weights and nothing else. Here you see what
this asks for, how the margins of rows that nobody looks at are kept in bounds, and what it costs
beside a protocol with a visit to the key holder at every step.
"""

# %%
# Two plans for the same rows
# ---------------------------
# Both promise epsilon = 2. Without visits all steps have to fit into the levels of one modulus, so
# the ring is larger and the keys are longer.

import matplotlib.pyplot as plt
import numpy as np
from sklearn.base import clone
from sklearn.datasets import load_breast_cancer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedShuffleSplit, cross_val_score, train_test_split
from sklearn.pipeline import make_pipeline

from skfhe import BoundsScaler, EncryptedDPLogisticRegression

X, y = load_breast_cancer(return_X_y=True)
# Clinical ranges of ten measurements of the cells: mean, standard error and worst value.
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
X_train, X_test, y_train, y_test = train_test_split(X, y, random_state=0, stratify=y)

protocols = {
    "a visit at every step": EncryptedDPLogisticRegression(epsilon=2.0),
    "no visit": EncryptedDPLogisticRegression(epsilon=2.0, protocol="noninteractive"),
}
for name, estimator in protocols.items():
    plan = estimator.plan(n_samples=len(X_train), n_features=X.shape[1])
    cost = plan.prediction
    print(f"{name}: the key holder sees {plan.decrypted}")
    print(
        f"    {plan.optimizer.max_iter} steps, ring of {plan.encryption.poly_modulus_degree}, "
        f"{len(plan.encryption.primes)} primes, {cost.key_bytes / 1e6:.0f} MB of keys"
    )

# %%
# How far weights can get
# -----------------------
# Where nobody looks in between, nobody can choose an interval for the polynomial that fits the
# weights. So the plan proves beforehand how far the margin of any row within the bound can get,
# the noise included. The polynomial here is a line, whose range is known wherever margins are;
# what the bound limits is what one row can add to a step's sum, and so the noise that covers it.

steps = np.arange(len(plan.rounds.reaches))
fig, ax = plt.subplots(figsize=(6.4, 3.8), layout="constrained")
ax.fill_between(steps, -np.array(plan.rounds.reaches), plan.rounds.reaches, color="#9ecae1")
ax.axhline(0, color="0.3", lw=0.8)
ax.set(
    xticks=steps,
    xlabel="steps taken",
    ylabel="margin of any row",
    title="Certified before training: margins stay in the shaded band",
)
fig.text(0.99, 0.01, f"except with probability {plan.rounds.probability:.0e}", ha="right", size=8)
plt.show()

# %%
# Train, on ciphertexts
# ---------------------
# ``fit`` plays all parties, as ever. ``n_releases`` counts what the guarantee composes: steps that
# nobody has seen count as well, since the final weights hold all their noised gradients.

for name, estimator in protocols.items():
    model = make_pipeline(BoundsScaler((low, high)), estimator).fit(X_train, y_train)
    seconds = model[-1].history_["phase_seconds"]
    print(
        f"{name}: {sum(seconds.values()):.1f} s, of which keys {seconds['keys']:.1f} s; "
        f"accuracy {model.score(X_test, y_test):.3f}; {model[-1].privacy_.n_releases} releases"
    )
model[-1].privacy_

# %%
# What it costs in accuracy
# -------------------------
# One fit is luck. The points are means and standard deviations of six fits on six splits, which
# are **simulated**: the same circuit and the same noise, but nothing is encrypted. Look at the
# distance between the two: without visits the model is behind, because steps have no
# preconditioner, and the bound is for the worst row.

splits = StratifiedShuffleSplit(6, test_size=0.25, random_state=0)
scores = {}
for name, estimator in protocols.items():
    simulated = clone(estimator).set_params(backend="simulated")
    private = make_pipeline(BoundsScaler((low, high)), simulated)
    scores[name] = cross_val_score(private, X, y, cv=splits)
plain = make_pipeline(BoundsScaler((low, high)), LogisticRegression())
scores["plain"] = cross_val_score(plain, X, y, cv=splits)

fig, ax = plt.subplots(figsize=(6.4, 2.6), layout="constrained")
for (name, score), color in zip(scores.items(), ("#0072B2", "#D55E00", "0.3"), strict=True):
    ax.errorbar(score.mean(), name, xerr=score.std(), fmt="o", color=color, capsize=4)
ax.axvline(np.mean(y), color="0.3", ls=":")
ax.invert_yaxis()
ax.margins(y=0.3)
ax.set(xlabel="test accuracy (dotted: always the same class)")
plt.show()

# %%
# :doc:`/guide/noninteractive` says which protocol to take, what several steps between visits
# (``steps_per_round``) are worth, and how bootstrapping lets the evaluator go on for any number of
# steps. :doc:`/proofs/rounds` proves the band.
