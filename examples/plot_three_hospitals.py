"""
Three hospitals and a server
============================

Three hospitals have patients of the same kind and want one model of all of them, without showing
a row to anyone. Each encrypts its rows and its own noise; a server computes; a fifth party holds
the key and decrypts noised sums. You see who sends what to whom, who learns what, and what the
model of all is worth to each hospital.
"""

# %%
# The rows, and where they are
# ----------------------------
# The rows are the breast cancer data, cut into three parts of different sizes. In earnest nobody
# would hold more than one of them.

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_breast_cancer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split

from skfhe import (
    BoundsScaler,
    DataOwner,
    EncryptedDataset,
    EncryptedDPLogisticRegression,
    Evaluator,
    KeyHolder,
)
from skfhe.protocol.schemes import plan_scheme

X, y = load_breast_cancer(return_X_y=True)
low = [6, 9, 40, 140, 0.05, 0.01, 0, 0, 0.1, 0.04]
high = [29, 40, 190, 2600, 0.17, 0.35, 0.43, 0.21, 0.31, 0.1]
X = BoundsScaler((low, high)).fit_transform(X[:, :10])  # bounds that all three agree on
X_train, X_test, y_train, y_test = train_test_split(X, y, random_state=0, stratify=y)

hospitals = [slice(0, 40), slice(40, 140), slice(140, 426)]

# %%
# What all agree on
# -----------------
# The plan states the rows of all together, the owners, and how many of them may collude. With
# ``n_colluding=1`` each adds so much noise that the noise of any two is enough: a hospital that
# subtracts its own from what it sees learns no more than was promised.

model = EncryptedDPLogisticRegression(epsilon=1.0, delta=1e-5, degree=3)
plan = model.plan(n_samples=len(X_train), n_features=10, n_owners=3, n_colluding=1)

for party in plan.parties():
    print(f"{party.party:<24}{party.protected_by:<36}{party.guarantee}")

# %%
# The last line is the one assumption: server and key holder must not collude. The key holder never
# gets a ciphertext of rows, the server never gets the key.
#
# Training together
# -----------------
# All parties are objects of their own, and what passes between them is bytes. Here they are in one
# process, so that we can count: ``sent`` has a line for everything that one party sends another.


def train_together(plan, scheme=None):
    """One run of all five parties; the model, and the bytes that were sent."""
    key_holder = KeyHolder(plan, scheme)
    public_key, evaluation_keys = key_holder.public_key(), key_holder.evaluation_keys()
    server = Evaluator(plan, evaluation_keys, scheme)
    owners = [DataOwner.with_public_key(plan, public_key, i, scheme) for i in range(3)]

    # Noised moments of the columns, by which all centre and scale their rows in the same way.
    shares = [o.statistic("moments", X_train[h]) for o, h in zip(owners, hospitals, strict=True)]
    moments = server.aggregate("moments", shares)
    key_holder.prepare(moments)
    frame = key_holder.frame()
    for owner in owners:
        owner.adopt(frame)

    # Encrypted rows, and noise for every step. Then no hospital is needed any more.
    parts = [o.dataset(X_train[h], y_train[h]) for o, h in zip(owners, hospitals, strict=True)]
    fitted = EncryptedDPLogisticRegression()
    fitted.fit_encrypted(EncryptedDataset.concat(*parts), key_holder)

    noise = [sum(map(len, part.noise[0])) for part in parts]
    steps = fitted.history_["bytes"]["step"] * fitted.n_iter_ - sum(noise)
    sent = {
        ("key holder", "server"): {"evaluation keys": len(evaluation_keys)},
        ("server", "key holder"): {"noised moments": len(moments)},
        ("key holder and server", "each other"): {"weights and noised gradients": steps},
    }
    for i, part in enumerate(parts):
        sent["key holder", f"hospital {i + 1}"] = {"public key": len(public_key)}
        sent["key holder", f"hospital {i + 1}"]["frame"] = len(frame)
        sent[f"hospital {i + 1}", "server"] = {
            "moments": len(shares[i]) + sum(map(len, part.curvature)),
            "rows": part.n_bytes,
            "noise": noise[i],
        }
    return fitted, sent


together, sent = train_together(plan)
for (source, target), content in sent.items():
    listed = ", ".join(f"{what} {size / 1e6:.2f} MB" for what, size in content.items())
    print(f"{source} to {target}: {listed}")

# %%
# Who sends what to whom
# ----------------------
# Look at the key holder: nothing that holds a row ever goes to it. And look at the hospitals: they
# send moments, then rows and noise, and are done. Steps are a matter of server and key holder.


