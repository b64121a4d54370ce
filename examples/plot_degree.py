"""
The degree of the polynomial
============================

Ciphertexts can be added and multiplied, and nothing else, so a polynomial stands for the sigmoid.
Its degree is a hyperparameter like any other: it buys accuracy, and costs levels, bytes and
seconds. Here you see what it buys on one set of handwritten digits, and what it costs.
"""

# %%
# What a degree can follow
# ------------------------
# Each polynomial below is the one of its degree that is closest to the sigmoid on the interval in
# which margins may lie. The interval is declared before training, and the longest one is for the
# longest weights. Look at the ends, where a straight line is worst; the legend has the largest
# error of each.

# sphinx_gallery_thumbnail_number = 2
import matplotlib.pyplot as plt
import numpy as np
from scipy.special import expit
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedShuffleSplit, cross_val_score, train_test_split
from sklearn.pipeline import make_pipeline

from skfhe import BoundsScaler, EncryptedDPLogisticRegression, PolynomialApproximation

degrees = [1, 3, 5, 7]
colors = ["#E69F00", "#009E73", "#0072B2", "#CC79A7"]
z = np.linspace(-8, 8, 401)
fig, ax = plt.subplots(figsize=(6.4, 4), layout="constrained")
ax.plot(z, expit(z), "k--", label="sigmoid")
for degree, color in zip(degrees, colors, strict=True):
    polynomial = PolynomialApproximation.fit(degree, radius=8.0)
    label = f"degree {degree}, off by {polynomial.sup_error:.2f} at most"
    ax.plot(z, polynomial(z), color=color, label=label)
ax.set(
    xlabel="margin (log odds)",
    ylabel="probability",
    title="Polynomials in the place of the sigmoid",
)
ax.legend()
plt.show()

# %%
# What it buys
# ------------
# Is a digit an eight? One in ten is, so a model has to be sure of "no" for most rows and of "yes"
# for a few: margins get long, and the shape of the sigmoid matters. The pixels are between 0 and
# 16 by their format, which is a bound that does not come from the rows.
#
# Every point below is the mean of four fits on four splits. These sixteen fits are **simulated**:
# the same circuit and the same noise, but nothing is encrypted.

X, digit = load_digits(return_X_y=True)
y = (digit == 8).astype(int)
splits = StratifiedShuffleSplit(4, test_size=0.25, random_state=0)

scores = []
for degree in degrees:
    classifier = EncryptedDPLogisticRegression(epsilon=5.0, degree=degree, backend="simulated")
    model = make_pipeline(BoundsScaler((0, 16)), classifier)
    scores.append(cross_val_score(model, X, y, cv=splits))
scores = np.array(scores)

plain = make_pipeline(BoundsScaler((0, 16)), LogisticRegression(max_iter=1000))
without_privacy = cross_val_score(plain, X, y, cv=splits).mean()

# %%
# The dotted line is what one gets by never saying "eight". Degree 1 is not far above it: rows that
# are a clear "no" have margins where a straight line is far from the sigmoid. Degrees 3 and 5
# bring a point or two each, degree 7 less than the error bars. What is missing to the dashed line
# is mostly the price of epsilon = 5.

fig, ax = plt.subplots(figsize=(6.4, 4), layout="constrained")
ax.errorbar(
    degrees,
    scores.mean(axis=1),
    scores.std(axis=1),
    color="#0072B2",
    marker="o",
    capsize=3,
    label="epsilon = 5 (simulated)",
)
ax.axhline(without_privacy, color="0.3", ls="--", label="without privacy")
ax.axhline(np.mean(y == 0), color="0.3", ls=":", label="never an eight")
ax.set(
    xlabel="degree of the polynomial",
    ylabel="test accuracy",
    xticks=degrees,
    title="Mean and standard deviation of four fits",
)
ax.legend()
plt.show()

# %%
# What it costs
# -------------
# The plan says it, before any row is touched. A product uses up one prime of the modulus (a
# *level*), and more levels need a larger ring.

for degree in degrees:
    plan = EncryptedDPLogisticRegression(5.0, degree=degree).plan(len(X), X.shape[1])
    ring, cost = plan.encryption, plan.prediction
    print(
        f"degree {degree}: ring of {ring.poly_modulus_degree}, {len(ring.primes)} primes, "
        f"{cost.key_bytes / 1e6:.0f} MB of keys, {cost.seconds_per_step:.2f} s per step"
    )

# %%
# Accuracy is all that the error of a polynomial costs. The guarantee rests on a bound on its
# *range*, which is proved for each of them, so the noise is as sufficient at degree 1 as at 7.

# %%
# One fit on ciphertexts
# ----------------------
# Last, the degree that the figure speaks for, encrypted for real.

X_train, X_test, y_train, y_test = train_test_split(X, y, random_state=0, stratify=y)
model = make_pipeline(BoundsScaler((0, 16)), EncryptedDPLogisticRegression(5.0, degree=7))
print(f"degree 7, encrypted: {model.fit(X_train, y_train).score(X_test, y_test):.3f}")
model[-1].plan_

# %%
# On sets with two classes of about the same size, degrees differ by less than their error bars:
# few preconditioned steps keep margins short. Then take a low one. To choose on private rows costs
# budget (:doc:`plot_one_budget`); :doc:`/guide/defaults` says what ``degree="auto"`` is and why.
