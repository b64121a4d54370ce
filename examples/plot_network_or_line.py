"""
A network or a line?
====================

``EncryptedDPMLPClassifier`` has a hidden layer, and can learn what no plane tells apart. Its steps
take about ten times as long, and the same noise has more weights to blur. Here are two questions
about real data in two columns each: one where the hidden layer pays, and one where it does not.
"""

# %%
# Two questions
# -------------
# **Upside down.** Turned by half, a 0 stays a 0 and an 8 an 8; a 6 becomes a 9 and a 9 a 6. Is a
# digit one that changes? Of each 8 by 8 image we take two figures: how much more ink is in the
# upper half than in the lower, and in the left than in the right. Those that stay have about as
# much on both sides and lie in the middle; 6 and 9 lie on either side of them. No line separates
# the two classes. The bounds say: a difference of ten full pixels at most.
#
# **Benign.** Is a tumour benign? The columns are the mean radius of the cells and the mean number
# of concave points, within clinical ranges. Both push one way: smaller is better.

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.colors import ListedColormap
from sklearn.base import clone
from sklearn.datasets import load_breast_cancer, load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedShuffleSplit, cross_val_score
from sklearn.neural_network import MLPClassifier

from skfhe import BoundsScaler, EncryptedDPLogisticRegression, EncryptedDPMLPClassifier

digits = load_digits()
chosen = np.isin(digits.target, (0, 6, 8, 9))
images, digit = digits.images[chosen], digits.target[chosen]
upper = images[:, :4].sum(axis=(1, 2)) - images[:, 4:].sum(axis=(1, 2))
left = images[:, :, :4].sum(axis=(1, 2)) - images[:, :, 4:].sum(axis=(1, 2))
ink = BoundsScaler((-160, 160)).fit_transform(np.column_stack([upper, left]))

cancer = load_breast_cancer()
cells = BoundsScaler(([6, 0], [29, 0.21])).fit_transform(cancer.data[:, [0, 7]])

questions = {
    "upside down": (ink, np.isin(digit, (6, 9)), ("upper ink", "left ink")),
    "benign": (cells, cancer.target == 1, ("radius", "concave points")),
}

# %%
# Trained on ciphertexts
# ----------------------
# One fit of each model for each question, encrypted, with epsilon = 4. The square is the cheapest
# activation: it is a polynomial already.

line = EncryptedDPLogisticRegression(epsilon=4.0)
network = EncryptedDPMLPClassifier(epsilon=4.0, activation="square", degree=2)
fitted = {}
for question, (X, y, _) in questions.items():
    for model in (line, network):
        name = "line" if model is line else "network"
        fitted[question, name] = clone(model).fit(X, y)
        history = fitted[question, name].history_
        print(
            f"{question}, {name}: {sum(history['phase_seconds'].values()):.1f} s, of which "
            f"keys {history['phase_seconds']['keys']:.1f} s; "
            f"{np.median(history['step_seconds']):.2f} s per step"
        )

# %%
# Coloured is what each model would say. Look at the upper row: the line has to give up the 6s or
# the 9s, or cut through the middle; the network draws a border on both sides. In the lower row
# both draw about the same one.

colors = ListedColormap(["#E69F00", "#0072B2"])
grid = np.linspace(-1, 1, 201)
xx, yy = np.meshgrid(grid, grid)
fig, axes = plt.subplots(2, 2, figsize=(7.5, 7), layout="constrained")
for row, (question, (X, y, names)) in zip(axes, questions.items(), strict=True):
    for ax, name in zip(row, ("line", "network"), strict=True):
        said = fitted[question, name].predict(np.column_stack([xx.ravel(), yy.ravel()]))
        ax.pcolormesh(xx, yy, said.reshape(xx.shape), cmap=colors, alpha=0.25, rasterized=True)
        for value, marker, color in ((False, "o", "#9C5F00"), (True, "^", "#004B76")):
            ax.plot(*X[y == value].T, marker, color=color, ms=3, alpha=0.6)
        ax.set(
            title=f"{question}: {name}", xlabel=f"{names[0]}, scaled", ylabel=f"{names[1]}, scaled"
        )
plt.show()

# %%
# How sure is that?
# -----------------
# Means and standard deviations of three fits on three splits, beside scikit-learn's models without
# privacy. The private fits of this figure are **simulated**: the same circuit and the same noise,
# but nothing is encrypted.

splits = StratifiedShuffleSplit(3, test_size=0.3, random_state=0)
candidates = {
    "private line": clone(line).set_params(backend="simulated"),
    "private network": clone(network).set_params(backend="simulated"),
    "plain line": LogisticRegression(),
    "plain network": MLPClassifier((16,), solver="lbfgs", max_iter=1000, alpha=0.1),
}
fig, axes = plt.subplots(1, 2, figsize=(8, 2.8), sharey=True, layout="constrained")
for ax, (question, (X, y, _)) in zip(axes, questions.items(), strict=True):
    for name, model in candidates.items():
        score = cross_val_score(model, X, y, cv=splits)
        color = "#0072B2" if "private" in name else "0.3"
        ax.errorbar(score.mean(), name, xerr=score.std(), fmt="o", color=color, capsize=4)
    ax.set(title=question, xlabel="test accuracy", xlim=(0.6, 1))
    ax.grid(axis="x", alpha=0.3)
axes[0].invert_yaxis()
plt.show()

# %%
# Look at the distance between line and network, in blue and in grey. The grey pair is the way to
# choose that costs no budget: on public rows of the same kind, compare the plain models. Where
# they are within two or three points of each other, take the line.
#
# :doc:`/guide/choosing` has more sets, with standard errors, and :doc:`/proofs/network` the bound
# on what a row can do to a hidden layer.
