"""Drawings of who does what: the protocols, who sees what, and the package in one picture."""

from __future__ import annotations

from itertools import pairwise

from pen import GREY, KINDS, MARGIN, RULE, Pen
from values import kilobytes


def step(found):
    """One step of the interactive protocol."""
    one, sent, pen = found.interactive, found.sent, Pen()
    pen.stack(
        "plain", "Data owners", "rows, stored with length 1 at most", "fresh noise for every step"
    )
    pen.between(down=[("locked", f"once: rows and labels, {kilobytes(sent.rows)}"),
                      ("locked noised", f"a step: noise, {kilobytes(sent.noise)}")])  # fmt: skip
    pen.stack(
        "locked", "Evaluator: no key that decrypts",
        "1. margins: rows × weights", "2. residuals: (p(margin) − label)/S",
        "3. residual × row, summed over all rows", "4. plus the owners' noise",
    )  # fmt: skip
    pen.between(
        down=[("locked noised", "noised sum,"), ("", kilobytes(sent.reply))],
        up=[
            ("locked", f"weights, {kilobytes(sent.weights)}"),
            ("", "which p, which S"),
            ("", f"once: keys, {sent.keys / 1e6:,.0f} MB"),
        ],
    )
    pen.stack(
        "noised", "Key holder",
        "1. pays from the ledger, writes it down", "2. decrypts: a sum with its noise in it",
        "3. takes the step in the clear", "4. finds p and S for the new weights",
        "5. encrypts the weights, or ends the run",
    )  # fmt: skip
    pen.between(down=[("", f"after {one.steps} steps: the model")])
    pen.stack("public", "Everybody", "coef_, intercept_, ε and δ, the plan")
    return pen, "One step of the interactive protocol"


def noninteractive(found):
    """The protocol with a single visit."""
    one, sent, pen = found.alone, found.sent_alone, Pen()
    k = one.steps
    pen.stack(
        "plain",
        "Data owners",
        "rows, stored with length 1 at most",
        f"noise for all {k} steps, {k} vectors",
    )
    pen.between(down=[("locked", f"once: rows and labels, {kilobytes(sent.rows)}"),
                      ("locked noised", f"once: noise, {kilobytes(sent.noise)}")])  # fmt: skip
    top = pen.y
    pen.stack("locked", "Evaluator: no key that decrypts", f"{k} times, without asking anybody:",
              *[""] * 7)  # fmt: skip
    bottom, pen.y = pen.y, top + 84
    edge = KINDS["locked"][1]
    steps = ("margins: rows × weights", "residuals: p(margin) − label",
             "residual × row, summed, + noise", "weights: a fixed sum of these")  # fmt: skip
    left = MARGIN + 60
    for i, words in enumerate(steps):
        pen.rect(left, pen.y + 38 * i, 400, 32, "page", radius=6, width=1.5)
        pen.text(left + 14, pen.y + 38 * i + 23, words)
    y1, y2 = pen.y + 16, pen.y + 38 * 3 + 16
    pen.line((left, y2), (left - 28, y2), (left - 28, y1), (left - 14, y1), color=edge)
    pen.arrow((left - 20, y1), (left - 1, y1), color=edge)
    pen.y = bottom
    pen.between(
        down=[("locked noised", "final weights,"), ("", kilobytes(sent.reply))],
        up=[("", "once: evaluation"), ("", f"keys, {sent.keys / 1e6:,.0f} MB")],
    )
    pen.stack("noised", "Key holder", f"1. pays for all {k} noised gradients",
              "2. decrypts once: the last weights")  # fmt: skip
    pen.between(down=[("", "the model")])
    pen.stack("public", "Everybody", "coef_, intercept_, ε and δ, the plan")
    return pen, "The protocol with one visit"


