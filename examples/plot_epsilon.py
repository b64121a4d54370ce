"""
Epsilon against accuracy
========================

A smaller epsilon is a stronger promise, more noise, and a model that is less accurate and varies
more from fit to fit. Here you see how much of each on breast cancer data, beside a plain logistic
regression, and what the scale of epsilon means.
"""

# %%
# Public rows to choose by
# ------------------------
# To try budgets on private rows would itself be a release. ``TradeoffDisplay`` is for **public or
# synthetic rows** that resemble the private ones: it shows exact accuracies, and no budget covers
# them. The columns are the means of ten measurements of cell nuclei, their bounds clinical ranges.

import matplotlib.pyplot as plt
import numpy as np
from scipy.stats import norm
from sklearn.datasets import load_breast_cancer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedShuffleSplit, train_test_split
from sklearn.pipeline import make_pipeline

from skfhe import BoundsScaler, EncryptedDPLogisticRegression, TradeoffDisplay

X, y = load_breast_cancer(return_X_y=True)
X = X[:, :10]
low = [6, 9, 40, 140, 0.05, 0.01, 0, 0, 0.1, 0.04]
high = [29, 40, 190, 2600, 0.17, 0.35, 0.43, 0.21, 0.31, 0.1]
scaler = BoundsScaler((low, high))

# %%
# Accuracy, and how much it varies
# --------------------------------
# Five fits for each epsilon, on five splits. All of them are **simulated**: the same circuit and
# the same noise, but nothing is encrypted. The two diamonds are fits on ciphertexts, on the first
# of the splits; they come from the same distributions.
#
# Look at the bars as well as at the line. With a small epsilon one fit may be good and the next
# one bad, and a private fit cannot be repeated until it is good: every repetition is paid for.

display = TradeoffDisplay.from_estimator(
    make_pipeline(scaler, EncryptedDPLogisticRegression(degree=3)),
    X,
    y,
    epsilons=[0.0625, 0.25, 1, 4],
    cv=StratifiedShuffleSplit(5, test_size=0.25, random_state=1),
    n_repeats=1,
    baseline=make_pipeline(scaler, LogisticRegression(C=100)),
)

X_train, X_test, y_train, y_test = train_test_split(X, y, random_state=1, stratify=y)
encrypted = {}
for epsilon in (0.25, 4):
    model = make_pipeline(scaler, EncryptedDPLogisticRegression(epsilon, degree=3))
    encrypted[epsilon] = model.fit(X_train, y_train).score(X_test, y_test)

display.ax_.plot(*zip(*encrypted.items(), strict=True), "D", color="#D55E00", label="encrypted")
display.ax_.axhline(np.mean(y), color="0.3", ls=":", label="always the same class")
display.ax_.legend(loc="lower right")
plt.show()

# %%
# Why small epsilons get expensive
# --------------------------------
# Halving epsilon doubles the noise, more or less. How much a model minds depends on the number of
# rows: a gradient is a sum over rows, so it grows with them, and the noise does not. For twice the
# rows the same accuracy is had at about half the epsilon. This figure is of plans alone, which
# look at no row: the spread of the noise of one step, divided by the most that all rows together
# could add to the sum. Look along a horizontal line: it meets ten times the rows at about a tenth
# of epsilon.

epsilons = np.geomspace(0.125, 8, 7)
fig, ax = plt.subplots(figsize=(6.4, 4), layout="constrained")
styles = zip((100, 1_000, 10_000), ("#0072B2", "#009E73", "#E69F00"), "os^", strict=True)
for n_samples, color, marker in styles:
    noise = []
    for epsilon in epsilons:
        classifier = EncryptedDPLogisticRegression(epsilon, degree=1, max_iter=4)
        plan = classifier.plan(n_samples, n_features=10)
        noise.append(plan.guarantee.noise_multiplier * plan.certificate.sensitivity / n_samples)
    ax.plot(epsilons, noise, color=color, marker=marker, label=f"{n_samples:,} rows")
ax.set(xscale="log", yscale="log", xlabel="epsilon", ylabel="noise over the largest signal")
ax.set_xticks(epsilons, [f"{epsilon:g}" for epsilon in epsilons], minor=False)
ax.minorticks_off()
ax.set_title("Noise of one of four steps, at delta = 1e-5", fontsize=10)
ax.legend()
plt.show()

# %%
# What an epsilon means
# ---------------------
# Somebody looks at the model and decides whether a certain row was among the data. They may know
# all other rows. Where they say "yes" by mistake for 5 per cent of rows that were not there, they
# say "yes" for at most so many of those that were:

for epsilon in (0.25, 1.0, 2.0, 8.0):
    plan = EncryptedDPLogisticRegression(epsilon, degree=1).plan(len(X_train), n_features=10)
    detected = norm.cdf(norm.ppf(0.05) + np.sqrt(plan.squared_mu))
    print(f"epsilon = {epsilon:<5g} detected at 5% false alarms: at most {detected:.1%}")

# %%
# :doc:`plot_attacker` lets such an attacker try. :doc:`/guide/displays` describes the display, and
# :doc:`/benchmarks/accuracy` has accuracies on many sets, beside other packages.
