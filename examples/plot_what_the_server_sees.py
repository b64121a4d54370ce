"""
What the server sees
====================

A row of real numbers is encrypted, and you look at it as the server does: at bytes. You see that
they look like dice, that the same row never gives the same bytes twice, how many there are, and
that the server has no key to turn them back.
"""

# %%
# A row, and a run to encrypt it for
# ----------------------------------
# The row is a patient of the breast cancer data: ten measurements of cell nuclei. Keys are made
# for one run of one plan. The owner of the rows encrypts, the evaluator (the server) computes.
# Before rows are encrypted, the owner releases noised moments of its columns, by which rows are
# centred and scaled.

import gc
from types import ModuleType

import matplotlib.pyplot as plt
import numpy as np
import tenseal.sealapi as seal
from sklearn.datasets import load_breast_cancer

from skfhe import BoundsScaler, DataOwner, EncryptedDPLogisticRegression, Evaluator, KeyHolder
from skfhe.protocol.messages import describe

data = load_breast_cancer()
low = [6, 9, 40, 140, 0.05, 0.01, 0, 0, 0.1, 0.04]
high = [29, 40, 190, 2600, 0.17, 0.35, 0.43, 0.21, 0.31, 0.1]
X, y = BoundsScaler((low, high)).fit_transform(data.data[:, :10]), data.target

plan = EncryptedDPLogisticRegression(epsilon=1.0).plan(n_samples=len(X), n_features=10)
key_holder = KeyHolder(plan)
owner = DataOwner(plan, key_holder.encryptor(), key_holder.run)
evaluation_keys = key_holder.evaluation_keys()
evaluator = Evaluator(plan, evaluation_keys)

key_holder.prepare(evaluator.aggregate("moments", [owner.statistic("moments", X)]))
owner.adopt(key_holder.frame())

# %%
# One message
# -----------
# ``encrypt`` gives the messages that go to the server. This one has a header that anybody may read
# (for which plan and run, whose, how many rows) and ciphertexts: one of the label, the others of
# the row, four columns in each.

(message,) = owner.encrypt(X[:1], y[:1])
for name, value in describe(message).items():
    print(f"{name:<10}{value}")

# %%
# Left is the row, and right are bytes of its ciphertexts, one small square each. There is nothing
# to look for on the right: no line, no patch, no repetition.


def ciphertexts(message):
    """The bytes of a message's ciphertexts, without the sizes that each begins with."""
    sizes = describe(message)["sections"]
    body = np.frombuffer(message[-32 - sum(sizes) : -32], dtype=np.uint8)  # then a checksum
    return np.concatenate([one[256:] for one in np.split(body, np.cumsum(sizes)[:-1])])


sent = ciphertexts(message)
fig, (left, right) = plt.subplots(
    1, 2, figsize=(8, 4), width_ratios=(1, 1.1), layout="constrained"
)
left.barh(data.feature_names[:10], X[0], color="#0072B2")
left.axvline(0, color="0.3", lw=0.8)
left.invert_yaxis()
left.set(xlim=(-1, 1), xlabel="value, scaled by public bounds", title="What the owner has")
image = right.imshow(sent[-(160**2) :].reshape(160, 160), cmap="gray")
right.set(xticks=[], yticks=[], xlabel="25,600 of the bytes", title="What the server gets")
fig.colorbar(image, ax=right, label="value of the byte", shrink=0.85)
plt.show()

# %%
# The last of these bytes as hexadecimal numbers:

print(sent[-192:].tobytes().hex(" ", -32).replace(" ", "\n"))

# %%
# As random as dice
# -----------------
# All 256 values of a byte should be equally frequent, up to the chance that dice have. They are,
# for the row of a patient and for a row of zeros alike: shaded is where 95 per cent of the counts
# of real dice would lie.

(message_of_zeros,) = owner.encrypt(np.zeros((1, 10)), np.zeros(1, dtype=int))
counts = {
    "the patient": np.bincount(sent, minlength=256),
    "a row of zeros": np.bincount(ciphertexts(message_of_zeros), minlength=256),
}
expected = len(sent) / 256

