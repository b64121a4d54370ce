"""The command line without a run: help, options, exit codes, what errors may tell."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import click
import pytest
from cli_helpers import ROOT, SCHEMA, answer, invoke
from service_helpers import free_port

import skfhe
from skfhe import BudgetExceeded, InfeasiblePlan, PrivacyLedger, TrainingPlan
from skfhe.cli._common import plain, rows
from skfhe.cli._errors import Code, StillMissingError, explain
from skfhe.cli.app import skfhe as commands
from skfhe.exceptions import KeyBurned, MessageError, PlanMismatch, StateError, WorkersLost

QUICK = ("--degree", 3, "--set", "max_iter=2")


def all_commands(group=commands, path=()):
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from all_commands(command, (*path, name))
        else:
            yield (*path, name)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A schema and a plan of one owner."""
    folder = tmp_path_factory.mktemp("cli")
    (folder / "schema.json").write_text(json.dumps(SCHEMA))
    make_plan(folder / "plan.json", folder)
    return folder


def make_plan(path, folder, *options):
    schema = ("--schema", folder / "schema.json")
    return invoke("plan", path, "--samples", 200, *schema, *QUICK, *options)


# Help.


@pytest.mark.parametrize("path", [*all_commands()], ids=" ".join)
def test_help_teaches(path):
    text = invoke(*path, "--help").stdout
    assert re.search(r"For (a|the|whoever|everybody)", text), "it says who runs it"
    assert re.search(rf"^ +skfhe {' '.join(path)} ", text, re.M), "it has an example"
    assert "--json" in text


def test_the_help_of_all_lists_commands_and_exit_codes():
    text = invoke("--help").stdout
    for first, *_ in all_commands():
        assert re.search(rf"^  {first} ", text, re.M)
    documented = {int(code) for code in re.findall(r"^ +(\d)  ", text, re.M)}
    assert documented == {0, *map(int, Code)}
    assert invoke("--version").stdout.strip().endswith(skfhe.__version__)


# Exit codes.


@pytest.mark.parametrize(
    "error, code",
    [
        (InfeasiblePlan("x"), 3),
        (PlanMismatch("x"), 4),
        (MessageError("x"), 4),
        (ValueError("x"), 1),  # not of the package
        (StateError("x"), 4),
        (FileNotFoundError(2, "No such file or directory", "f"), 4),
        (PermissionError("refused"), 4),
        (BudgetExceeded("x"), 5),
        (KeyBurned("x"), 6),
        (ConnectionError("x"), 7),
        (StillMissingError("x"), 8),
        (WorkersLost("x"), 1),
        (ImportError("needs the extra `io`"), 1),
        (OSError(28, "No space left on device"), 1),
        (KeyError("secret row"), 1),
    ],
)
def test_every_error_has_its_code(error, code, monkeypatch):
    ours = isinstance(error, ValueError) and type(error) is not ValueError
    monkeypatch.setattr("skfhe.cli._errors._is_ours", lambda _: ours)
    found, text = explain(error)
    assert found == code
    assert "\n" not in text and "secret" not in text


def test_errors_of_others_are_not_quoted():
    """A ValueError of Python's own quotes what could not be read."""
    try:
        float("secret row")
    except ValueError as error:
        code, text = explain(error)
    assert code == 1 and "secret" not in text and "ValueError" in text
    try:
        TrainingPlan.from_json("{}")
    except ValueError as error:
        code, text = explain(error)
    assert code == 4 and "no training plan" in text


def test_tracebacks_are_for_those_who_ask(folder):
    program = ["keygen", str(folder / "schema.json"), str(folder / "none")]
    for debug in ("0", "1"):
        result = subprocess.run(
            [sys.executable, "-m", "skfhe", *program],
            capture_output=True,
            text=True,
            cwd=ROOT,
            env={**os.environ, "SKFHE_DEBUG": debug},
        )
        assert result.returncode == 4 and result.stdout == ""
        assert ("Traceback" in result.stderr) == (debug == "1")
        assert debug == "1" or result.stderr.count("\n") == 1
        assert result.stderr.splitlines()[-1].startswith("error: this is no training plan")


def test_a_missing_click_names_the_extra():
    program = "import sys; sys.modules['click'] = None; from skfhe.cli import main; main()"
    result = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        cwd=ROOT,
    )
    assert result.returncode == 1 and result.stdout == ""
    assert result.stderr.count("\n") == 1 and "skfhe[cli]" in result.stderr


