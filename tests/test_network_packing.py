"""A network's slots in NumPy: products, windows, spreads, sums, and what is zero beside them."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from network_helpers import exact_coefficients, is_output, item_values

from skfhe.crypto.embedding import galois_slots, slots_to_coefficients
from skfhe.crypto.parameters import Ring
from skfhe.packing import Layout, NetworkLayout

RINGS = {n: Ring(n, ((1 << 36) - 1, (1 << 35) - 1, (1 << 34) - 1)) for n in (4096, 8192)}


def make(degree, n_rows, columns, block, m, units, outputs):
    return NetworkLayout(Layout(degree, n_rows, columns, block, m), units, outputs)


def fits(layout):
    """Under which conditions a layout exists (see `NetworkSizing.layouts`)."""
    return layout.rows.rows_per_chunk >= 1 and layout.n_items <= layout.rows.class_span


@st.composite
def layouts(draw):
    degree = draw(st.sampled_from([4096, 8192]))
    block, m = 1 << draw(st.integers(0, 4)), 1 << draw(st.integers(0, 3))
    columns, units, outputs = (draw(st.integers(1, most)) for most in (20, 20, 5))
    most = max(1, 3 * (degree // 2 // (block * m)))
    return make(degree, draw(st.integers(1, most)), columns, block, m, units, outputs)


CASES = [
    make(*case)
    for case in [
        (4096, 5, 2, 1, 1, 1, 1),  # a single unit
        (4096, 2500, 5, 1, 1, 3, 1),  # a ciphertext for every unit, several chunks
        (4096, 60, 5, 4, 2, 4, 1),
        (4096, 600, 7, 4, 2, 7, 3),  # padding units in the second of two groups
        (4096, 150, 31, 8, 4, 16, 3),
        (4096, 1100, 9, 2, 1, 5, 10),
        (8192, 17, 40, 16, 8, 12, 2),  # more room than units
        (8192, 140, 11, 4, 16, 10, 4),
    ]
]


def label(layout):
    r = layout.rows
    return (
        f"N{r.poly_modulus_degree}-{r.n_rows}x{r.n_columns}-C{layout.block}"
        f"-m{r.feature_blocks}-h{layout.n_units}-K{layout.n_outputs}"
    )


def ring_of(layout):
    return RINGS[layout.rows.poly_modulus_degree]


def problem(layout, seed=0):
    """Rows, weights of both layers, and what stands for hidden errors, values and residuals."""
    random, (n, d) = np.random.default_rng(seed), (layout.rows.n_rows, layout.rows.n_columns)
    h, k = layout.n_units, layout.n_outputs
    shapes = (n, d), (d, h), (h, k), (n, h), (n, h), (n, k)
    return [random.normal(size=shape) for shape in shapes]


def chunks(layout, *arrays):
    size = layout.rows.rows_per_chunk
    for start in range(0, layout.rows.n_rows, size):
        yield [array[start : start + size] for array in arrays]


def by_row(layout, slots):
    """Slots as copies, rows, units."""
    return slots.reshape(-1, layout.rows.rows_per_chunk, layout.block)


def unit_slots(layout, values):
    """Slots of values of shape (rows, h) per group of units, one by one; zero in padding."""
    r, found = layout.rows, np.zeros((layout.unit_groups, layout.rows.slots), dtype=complex)
    for row, unit in np.ndindex(*values.shape):
        first = layout.block * row + unit % layout.block
        found[unit // layout.block, first :: r.slots // r.feature_blocks] = values[row, unit]
    return found


def rotated_sum(layout, slots, elements):
    for element in elements:
        source, conjugate = galois_slots(ring_of(layout), element)
        assert not conjugate.any()
        slots = slots + slots[source]
    return slots


# Margins, windows, spreads.


def check_margins(layout):
    """Products of rows and hidden weights; the part that all copies share, and its real part."""
    rows, W, *_ = problem(layout)
    r, packed = layout.rows, layout.pack_hidden(W)
    assert len(packed) == layout.unit_groups * r.groups
    for (part,) in chunks(layout, rows):
        encoded = [r.pack_rows(part, group) for group in range(r.groups)]
        expected = unit_slots(layout, part @ W)
        for unit, wanted in enumerate(expected):
            weights = packed[unit * r.groups : (unit + 1) * r.groups]
            products = sum(x * w for x, w in zip(encoded, weights, strict=True))
            margins = by_row(layout, products).mean(axis=0).real
            found = np.tile(margins.ravel(), r.feature_blocks)
            np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-9)


def check_windows(layout):
    """Unit 0 has the row's sum; unit j the units from j on and those before j of the next row."""
    _, _, W2, _, values, _ = problem(layout)
    (part,) = next(chunks(layout, values))
    for output in W2.T:
        products = unit_slots(layout, part) * np.array(layout.pack_output(output))
        total = products.sum(axis=0)
        found = rotated_sum(layout, total, layout.window_elements)
        np.testing.assert_allclose(by_row(layout, found)[:, : len(part), 0].T, np.repeat(
            (part @ output)[:, None], layout.rows.feature_blocks, axis=1
        ), atol=1e-10)  # fmt: skip
        windows = [total[(np.arange(total.size) + i) % total.size] for i in range(layout.block)]
        np.testing.assert_allclose(found, np.sum(windows, axis=0), atol=1e-10)


