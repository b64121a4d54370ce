"""Scaling by public bounds, shortening of rows, private means and variances."""

import math
import pickle
import warnings

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import sparse
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.utils import get_tags

from skfhe import (
    BoundsScaler,
    BudgetExceeded,
    DPStandardScaler,
    EncryptedDPLogisticRegression,
    PrivacyLedger,
    RowNormClipper,
    SeededNoiseWarning,
)
from skfhe.preprocessing.standard_scaler import moment_sums

ENDLESS = {"epsilon": math.inf, "delta": 1e-5}


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=20))
def test_the_output_stays_within_its_range(values):
    X = np.array(values)[:, None]
    scaled = BoundsScaler((-3.0, 5.0), feature_range=(0, 1)).fit_transform(X)
    assert np.all((scaled >= 0) & (scaled <= 1))
    inside = (X >= -3) & (X <= 5)
    np.testing.assert_allclose(scaled[inside] * 8 - 3, X[inside], atol=1e-9)


def test_fit_uses_no_value():
    bounds = ([0.0, 1.0], [2.0, 5.0])
    a = BoundsScaler(bounds).fit(np.zeros((3, 2)))
    b = BoundsScaler(bounds).fit(np.full((9, 2), 1e9))
    np.testing.assert_array_equal(a.transform([[1.0, 3.0]]), b.transform([[1.0, 3.0]]))
    np.testing.assert_array_equal(a.transform([[1.0, 3.0]]), [[0.0, 0.0]])


def test_bounds_by_column_name():
    X = pd.DataFrame({"age": [0.0, 120.0], "height": [1.0, 2.0]})
    scaler = BoundsScaler({"height": (0, 2), "age": (0, 120), "unused": (0, 1)})
    np.testing.assert_allclose(scaler.fit_transform(X), [[-1, 0], [1, 1]])
    assert list(scaler.get_feature_names_out()) == ["age", "height"]


@pytest.mark.parametrize(
    ("bounds", "X", "words"),
    [
        (([0, 0], [1, 0]), np.zeros((2, 2)), "low < high"),
        (([0, 0], [1, np.inf]), np.zeros((2, 2)), "finite"),
        (([0, 0, 0], [1, 1, 1]), np.zeros((2, 2)), "one per column"),
        ([(0, 1), (0, 1), (0, 1)], np.zeros((2, 3)), "pair"),
        (1.0, np.zeros((2, 2)), "bounds"),
        ({"a": (0, 1)}, np.zeros((2, 2)), "column names"),
        ({"a": (0, 1)}, pd.DataFrame({"a": [0.0], "b": [0.0]}), "missing for the columns"),
    ],
)
def test_bad_bounds_are_refused(bounds, X, words):
    with pytest.raises(ValueError, match=words):
        BoundsScaler(bounds).fit(X)


@given(
    st.lists(st.lists(st.floats(-1e300, 1e300), min_size=3, max_size=3), min_size=1, max_size=8),
    st.floats(1e-3, 1e3),
)
def test_no_row_is_longer_than_the_norm_and_short_ones_stay(rows, max_norm):
    X = np.array(rows)
    shortened = RowNormClipper(max_norm).transform(X)
    norms = np.linalg.norm(shortened, axis=1)
    assert np.all(norms <= max_norm * (1 + 1e-12))
    with np.errstate(over="ignore"):
        short = np.linalg.norm(X, axis=1) < max_norm * (1 - 1e-12)
    np.testing.assert_array_equal(shortened[short], X[short])
    dense = RowNormClipper(max_norm).transform(sparse.csr_matrix(X)).toarray()
    np.testing.assert_allclose(dense, shortened, rtol=1e-14)


def test_the_clipper_needs_no_fit_and_keeps_sparse_rows_sparse():
    X = sparse.random(20, 6, density=0.3, random_state=0, format="csr") * 5
    shortened = RowNormClipper(2.0).transform(X)
    assert sparse.issparse(shortened)
    assert shortened.nnz == X.nnz
    assert not get_tags(RowNormClipper()).requires_fit
    assert get_tags(RowNormClipper()).input_tags.sparse