def bootstrapping(found):
    """Levels of a round that refreshes."""
    one, pen = found.endless, Pen()
    rounds = one.plan.rounds
    left, top, unit = MARGIN + 48, 56, 46
    wide = pen.width - MARGIN - left - 26
    # Where the weights are after every step; a refresh lifts them to the top, and costs a level.
    path, refreshed = [(0, one.top)], []
    for number, level in enumerate(rounds.noise_levels):
        if number in rounds.refreshes:
            refreshed.append((number, path[-1][1]))
            path += [(number, one.top), (number, one.top - 1)]
        path += [(number + 1, level)]

    def place(number, level):
        return left + 12 + number / rounds.steps * wide, top + (one.top - level) * unit

    pen.text(MARGIN, 40, "level", fill=GREY)
    for level in range(one.top + 1):
        y = place(0, level)[1]
        pen.line((left, y), (pen.width - MARGIN, y), color=RULE, width=1)
        pen.text(left - 12, y + 7, str(level), anchor="end")
    for before, after in pairwise(path):
        pen.line(place(*before), place(*after), color=KINDS["locked"][1], width=4)
    for number, level in refreshed:
        (x, y), (_, goal) = place(number, level), place(number, one.top)
        pen.line((x, y), (x, goal), color=KINDS["page"][0], width=6)
        pen.arrow((x, y), (x, goal + 4), color=KINDS["noised"][1])
    for number, level in enumerate(rounds.noise_levels, start=1):
        x, y = place(number, level)
        pen.add("circle", cx=x, cy=y, r=7, fill="#ffffff", stroke=KINDS["locked"][1],
                stroke_width=3)  # fmt: skip
    foot = place(0, 0)[1]
    for number in (0, 4, 8, 12):
        pen.text(place(number, 0)[0], foot + 30, str(number), anchor="middle")
    pen.text(pen.width - MARGIN, foot + 56, "steps taken", anchor="end", fill=GREY)
    pen.y = foot + 72
    blue, orange = KINDS["locked"][1], KINDS["noised"][1]
    pen.add("circle", cx=MARGIN + 22, cy=pen.y + 14, r=7, fill="#ffffff", stroke=blue,
            stroke_width=3)  # fmt: skip
    pen.text(MARGIN + 56, pen.y + 21, "a noised gradient, still encrypted")
    pen.arrow((MARGIN + 22, pen.y + 66), (MARGIN + 22, pen.y + 36), color=orange)
    pen.text(
        MARGIN + 56,
        pen.y + 58,
        "a refresh: two bootstraps, the second",
        "for the first one's error",
    )
    pen.y += 106
    pen.stack("noised", "Key holder", "decrypts once, after the last step")
    return pen, "Levels with bootstrapping"


def who(found):
    """Parties and things."""
    pen = Pen()
    heads = (("data", "owner"), ("eval-", "uator"), ("key", "holder"), ("public", ""))
    left, cell = MARGIN + 172, 92
    table = (
        (("rows, labels",), "own locked - -"),
        (("noise",), "own locked - -"),
        (("moments of", "the columns"), "own locked noised -"),
        (("centre, scales",), "noised noised noised noised"),
        (("gradient sum,", "visit per step"), "- locked noised -"),
        (("gradient sum,", "one visit"), "- locked - -"),
        (("weights on the", "way, visit per", "step"), "- locked noised -"),
        (("weights on the", "way, one visit"), "- locked - -"),
        (("which p, S",), "noised noised noised noised"),
        (("norms of", "what is noised"), "noised noised noised noised"),
        (("the plan",), "public public public public"),
        (("the model",), "noised noised noised noised"),
        (("secret key",), "- - own -"),
    )
    for i, (first, second) in enumerate(heads):
        x = left + cell * (i + 0.5)
        pen.text(x, pen.y + 20, first, second, anchor="middle", bold=True)
    pen.y += 62
    for words, cells in table:
        height = 22 + 26 * len(words)
        pen.line((MARGIN, pen.y), (pen.width - MARGIN, pen.y), color=RULE, width=1)
        pen.text(MARGIN, pen.y + 30, *words)
        for i, kind in enumerate(cells.split()):
            x, middle = left + cell * i, pen.y + height / 2
            if kind == "-":
                pen.text(x + cell / 2, middle + 7, "–", anchor="middle", fill=GREY)
                continue
            pen.rect(x + 4, middle - 19, cell - 8, 38, "plain" if kind == "own" else kind)
            pen.text(x + cell / 2, middle + 7, kind, anchor="middle")
        pen.y += height
    pen.line((MARGIN, pen.y), (pen.width - MARGIN, pen.y), color=RULE, width=1)
    pen.y += 34
    for kind, name, words in (
        ("plain", "own", "in the clear, its own alone"),
        ("locked", "locked", "a ciphertext without the key"),
        ("noised", "noised", "in the clear, with noise in it"),
        ("public", "public", "in the clear, not about rows"),
    ):
        pen.rect(MARGIN, pen.y - 4, 84, 36, kind)
        pen.text(MARGIN + 42, pen.y + 21, name, anchor="middle")
        pen.text(MARGIN + 100, pen.y + 21, words)
        pen.y += 44
    pen.y -= 12
    return pen, "Who sees what"


