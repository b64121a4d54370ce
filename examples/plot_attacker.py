"""
An attacker tries
=================

A guarantee is a bound on how well anybody can tell whether a row was among the data. Here somebody
tries: they know every other row and the plan, train the model hundreds of times with and without
one patient, and then judge released models. You see how close the best attack comes to the bound,
how far from it an attack on an ordinary fit stays, and how too little noise would show.
"""

# %%
# What the attacker does
# ----------------------
# Look how sure the model is of the patient's own diagnosis, and say "was there" if it is surer
# than some threshold. This is the best that can be done where a model is a single noised gradient,
# so we begin with such a plan: one step, nothing else released. The patient is an extreme one, at
# the upper bound of every column and benign all the same: nobody can add more to a gradient.
#
# All runs of this page are **simulated**: the same circuit and the same noise, but nothing is
# encrypted. The attacker sees released models, which are the same either way. Planning once and
# playing the parties by hand saves planning anew for each of the runs.

# sphinx_gallery_thumbnail_number = 2
import matplotlib.pyplot as plt
import numpy as np
from scipy.stats import beta, norm
from sklearn.datasets import load_breast_cancer

from skfhe import BoundsScaler, DataOwner, EncryptedDPLogisticRegression, Evaluator, KeyHolder
from skfhe.protocol.schemes import plan_scheme

X, y = load_breast_cancer(return_X_y=True)
low = [6, 9, 40, 140, 0.05, 0.01, 0, 0, 0.1, 0.04]
high = [29, 40, 190, 2600, 0.17, 0.35, 0.43, 0.21, 0.31, 0.1]
X = BoundsScaler((low, high)).fit_transform(X[:, :10])
extreme = np.ones(10)


def released(plan, X, y):
    """The model of one simulated run of all parties."""
    key_holder = KeyHolder(plan, plan_scheme(plan, "simulated"))
    evaluator = Evaluator(plan, key_holder.evaluation_keys(), key_holder.scheme)
    owner = DataOwner(plan, key_holder.encryptor(), key_holder.run)
    if plan.preparation.moments:
        key_holder.prepare(evaluator.aggregate("moments", [owner.statistic("moments", X)]))
        owner.adopt(key_holder.frame())
    return EncryptedDPLogisticRegression().fit_encrypted(owner.dataset(X, y), key_holder)


def attack(plan, patient, runs):
    """How sure models are of a benign patient who was there, and of one who was not."""
    with_patient = np.vstack([X, patient]), np.append(y, 1)
    there = [released(plan, *with_patient).decision_function([patient])[0] for _ in range(runs)]
    absent = [released(plan, X, y).decision_function([patient])[0] for _ in range(runs)]
    return np.array(there), np.array(absent)


one_release = EncryptedDPLogisticRegression(
    epsilon=4.0, degree=1, max_iter=1, standardize=False, precondition=False
)
plan = one_release.plan(n_samples=len(X) + 1, n_features=10)
there, absent = attack(plan, extreme, runs=200)

# %%
# Each histogram is of 200 models. Wherever the threshold is put, some models on either side are on
# the wrong one: the noise sees to that.

fig, ax = plt.subplots(figsize=(6.4, 3.6), layout="constrained")
bins = np.linspace(min(absent.min(), there.min()), max(absent.max(), there.max()), 31)
ax.hist(absent, bins, color="#0072B2", alpha=0.6, label="patient was not there")
ax.hist(there, bins, color="#E69F00", alpha=0.6, label="patient was there")
ax.set(xlabel="log odds of the patient's diagnosis", ylabel="models")
ax.set_title("What the attacker sees at epsilon = 4")
ax.legend()
plt.show()

# %%
# Two more attackers
# ------------------
# One attacks an *ordinary fit*: default plan, same epsilon, and a patient in the middle of the
# benign ones. The other attacks a *broken package*, which claims epsilon = 4 and has the noise of
# epsilon = 16.

ordinary = EncryptedDPLogisticRegression(epsilon=4.0, degree=1).plan(len(X) + 1, 10)
typical = X[y == 1].mean(axis=0)
broken = one_release.set_params(epsilon=16.0).plan(len(X) + 1, 10)
attacks = {
    "one release, extreme patient": (there, absent),
    "ordinary fit, typical patient": attack(ordinary, typical, runs=50),
    "broken package, extreme patient": attack(broken, extreme, runs=100),
}

# %%
# Every threshold has a rate of false alarms and a rate of detection, and all of them together are
# the curve of an attack. Shaded is what the guarantee rules out. Look where the curves run: the
# best attack follows the border, up to the chance of 200 runs; the ordinary one wanders about the
# diagonal, where guessing is; and the broken package is deep in the shaded region.

mu = np.sqrt(plan.squared_mu)
alarms = np.linspace(0, 1, 501)
bound = norm.cdf(norm.ppf(alarms) + mu)
stated = np.minimum(np.exp(4.0) * alarms + 1e-5, 1 - np.exp(-4.0) * (1 - alarms - 1e-5))

fig, ax = plt.subplots(figsize=(6.2, 5.6), layout="constrained")
ax.fill_between(alarms, bound, 1, color="0.88", label="ruled out by the noise")
ax.plot(alarms, np.minimum(stated, 1), color="0.3", ls="--", label="(4, 1e-5)-DP alone")
ax.plot([0, 1], [0, 1], color="0.3", ls=":", label="guessing")
for (name, (there, absent)), color in zip(
    attacks.items(), ("#0072B2", "#009E73", "#D55E00"), strict=True
):
    thresholds = np.sort(np.concatenate([there, absent]))[::-1]
    false = [0, *np.mean(absent[:, None] >= thresholds, axis=0)]
    found = [0, *np.mean(there[:, None] >= thresholds, axis=0)]
    ax.plot(false, found, color=color, drawstyle="steps-post", label=name)
ax.set(
    xlabel="false alarms", ylabel="detected", title="Released models, judged at every threshold"
)
ax.legend(loc="lower right", fontsize=9)
plt.show()

# %%
# The border is a curve, and the pair of epsilon and delta is the dashed line, which is weaker: one
# pair of the many that the curve implies. ``privacy_.epsilon_at`` tells the others.

# %%
# What was shown, in figures
# --------------------------
# From the rates at one threshold, the median of all scores, follows a ``mu`` that the noise can
# hardly be better than, with about 95 per cent confidence. It proves that a package is broken,
# never that one is sound: that is for proofs.

for name, (there, absent) in attacks.items():
    threshold = np.median(np.concatenate([there, absent]))
    runs, found, false = len(there), np.sum(there > threshold), np.sum(absent > threshold)
    least, most = (
        beta.ppf(0.025, found, runs - found + 1),
        beta.ppf(0.975, false + 1, runs - false),
    )
    shown = max(0.0, norm.ppf(least) - norm.ppf(most))
    verdict = "caught" if shown > mu else "within the claim"
    print(f"{name:<33}mu at least {shown:.2f} of {mu:.2f}, {verdict}")

# %%
# ``make bench-audit`` attacks as the key holder does, who sees every noised sum, with a hundred
# rows at a time. :doc:`/proofs/accounting` proves the border, :doc:`/security/threat-model` says
# who may attack with what.