# Plans.


def test_a_plan_has_its_schema_and_is_printed(folder):
    plan = TrainingPlan.from_json((folder / "plan.json").read_bytes())
    assert plan.schema.features == tuple(SCHEMA["features"])
    assert plan.schema.high == (120.0, 5.0, 200.0, 40.0)
    assert (plan.problem.n_samples, plan.problem.n_features) == (200, 4)
    assert plan.optimizer.max_iter == 2
    result = invoke("inspect", folder / "plan.json")
    assert plan.digest in result.stdout


def test_a_plan_as_json(tmp_path):
    size = ("--samples", 300, "--features", 5, "--classes", 3)
    content = answer("plan", tmp_path / "p.json", *size, "--owners", 3, "--colluding", 1)
    plan = TrainingPlan.from_json((tmp_path / "p.json").read_bytes())
    assert content["plan"] == plan.digest and plan.schema is None
    assert content["owners"] == 3 and content["classes"] == 3
    parties = {one["party"]: one for one in content["parties"]}
    assert parties["key holder + evaluator"]["epsilon"] is None, "JSON has no infinity"
    assert 0 < parties["public"]["epsilon"] < 1


def test_a_plan_is_not_overwritten(folder, tmp_path):
    path = tmp_path / "plan.json"
    path.write_text("mine")
    size = ("--samples", 200, "--features", 4, "--classes", 2)
    invoke("plan", path, *size, code=2)
    assert path.read_text() == "mine"
    invoke("plan", path, *size, "--force")
    assert TrainingPlan.from_json(path.read_bytes())
    assert [*tmp_path.iterdir()] == [path]


def test_owners_are_told_that_they_know_their_own_noise(folder, tmp_path):
    warned = make_plan(tmp_path / "a.json", folder, "--owners", 3)
    assert "knows its own noise" in warned.stderr
    quiet = make_plan(tmp_path / "b.json", folder, "--owners", 3, "--colluding", 1)
    assert quiet.stderr == ""


SIZE = ("--features", 4, "--classes", 2)


@pytest.mark.parametrize(
    "options, code, word",
    [
        ((), 2, "--schema"),
        (("--features", 4), 2, "--classes"),
        ((*SIZE, "--set", "max_iter"), 2, "NAME=VALUE"),
        ((*SIZE, "--set", "backend=simulated"), 2, "NAME=VALUE"),
        ((*SIZE, "--set", "max_iter=2.5"), 2, "max_iter"),
        ((*SIZE, "--epsilon", 1000), 2, "epsilon"),
        ((*SIZE, "--set", 'class_weight={"no": 3}'), 2, "class_weight"),
        ((*SIZE, "--set", 'class_weight={"2": 3}'), 4, "class_weight"),
        ((*SIZE, "--set", "class_weight=balanced"), 4, "class_weight"),
        (("--features", 3000000, "--classes", 2), 3, "precision"),
        ((*SIZE, "--model", "mlp", "--set", "hidden_layer_sizes=[4,4]"), 3, "hidden_layer_sizes"),
    ],
)
def test_plans_that_cannot_be(tmp_path, options, code, word):
    result = invoke("plan", tmp_path / "plan.json", "--samples", 200, *options, code=code)
    assert word in result.stderr and not (tmp_path / "plan.json").exists()


def test_class_weights_go_by_the_schema_s_labels(tmp_path):
    """In the schema's order of classes, which need not be that of the alphabet."""
    (tmp_path / "schema.json").write_text(json.dumps({**SCHEMA, "classes": ["yes", "no"]}))
    make_plan(tmp_path / "plan.json", tmp_path, "--set", 'class_weight={"no": 0.25}')
    plan = TrainingPlan.from_json((tmp_path / "plan.json").read_bytes())
    assert plan.problem.class_weight == (1.0, 0.25)


def test_a_network_s_plan(folder, tmp_path):
    path, schema = tmp_path / "plan.json", folder / "schema.json"
    options = ("--model", "mlp", "--set", "hidden_layer_sizes=4", "--set", "solver=adam")
    invoke("plan", path, "--samples", 500, "--schema", schema, *options)
    assert TrainingPlan.from_json(path.read_bytes()).problem.hidden_units == 4


# Keys.