fig, ax = plt.subplots(figsize=(6.4, 4), layout="constrained")
spread = 1.96 * np.sqrt(expected)
ax.axhspan(expected - spread, expected + spread, color="0.85", label="95% of fair dice")
for (name, count), color, marker in zip(counts.items(), ("#0072B2", "#D55E00"), "o^", strict=True):
    ax.plot(count, marker, color=color, ms=4, alpha=0.7, label=name)
ax.set(
    xlim=(-1, 256),
    xlabel="value of the byte",
    ylabel="how often",
    title="Bytes of two encrypted rows",
)
ax.legend(ncols=3, loc="upper center", fontsize=9)
ax.set_ylim(expected - 5 * spread / 1.96, expected + 7 * spread / 1.96)
plt.show()

# %%
# The same in figures: the entropy of a fair byte is 8 bits. Then the same row is encrypted again.
# Two unrelated streams agree in one byte out of 256, and so do these two.

for name, count in counts.items():
    share = count / count.sum()
    print(f"{name}: entropy {-np.sum(share * np.log2(share)):.4f} bits per byte")

(message_again,) = owner.encrypt(X[:1], y[:1])
again = ciphertexts(message_again)
print(f"the same row again: one byte in {1 / np.mean(sent == again):.0f} agrees")
print(f"correlation of the two: {np.corrcoef(sent, again)[0, 1]:.4f}")

# %%
# Statistics like these would find a blunder. That nobody can do better is not a statistic: it
# rests on the hardness of ring learning with errors, for parameters of 128-bit security.

# %%
# How large it is
# ---------------
# A ciphertext is as long for one row as for as many as fit into it. So a single row is dear, and
# rows are cheap by the thousand. Sizes depend on the shape of the data alone.

for n_rows in (1, 100, len(X)):
    size = sum(len(part) for part in owner.encrypt(X[:n_rows], y[:n_rows]))
    plain = X[:n_rows].nbytes
    print(f"{n_rows:>4} rows: {plain:>6} bytes in the clear, {size:>7} encrypted")

# %%
# What the server can do with it
# ------------------------------
# Add and multiply. For that it has evaluation keys, which are themselves ciphertexts. It can
# compute a gradient and add the owner's encrypted noise, and what comes out are dice again. The
# server cannot read its own result.

key_holder.prepare(evaluator.aggregate("curvature", [owner.statistic("curvature", X)]))
evaluator.load(owner.encrypt(X, y))
reply = evaluator.step(key_holder.weights(), [owner.noise(0)])

share = np.bincount(ciphertexts(reply), minlength=256) / len(ciphertexts(reply))
print(f"evaluation keys: {len(evaluation_keys) / 1e6:.0f} MB")
print(f"reply of a step: {len(reply) / 1e6:.2f} MB")
print(f"its entropy: {-np.sum(share * np.log2(share)):.4f} bits per byte")
print("the evaluator can:", *(name for name in dir(evaluator) if not name.startswith("_")))

# %%
# No key that decrypts
# --------------------
# Here all parties are in one process, so we can look into their pockets. This goes through
# everything that an object holds, directly or not, and tells which objects of SEAL (the library
# that encrypts) are among it.

tools = (seal.RelinKeys, seal.GaloisKeys, seal.Encryptor, seal.Decryptor)


def held(root):
    """Names of the tools that an object holds."""
    seen, pending = {}, [root]
    while pending:
        item = pending.pop()
        if id(item) not in seen and not isinstance(item, (type, ModuleType)):
            seen[id(item)] = item
            pending += [*gc.get_referents(item), *getattr(item, "__dict__", {}).values()]
    return sorted({type(item).__name__ for item in seen.values() if isinstance(item, tools)})


print("key holder:", *held(key_holder))
print("evaluator: ", *held(evaluator))
key_holder.release(reply)  # the one way to see a sum: noised, counted, by the key holder
key_holder.burn()
print("key holder, after the run:", *held(key_holder))

# %%
# The figure that follows from this is in the plan: who sees what, and what protects a row from
# them. :doc:`/security/threat-model` lists every attack with the test that shows what it gets, and
# :doc:`/how/formats` says what the bytes are.