def check_spread(layout):
    """The same rotations backwards: exactly the row's value, in every unit."""
    *_, residuals = problem(layout)
    (part,) = next(chunks(layout, residuals))
    for column, slots in zip(part.T, layout.pack_labels(0.5 - part), strict=True):
        rows = by_row(layout, rotated_sum(layout, slots, layout.spread_elements))
        expected = np.zeros(layout.rows.rows_per_chunk)
        expected[: len(column)] = 0.5 - (0.5 - column)
        np.testing.assert_array_equal(rows, np.broadcast_to(expected[:, None], rows.shape))


# Sums.


def merged(layout, rows, back, values, residuals, bias):
    """Coefficients of the merge: the S part of every item at its place, zero elsewhere."""
    r, ring = layout.rows, ring_of(layout)
    items = np.zeros((layout.n_items, r.slots), dtype=complex)
    for x, d, a, e in chunks(layout, rows, back, values, residuals):
        x_slots = [r.pack_rows(x, group) for group in range(r.groups)]
        shifts = [r._roots**-t for t in range(r.feature_blocks)]
        first = [s * xg * du for du in unit_slots(layout, d) for xg in x_slots for s in shifts]
        padded = np.zeros((r.rows_per_chunk, layout.n_outputs))
        padded[: len(e)] = e
        spread = [np.tile(np.repeat(c, layout.block), r.feature_blocks) for c in padded.T]
        second = [s * au for s in spread for au in unit_slots(layout, a)]
        third = [slots for slots in layout.pack_labels(0.5 - bias * e)]
        items += np.array([*first, *second, *third])
    result = np.zeros((2 * layout.block, r.class_span))
    for item, offset in zip(items, r.offsets(len(items)), strict=True):
        parts = slots_to_coefficients(ring, item).reshape(2 * layout.block, r.class_span)
        result[:, offset] = parts[:, 0]
    return result.ravel()


def check_sums(layout):
    rows, _, _, back, values, residuals = problem(layout)
    found = merged(layout, rows, back, values, residuals, 0.3)
    hidden, output = layout.unpack_sums(found)
    expected = rows.T @ back, np.vstack([values.T @ residuals, 0.3 * residuals.sum(axis=0)])
    assert hidden.shape == (layout.rows.n_columns, layout.n_units)
    for got, wanted in zip((hidden, output), expected, strict=True):
        np.testing.assert_allclose(got, wanted, rtol=0, atol=1e-9 * np.abs(wanted).max())
    # The helpers' way back is one, and nothing is at other coefficients.
    back_again = exact_coefficients(layout, *expected)
    np.testing.assert_allclose(found, back_again, rtol=0, atol=1e-9 * np.abs(found).max())
    assert not back_again[~is_output(layout)].any()


CHECKS = [check_margins, check_windows, check_spread, check_sums]


@pytest.mark.parametrize("check", CHECKS)
@pytest.mark.parametrize("layout", CASES, ids=label)
def test_layout(layout, check):
    check(layout)


@settings(max_examples=15, deadline=None)
@given(layouts().filter(fits))
def test_any_layout(layout):
    for check in CHECKS:
        check(layout)


# What is zero.


@pytest.mark.parametrize("layout", CASES, ids=label)
def test_labels_and_presence_are_in_unit_0_of_rows_that_are_there(layout):
    *_, residuals = problem(layout)
    targets = (residuals > 0).astype(float)
    for (part,) in chunks(layout, targets):
        packed = layout.pack_labels(part)
        assert len(packed) == layout.n_outputs
        for column, slots in zip((0.5 - part).T, packed, strict=True):
            rows = by_row(layout, slots)
            np.testing.assert_array_equal(rows[:, : len(part), 0], np.tile(column, (len(rows), 1)))
            assert not rows[:, len(part) :].any() and not rows[:, :, 1:].any()
        rows = by_row(layout, layout.pack_presence(len(part), 0.3))
        assert (rows[:, : len(part), 0] == 0.3).all()
        assert not rows[:, len(part) :].any() and not rows[:, :, 1:].any()
    np.testing.assert_array_equal(layout.pack_constant(0.7), np.full(layout.rows.slots, 0.7))


