"""Drawings of values: a ciphertext, a row's life, levels, the polynomial, the noise, the plan."""

from __future__ import annotations

import math

import numpy as np
from facts import PERSON, ROWS
from pen import GREY, INK, KINDS, MARGIN, RULE, Pen

_SUPERSCRIPTS = str.maketrans("0123456789-", "⁰¹²³⁴⁵⁶⁷⁸⁹⁻")


def _power(value):
    return "2" + str(round(math.log2(value))).translate(_SUPERSCRIPTS)


def kilobytes(size):
    return f"{size / 1e3:,.0f} kB"


def slots(found):
    """What one ciphertext of rows holds."""
    one, pen = found.interactive, Pen()
    layout = one.layout
    half = layout.slots // layout.feature_blocks
    pen.text(MARGIN, pen.y + 20, f"The rows: {ROWS:,} rows, four columns", size=21, bold=True)
    pen.y += 34
    names = ("age", "pressure", "smoker", "one")
    tops = [(MARGIN + 92 + 112 * i, name) for i, name in enumerate(names)]
    for x, name in tops:
        pen.rect(x, pen.y, 112, 34, "plain", radius=0)
        pen.text(x + 56, pen.y + 24, name, anchor="middle")
    pen.y += 34
    for label, kind in (("row 0", ""), ("⋮", ""), ("a row", "locked"), ("⋮", ""), ("row 999", "")):
        pen.text(MARGIN, pen.y + 20, label, fill=INK if kind else GREY)
        for (x, _), letter in zip(tops, "abcd", strict=True):
            pen.rect(x, pen.y, 112, 28, "plain", radius=0, width=1)
            if kind:
                pen.add("rect", x=x + 1, y=pen.y + 1, width=110, height=26, fill=KINDS[kind][0])
                pen.text(x + 56, pen.y + 21, f"*{letter}*", anchor="middle")
        pen.y += 28
    for x, part in zip((tops[0][0], tops[2][0]), ("real part", "imaginary part"), strict=True):
        pen.line((x + 4, pen.y + 10), (x + 4, pen.y + 16), (x + 220, pen.y + 16),
                 (x + 220, pen.y + 10), color=GREY, width=2)  # fmt: skip
        pen.text(x + 112, pen.y + 40, part, anchor="middle", fill=GREY)
    pen.y += 46
    pen.between(down=[("", "packed: every row into two slots")])

    pen.text(MARGIN, pen.y + 20, f"{layout.slots:,} slots, a complex number in each", size=21,
             bold=True)  # fmt: skip
    pen.y += 32
    share, at = ROWS / half, MARGIN + 0.3 * pen.inner
    for i, sign in enumerate("+−"):
        pen.text(MARGIN, pen.y + 20, f"slots {half * i:,} to {half * (i + 1) - 1:,}", fill=GREY)
        y = pen.y + 28
        pen.rect(MARGIN, y, pen.inner, 36, "plain", radius=0)
        pen.add("rect", x=MARGIN + pen.inner * share, y=y + 1, width=pen.inner * (1 - share) - 1,
                height=34, fill="#e6e8ea")  # fmt: skip
        pen.text(MARGIN + 10, y + 25, "rows 0 to 999")
        right = MARGIN + pen.inner * (1 + share) / 2
        pen.text(right, y + 25, f"{half - ROWS:,} zeros", anchor="middle", fill=GREY)
        pen.add("rect", x=at, y=y, width=9, height=36, fill=KINDS["locked"][1])
        pen.line((at + 4, y + 36), (at + 4, y + 52), (at + 22, y + 52),
                 color=KINDS["locked"][1], width=2)  # fmt: skip
        pen.text(at + 28, y + 59, f"(*a* + i*c*) {sign} *x*(*b* + i*d*)")
        pen.y += 98
    pen.text(MARGIN, pen.y + 22, "*x* is a root of unity, public, another in each slot.",
             "Sum and difference of its two slots give a row back.", fill=GREY)  # fmt: skip
    pen.y += 56
    scale = _power(one.plan.encryption.row_scale)
    pen.between(down=[("", f"times {scale}, rounded, encrypted")])
    pen.stack(
        "locked", "The ciphertext",
        f"2 polynomials of {one.degree:,} coefficients,", f"each of {sum(one.bits)} bits; "
        "one of the two follows", f"from a seed, so {kilobytes(found.sent.weights)} are sent.",
    )  # fmt: skip
    pen.between(down=[("", "times the ciphertext of the weights,"),
                      ("", "mean of both slots, real part")])  # fmt: skip
    pen.stack(
        "locked", f"The margins of all {ROWS:,} rows",
        "The weights *A* to *D* are the same in all rows,",
        "(*A* − i*C*) + *x*⁻¹(*B* − i*D*), so what is left is", "*z* = *aA* + *bB* + *cC* + *dD*.",
    )  # fmt: skip
    return pen, "What one ciphertext holds"