@pytest.mark.parametrize("bad", [0.0, -1.0, np.inf, np.nan])
def test_a_bad_max_norm_is_refused(bad):
    for call in (RowNormClipper(bad).fit, RowNormClipper(bad).transform):
        with pytest.raises(ValueError, match="max_norm must be positive"):
            call(np.ones((2, 2)))


cells = st.one_of(st.floats(-1, 1), st.sampled_from([-1.0, 0.0, 1.0, 0.5**0.5]))


@given(st.integers(1, 4).flatmap(lambda d: st.tuples(
    st.lists(st.lists(cells, min_size=d, max_size=d), min_size=1, max_size=5),
    st.lists(cells, min_size=d, max_size=d),
)))  # fmt: skip
def test_one_row_moves_the_sums_by_no_more_than_stated(case):
    rows, other = map(np.array, case)
    d = rows.shape[1]
    removed, replaced = rows[1:], np.vstack([other, rows[1:]])
    assert np.linalg.norm(moment_sums(rows) - moment_sums(removed)) <= math.sqrt(d)
    moved = np.linalg.norm(moment_sums(rows) - moment_sums(replaced))
    assert moved <= 2 * math.sqrt(d)


def test_the_sensitivity_is_attained():
    low, high = -np.ones((1, 9)), np.ones((1, 9))
    assert np.linalg.norm(moment_sums(high)) == 3.0
    assert np.linalg.norm(moment_sums(0 * high)) == 3.0
    assert np.linalg.norm(moment_sums(high) - moment_sums(low)) == 6.0


def test_sums_are_exact_whatever_their_order():
    rng = np.random.default_rng(0)
    X = rng.uniform(-1, 1, (100_000, 2))
    np.testing.assert_array_equal(moment_sums(X), moment_sums(rng.permutation(X)))


def test_means_and_variances_are_close_where_the_budget_allows():
    rng = np.random.default_rng(0)
    X = rng.normal([10.0, -300.0], [2.0, 40.0], (20_000, 2))
    scaler = DPStandardScaler(epsilon=2.0, bounds=([0, -500], [20, 0])).fit(X)
    np.testing.assert_allclose(scaler.mean_, [10, -300], rtol=0.02)
    np.testing.assert_allclose(scaler.scale_, [2, 40], rtol=0.1)
    np.testing.assert_allclose(scaler.var_, scaler.scale_**2)
    scaled = scaler.transform(X)
    np.testing.assert_allclose(scaled.std(axis=0), 1, atol=0.1)
    np.testing.assert_allclose(scaler.transform([[1e9, 1e9]]), scaler.transform([[20, 0]]))


@pytest.mark.parametrize("n", [1, 10, 1000])
@pytest.mark.parametrize("value", [0.0, 1.0, -1.0, 0.3])
def test_constant_columns_and_few_rows_have_a_scale(n, value):
    for _ in range(20):
        scaler = DPStandardScaler(epsilon=0.01).fit(np.full((n, 3), value))
        assert np.all((scaler.scale_ > 0) & (scaler.scale_ <= 1))
        assert np.all(np.abs(scaler.mean_) <= 1)
        assert np.isfinite(scaler.transform(np.zeros((2, 3)))).all()