def arrow(start, end, label, color, at=0.5, **text):
    """An arrow between two places, with a label beside it."""
    style = {"arrowstyle": "-|>", "color": color, "lw": 2, "shrinkA": 48, "shrinkB": 48}
    ax.annotate("", end, start, arrowprops=style)
    x, y = (1 - at) * np.array(start) + at * np.array(end)
    ax.text(x, y, label, color=color, ha="center", va="center", fontsize=9, **text)


def megabytes(source, target):
    return f"{sum(sent[source, target].values()) / 1e6:.1f} MB"


blue, orange, grey = "#0072B2", "#B24700", "0.35"
background = {"bbox": {"fc": "white", "ec": "none", "pad": 1.5}}
places = {"hospital 1": (0, 2), "hospital 2": (0, 1), "hospital 3": (0, 0)}
places |= {"server": (2, 1), "key holder": (4, 1)}
fig, ax = plt.subplots(figsize=(9, 4.2), layout="constrained")
for i, rows in enumerate(hospitals):
    name = f"hospital {i + 1}"
    label = f"rows, noise\n{megabytes(name, 'server')}"
    arrow(places[name], places["server"], label, blue, **background)
    ax.text(*places[name], f"{name}\n{rows.stop - rows.start} rows", ha="center", va="center")
x, y_server = places["server"]
ax.text(x, y_server, "server\nno key", ha="center", va="center")
ax.text(*places["key holder"], "key holder\nno rows", ha="center", va="center")
for where in places.values():
    ax.plot(*where, "s", ms=62, mfc="none", mec=grey, mew=1.5)
exchange = megabytes("key holder and server", "each other")
keys = megabytes("key holder", "server")
arrow((4, 1.22), (2, 1.22), f"evaluation keys, once\n{keys}", orange, **background)
arrow((4, 1.0), (2, 1.0), "encrypted weights", orange, **background)
arrow(
    (2, 0.78), (4, 0.78), f"noised gradients\n(with the weights: {exchange})", blue, **background
)
public = megabytes("key holder", "hospital 1")
ax.annotate(
    f"to every hospital: public key, frame of the columns; {public}",
    (0.35, 2.05),
    (4, 2.05),
    color=orange,
    ha="right",
    va="center",
    fontsize=9,
    arrowprops={"arrowstyle": "-|>", "color": orange, "lw": 2},
)
ax.set(xlim=(-0.5, 4.5), ylim=(-0.5, 2.5))
ax.axis("off")
plt.show()

# %%
# What it is worth
# ----------------
# Alone, each hospital can train a private model of its own rows, with the same epsilon. The noise
# is the same for few rows and for many, so the smallest gains most.
#
# The points are means and standard deviations of eight runs that are **simulated**: the same
# circuits and the same noise, but nothing is encrypted. The diamond is the encrypted run from
# above.

scores = {}
for i, rows in enumerate(hospitals):
    alone = EncryptedDPLogisticRegression(epsilon=1.0, degree=3, backend="simulated")
    scores[f"hospital {i + 1} alone\n({rows.stop - rows.start} rows)"] = [
        alone.fit(X_train[rows], y_train[rows]).score(X_test, y_test) for _ in range(8)
    ]
simulated = plan_scheme(plan, "simulated")
scores["all three\n(426 rows)"] = [
    train_together(plan, simulated)[0].score(X_test, y_test) for _ in range(8)
]
pooled = LogisticRegression().fit(X_train, y_train).score(X_test, y_test)

fig, ax = plt.subplots(figsize=(6.4, 3.8), layout="constrained")
for name, score in scores.items():
    ax.errorbar(name, np.mean(score), np.std(score), fmt="o", color=blue, capsize=4)
ax.plot(name, together.score(X_test, y_test), "D", color=orange, label="encrypted run")
ax.axhline(pooled, color="0.3", ls="--", label="all rows in one place, no privacy")
ax.axhline(np.mean(y_test), color="0.3", ls=":", label="always the same class")
ax.margins(x=0.15)
ax.set(ylabel="test accuracy", title="The same epsilon, alone and together")
ax.legend(fontsize=9)
plt.show()

# %%
# What was promised
# -----------------

together.privacy_

# %%
# :doc:`/guide/owners` says what each party does and what collusion breaks. On machines of their
# own the parties use folders and HTTPS: :doc:`/guide/cli` and :doc:`/guide/service`.
