"""Scaling by public bounds."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from skfhe import BoundsScaler


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


@pytest.mark.parametrize("feature_range", [(1, 0), (0, 0), (0, np.nan), (0, 1, 2), 1, "ab"])
def test_bad_ranges_are_refused(feature_range):
    with pytest.raises(ValueError, match="feature_range"):
        BoundsScaler((-1, 1), feature_range).fit(np.zeros((2, 2)))
