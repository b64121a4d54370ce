"""The pages for reviewers say what the code does: its decryptions, plans, packages and names."""

import ast
import dataclasses
import re
import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[1] / "docs" / "_ext"))

import review_tables

from skfhe import (
    DataOwner,
    EncryptedDPLogisticRegression,
    EncryptedDPMLPClassifier,
    Evaluator,
    KeyHolder,
)
from skfhe.exceptions import PlanMismatch
from skfhe.planning import check_plan
from skfhe.protocol.messages import pack, unpack
from skfhe.protocol.schemes import plan_scheme

ROOT = Path(__file__).parents[1]
SECURITY = ROOT / "docs" / "security"
PAGES = {path.stem: path.read_text() for path in sorted(SECURITY.glob("*.md"))}
REVIEW, FIELDS = PAGES["review"], PAGES["plan-fields"]
TABLES = [
    (*match[1].split(), match[2].splitlines())
    for page in (REVIEW, FIELDS)
    for match in re.finditer(r"^```\{review-table\} (.*)\n((?:.*\n)*?)```$", page, re.M)
]
BY_NAME = {tuple(name): review_tables.said(body) for *name, body in TABLES}
PACKAGES = {"sklearn": "scikit-learn", "dp_accounting": "dp-accounting"}
# What comes along with other packages and is imported beside them; the page says so.
COME_ALONG = {"anyio": "starlette", "h11": "uvicorn"}


# The tables.


@pytest.mark.parametrize("name", BY_NAME, ids=" ".join)
def test_every_table_can_be_made_and_explains_all_that_there_is(name):
    kind, argument = (*name, "")[:2]
    head, rows = review_tables.table(kind, argument, BY_NAME[name])
    rows = [*rows]
    assert rows and all(len(row) == len(head) and row[-1] for row in rows)


def test_what_is_not_explained_is_refused():
    words = dict(BY_NAME["decrypts",])
    words.pop("protocol/vault read_secret")
    with pytest.raises(ValueError, match="not explained"):
        review_tables.table("decrypts", "", words)[1].__next__()
    with pytest.raises(ValueError, match="not in the code"):
        review_tables.matched({"numpy": "arrays", "torch": "none"}, ["numpy"])
    with pytest.raises(ValueError, match="a colon, and words"):
        review_tables.said(["numpy"])


def test_all_kinds_of_tables_are_there():
    kinds = {name for name, *_ in BY_NAME}
    assert kinds == {
        *("decrypts", "keys", "randomness", "files", "libraries"),
        *("plan", "dependencies", "limits", "reading"),
    }


def test_the_search_for_calls_finds_them(monkeypatch):
    lines = (
        "class A:",
        "  def f(self):",
        "    'Does.'",
        "    return [k.Decrypt(c) for c in self]",
    )
    tree = ast.parse("\n".join(lines))
    monkeypatch.setattr(review_tables, "trees", lambda: {"made/up": tree})
    (site,) = review_tables.decrypts()
    assert (site.key, site.line, site.call) == ("made/up A.f", 4, "k.Decrypt")
    assert site.summary == "Does."


def test_decryptions_are_as_many_as_the_page_says():
    """One call outside of crypto/, one for each encrypted backend, two methods, the key file."""
    found = [site.key for site in review_tables.decrypts()]
    assert len(found) == len(set(found))
    inside = [key for key in found if key.startswith("crypto/")]
    assert inside == [
        "crypto/openfhe/keys OpenFHEKeys.decrypt",
        "crypto/tenseal/keys TensealKeys.decrypt",
    ]
    calls = {site.key: site.call for site in review_tables.decrypts()}
    outside = [key for key, call in calls.items() if call == "self._keys.decrypt"]
    assert outside == ["protocol/key_holder KeyHolder._decrypt"]
    methods = [key for key, call in calls.items() if call == "self._decrypt"]
    assert len(methods) == 2 and len(found) == 6
    said = " ".join(REVIEW.split())
    assert "there is *one* call outside of `crypto/`" in said
    assert "and *two* beneath it" in said and "*Two* methods lead there" in said


