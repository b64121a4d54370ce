r"""Who sees what of a run, what protects a row from them, and how well.

A row belongs to one of M owners; k of the others pool what they know: their rows, their noise, the
randomness of their encryption. Every owner adds independent discrete Gaussian noise of one
variance s^2, with s^2 (M - c) >= sigma^2, to every statistic and every step. sigma is the spread
that the plan's noise multipliers are stated for, c the number of owners who may collude.

- **Noise that is left.** To subtract known noise is post-processing. M - k shares are left, of
  variance (M - k) s^2 >= sigma^2 (M - k)/(M - c). The sensitivity is that of the sums and does not
  depend on who knows what, so every multiplier grows by sqrt((M - k)/(M - c)) at least, and all
  releases together have

      mu_k = mu sqrt((M - c)/(M - k)).

- **Delta.** What the plan takes out of delta covers every k < M. Its discreteness counts M shares
  of spread s each, and M - k of them, however many these are, cost no more; its shrinking of the
  multipliers is for one share. The probability that encryption errors exceed their bounds is that
  of an event of keys, randomness and releases, in which noise that some know plays no part.

docs/proofs/accounting.md, statement 9a, has the proof. So there is a figure for every k < M. Up to
k = c it is what the plan promises; beyond, it is what is left when more collude than the plan
counts on. With c = 0 the plan counts on no owner who would use its own noise to look at others'
rows.

Key holder and evaluator know no noise. One of them together with k owners learns what these
learn: the key holder sees the noised sums, which is what the accounting counts, and an owner who
is the key holder is one of the k. The evaluator has ciphertexts, which encryption protects. Key
holder and evaluator together decrypt every row. Figures against those who have ciphertexts are
computational: they rest on the hardness of ring learning with errors.

The numbers of rows of every owner are public, and the same for neighbours.
"""

from __future__ import annotations

import decimal
import math
from dataclasses import dataclass

from scipy.special import log_ndtr

# The package's figures are those of a privacy loss distribution, whose delta is above the closed
# form's by less than this, relatively, in the range that matters (`skfhe.privacy.accounting`).
# Figures of this table leave so much of delta unused, so they are not the better ones.
_HEADROOM = 1e-4

# What the key holder decrypts: of every step, of a round of several, or of a whole run.
EVERY_STEP, EVERY_ROUND, THE_LAST = "noised sums", "noised weights of every round", "the model"

# Epsilons are printed with so many digits, rounded up.
_DIGITS = decimal.Context(prec=3, rounding=decimal.ROUND_CEILING)


@dataclass(frozen=True)
class Party:
    """One who may look at a run, alone or together with others; everything here is public.

    Attributes
    ----------
    party : str
        Who: "public", "key holder", "2 owners", "evaluator + 1 owner" and the like.
    sees : str
        What it gets to see by the protocol, beside the plan and the released model.
    protected_by : str
        What is between it and a row that is not its own.
    epsilon, delta : float
        What it learns of one row of an owner who is not among them; epsilon is infinite where
        nothing bounds that.
    promised : bool
        Whether the plan counts on it: at most ``n_colluding`` owners, and not key holder and
        evaluator together. Other figures say what is left when that assumption has failed.
    """

    party: str
    sees: str
    protected_by: str
    epsilon: float
    delta: float
    promised: bool

    @property
    def guarantee(self) -> str:
        """The guarantee in words, epsilon rounded up to three digits; "none" for none."""
        if math.isinf(self.epsilon):
            return "none"
        rounded = float(_DIGITS.create_decimal(self.epsilon))
        stated = f"({rounded:g}, {self.delta:g})-DP"
        return stated if self.promised else f"{stated}, not promised"

    @property
    def row(self) -> tuple[str, str]:
        """Name and value of the row in a page."""
        return self.party, f"{self.sees}; {self.protected_by}: {self.guarantee}"


