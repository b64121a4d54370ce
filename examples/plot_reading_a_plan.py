"""
Reading a plan
==============

A plan is everything public that the parties of a run agree on: guarantee, noise, polynomials,
encryption, costs. It is computed from the shape of the data before any row is touched. You learn
what its lines mean, who sees what, and which of the figures move when epsilon, the neighbouring
relation, the degree or the number of owners do.
"""

# %%
# A plan for a table
# ------------------
# The shape is that of scikit-learn's diabetes data, 442 rows of 10 columns, where the question is
# whether the disease gets worse faster than for most. The rows themselves come in only at the end.

import textwrap

import matplotlib.pyplot as plt
import numpy as np
from sklearn.base import clone
from sklearn.datasets import load_diabetes
from sklearn.pipeline import make_pipeline

from skfhe import BoundsScaler, EncryptedDPLogisticRegression

model = EncryptedDPLogisticRegression(epsilon=1.0, delta=1e-5)
plan = model.plan(n_samples=442, n_features=10)
plan

# %%
# The card, from the top:
#
# **Training plan**, and the beginning of its digest, which every message carries. A party that
# gets a message of another plan refuses it.
#
# - *data* is public: the plan takes the shape as known.
# - *row bound*: the length up to which a row counts in the moments; longer ones are shortened.
# - *rows*, *optimiser*: how owners store rows, how many steps there are and how long. Weights stay
#   within a ball, so that no margin leaves the longest interval of the polynomials.
#
# **Privacy** is what the guarantee rests on.
#
# - *noise multiplier*: the spread of the noise of a step over its sensitivity. *moments* and
#   *curvature* have one of their own, since they are released once, before the first step.
# - *sensitivity*: how far one row can move a step's sum. S is what a row can add to a gradient, by
#   the range that is proved for the polynomial; the factor would be 1 without encryption.
# - *encryption error*: the part of that factor that encryption adds.
# - *out of delta*: the chance that an encryption error exceeds its bound. It is part of delta.
# - *flooding*: what all decryptions together may tell about the key, in nats.
#
# **Who sees what** has a line for each who may look, and what protects a row from them.
#
# **Approximation**: the polynomials and their distance from the sigmoid, which costs accuracy and
# never privacy. **Encryption** has the parameters of CKKS, **Predicted** what they will cost.

# %%
# All of it is data
# -----------------
# The card is for reading. Programs take the fields, and parties exchange JSON, which is refused if
# it was altered.

bounds = plan.certificate.contributions
print(f"S between {bounds[0]:.3f} and {bounds[-1]:.3f}")
print(f"sensitivity {plan.certificate.sensitivity:.5f} S")
print(f"modulus of {sum(prime.bit_length() for prime in plan.encryption.primes)} bits")
print(f"mu of all releases together: {np.sqrt(plan.squared_mu):.3f}")
print(f"as JSON: {len(plan.to_json())} bytes, digest {plan.digest[:12]}")

# %%
# Where delta and epsilon come from
# ---------------------------------
# ``mu`` says how far apart the outcomes with and without a row are, in standard deviations of the
# noise. Every release adds its share to the square of ``mu``. Look at the shares: with a tenth
# each the two statistics leave most to the steps, which all have the same.

shares = {name: 1 / one.noise_multiplier**2 for name, one in plan.preparation.statistics.items()}
for step in range(plan.optimizer.max_iter):
    shares[f"step {step + 1}"] = 1 / plan.guarantee.noise_multiplier**2

fig, ax = plt.subplots(figsize=(6.4, 3.2), layout="constrained")
colors = ["#E69F00"] * len(plan.preparation.statistics) + ["#0072B2"] * plan.optimizer.max_iter
ax.barh(list(shares), [share / plan.squared_mu for share in shares.values()], color=colors)
ax.invert_yaxis()
ax.set_xticks([0, 0.05, 0.1, 0.15, 0.2], ["0", "5%", "10%", "15%", "20%"])
ax.set(xlabel="share of mu²", title="What each release takes of the budget")
plt.show()