def test_nothing_holds_on_to_a_secret_key_elsewhere():
    """Of modules outside of crypto/, the page names all that get a key into their hands."""
    modules = {site.module for site in review_tables.secret_keys() if site.module[:7] != "crypto/"}
    assert modules == {
        "protocol/key_holder",
        "protocol/folder_state",
        "protocol/vault",
        "protocol/data_owner",
    }


# The plan.


@pytest.mark.parametrize("part", review_tables.PARTS)
def test_no_field_of_the_plan_is_undescribed(part):
    described = [name for entry in review_tables.entries(part) for name in entry.names]
    assert sorted(described) == sorted(
        field.name for field in dataclasses.fields(review_tables.plan_part(part))
    )
    assert all(entry.meaning and entry.kinds for entry in review_tables.entries(part))
    assert ("plan", part) in BY_NAME


def verdicts():
    """The first word in bold for every field, by part."""
    for name, words in BY_NAME.items():
        if name[0] == "plan":
            for key, text in words.items():
                bold = re.match(r"\*\*(\w+)\*\*", text)
                for field in key.split(", "):
                    yield f"{name[1]}.{field}", bold[1] if bold else None


VERDICTS = dict(verdicts())


def test_every_field_has_a_verdict():
    without = {field for field, verdict in VERDICTS.items() if verdict is None}
    assert {field.split(".")[0] for field in without} <= {"TrainingPlan", "Preparation"}
    assert {v for v in VERDICTS.values() if v} == {"recomputed", "enforced", "free", "believed"}


def plans():
    linear = {"degree": 1, "max_iter": 3}
    return {
        "linear": EncryptedDPLogisticRegression(**linear).plan(2000, 6),
        "owners": EncryptedDPLogisticRegression(**linear).plan(2000, 6, n_owners=3, n_colluding=1),
        "network": EncryptedDPMLPClassifier(max_iter=3).plan(2000, 6),
        "alone": EncryptedDPLogisticRegression(
            protocol="noninteractive", max_iter=3, degree=1
        ).plan(2000, 6),
    }


@pytest.fixture(scope="module")
def made():
    return plans()


def times(factor):
    """A forged value of any kind of number, alone or in a tuple."""

    def forged(value):
        if isinstance(value, tuple):
            return tuple(map(forged, value))
        return type(value)(value * factor)

    return forged


HALF, TWICE, BARELY = times(0.5), times(2), times(0.999)


