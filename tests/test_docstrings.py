"""Every public name is in the reference, with a docstring that says what it must.

One test per name: the count is that of the public names. Then one per docstring with examples.
"""

import doctest
import importlib
import pkgutil
import re

import docstring_checks as checks
import numpy as np
import pytest
from sklearn.datasets import make_classification

import skfhe


@pytest.mark.parametrize("name", checks.NAMES)
def test_docstring(name):
    found = checks.complaints(name)
    assert not found, "\n".join(found)


def test_the_reference_shows_no_name_twice():
    assert len(set(checks.NAMES)) == len(checks.NAMES) == len({*map(id_of, checks.NAMES)})


def test_the_overview_lists_every_class_and_function():
    listed = re.findall(r"^   ~?(skfhe\.[\w.]+)$", (checks.API / "index.md").read_text(), re.M)
    assert sorted(listed) == sorted(
        name for name in checks.NAMES if name.rpartition(".")[0] not in checks.CLASSES
    )


def id_of(name):
    """What tells objects apart; members of different classes that share one are different."""
    owner, _, member = name.rpartition(".")
    return (owner, member) if owner in checks.CLASSES else id(checks.load(name))


@pytest.mark.parametrize("module", checks.MODULES)
def test_the_reference_shows_what_modules_export(module):
    shown = [checks.load(name) for name in checks.NAMES]
    missing = [one for one in checks.public_of(module) if one not in shown]
    assert not missing, missing


@pytest.mark.parametrize("name", [*checks.CLASSES])
def test_the_reference_shows_all_members(name):
    assert set(checks.CLASSES[name]) == checks.required_members(checks.load(name))


def fitted():
    """One of every estimator, fitted on synthetic rows."""
    X, y = make_classification(100, 4, random_state=0)
    yield skfhe.EncryptedDPLogisticRegression(data_norm=4.0, backend="simulated").fit(X, y)
    yield skfhe.EncryptedDPMLPClassifier(
        hidden_layer_sizes=2, data_norm=4.0, max_iter=2, backend="simulated"
    ).fit(X, y)
    for scaler in (skfhe.BoundsScaler, skfhe.RowNormClipper, skfhe.DPStandardScaler):
        yield scaler().fit(np.clip(X, -1, 1))


@pytest.mark.parametrize("model", [*fitted()], ids=lambda model: type(model).__name__)
def test_fitted_attributes_are_documented(model):
    entries = checks.Docstring(f"skfhe.{type(model).__name__}").entries("Attributes")
    told = {name for names, _, _ in entries for name in names.split(", ")}
    found = {name for name in vars(model) if name.endswith("_") and not name.startswith("_")}
    assert told - {"feature_names_in_"} == found


def examples():
    """All docstrings of the package with examples, but those of a library that is not here."""
    finder = doctest.DocTestFinder(exclude_empty=True)
    for info in pkgutil.walk_packages(skfhe.__path__, "skfhe."):
        if "openfhe" not in info.name and not info.name.endswith("__main__"):
            module = importlib.import_module(info.name)
            yield from (test for test in finder.find(module) if test.examples)


@pytest.mark.parametrize("example", [*examples()], ids=lambda example: example.name)
def test_examples(example):
    pyplot = pytest.importorskip("matplotlib.pyplot")
    pyplot.switch_backend("agg")
    told = []
    doctest.DocTestRunner().run(example, out=told.append)
    pyplot.close("all")
    assert not told, "".join(told)


def careless(values, epsilon, unseen):
    """add noise of spread sqrt(epsilon)

    Parameters
    ----------
    values : ndarray
        Numbers
    epsilon : float
        Positive.
    """
    if unseen:
        raise TypeError("unseen")
    return values


@pytest.mark.parametrize(
    "found",
    [
        *("SS02", "SS03", "PR01 Parameters {'unseen'}", 'PR09 Parameter "values"', "RT01"),
        *("values: an array without a shape", "epsilon: its description", "no source of"),
        "Raises: TypeError is not listed",
    ],
)
def test_what_is_missing_is_found(found):
    assert any(found in one for one in checks.complaints(f"{__name__}.careless"))
