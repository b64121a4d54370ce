"""What tests of the command line share: tables, a site with tokens and TLS, and processes."""

import json
import os
import secrets
import selectors
import subprocess
import sys
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from click.testing import CliRunner
from service_helpers import Authority

import skfhe
from skfhe.cli.app import skfhe as commands
from skfhe.schema import Schema

ROOT = Path(skfhe.__file__).parents[1]
SCHEMA = {
    "features": ["age", "dose", "weight", "visits"],
    "label": "ill",
    "classes": ["no", "yes"],
    "bounds": {"age": [0, 120], "dose": [0, 5], "weight": [30, 200], "visits": [0, 40]},
}


def make_table(n, seed=0, schema=SCHEMA):
    """Rows within the schema's bounds, and a few beyond; the first two columns decide."""
    rng = np.random.default_rng(seed)
    low, high = np.array([schema["bounds"][name] for name in schema["features"]], dtype=float).T
    share = rng.uniform(-0.02, 1.02, (n, len(low)))
    ill = share[:, 0] + share[:, 1] + 0.1 * rng.normal(size=n) > 1
    table = pd.DataFrame(low + (high - low) * share, columns=schema["features"])
    table.insert(1, schema["label"], np.array(schema["classes"])[ill.astype(int)])
    return table


def invoke(*arguments, code=0, text=None):
    """A command in this process; its result, after its exit code was checked.

    Standard error is in `stderr` whatever click's version is.
    """
    try:
        runner = CliRunner(mix_stderr=False)
    except TypeError:  # from 8.2 on they are apart anyway
        runner = CliRunner()
    result = runner.invoke(commands, [*map(str, arguments)], input=text)
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == code, f"{arguments}: {result.exit_code}, {result.stderr}"
    assert "Traceback" not in result.stderr
    return result


def answer(*arguments):
    """What a command says with --json."""
    return json.loads(invoke(*arguments, "--json").stdout)


@dataclass(frozen=True)
class Site:
    """A folder with schema, plan, one table per owner, tokens and certificates."""

    folder: Path
    authority: Authority
    tables: tuple[pd.DataFrame, ...]

    @classmethod
    def make(cls, folder, tables, *plan_options, schema=SCHEMA):
        """Tables of all owners as CSV files, and a plan for just these rows."""
        (folder / "schema.json").write_text(json.dumps(schema))
        Schema.read((folder / "schema.json").read_bytes())
        for i, table in enumerate(tables):
            table.to_csv(folder / f"rows{i}.csv", index=False)
        for role in ("evaluator", "owner"):
            path = folder / f"{role}.token"
            path.write_text(secrets.token_urlsafe(32) + "\n")
            path.chmod(0o600)
        rows = ("--samples", sum(map(len, tables)), "--schema", folder / "schema.json")
        owners = ("--owners", len(tables))
        invoke("plan", folder / "plan.json", *rows, *owners, *plan_options)
        return cls(folder, Authority.make(folder / "ca"), tuple(tables))

    @property
    def plan(self):
        return self.folder / "plan.json"

    @property
    def owners(self):
        return range(len(self.tables))

    def data(self, i):
        """The folder that an owner fills."""
        return self.folder / f"data{i}"

    def token(self, role):
        return (self.folder / f"{role}.token").read_text().strip()

    def serve(self, keys, port=0):
        """Arguments of the service: TLS, and a token for each role."""
        certificate, key = self.authority.server
        return [
            *("keyholder", "serve", keys, "--port", port),
            *("--tls-certificate", certificate, "--tls-key", key),
            *("--evaluator-tokens", self.folder / "evaluator.token"),
            *("--owner-tokens", self.folder / "owner.token"),
        ]

    def connection(self, url, role="owner"):
        """Options of whoever talks to it."""
        token = self.folder / f"{role}.token"
        return ["--key-holder", url, "--token-file", token, "--ca", self.authority.ca]

    def encrypt(self, i, url, wait=60):
        """Arguments of one owner."""
        rows = self.folder / f"rows{i}.csv"
        options = ("--owner", i, "--wait", wait)
        return ["encrypt", self.plan, self.data(i), rows, *options, *self.connection(url)]

    def fit(self, url, wait=60):
        """Arguments of the evaluator."""
        folders, checkpoint = [*map(self.data, self.owners)], self.folder / "checkpoint"
        options = ("--checkpoint", checkpoint, "--wait", wait)
        return ["fit", self.plan, *folders, *options, *self.connection(url, "evaluator")]


@dataclass
class Process:
    """A command in a process of its own; its standard error goes to a file."""

    popen: subprocess.Popen
    log: Path

    def first_line(self, seconds=30):
        """The first line of standard output, which a service writes when it listens."""
        with selectors.DefaultSelector() as selector:
            selector.register(self.popen.stdout, selectors.EVENT_READ)
            assert selector.select(seconds), f"silent for {seconds} s: {self.log.read_text()}"
        return self.popen.stdout.readline().strip()

    def finish(self, code=0, seconds=60):
        """Standard output, after the process has ended with this code."""
        out, _ = self.popen.communicate(timeout=seconds)
        assert self.popen.returncode == code, f"{self.popen.returncode}: {self.log.read_text()}"
        return out


@contextmanager
def processes(folder):
    """Starts commands, ``start(name, *arguments)``; whatever still runs in the end is killed."""
    running = []
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}

    def start(name, *arguments):
        log = folder / f"{name}.{time.monotonic_ns()}.log"
        with open(log, "wb") as stderr:
            popen = subprocess.Popen(
                [sys.executable, "-m", "skfhe", *map(str, arguments)],
                stdout=subprocess.PIPE,
                stderr=stderr,
                text=True,
                env=environment,
            )
        running.append(popen)
        return Process(popen, log)

    try:
        yield start
    finally:
        for popen in running:
            if popen.poll() is None:
                popen.kill()
            popen.communicate(timeout=20)