def table(
    n_owners: int,
    n_colluding: int,
    squared_mu: float,
    delta: float,
    cost_in_delta: float,
    decrypted: str = EVERY_STEP,
) -> tuple[Party, ...]:
    """All parties of a run, by docs/proofs/accounting.md, statement 9a.

    Parameters
    ----------
    n_owners, n_colluding : int
        Number M of owners, and how many may collude, c, which is below M. Without owners nothing
        was encrypted, and there are no parties.
    squared_mu : float
        The mu^2 of the noise that M - c owners add: what a plan states. Infinite if noise was
        seeded: nothing is guaranteed to anyone then.
    delta : float
        Of all guarantees in the table.
    cost_in_delta : float
        What encryption errors and integer noise take out of it.
    decrypted : str, default="noised sums"
        What the key holder gets to see.

    Returns
    -------
    parties : tuple of Party
        Single parties first, then those who pool what they know.
    """
    if not n_owners:
        return ()

    def party(name: str, sees: str, guard: str, known: int) -> Party:
        """One who knows the noise of so many owners, and lacks that of the others."""
        unknown = n_owners - known
        squared = squared_mu * (n_owners - n_colluding) / unknown
        epsilon = _epsilon(math.sqrt(squared), delta - cost_in_delta)
        noise = _noise(unknown, known) if math.isfinite(squared) else "seeded noise"
        return Party(name, sees, guard + noise, epsilon, delta, known <= n_colluding)

    alone = [
        party("public", "the released model", "", 0),
        party("network", "messages in transit", "encryption, ", 0),
        party("evaluator", "ciphertexts, row counts", "encryption, ", 0),
    ]
    if n_owners == 1:
        return (
            *alone,
            _exposed("owner + key holder", "its own rows", "nothing to protect", delta),
        )
    alone.append(party("key holder", decrypted, "", 0))
    # One owner, as many as may collude, and all but one, who is worst off.
    groups = [
        party(_group(known, n_colluding), f"the model, {_its(known)} noise", "", known)
        for known in sorted({1, n_colluding, n_owners - 1} - {0})
    ]
    most = max(1, n_colluding)
    name, known_noise = _owners(most), f"{_its(most)} noise"
    return (
        *alone,
        *groups,
        party(f"key holder + {name}", f"{decrypted}, {known_noise}", "", most),
        party(f"evaluator + {name}", f"ciphertexts, {known_noise}", "encryption, ", most),
        _exposed("key holder + evaluator", "every row", "nothing", delta),
    )


def _exposed(name: str, sees: str, guard: str, delta: float) -> Party:
    return Party(name, sees, guard, math.inf, delta, promised=False)


def _group(known: int, n_colluding: int) -> str:
    """The row of so many owners is for fewer as well, down to those who have a row before it."""
    first = 2 if known <= n_colluding else max(2, n_colluding + 1)
    return f"{first} to {_owners(known)}" if first < known else _owners(known)


def _noise(unknown: int, known: int) -> str:
    """The noise that is left where so many shares are unknown and so many known."""
    if known:
        return f"noise of {unknown} other" + "s" * (unknown != 1)
    return f"noise of all {unknown} owners" if unknown > 1 else "the owner's noise"


def _its(count: int) -> str:
    return "its" if count == 1 else "their"


def _owners(count: int) -> str:
    return f"{count} owner" + "s" * (count != 1)


def _epsilon(mu: float, delta: float) -> float:
    """Epsilon of Gaussian releases at a delta, not below what `skfhe.privacy` says of them."""
    delta *= 1 - _HEADROOM
    if math.isinf(mu) or not delta > 0:
        return math.inf
    if _delta(0.0, mu) <= delta:
        return 0.0
    low, high = 0.0, 1.0
    while _delta(high, mu) > delta:
        low, high = high, 2 * high
    while low < (middle := (low + high) / 2) < high:
        low, high = (middle, high) if _delta(middle, mu) > delta else (low, middle)
    return high


def _delta(epsilon: float, mu: float) -> float:
    """Delta of Gaussian releases at epsilon (docs/proofs/accounting.md, statement 6)."""
    first = float(log_ndtr(-epsilon / mu + mu / 2))
    second = epsilon + float(log_ndtr(-epsilon / mu - mu / 2))
    return math.exp(first) * max(0.0, -math.expm1(second - first))
