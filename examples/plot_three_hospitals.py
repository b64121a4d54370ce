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
    print(f"{party.party:<24}{party.guarantee}")

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


def megabytes(source, target):
    return f"{sum(sent[source, target].values()) / 1e6:.1f} MB"


blue, orange = "#0072B2", "#B24700"
places = {
    f"hospital {i + 1}\n{h.stop - h.start} rows": (0, 2 - i) for i, h in enumerate(hospitals)
}
places |= {"server\nno key": (2, 1), "key holder\nno rows": (4, 1)}
exchange = megabytes("key holder and server", "each other")
arrows = [
    ((0.5, 1.75), (1.6, 1.2), f"rows, noise\n{megabytes('hospital 1', 'server')}", blue),
    ((0.5, 1.0), (1.6, 1.0), f"rows, noise\n{megabytes('hospital 2', 'server')}", blue),
    ((0.5, 0.25), (1.6, 0.8), f"rows, noise\n{megabytes('hospital 3', 'server')}", blue),
    ((3.5, 1.35), (2.4, 1.35), f"evaluation keys\n{megabytes('key holder', 'server')}", orange),
    ((3.5, 1.0), (2.4, 1.0), f"weights, every step\n{exchange} with sums", orange),
    ((2.4, 0.65), (3.5, 0.65), "noised sums,\nevery step", blue),
    ((4.0, 2.1), (0.5, 2.1), "to all hospitals: public key, frame of the columns", orange),
]
fig, ax = plt.subplots(figsize=(8, 4.2), layout="constrained")
for start, end, label, color in arrows:
    ax.annotate("", end, start, arrowprops={"arrowstyle": "-|>", "color": color, "lw": 2})
    middle = np.mean([start, end], axis=0)
    box = {"fc": "white", "ec": "none", "pad": 1}
    ax.text(*middle, label, color=color, ha="center", va="center", bbox=box)
for name, place in places.items():
    box = {"boxstyle": "round,pad=0.9", "fc": "0.95", "ec": "0.35"}
    ax.text(*place, name, ha="center", va="center", bbox=box)
ax.set(xlim=(-0.5, 4.5), ylim=(-0.4, 2.4))
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