@pytest.mark.parametrize("layout", CASES, ids=label)
def test_padding_units_have_no_weights(layout):
    _, W, W2, *_ = problem(layout)
    r = layout.rows
    hidden = np.array(layout.pack_hidden(W)).reshape(layout.unit_groups, r.groups, -1)
    output = np.array([layout.pack_output(column) for column in W2.T])
    unit = (
        np.arange(layout.unit_groups)[:, None] * layout.block + np.arange(r.slots) % layout.block
    )
    padding = unit >= layout.n_units
    assert not hidden.transpose(0, 2, 1)[padding].any()
    assert hidden.transpose(0, 2, 1)[~padding].any(axis=1).all()
    assert not output[:, padding].any() and output[:, ~padding].all()
    np.testing.assert_array_equal(output[0][~padding].real, W2[unit[~padding], 0])


# Elements, items, norm.


@given(layouts().filter(fits))
def test_elements_are_what_rotations_and_projections_need(layout):
    r, order = layout.rows, 2 * layout.rows.poly_modulus_degree
    steps = layout.block.bit_length() - 1
    assert len(layout.window_elements) == len(layout.spread_elements) == steps
    for i, (there, back) in enumerate(
        zip(layout.window_elements, layout.spread_elements, strict=True)
    ):
        slots = np.arange(r.slots).astype(complex)
        ring = ring_of(layout)
        np.testing.assert_array_equal(slots[galois_slots(ring, there)[0]], np.roll(slots, -(2**i)))
        np.testing.assert_array_equal(slots[galois_slots(ring, back)[0]], np.roll(slots, 2**i))
        assert there * back % order == 1
    needed = [*r.margin_elements, *r.sum_elements, *layout.window_elements]
    assert set(layout.elements) == {*needed, *layout.spread_elements}
    assert len(set(layout.elements)) == len(layout.elements)
    assert all(element % 2 and 1 < element < order for element in layout.elements)


@given(layouts().filter(fits))
def test_items_have_places_of_their_own(layout):
    r, h, k = layout.rows, layout.n_units, layout.n_outputs
    groups, columns = -(-h // layout.block), -(-r.n_columns // (2 * r.feature_blocks))
    assert layout.unit_groups == groups and r.groups == columns
    assert layout.n_items == groups * columns * r.feature_blocks + k * groups + k
    offsets = r.offsets(layout.n_items)
    assert len(np.unique(offsets)) == layout.n_items
    assert offsets.min() >= 0 and offsets.max() < r.class_span
    weights = len(layout.pack_hidden(np.zeros((r.n_columns, h))))
    weights += 2 * k * len(layout.pack_output(np.zeros(h))) + k
    assert layout.n_weights == weights


@pytest.mark.parametrize("layout", [CASES[0], CASES[1], CASES[3], CASES[5]], ids=label)
def test_sums_of_noise_are_noise(layout):
    """The sums as a matrix of all coefficients: rows orthogonal, all of the output norm.

    So isotropic noise on coefficients is isotropic noise on both blocks and the biases.
    """
    places = np.flatnonzero(is_output(layout))
    matrix = []
    for place in places:
        unit = np.zeros(layout.rows.poly_modulus_degree)
        unit[place] = 1.0
        matrix.append(np.concatenate([part.ravel() for part in layout.unpack_sums(unit)]))
    matrix = np.array(matrix) / layout.rows.output_norm
    np.testing.assert_allclose(matrix.T @ matrix, np.eye(len(matrix.T)), atol=1e-12)


@settings(max_examples=30, deadline=None)
@given(layouts().filter(fits), st.integers(0, 2**32))
def test_coefficients_are_as_long_as_the_sums(layout, seed):
    """An isometry up to the output norm, for both blocks; other places are not seen at all."""
    random, r = np.random.default_rng(seed), layout.rows
    hidden = random.normal(size=(r.n_columns, layout.n_units))
    output = random.normal(size=(layout.n_units + 1, layout.n_outputs))
    coefficients = exact_coefficients(layout, hidden, output)
    norm = np.hypot(np.linalg.norm(hidden), np.linalg.norm(output))
    assert np.linalg.norm(coefficients) * r.output_norm == pytest.approx(norm)
    assert len(item_values(layout, hidden, output)) == layout.n_items
    outside = ~is_output(layout)
    coefficients[outside] = random.normal(size=outside.sum())
    for got, wanted in zip(layout.unpack_sums(coefficients), (hidden, output), strict=True):
        np.testing.assert_allclose(got, wanted, rtol=0, atol=1e-10)
