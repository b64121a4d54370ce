"""The figures of peers.py as Markdown and as a bar plot."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

ABOUT = "≈"
HEADER = [
    "method",
    "encrypted",
    "private",
    "s per pass",
    "µs per row and step",
    "keys, s",
    "encryption, s",
    "data, MB",
    "keys, MB",
    "peak memory, MB",
    "accuracy, of",
    "in the clear, of",
]
COLORS = {"ours": "#0b6e4f", "encrypted": "#c1440e", "clear": "#8a8f98"}
Record = dict[str, Any]


def shown(value: float | None) -> str:
    """Three digits, or whole numbers with separators."""
    if value is None:
        return "–"
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.2g}" if value < 0.1 else f"{value:.3g}"


def shown_pass(record: Record) -> str:
    """Seconds per pass, marked where they are extrapolated."""
    return f"{ABOUT} " * record["extrapolated"] + shown(record["pass_seconds"])


def megabytes(size: int | None) -> str:
    """Bytes as millions of them."""
    return shown(None if size is None else size / 1e6)


def row(record: Record) -> list[str]:
    """A line of the table."""
    # Of a method whose steps take few rows, a single step is measured whole.
    guessed = record["extrapolated"] and record["rows_per_step"] == record["rows"]
    accuracies = [
        "–" if value is None else f"{100 * value:.1f}, {what}"
        for value, what in (
            (record["accuracy"], record["trained"]),
            (record["simulated_accuracy"], record["simulated"]),
        )
    ]
    return [
        record["title"],
        "yes" if record["encrypted"] else "no",
        "ε = 1" if record["private"] else "no",
        shown_pass(record),
        f"{ABOUT} " * guessed + shown(record["row_microseconds"]),
        shown(record["key_seconds"]),
        shown(record["encrypt_seconds"]),
        megabytes(record["data_bytes"]),
        megabytes(record["key_bytes"]),
        megabytes(record["memory"]),
        *accuracies,
    ]


def ratios(records: Sequence[Record]) -> list[str]:
    """How many times as fast ours is, where both sides were measured."""
    found = {record["peer"]: record for record in records}
    lines = []
    for peer, field, what, unit in (
        ("tenseal", "pass_seconds", "pass", "s"),
        ("openfhe", "pass_seconds", "pass", "s"),
        ("concrete", "row_microseconds", "row and step", "µs"),
    ):
        if "skfhe" in found and peer in found:
            ours, theirs = found["skfhe"][field], found[peer][field]
            guessed = found[peer]["extrapolated"] and field == "pass_seconds"
            lines.append(
                f"- {found[peer]['title']}: skfhe is {shown(theirs / ours)} times as fast per "
                f"{what}, {shown(ours)} {unit} against {f'{ABOUT} ' * guessed}{shown(theirs)} "
                f"{unit}."
            )
    return lines


def markdown(records: Sequence[Record]) -> str:
    """The whole page."""
    parts = [
        "# Training side by side",
        "Every method in a process of its own on one core, one after another in one run, on the "
        f"same rows. {ABOUT}: extrapolated from one step or from some of the rows. A pass is one "
        "visit of every training row. Accuracy is that of what was really trained, in percent of "
        "the test rows, then that of longer training by the same arithmetic without encryption. "
        "Between two steps skfhe and TenSEAL's loop have a key holder decrypt, skfhe a sum that "
        "carries noise, the loop the weights; Concrete ML and OpenFHE go on without one. Memory "
        "is that of what was measured. TenSEAL's loop loses precision at every level with the "
        "tutorial's parameters, which its accuracy shows.",
    ]
    for data in dict.fromkeys(record["data"] for record in records):
        of_set = [record for record in records if record["data"] == data]
        first = of_set[0]
        parts.append(f"## {data}: {first['rows']:,} rows, {first['columns']} columns")
        lines = [HEADER, ["---"] * len(HEADER), *map(row, of_set)]
        parts.append("\n".join("| " + " | ".join(line) + " |" for line in lines))
        parts += ["\n".join(lines)] if (lines := ratios(of_set)) else []
    parts += ["## What ran", "\n".join(dict.fromkeys(map(what_ran, records)))]
    return "\n\n".join(parts) + "\n"


def what_ran(record: Record) -> str:
    """Parameters and versions of a method on a set."""
    packages = ", ".join(f"{name} {number}" for name, number in record["versions"].items())
    return (
        f"- {record['title']}, {record['data']}: {record['parameters']}; {packages}, "
        f"Python {record['python']}; {shown(record['train_seconds'])} s in all for "
        f"{record['trained']}."
    )


def plot(records: Sequence[Record], path: Path) -> None:
    """Seconds per pass as horizontal bars on a logarithmic scale, one picture for all sets."""
    import matplotlib

    matplotlib.use("Agg")
    # The same figures give the same file.
    matplotlib.rcParams["svg.hashsalt"] = "peers"
    from matplotlib import pyplot
    from matplotlib.patches import Patch

    sets = {}
    for record in sorted(records, key=lambda record: -record["pass_seconds"]):
        sets.setdefault(record["data"], []).append(record)
    if not sets:
        return
    heights = [len(of_set) for of_set in sets.values()]
    figure, axes = pyplot.subplots(
        len(sets),
        figsize=(8, 1.6 + 0.42 * sum(heights) + 0.5 * len(sets)),
        gridspec_kw={"height_ratios": heights},
        sharex=True,
        squeeze=False,
        layout="constrained",
    )
    for axis, (data, of_set) in zip(axes[:, 0], sets.items(), strict=True):
        bars = axis.barh(
            [record["title"] for record in of_set],
            [record["pass_seconds"] for record in of_set],
            color=[_color(record) for record in of_set],
            edgecolor="white",
            hatch=["///" if record["extrapolated"] else "" for record in of_set],
        )
        axis.bar_label(bars, [f"{shown_pass(record)} s" for record in of_set], padding=4)
        axis.set_xscale("log")
        axis.spines[["top", "right"]].set_visible(False)
        first = of_set[0]
        title = f"{data}: {first['rows']:,} rows, {first['columns']} columns"
        axis.set_title(title, loc="left", fontsize="medium")
    every = [record["pass_seconds"] for record in records]
    axes[-1, 0].set_xlim(min(every) / 3, 10 * max(every))
    axes[-1, 0].set_xlabel("seconds per pass over the rows, one core")
    figure.legend(
        handles=[
            Patch(color=COLORS["ours"], label="encrypted and private"),
            Patch(color=COLORS["encrypted"], label="encrypted, not private"),
            Patch(color=COLORS["clear"], label="not encrypted"),
            Patch(facecolor="0.6", edgecolor="white", hatch="///", label="extrapolated"),
        ],
        loc="outside lower center",
        ncols=4,
        frameon=False,
    )
    figure.savefig(path, metadata={"Date": None})
    pyplot.close(figure)


def _color(record: Record) -> str:
    if not record["encrypted"]:
        return COLORS["clear"]
    return COLORS["ours" if record["private"] else "encrypted"]
