"""Layouts: margins and sums against X W and X^T E, and what the layout promises about noise."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skfhe.circuits.arithmetic import Arithmetic, merge_all
from skfhe.circuits.logistic import margins
from skfhe.crypto.embedding import slots_to_coefficients
from skfhe.crypto.parameters import Ring
from skfhe.crypto.simulated import SimulatedScheme
from skfhe.packing import Layout

SCALE = 2.0**5
RINGS = {
    4096: Ring(4096, ((1 << 36) - 1, (1 << 35) - 1, (1 << 34) - 1)),
    8192: Ring(8192, ((1 << 50) - 1, (1 << 49) - 1, (1 << 48) - 1, (1 << 47) - 1)),
}


def fits(layout):
    """The two conditions under which a layout exists (see `skfhe.planning.encryption`)."""
    items = layout.groups * layout.feature_blocks
    return layout.rows_per_chunk >= 1 and items <= layout.class_span


@st.composite
def layouts(draw):
    degree = draw(st.sampled_from([4096, 8192]))
    blocks = 1 << draw(st.integers(0, 5))
    columns, outputs = draw(st.integers(1, 70)), draw(st.integers(1, 10))
    probe = Layout(degree, 1, columns, outputs, blocks)
    rows = draw(st.integers(1, 3 * probe.rows_per_chunk))
    return Layout(degree, rows, columns, outputs, blocks)


CASES = [
    Layout(degree, n_rows, n_columns, n_outputs, blocks)
    for degree, n_rows, n_columns, n_outputs, blocks in [
        (4096, 5, 1, 1, 1),
        (4096, 2048, 2, 1, 1),
        (4096, 3000, 3, 1, 2),
        (4096, 60, 31, 1, 16),
        (4096, 150, 5, 3, 2),
        (4096, 7, 64, 10, 32),
        (8192, 5000, 4, 1, 1),
        (8192, 300, 11, 1, 8),
        (8192, 455, 31, 2, 8),
        (8192, 130, 65, 10, 16),
        (8192, 1000, 9, 7, 4),
    ]
]


def label(layout):
    return (
        f"N{layout.poly_modulus_degree}-{layout.n_rows}x{layout.n_columns}"
        f"-K{layout.n_outputs}-m{layout.feature_blocks}"
    )


def parts(layout, rows):
    """Rows of each chunk."""
    size = layout.rows_per_chunk
    return [rows[start : start + size] for start in range(0, len(rows), size)]


def slots_of(layout, values):
    """The slots that hold ``values`` of shape (rows_per_chunk, class_blocks), one by one."""
    slots = np.zeros(layout.slots, dtype=complex)
    period = layout.rows_per_chunk * layout.class_blocks
    for slot in range(layout.slots):
        slots[slot] = values.flat[slot % period]
    return slots


class Computation:
    """Margins and sums of one layout on the simulated backend."""

    def __init__(self, layout):
        self.layout = layout
        ring = RINGS[layout.poly_modulus_degree]
        keys = SimulatedScheme(ring).generate(layout.elements)
        self.backend = SimulatedScheme(ring).evaluator(keys.evaluation_keys())
        self.encryptor = keys.encryptor()
        # A waterline out of reach: nothing is rescaled.
        self.arithmetic = Arithmetic(self.backend, 2.0**200)

    def encrypt(self, slots):
        level = self.backend.ring.top_level
        return self.backend.load(self.encryptor.encrypt(slots, SCALE, level))

    def rows(self, chunk):
        return [self.encrypt(self.layout.pack_rows(chunk, g)) for g in range(self.layout.groups)]

    def margins(self, chunk, weights):
        packed = [self.encrypt(slots) for slots in self.layout.pack_weights(weights)]
        return margins(self.arithmetic, self.layout, self.rows(chunk), packed).slots

    def merged(self, chunks, residuals):
        """Coefficients, in message units, of the merged products of rows and residual slots."""
        layout, backend = self.layout, self.backend
        encrypted = [self.rows(chunk) for chunk in chunks]
        errors = [self.encrypt(slots) for slots in residuals]
        items = []
        for group in range(layout.groups):
            product = backend.dot([rows[group] for rows in encrypted], errors)
            for power in range(layout.feature_blocks):
                items.append(backend.multiply_monomial(product, -power))
        result = merge_all(backend, layout, items)
        assert result.scale == SCALE**2 * layout.class_span
        # Read before it is rounded to integers, as a scale this small would show that.
        return slots_to_coefficients(backend.ring, result.slots)


def random_problem(layout, seed=0):
    random = np.random.default_rng(seed)
    rows = random.normal(size=(layout.n_rows, layout.n_columns))
    weights = random.normal(size=(layout.n_columns, layout.n_outputs))
    residuals = random.normal(size=(layout.n_rows, layout.n_outputs))
    return rows, weights, residuals


def residual_slots(layout, chunk):
    """`pack_labels` packs 1/2 - target, so these targets give the chunk itself."""
    return layout.pack_labels(0.5 - chunk)


def check_margins(layout):
    rows, weights, _ = random_problem(layout)
    computation = Computation(layout)
    for chunk in parts(layout, rows):
        expected = np.zeros((layout.rows_per_chunk, layout.class_blocks))
        expected[: len(chunk), : layout.n_outputs] = chunk @ weights
        found = computation.margins(chunk, weights)
        np.testing.assert_allclose(found, slots_of(layout, expected), rtol=0, atol=1e-9)


def check_sums(layout):
    rows, _, residuals = random_problem(layout)
    chunks = parts(layout, rows)
    slots = [residual_slots(layout, part) for part in parts(layout, residuals)]
    coefficients = Computation(layout).merged(chunks, slots)
    expected = rows.T @ residuals
    found = layout.unpack_sums(coefficients)
    assert found.shape == (layout.n_columns, layout.n_outputs)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-9 * np.abs(expected).max())
    outside = np.ones(layout.poly_modulus_degree, dtype=bool)
    outside[output_places(layout)] = False
    assert np.max(np.abs(coefficients[outside]), initial=0.0) <= 1e-9 * np.abs(coefficients).max()


def output_places(layout):
    """Every coefficient that some item of the merge ends at."""
    multiples = np.arange(2 * layout.class_blocks) * layout.class_span
    return (layout.merge_offsets[:, None] + multiples).ravel()


@pytest.mark.parametrize("layout", CASES, ids=label)
def test_margins(layout):
    check_margins(layout)


@pytest.mark.parametrize("layout", CASES, ids=label)
def test_sums_and_nothing_else(layout):
    check_sums(layout)


@settings(max_examples=25, deadline=None)
@given(layouts().filter(fits))
def test_any_layout(layout):
    check_margins(layout)
    check_sums(layout)


@pytest.mark.parametrize("layout", CASES, ids=label)
def test_padding_is_exactly_zero(layout):
    rows, weights, residuals = random_problem(layout)
    last = parts(layout, rows)[-1]
    period = layout.rows_per_chunk * layout.class_blocks
    row = np.arange(layout.slots) % period // layout.class_blocks
    output = np.arange(layout.slots) % layout.class_blocks
    packed = np.array([layout.pack_rows(last, g) for g in range(layout.groups)])
    assert np.all(packed[:, row >= len(last)] == 0)
    labels = residual_slots(layout, parts(layout, residuals)[-1])
    assert np.all(labels[(row >= len(last)) | (output >= layout.n_outputs)] == 0)
    columns = np.array(layout.pack_weights(weights))
    assert np.all(columns[:, output >= layout.n_outputs] == 0)
    assert np.all(np.abs(columns[:, output < layout.n_outputs]).max(axis=0) > 0)


@pytest.mark.parametrize("layout", [CASES[4], CASES[2], CASES[10]], ids=label)
def test_padding_contributes_nothing(layout):
    """Whatever the residuals of padding rows and classes are (p(0) - 0, say), sums stay."""
    rows, _, residuals = random_problem(layout)
    chunks = parts(layout, rows)
    plain = [residual_slots(layout, part) for part in parts(layout, residuals)]
    junk = 100 * np.ones((layout.rows_per_chunk, layout.class_blocks))
    junk[: len(chunks[-1]), : layout.n_outputs] = 0
    filled = plain[:-1] + [plain[-1] + slots_of(layout, junk)]
    assert np.abs(filled[-1] - plain[-1]).max() == 100
    before, after = (
        layout.unpack_sums(Computation(layout).merged(chunks, slots)) for slots in (plain, filled)
    )
    np.testing.assert_allclose(after, before, rtol=0, atol=1e-9 * np.abs(before).max())


@given(layouts().filter(fits))
def test_merge_offsets_are_distinct_places(layout):
    offsets = layout.merge_offsets
    assert len(offsets) == layout.groups * layout.feature_blocks
    assert len(np.unique(offsets)) == len(offsets)
    assert offsets.min() >= 0
    assert offsets.max() < layout.class_span


@settings(max_examples=40, deadline=None)
@given(layouts().filter(fits))
def test_elements_do_what_they_are_for(layout):
    """Each projects onto a ring half as large, coarsest first, and all have odd order two."""
    n, classes = layout.poly_modulus_degree, layout.class_blocks
    assert all(element % 2 == 1 for element in layout.elements)
    for step, element in enumerate(layout.sum_elements):
        power = layout.class_span >> (step + 1)
        # X^power -> -X^power, which is what `merge` needs, and X^(2 power) is left alone.
        assert power * element % (2 * n) == (power + n) % (2 * n)
        assert 2 * power * element % (2 * n) == 2 * power
    assert len(layout.sum_elements) == np.log2(n // (2 * classes))
    for element in layout.margin_elements[:-1]:
        assert layout.feature_blocks * element % (2 * n) == layout.feature_blocks
    assert layout.margin_elements[-1] == 2 * n - 1


def norm_cases():
    return [
        Layout(4096, 40, 4, 1, 2),
        Layout(4096, 40, 3, 1, 1),
        Layout(4096, 40, 8, 4, 2),
        Layout(4096, 40, 7, 3, 2),
        Layout(8192, 40, 5, 2, 1),
        Layout(8192, 40, 9, 6, 4),
    ]


@pytest.mark.parametrize("layout", norm_cases(), ids=label)
def test_output_norm_is_that_of_an_orthogonal_map(layout):
    """The sums as a matrix of the output coefficients: rows orthogonal, all of output_norm.

    So isotropic noise on coefficients is isotropic noise on the sums, whichever columns and
    classes are left out; and where none is, the map is square and keeps every norm.
    """
    places = output_places(layout)
    columns = []
    for place in places:
        unit = np.zeros(layout.poly_modulus_degree)
        unit[place] = 1.0
        columns.append(layout.unpack_sums(unit).ravel())
    matrix = np.array(columns).T
    gram = matrix @ matrix.T / layout.output_norm**2
    np.testing.assert_allclose(gram, np.eye(len(gram)), rtol=0, atol=1e-12)
    full = layout.n_outputs == layout.class_blocks
    if full and layout.n_columns == 2 * layout.feature_blocks * layout.groups:
        np.testing.assert_allclose(
            matrix.T @ matrix / layout.output_norm**2, np.eye(len(places)), atol=1e-12
        )


@settings(max_examples=30, deadline=None)
@given(layouts().filter(fits), st.integers(0, 2**32))
def test_sums_of_noise_are_of_output_norm(layout, seed):
    """Random vectors: never longer than output_norm times their own norm, and linear in them."""
    random = np.random.default_rng(seed)
    noise = np.zeros(layout.poly_modulus_degree)
    places = output_places(layout)
    noise[places] = random.normal(size=places.size)
    sums = layout.unpack_sums(noise)
    assert np.linalg.norm(sums) <= layout.output_norm * np.linalg.norm(noise) * (1 + 1e-12)
    share = sums.size / places.size
    spread = np.linalg.norm(sums) / (layout.output_norm * np.linalg.norm(noise))
    assert abs(spread**2 - share) < 6 * np.sqrt(2 / places.size)
    # Noise at other places is not seen at all.
    noise[:] = random.normal(size=noise.size)
    noise[places] = 0
    assert np.all(layout.unpack_sums(noise) == 0)


def test_distinct_columns_rest_on_distinct_or_orthogonal_coefficients():
    """A real and an imaginary column share an item's coefficients; other columns share none."""
    layout = Layout(4096, 40, 11, 3, 2)
    supports = {}
    for place in output_places(layout):
        unit = np.zeros(layout.poly_modulus_degree)
        unit[place] = 1.0
        for column in np.flatnonzero(np.abs(layout.unpack_sums(unit)).max(axis=1) > 1e-9):
            supports.setdefault(int(column), set()).add(int(place))
    m = layout.feature_blocks
    for a in supports:
        for b in supports:
            paired = a // (2 * m) == b // (2 * m) and a % m == b % m
            assert bool(supports[a] & supports[b]) == paired