def test_a_new_ledger_needs_a_budget(folder, tmp_path):
    ledger = tmp_path / "ledger"
    invoke("keygen", folder / "plan.json", tmp_path / "k", "--ledger", ledger, code=2)
    invoke("keygen", folder / "plan.json", tmp_path / "k", "--ledger-epsilon", 1, code=2)
    assert not ledger.exists() and not (tmp_path / "k").exists()


def test_a_budget_that_does_not_pay(folder, tmp_path):
    keys, poor = tmp_path / "keys", tmp_path / "poor"
    budget = ("--ledger", poor, "--ledger-epsilon", 0.5, "--ledger-delta", 1e-5)
    result = invoke("keygen", folder / "plan.json", keys, *budget, code=5)
    assert not (keys / "secret.key").exists() and "budget is 0.5" in result.stderr
    assert not PrivacyLedger.open(poor).entries()
    rich = ("--ledger", tmp_path / "rich", "--ledger-epsilon", 2, "--ledger-delta", 1e-5)
    invoke("keygen", folder / "plan.json", keys, *rich)
    assert len(PrivacyLedger.open(tmp_path / "rich").entries()) == 1
    assert not PrivacyLedger.open(poor).entries()


def test_an_opened_ledger_has_its_budget(tmp_path):
    made = PrivacyLedger(tmp_path / "ledger", epsilon=1.5, delta=1e-6)
    assert PrivacyLedger.open(tmp_path / "ledger") == made
    assert PrivacyLedger.open(tmp_path / "ledger").epsilon == 1.5
    for name, content in (("none", None), ("other", b"something else")):
        if content:
            (tmp_path / name).write_bytes(content)
        with pytest.raises(ValueError, match=name):
            PrivacyLedger.open(tmp_path / name)
    assert not (tmp_path / "none").exists()


def test_a_passphrase_is_for_its_owner_alone(folder, tmp_path):
    secret = tmp_path / "passphrase"
    secret.write_text("a long and quiet passphrase\n")
    secret.chmod(0o644)
    arguments = ("keygen", folder / "plan.json", tmp_path / "k", "--passphrase-file", secret)
    assert "chmod 600" in invoke(*arguments, code=4).stderr
    secret.chmod(0o600)
    assert "quiet" not in invoke(*arguments).output
    secret.write_text("another one\n")
    assert "passphrase" in invoke(*arguments, code=4).stderr


# Connections.


@pytest.mark.parametrize(
    "options, code, word",
    [
        ((), 2, "give one of"),
        (("--key-holder", "http://keys.example.org"), 4, "https"),
        (("--key-holder", "https://u:hush@keys.example.org"), 4, "host"),
        (("--key-holder", "https://127.0.0.1", "--client-key", __file__), 2, "together"),
        (("--key-holder", "https://127.0.0.1", "--ca", __file__), 4, "PEM"),
        (("--token-file", __file__), 2, "--key-holder"),
    ],
)
def test_connections_that_cannot_be(options, code, word):
    result = invoke("keyholder", "status", *options, code=code)
    assert word in result.stderr and "hush" not in result.stderr


def test_nobody_there():
    url = f"http://127.0.0.1:{free_port()}"
    result = invoke("keyholder", "status", "--key-holder", url, "--patience", 0.1, code=7)
    assert "could not be reached" in result.stderr


def test_a_bad_token_is_not_shown(tmp_path):
    token = tmp_path / "token"
    token.write_text("too short")
    token.chmod(0o600)
    options = ("--key-holder", "http://127.0.0.1:9", "--token-file", token)
    assert "too short" not in invoke("keyholder", "status", *options, code=4).stderr
    token.write_text("x" * 32 + "\n" + "y" * 32)
    assert "one line" in invoke("keyholder", "status", *options, code=4).stderr


def test_a_service_needs_to_know_its_callers(folder, tmp_path):
    invoke("keygen", folder / "plan.json", tmp_path / "keys")
    assert "--client-ca" in invoke("keyholder", "serve", tmp_path / "keys", code=2).stderr


# Output.


def test_what_forgers_write_does_nothing_to_a_terminal():
    text = rows("page", [("na\x1bme", "\x1b[31mred\n"), ("list", [{"a\r": [1.5, None]}])])
    assert not re.search(r"[\x00-\x09\x0b-\x1f]", text) and text.count("\n") == 2
    assert json.dumps(plain({"a": float("inf"), 2: (1.0, Path("x"))}), allow_nan=False)