def row(found):
    """The life of one row."""
    pen, one = Pen(), found.interactive
    age, pressure, smoker = PERSON
    numbers = ", ".join(f"{value:.2f}".replace("-", "−") for value in found.scaled)

    def party(name):
        pen.text(MARGIN, pen.y + 20, name, bold=True, fill=GREY)
        pen.y += 30

    party("at its owner")
    pen.stack("plain", "A row of a CSV file", f"{age}, {pressure}, {smoker}, ill")
    pen.between(down=[("", "public bounds, to [−1, 1]")])
    pen.stack("plain", "", numbers)
    pen.between(
        down=[("noised", "centre and scales, from noised"), ("", "moments; length 1 at most")]
    )
    pen.stack("plain", "The stored row", "four columns: the three, and 0.5 for the",
              "intercept, shortened with the row")  # fmt: skip
    pen.between(down=[("", "packed with all other rows, encrypted")])
    pen.stack("locked", "Two slots of a ciphertext", "and its label in another one")
    pen.y += 14
    party("at the evaluator")
    pen.between(down=[("locked", "times encrypted weights")])
    pen.stack("locked", "Its margin z", "in the slots that the row was in")
    pen.between(down=[("locked", "polynomial, minus the label")])
    pen.stack("locked", "Its residual (p(z) − y)/S", "times the row: its gradient,",
              "of length 1 at most, by proof")  # fmt: skip
    pen.between(
        down=[
            ("locked", f"plus those of {ROWS - 1:,} other rows"),
            ("locked noised", "plus the owners' noise"),
        ]
    )
    pen.stack("locked", "A noised sum", "four numbers, with noise in each")
    pen.y += 14
    party("at the key holder")
    pen.between(down=[("noised", "paid for, then decrypted")])
    pen.stack("noised", "A release", f"a step of the weights; {one.steps} of them make the model")
    pen.between(down=[("", "after the last step: scales undone")])
    pen.stack("public", "coef_ and intercept_", "for everybody")
    return pen, "The life of one row"


def levels(found):
    """A step of the interactive protocol, level by level."""
    one, pen = found.interactive, Pen()
    what = {
        4: ["rows × weights, added up and averaged:", "the margins, *u* = α*z*"],
        3: ["*v* = *u*²"],
        2: ["*t* = (*v* + β)² + γ"],
        1: ["*e* = *u t* + (½ − *y*)/S: the residuals", "*e* × rows, summed over rows, merged"],
        0: ["plus noise; decrypted by the key holder"],
    }
    unit = pen.inner / sum(one.bits)
    for level in range(one.top, -1, -1):
        kept = one.bits[: level + 1]
        pen.text(MARGIN, pen.y + 20, f"level {level}", bold=True)
        pen.text(pen.width - MARGIN, pen.y + 20, f"modulus of {sum(kept)} bits", anchor="end",
                 fill=GREY)  # fmt: skip
        pen.y += 28
        x, fill = MARGIN, KINDS["noised" if level == 0 else "locked"]
        for bits in kept:
            pen.add("rect", x=x, y=pen.y, width=bits * unit, height=32, fill=fill[0],
                    stroke=fill[1], stroke_width=2)  # fmt: skip
            pen.text(x + bits * unit / 2, pen.y + 23, str(bits), anchor="middle")
            x += bits * unit
        pen.text(MARGIN, pen.y + 60, *what[level])
        pen.y += 42 + 26 * len(what[level])
        if level:
            pen.between(down=[("", f"rescale: divide by the prime of {kept[-1]} bits")])
    return pen, "The levels of one gradient"


def polynomial(found):
    """Why there is no clipping."""
    pen, table = Pen(), found.interactive.plan.certificate.polynomials
    p = table[int(np.searchsorted([q.radius for q in table], 10.0))]
    radius, bound, norm = p.radius, float(p.residual_bound()), math.hypot(1, 0.5)
    left, top, height = MARGIN + 34, 50, 300
    wide = pen.inner - 44
    z = np.linspace(-radius, radius, 121)
    reach = 1.35 * radius

    def place(a, b):
        return left + (a + reach) / (2 * reach) * wide, top + (1.2 - b) / 1.4 * height

    for a, b in ((-reach, -radius), (radius, reach)):
        (x, y), (x2, y2) = place(a, 1.2), place(b, -0.2)
        pen.add("rect", x=x, y=y, width=x2 - x, height=y2 - y, fill="#e6e8ea")
    for b, label in ((0.0, "0"), (1.0, "1")):
        pen.line(place(-reach, b), place(reach, b), color=RULE, width=1.5)
        x, y = place(-reach, b)
        pen.text(x - 10, y + 7, label, anchor="end")
    for a in (-radius, radius):
        pen.line(place(a, 1.2), place(a, -0.2), color=INK, width=2, dash="7 5")
    pen.line(*[place(a, 1 / (1 + math.exp(-a))) for a in z], color=KINDS["noised"][1], dash="9 6")
    pen.line(*[place(a, float(p(a))) for a in z], color=KINDS["locked"][1], width=4)
    for side in (-1, 1):
        beyond = [side * a for a in np.linspace(radius, reach, 60)]
        beyond = [place(a, float(p(a))) for a in beyond if -0.2 < float(p(a)) < 1.2]
        pen.line(*beyond, color=GREY, dash="3 5")
    peak = float(z[np.argmax(p(z))])
    pen.arrow(place(peak, 0.0), place(peak, float(p(peak))))
    x, y = place(peak, 0.42)
    pen.text(x - 12, y, f"|p − y| ≤ {bound:.2f}", anchor="end")
    pen.text(left + wide / 2, top - 16, "every row's margin *z* is in [−R, R]", anchor="middle")
    for a, label in ((-radius, f"−{radius:.2f}"), (radius, f"{radius:.2f}")):
        x, y = place(a, -0.2)
        pen.text(x, y + 24, label, anchor="middle")
    pen.y = top + height + 60
    for color, dash, words in (
        (KINDS["locked"][1], "", f"p, the polynomial of degree {p.degree} for this interval"),
        (KINDS["noised"][1], "9 6", "the sigmoid"),
    ):
        pen.line((MARGIN, pen.y - 7), (MARGIN + 44, pen.y - 7), color=color, width=4, dash=dash)
        pen.text(MARGIN + 56, pen.y, words)
        pen.y += 28
    pen.text(MARGIN, pen.y, "grey: here p runs away; no margin gets here", fill=GREY)
    pen.y += 22
    pen.stack("plain", "One row moves the sum by at most",
              f"{norm:.3f} × {bound:.2f} = {norm * bound:.2f} = S",
              "its length × the largest residual")  # fmt: skip
    return pen, "A bound from the range of a polynomial"