@given(
    st.lists(st.integers(1, 3000), min_size=1, max_size=8),
    st.sampled_from([1, 2, 8]),
    st.integers(1, 5),
)
def test_owners_never_take_more_chunks_than_the_bound(shares, blocks, outputs):
    layout = Layout(4096, sum(shares), 3, outputs, blocks, n_owners=len(shares))
    taken = sum(-(-share // layout.rows_per_chunk) for share in shares)
    assert taken <= layout.chunks


def test_the_bound_on_chunks_is_attained():
    layout = Layout(4096, 2050, 3, 1, 1, n_owners=3)
    assert layout.rows_per_chunk == 2048
    assert layout.chunks == 4
    worst = sum(-(-share // 2048) for share in (1, 1, 2048))
    assert Layout(4096, 2050, 3, 1, 1, n_owners=1).chunks == 2
    assert worst == 3
    # One more row, and an owner with two chunks of which one holds a single row.
    assert sum(-(-share // 2048) for share in (2049, 1, 1)) == 4
    assert Layout(4096, 2051, 3, 1, 1, n_owners=3).chunks == 4


def test_class_ring_repeats_with_period_of_classes():
    """Slots of S, Z[X^(N/2C)], repeat with period C: the docstring's claim, from coefficients."""
    layout = Layout(4096, 10, 3, 3, 2)
    slots = np.tile(np.array([1.0 + 2j, -3.0, 0.5j, 4.0]), layout.slots // 4)
    coefficients = slots_to_coefficients(RINGS[4096], slots)
    inside = np.arange(2 * layout.class_blocks) * layout.class_span
    assert np.max(np.abs(np.delete(coefficients, inside))) < 1e-12
    assert np.all(np.abs(coefficients[inside]) > 1e-3)