# What claims more than there is, one forgery for each field that parties recompute.
BETTER = {
    "Problem.data_norm": ("linear", TWICE),
    "Problem.intercept_column": ("linear", TWICE),
    "Problem.class_weight": ("linear", lambda _: (2.0, 1.0)),
    "Problem.hidden_units": ("network", TWICE),
    "Preparation.box": ("linear", HALF),
    "Statistic.length": ("linear", HALF),
    "Statistic.grid_bits": ("linear", TWICE),
    "Statistic.sensitivity": ("linear", BARELY),
    "Statistic.noise_units": ("linear", HALF),
    "Statistic.noise_multiplier": ("linear", TWICE),
    "Optimizer.solver": ("linear", lambda _: "adam"),
    "Optimizer.max_iter": ("linear", TWICE),
    "Optimizer.weight_norm": ("linear", TWICE),
    "Network.hidden_reach": ("network", TWICE),
    "Certificate.contributions": ("linear", lambda table: table[:-1]),
    "Certificate.polynomials": ("linear", lambda table: table[:-1]),
    "Certificate.neighboring": ("linear", lambda _: "replace_one"),
    "Certificate.sensitivity": ("linear", BARELY),
    "Certificate.activation": ("network", lambda _: None),
    "Certificate.splits": ("network", times(0.125)),
    "Guarantee.epsilon": ("linear", times(0.99)),
    "Guarantee.delta": ("linear", HALF),
    "Guarantee.noise_multiplier": ("linear", times(1.001)),
    "Guarantee.n_releases": ("linear", lambda n: n - 1),
    "Encryption.feature_blocks": ("linear", times(0)),
    "Encryption.output_scale": ("linear", TWICE),
    "Encryption.noise_units": ("linear", HALF),
    "Encryption.unit_block": ("network", times(3)),
    "Encryption.presence_level": ("network", lambda _: 99),
    "Encryption.n_special": ("linear", TWICE),
    "Encryption.digit_primes": ("linear", TWICE),
    "Encryption.refresh_slots": ("linear", lambda _: 16),
    "Encryption.refresh_level": ("linear", lambda _: 1),
    "Encryption.refresh_budget": ("linear", lambda _: (2, 2)),
    "Rounds.steps": ("alone", lambda _: 2),
    "Rounds.certificate": ("alone", lambda _: "plain"),
    "Rounds.coefficients": ("alone", TWICE),
    "Rounds.probability": ("alone", lambda _: 1e-300),
    "Rounds.reaches": ("alone", HALF),
    "Rounds.contributions": ("alone", HALF),
    "Rounds.noise_levels": ("alone", lambda levels: levels[::-1]),
    "Rounds.noise_scales": ("alone", TWICE),
    "Rounds.noise_units": ("alone", HALF),
    "Rounds.refreshes": ("alone", lambda _: (1,)),
    "Rounds.lifts": ("alone", lambda _: (1, 1, 1)),
    "TrainingPlan.network": ("network", lambda _: None),
}
# Forgeries of what the page says is believed, or of no consequence for what a release may tell.
ACCEPTED = {
    "Preparation.radius": ("linear", TWICE),
    "Preparation.scale_columns": ("linear", lambda _: False),
    "Preparation.damping": ("linear", TWICE),
    "Preparation.floor": ("linear", TWICE),
    "Optimizer.learning_rate": ("linear", TWICE),
    "Optimizer.momentum": ("linear", HALF),
    "Optimizer.averaging": ("linear", HALF),
    "Optimizer.regularization": ("linear", lambda _: 1.0),
    "Network.output_rate": ("network", TWICE),
    "Network.start_norm": ("network", TWICE),
    "Network.start_spread": ("network", TWICE),
    "Network.start_bias": ("network", TWICE),
    "Network.seed": ("network", lambda _: 7),
    "Certificate.row_slack": ("linear", HALF),
    "Certificate.margin_slack": ("linear", HALF),
    "Certificate.error": ("linear", HALF),
    "Certificate.error_probability": ("linear", HALF),
    "Certificate.discreteness": ("linear", HALF),
    "Certificate.hidden_slack": ("network", HALF),
    "Guarantee.flooding": ("owners", HALF),
    "Encryption.security": ("linear", lambda _: "another"),
    "Encryption.scale": ("linear", HALF),
    "Encryption.row_scale": ("linear", HALF),
    "Encryption.waterline": ("linear", HALF),
    "Encryption.label_level": ("linear", times(0)),
    "Encryption.product_level": ("linear", times(0)),
    "Encryption.merge_level": ("linear", lambda level: 1 - level),
}


def forged(made, field, which, change):
    plan, (part, name) = made[which], field.split(".")
    if part == "TrainingPlan":
        return dataclasses.replace(plan, **{name: change(getattr(plan, name))})
    if part == "Statistic":
        moments = plan.preparation.moments
        new = dataclasses.replace(moments, **{name: change(getattr(moments, name))})
        part, name, change = "Preparation", "moments", lambda _: new
    value = getattr(plan, part.lower())
    new = dataclasses.replace(value, **{name: change(getattr(value, name))})
    assert new != value
    return dataclasses.replace(plan, **{part.lower(): new})


@pytest.mark.parametrize("field", BETTER)
def test_what_is_recomputed_cannot_be_forged(made, field):
    assert VERDICTS[field] == "recomputed"
    with pytest.raises((PlanMismatch, ValueError)):
        check_plan(forged(made, field, *BETTER[field]))


@pytest.mark.parametrize("field", ACCEPTED)
def test_what_is_believed_or_free_is_told_so(made, field):
    """The day that one of these is recomputed, the page has to say so."""
    assert VERDICTS[field] in ("free", "believed")
    check_plan(forged(made, field, *ACCEPTED[field]))