def noise(found):
    """Where the noise is added."""
    one, pen = found.interactive, Pen()
    quarter = pen.inner / 4

    def strip(kind, title, *, sums=False, waves=0.0):
        pen.text(MARGIN, pen.y + 20, title)
        pen.icon("locked" if kind == "locked" else "noised", pen.width - MARGIN - 16, pen.y + 14)
        y = pen.y + 30
        pen.rect(MARGIN, y, pen.inner, 44, kind, radius=0)
        edge = KINDS["noised"][1]
        if waves:
            at = np.arange(round(pen.inner / 5) - 1)
            high = y + 22 + 9 * np.sin((2 + waves) * at) * np.cos(waves * at)
            pen.line(*zip(MARGIN + 4 + 5 * at, high, strict=True), color=edge, width=2)
        if sums:
            for i in range(4):
                pen.add("rect", x=MARGIN + i * quarter, y=y, width=10, height=44, fill=INK)
        pen.y += 74

    strip("locked", f"the sums: 4 of {one.degree:,} coefficients", sums=True)
    for i, name in enumerate(("age", "pressure", "smoker", "one")):
        pen.text(MARGIN + i * quarter, pen.y + 24, name, fill=GREY)
    pen.y += 34
    pen.text(MARGIN, pen.y + 20, "+", size=28, bold=True)
    pen.y += 26
    strip("locked", "noise of owner 1, variance σ²/(M − c)", waves=0.7)
    pen.text(MARGIN, pen.y + 28, "+   …   +", size=24, bold=True)
    pen.y += 34
    strip("locked", "noise of owner M, variance σ²/(M − c)", waves=0.43)
    pen.between(down=[("", "added by the evaluator, which"), ("", "can read none of them")])
    strip("noised", "what the key holder decrypts", sums=True, waves=0.31)
    pen.text(MARGIN, pen.y + 26, "Every coefficient has noise, also those", "that carry no sum.",
             fill=GREY)  # fmt: skip
    pen.y += 56
    return pen, "Where the noise is added"


def plan(found):
    """From public numbers to a digest in every message."""
    one, pen = found.interactive, Pen()
    used, guarantee = one.plan.encryption, one.plan.guarantee
    table, largest = one.plan.certificate.polynomials, one.plan.certificate.contributions[-1]
    pen.stack("public", "Public, and chosen without the rows",
              f"{ROWS:,} rows, 3 columns, 2 classes", f"ε = {guarantee.epsilon:g}, δ = 10⁻⁵, "
              "what neighbours are", "degree, norms, protocol, owners")  # fmt: skip
    pen.between(down=[("", "plan(): no party, no key, no data")])
    pen.stack(
        "public", "The training plan",
        f"{one.steps} steps, {guarantee.n_releases} releases with noise",
        f"{len(table)} intervals and polynomials, S up to {largest:.2f}",
        f"noise: {guarantee.noise_multiplier:.2f} times the sensitivity",
        f"ring {used.poly_modulus_degree:,}, {len(used.primes)} primes, 128-bit security",
        "packing, levels, scales, seconds, bytes",
    )  # fmt: skip
    pen.between(down=[("", "SHA-256 of all but the predictions")])
    pen.stack("public", "Its digest, in the header of every message",
              "A party refuses what was made for another", "plan, run or step.")  # fmt: skip
    return pen, "What the plan fixes"


def drawings(found):
    return {one.__name__: one(found) for one in (slots, row, levels, polynomial, noise, plan)}