@pytest.mark.parametrize("neighboring", ["add_remove", "replace_one"])
def test_the_scaler_pays_what_it_says(neighboring):
    ledger = PrivacyLedger(epsilon=0.3, delta=1e-6)
    scaler = DPStandardScaler(0.3, 1e-6, ledger=ledger, neighboring=neighboring)
    X = np.random.default_rng(0).uniform(-1, 1, (50, 4))
    privacy = scaler.fit(X).privacy_
    assert (privacy.epsilon, privacy.delta, privacy.guaranteed) == (0.3, 1e-6, True)
    assert privacy.neighboring == neighboring
    factor = 2 if neighboring == "replace_one" else 1
    assert privacy.sensitivity == pytest.approx(factor * 2, rel=1e-5)
    assert 0.299 < ledger.spent().epsilon <= 0.3
    assert ledger.entries()[0].mechanism == "DPStandardScaler"
    assert ledger.entries()[0].squared_mu == privacy.squared_mu == 1 / privacy.noise_multiplier**2
    fresh = clone(scaler)
    with pytest.raises(BudgetExceeded):
        fresh.fit(X)
    with pytest.raises(NotFittedError):
        fresh.transform(X)
    assert len(ledger.entries()) == 1


@pytest.mark.parametrize(
    ("parameters", "X", "words"),
    [
        ({"bounds": (1, 0)}, np.zeros((3, 2)), "low < high"),
        ({"bounds": {"a": (0, 1)}}, np.zeros((3, 2)), "column names"),
        ({"epsilon": 0.0}, np.zeros((3, 2)), "epsilon must"),
        ({"epsilon": np.inf}, np.zeros((3, 2)), "epsilon must"),
        ({"delta": 1.0}, np.zeros((3, 2)), "delta must"),
        ({"neighboring": "both"}, np.zeros((3, 2)), "neighboring must"),
        ({}, np.full((3, 2), np.nan), "NaN"),
        ({}, np.full((3, 2), np.inf), "infinity"),
        ({}, np.zeros((0, 2)), "0 sample"),
    ],
)
def test_bad_input_is_refused_before_the_debit(parameters, X, words):
    ledger = PrivacyLedger(**ENDLESS)
    with pytest.raises(ValueError, match=words):
        DPStandardScaler(ledger=ledger, **parameters).fit(X)
    assert not ledger.entries()


def test_sparse_rows_are_refused_before_the_debit():
    ledger = PrivacyLedger(**ENDLESS)
    with pytest.raises(TypeError, match="dense data is required"):
        DPStandardScaler(ledger=ledger).fit(sparse.csr_matrix((3, 2)))
    assert not ledger.entries()


def test_a_seeded_scaler_has_no_guarantee():
    ledger = PrivacyLedger(**ENDLESS)
    X = np.zeros((9, 2))
    with pytest.warns(SeededNoiseWarning, match="scaler has no privacy"):
        scaler = DPStandardScaler(ledger=ledger, random_state=3).fit(X)
    assert math.isinf(scaler.privacy_.epsilon)
    assert not scaler.privacy_.guaranteed
    assert math.isinf(ledger.spent().epsilon)
    again = DPStandardScaler(random_state=3).fit(X)
    np.testing.assert_array_equal(again.mean_, scaler.mean_)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        one, other = DPStandardScaler(100.0).fit(X), DPStandardScaler(100.0).fit(X)
    assert not np.array_equal(one.mean_, other.mean_)


def test_there_is_no_partial_fit():
    assert not hasattr(DPStandardScaler(), "partial_fit")


def test_a_pipeline_of_all_three_trains():
    rng = np.random.default_rng(0)
    X = pd.DataFrame({"a": rng.normal(5, 1, 300), "b": rng.normal(-2, 3, 300)})
    y = (X["a"] > 5).to_numpy()
    ledger = PrivacyLedger(epsilon=4.0, delta=1e-5)
    model = make_pipeline(
        DPStandardScaler(1.0, bounds={"a": (0, 10), "b": (-20, 20)}, ledger=ledger),
        RowNormClipper(2.0),
        FunctionTransformer(),
        EncryptedDPLogisticRegression(3.0, data_norm=2.0, backend="simulated", ledger=ledger),
    ).fit(X, y)
    assert [entry.mechanism for entry in ledger.entries()] == [
        "DPStandardScaler", "EncryptedDPLogisticRegression",
    ]  # fmt: skip
    copy = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(copy.predict(X), model.predict(X))