def skfhe(found):
    """The package in one picture."""
    pen = Pen(720)
    wide, high = 310, 208
    places = [(20, 20), (390, 20), (390, 306), (20, 306)]
    texts = (
        ("plain", "1. Owners lock rows", ("each row bounded,", "noise beside it")),
        ("locked", "2. A server computes", ("on locked rows;", "it holds no key")),
        ("noised", "3. What is opened", ("a sum over all rows", "with noise in it")),
        ("public", "4. A private model", ("scikit-learn estimator", "with (ε, δ) and a proof")),
    )
    for (x, y), (kind, title, words) in zip(places, texts, strict=True):
        pen.rect(x, y, wide, high, kind, radius=12)
        pen.text(x + 18, y + 38, title, size=24, bold=True)
        pen.text(x + 18, y + high - 46, *words, size=24, leading=30)
    (x, y), blue = places[0], KINDS["locked"][1]
    for i in range(3):  # rows become locked rows
        at = y + 58 + 22 * i
        pen.rect(x + 20, at, 96, 18, "plain", radius=3)
        pen.line((x + 30, at + 9), (x + 106, at + 9), color=GREY, width=4, dash="14 6")
        pen.rect(x + 184, at, 96, 18, "locked", radius=3)
        pen.icon("locked", x + 232, at + 8, 14)
    pen.arrow((x + 126, y + 89), (x + 174, y + 89))
    x, y = places[1]
    for i, sign in enumerate(("×", "+", "=")):
        pen.rect(x + 20 + 96 * i, y + 62, 62, 54, "locked", radius=6)
        pen.icon("locked", x + 51 + 96 * i, y + 88, 30)
        if i < 2:
            pen.text(x + 98 + 96 * i, y + 98, sign, size=28, anchor="middle", bold=True)
    x, y = places[2]
    pen.add("path", d=f"M{x + 56} {y + 86} v-10 a15 16 0 0 1 29 -6", fill="none",
            stroke=KINDS["noised"][1], stroke_width=4)  # fmt: skip
    pen.add("rect", x=x + 48, y=y + 84, width=44, height=34, rx=4, fill=KINDS["noised"][1])
    for i, tall in enumerate((30, 48, 22, 40)):
        pen.add("rect", x=x + 140 + 38 * i, y=y + 118 - tall, width=20, height=tall, fill=blue)
    zigzag = [(x + 130 + 13 * i, y + 94 + (-1) ** i * 14) for i in range(13)]
    pen.line(*zigzag, color=KINDS["noised"][1], width=4)
    x, y = places[3]
    points = (
        (40, 76),
        (78, 100),
        (66, 66),
        (120, 108),
        (200, 70),
        (236, 104),
        (262, 72),
        (226, 66),
    )
    for i, (a, b) in enumerate(points):
        if i < 4:
            pen.add("circle", cx=x + a, cy=y + b, r=8, fill=blue)
        else:
            pen.add("rect", x=x + a - 8, y=y + b - 8, width=16, height=16, fill=KINDS["noised"][1])
    pen.line((x + 140, y + 58), (x + 172, y + 120), width=4)
    pen.arrow((334, 124), (386, 124))
    pen.arrow((446, 232), (446, 302))
    pen.arrow((486, 302), (486, 232))
    pen.text(510, 260, "3 to 12 times,", "weights locked", size=24, fill=GREY, leading=30)
    pen.arrow((386, 410), (334, 410))
    pen.text(
        20,
        258,
        "the plan says all of it",
        "before any row is read",
        size=24,
        fill=GREY,
        leading=30,
    )
    pen.y = 306 + high
    return pen, "skfhe: locked rows, a server without a key, a noised release, a private model"


def drawings(found):
    return {one.__name__: one(found) for one in (step, noninteractive, bootstrapping, who, skfhe)}
