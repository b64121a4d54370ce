"""Seconds, bytes and memory of logistic regression beside other packages, on the same rows.

    python benchmarks/peers.py                                   everything; ten minutes
    python benchmarks/peers.py --only skfhe tenseal --data breast_cancer

Every method runs in a process of its own, pinned to one core, one after another: ours, the loop
of TenSEAL's tutorial, Concrete ML, OpenFHE with bootstrapping, and without encryption
scikit-learn, diffprivlib and Opacus. All get the same split, scaled by public bounds
(bounds.json); what each script, peer_NAME.py, measures is told at its head. What would take more
than ten minutes is measured on one step or on some rows, and marked as extrapolated.

Peers run in environments of their own (`make bench-peers`); those that are missing, fail or
exceed their time limit are told and left out. The figures go to peers.json, peers.md and a bar
plot, peers.svg.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import datasets
import numpy as np
from peers_table import markdown, plot

HERE = Path(__file__).resolve().parent
SETS = ("breast_cancer", "mnist38")


class Peer(NamedTuple):
    """A script and where it runs, None for here; the time limit is in seconds."""

    title: str
    script: str
    environment: str | None = None
    private: bool = False
    encrypted: bool = True
    argument: str | None = None
    sets: tuple[str, ...] = SETS
    limit: float = 600


PEERS = {
    "skfhe": Peer("skfhe", "peer_skfhe.py", private=True),
    "tenseal": Peer("TenSEAL, tutorial loop", "peer_tenseal.py"),
    "concrete": Peer(
        "Concrete ML",
        "peer_concrete.py",
        ".venv-concrete",
        sets=("breast_cancer",),
        limit=1200,
    ),
    "openfhe": Peer("OpenFHE, bootstrapping", "peer_openfhe.py", ".venv-openfhe"),
    "scikit-learn": Peer(
        "scikit-learn", "peer_clear.py", encrypted=False, argument="scikit-learn"
    ),
    "diffprivlib": Peer(
        "diffprivlib",
        "peer_clear.py",
        ".venv-diffprivlib",
        private=True,
        encrypted=False,
        argument="diffprivlib",
    ),
    "opacus": Peer(
        "Opacus",
        "peer_clear.py",
        ".venv-opacus",
        private=True,
        encrypted=False,
        argument="opacus",
    ),
}


class PeerFailure(Exception):
    """A peer has no figures, and why."""


def measure(peer: Peer, rows: Path) -> dict[str, Any]:
    """What the script of a peer prints.

    Raises
    ------
    PeerFailure
        If its environment is missing, it stops with an error or exceeds its limit.
    """
    python = Path(sys.executable)
    if peer.environment:
        python = HERE.parent / peer.environment / "bin" / "python"
    if not python.exists():
        raise PeerFailure("it is not installed; `make bench-peers` does where it can be")
    argument = [peer.argument] if peer.argument else []
    # Not isolated altogether, which would hide the modules beside the script.
    command = [python, "-E", "-s", HERE / peer.script, rows, *argument]
    single = {**os.environ, "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, env=single, start_new_session=True
    ) as process:
        try:
            printed, _ = process.communicate(timeout=peer.limit)
        except subprocess.TimeoutExpired:
            raise PeerFailure(f"no figures within {peer.limit:g} s") from None
        finally:
            _end(process)
    if process.returncode:
        raise PeerFailure(f"it stopped with {process.returncode}; see above")
    return json.loads(printed.splitlines()[-1])


def _end(process: subprocess.Popen) -> None:
    """End a script that still runs, with everything that it started."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)


def measure_set(data: str, names: list[str]) -> list[dict[str, Any]]:
    """Figures of all peers on one set, as they are printed."""
    split, found = datasets.load(data), []
    with TemporaryDirectory() as folder:
        rows = Path(folder) / f"{data}.npz"
        np.savez(rows, **split._asdict())
        for name in names:
            peer = PEERS[name]
            if data not in peer.sets:
                continue
            try:
                figures = measure(peer, rows)
            except PeerFailure as failure:
                print(f"  {name}: left out, {failure}", flush=True)
                continue
            n_rows, n_columns = split.X_train.shape
            figures["row_microseconds"] = 1e6 * figures["pass_seconds"] / n_rows
            about = {"title": peer.title, "private": peer.private, "encrypted": peer.encrypted}
            shape = {"rows": n_rows, "columns": n_columns}
            found.append({"peer": name, **about, "data": data, **shape, **figures})
            print(f"  {name}: {figures['pass_seconds']:.3g} s per pass", flush=True)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="+", choices=list(PEERS), default=list(PEERS))
    parser.add_argument("--data", nargs="+", choices=SETS, default=list(SETS))
    parser.add_argument("--results", type=Path, default=HERE / "results", help="folder")
    options = parser.parse_args()
    found = []
    for data in options.data:
        print(data, flush=True)
        try:
            found += measure_set(data, options.only)
        except FileNotFoundError as missing:
            print(f"  left out, {missing}")
    options.results.mkdir(parents=True, exist_ok=True)
    (options.results / "peers.json").write_text(json.dumps(found, indent=1) + "\n")
    (options.results / "peers.md").write_text(markdown(found))
    pictures = HERE.parent / "docs" / "_static"
    picture = (pictures if pictures.is_dir() else options.results) / "peers.svg"
    plot(found, picture)
    print(f"{options.results / 'peers.md'}, {picture}")


if __name__ == "__main__":
    main()