# %%
# What moves what
# ---------------
# Plans cost nothing and look at no row, so compare as many as you like. Each line below changes
# one thing; steps are held at the same number, since "auto" would choose it anew. *Noise* is the
# spread of a step's noise in units of S; accuracy goes with it.

steps = plan.optimizer.max_iter
changes = {
    "as above": {},
    "epsilon = 2": {"epsilon": 2.0},
    "epsilon = 0.5": {"epsilon": 0.5},
    "delta = 1e-8": {"delta": 1e-8},
    "replace_one": {"neighboring": "replace_one"},
    "twice the steps": {"max_iter": 2 * steps},
    "degree 1": {"degree": 1},
    "degree 7": {"degree": 7},
}
print(f"{'':<17}{'noise':>6}{'multiplier':>12}{'error':>7}{'primes':>8}{'MB/step':>9}")
noises = {}
for name, change in changes.items():
    other = (
        clone(model).set_params(**{"max_iter": steps} | change).plan(n_samples=442, n_features=10)
    )
    multiplier, error = (
        other.guarantee.noise_multiplier,
        other.certificate.polynomials[-1].sup_error,
    )
    noises[name] = multiplier * other.certificate.sensitivity
    print(
        f"{name:<17}{noises[name]:>6.1f}{multiplier:>12.2f}{error:>7.2f}"
        f"{len(other.encryption.primes):>8}{other.prediction.step_bytes / 1e6:>9.2f}"
    )

# %%
# The guarantee moves the noise, the degree moves error and costs, and neither moves the other. In
# particular ``replace_one`` doubles the sensitivity, and so the noise for the same epsilon: it
# hides what a row was, and not merely that there was one. Epsilons for different relations must
# not be compared.

fig, ax = plt.subplots(figsize=(6.4, 3.6), layout="constrained")
ax.barh(list(noises), list(noises.values()), color="#0072B2")
ax.axvline(noises["as above"], color="0.3", ls="--")
ax.invert_yaxis()
ax.set(xlabel="noise of a step, in units of S", title="What the noise depends on")
plt.show()

# %%
# Who sees what
# -------------
# ``parties()`` has the lines of the table. With three owners, one of whom may use its own noise
# against the others, there are more who may look, and some who may look together. "Not promised"
# is what is left if more collude than the plan counts on; the last line is why key holder and
# evaluator must not be the same.

for party in model.plan(442, 10, n_owners=3, n_colluding=1).parties():
    print(f"{party.party:<24}{party.guarantee}")
    print(f"    sees {party.sees}; protected by: {party.protected_by}")

# %%
# What cannot work is refused
# ---------------------------
# Before there is a key, with the figure that is needed, the one there is, and what to change.

try:
    clone(model).set_params(protocol="noninteractive", max_iter=60).plan(442, 10)
except ValueError as refused:
    print(textwrap.fill(f"{type(refused).__name__}: {refused}", 76))

# %%
# The run keeps to it
# -------------------
# ``fit`` makes the plan anew from the shape of its rows and the parameters. It is the same plan,
# digest and all. The bounds are clinical ranges: years, sex, body mass index, mean arterial
# pressure, and six measurements of the serum.

X, progression = load_diabetes(return_X_y=True, scaled=False)
y = np.where(progression > 150, "faster", "slower")
low = [18, 1, 15, 50, 80, 30, 15, 1, 3, 50]
high = [90, 2, 50, 150, 320, 260, 110, 10, 6.5, 150]
pipeline = make_pipeline(BoundsScaler((low, high)), clone(model)).fit(X, y)
assert pipeline[-1].plan_ == plan
print(textwrap.fill(str(pipeline[-1].privacy_), 76))

# %%
# :doc:`/guide/plan` says how parties use a plan, :doc:`/security/review` describes every field for
# who has to check one, and :doc:`/guide/defaults` how each "auto" was chosen.