def test_owners_and_key_holders_check_their_plans(made):
    """And evaluators do not, as the page says."""
    bad = forged(made, "Guarantee.epsilon", *BETTER["Guarantee.epsilon"])
    for party in (KeyHolder, lambda plan: DataOwner(plan, None, "run")):
        with pytest.raises(PlanMismatch, match="do not use it"):
            party(bad)
    good = made["linear"]
    with KeyHolder(good, plan_scheme(good, "simulated")) as holder:
        keys = unpack(holder.evaluation_keys(), "evaluation keys", good.digest)[1]
        Evaluator(bad, pack("evaluation keys", bad.digest, keys, run="run"), holder.scheme)


def test_every_verdict_is_tried():
    """But for what parties refuse while they run, which is tested there, and predictions."""
    tried = BETTER.keys() | ACCEPTED.keys()
    left = {f for f, verdict in VERDICTS.items() if verdict in ("recomputed", "free", "believed")}
    assert {field for field in left - tried if not field.startswith("Prediction.")} == {
        "TrainingPlan.prediction"
    }


# Packages.


def test_every_package_that_is_imported_has_a_role():
    imported = set()
    for tree in review_tables.trees().values():
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                imported |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and not node.level:
                imported.add(node.module.split(".")[0])
    foreign = {PACKAGES.get(n, n) for n in imported - sys.stdlib_module_names - {"skfhe"}}
    roles = BY_NAME["dependencies",]
    assert foreign - COME_ALONG.keys() <= roles.keys()
    for name, bringer in COME_ALONG.items():
        assert name in foreign and name in roles[bringer]
    assert roles.keys() == {one.name for one in review_tables.requirements()}


# Names in the pages.


def spans(page):
    """Code in a page's text; blocks and tables that are made do not count."""
    text = re.sub(r"^```.*?^```$", "", page, flags=re.M | re.S)
    return re.findall(r"`([^`\n]+)`", text) + re.findall(r"`([^`]+)`", "".join(map(str, TABLES)))


def defined():
    """Functions, classes and methods of the package, dotted, and all their last parts."""
    names = set()

    def visit(node, above):
        for child in ast.iter_child_nodes(node):
            if isinstance(child, (ast.FunctionDef, ast.ClassDef, ast.AsyncFunctionDef)):
                names.update({child.name, f"{above}.{child.name}".lstrip(".")})
                visit(child, child.name)

    for tree in review_tables.trees().values():
        visit(tree, "")
    return names


@pytest.mark.parametrize("page", PAGES)
def test_every_test_that_is_named_is_there(page):
    present = {path.stem: path.read_text() for path in (ROOT / "tests").glob("test_*.py")}
    for name in re.findall(r"\b(test_\w+)\b", PAGES[page]):
        assert name in present or any(f"def {name}(" in text for text in present.values()), name


@pytest.mark.parametrize("page", PAGES)
def test_every_file_that_is_named_is_there(page):
    for name in spans(PAGES[page]):
        for path in re.findall(r"[\w/]+\.(?:py|md|cfg)\b", name):
            places = (ROOT, ROOT / "skfhe", ROOT / "tests", ROOT / "docs")
            assert any((place / path).exists() for place in places), path


def test_every_name_of_the_code_is_there():
    names, mine = defined(), spans(REVIEW) + spans(FIELDS)
    dotted = {name for name in mine if re.fullmatch(r"[A-Z]\w+\.(?!md$)\w+", name)}
    assert len(dotted) > 20
    for name in dotted:
        kind, method = name.split(".")
        assert kind in names and method in names, name  # methods may be inherited
    for name in ("check_plan", "dithered", "integer_sums", "fitted_frame", "preconditioner"):
        assert name in names and f"`{name}`" in REVIEW + FIELDS


def test_the_commands_name_files_and_targets_that_are_there():
    makefile = (ROOT / "Makefile").read_text()
    for target in re.findall(r"`make ([a-z-]+)`", REVIEW):
        assert re.search(rf"^{target}:", makefile, re.M), target
    commands = [
        line for line in REVIEW.splitlines() if line.startswith("| ") and "`tests/" in line
    ]
    assert len(commands) > 12
