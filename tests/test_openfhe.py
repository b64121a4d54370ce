"""The backend that refreshes: every operation beside the simulated one, its bytes, its keys.

Needs CPython 3.10 on Linux x86-64; `make test-openfhe` makes an environment for it.
"""

import builtins
import gc
import os
import pickle

import numpy as np
import pytest

from skfhe import EncryptedDPLogisticRegression
from skfhe.crypto import errors as model
from skfhe.crypto.embedding import coefficients_to_slots
from skfhe.crypto.openfhe import OpenFHEScheme
from skfhe.crypto.openfhe.context import from_openfhe, to_openfhe
from skfhe.crypto.parameters import Refreshing, Ring
from skfhe.crypto.primes import scaling_primes
from skfhe.crypto.simulated import SimulatedScheme
from skfhe.exceptions import DepthExceeded, InfeasiblePlan, KeyBurned, MessageError

try:
    import openfhe
except ImportError:
    openfhe = None
needs_openfhe = pytest.mark.skipif(openfhe is None, reason="OpenFHE cannot be imported here")

N = 16384
SCALE = 2.0**40
ELEMENTS = (3, N + 1, N // 2 + 1, 2 * N - 1)
# X -> X^element negates X^power: what `merge` asks for.
HALVES = {1: N + 1, 2: N // 2 + 1}


@pytest.fixture(scope="module")
def big_digits():
    """Four data primes in two digits: 418 of the 430 bits that 128-bit security allows."""
    return Ring(N, scaling_primes(N, 4, 59, 60, 3), n_special=3, digit_primes=2)


@pytest.fixture(scope="module")
def bench(big_digits, make_bench):
    return make_bench(OpenFHEScheme(big_digits), ELEMENTS)


@pytest.fixture(scope="module")
def clear(big_digits, make_bench):
    return make_bench(SimulatedScheme(big_digits), ELEMENTS)


def phases(seed, ring):
    return np.exp(2j * np.pi * np.random.default_rng(seed).random(ring.slots))


def nothing_left():
    maps = openfhe.CryptoContext
    return not maps.GetAllEvalMultKeys() and not maps.GetAllEvalAutomorphismKeys()


OPERATIONS = {
    "add": lambda e, a, b: e.add(a, b),
    "add_constant": lambda e, a, b: e.add_constant(a, -2.718281828),
    "multiply": lambda e, a, b: e.relinearize(e.multiply(a, b)),
    "square": lambda e, a, b: e.relinearize(e.multiply(a, a)),
    "dot": lambda e, a, b: e.dot([a, b, a], [b, b, a]),
    "crossed": lambda e, a, b: e.relinearize(
        e.without(e.crossed(e.crossed(None, (a, b), (b, a)), (a, a), (b, b)), e.own(None, a, b))
    ),
    "rescale": lambda e, a, b: e.rescale(e.relinearize(e.multiply(a, b))),
    "switch_to": lambda e, a, b: e.switch_to(a, 1),
    "switch_to its own level": lambda e, a, b: e.switch_to(a, e.level(a)),
    "multiply_constant": lambda e, a, b: e.multiply_constant(a, 3.25, 2.0**20),
    "multiply_constant, negative": lambda e, a, b: e.multiply_constant(a, -3.0, 1.0),
    "multiply_constant, large": lambda e, a, b: e.multiply_constant(a, -1 / 3, 2.0**70),
    "multiply_mask": lambda e, a, b: e.multiply_mask(a, 4, 2.0**40),
    "multiply_monomial": lambda e, a, b: e.multiply_monomial(a, -5),
    "project": lambda e, a, b: e.project(a, 3),
    "project on real slots": lambda e, a, b: e.project(a, 2 * N - 1),
    "add_image": lambda e, a, b: e.add_image(a, 3),
    "scaled": lambda e, a, b: e.scaled(a, -0.375),
    "merge 1": lambda e, a, b: e.merge(a, b, 1, HALVES[1]),
    "merge 2": lambda e, a, b: e.merge(a, b, 2, HALVES[2]),
    "split": lambda e, a, b: e.split(e.merge(a, b, 1, HALVES[1]), 1, HALVES[1])[1],
}


@needs_openfhe
@pytest.mark.parametrize("name", OPERATIONS)
def test_operation(name, bench, clear, big_digits):
    """As on slots in the clear, up to errors of a few fresh ones; operands stay what they were."""
    for level in (big_digits.top_level, 2):
        results = []
        for one in (clear, bench):
            a, b = (one.encrypt(phases(seed, big_digits), SCALE, level) for seed in (1, 2))
            before = one.coefficients(a), one.coefficients(b)
            result = OPERATIONS[name](one.evaluator, a, b)
            np.testing.assert_array_equal(before[0], one.coefficients(a))
            np.testing.assert_array_equal(before[1], one.coefficients(b))
            results.append((one.evaluator.level(result), one.evaluator.scale(result)))
            results.append(one.slots(result))
        assert results[0] == results[2]
        error = np.sqrt(np.mean(np.abs(results[1] - results[3]) ** 2))
        switch = np.hypot(model.key_switch_error(big_digits, level), 5)
        assert 0 < error < 10 * switch * np.sqrt(N) / min(SCALE, results[0][1])
        assert nothing_left()


@needs_openfhe
def test_refusals_are_those_of_the_simulated_backend(bench, clear, big_digits):
    for one in (bench, clear):
        e = one.evaluator
        a, low = (one.encrypt(phases(1, big_digits), SCALE, level) for level in (3, 0))
        for wrong in (
            lambda e=e, a=a, low=low: e.add(a, low),
            lambda e=e, a=a: e.add(a, e.scaled(a, 2.0)),
            lambda e=e, a=a, low=low: e.multiply(a, low),
            lambda e=e, a=a: e.automorphism(a, 7),
            lambda e=e, a=a: e.refresh(a),
        ):
            with pytest.raises(ValueError) as caught:
                wrong()
            assert not isinstance(caught.value, DepthExceeded)
        for deep in (
            lambda e=e, low=low: e.rescale(low),
            lambda e=e, low=low: e.switch_to(low, 1),
            lambda e=e, low=low: e.multiply(low, low),
            lambda e=e, a=a: e.multiply_constant(a, 1.0, 2.0**220),
        ):
            with pytest.raises(DepthExceeded):
                deep()


@needs_openfhe
def test_large_and_small_constants_are_exact(bench):
    """Against the same ciphertext, whose error goes along."""
    e, random = bench.evaluator, np.random.default_rng(0)
    integers = np.rint(random.normal(0, 2.0**10, N))
    a = e.load(bench.encryptor.encrypt_integers(integers, 1.0, 2))
    exact = bench.coefficients(a)
    for constant in (1, -1, 3, -3, 2**30 + 1, -(2**30) - 1):
        product = bench.coefficients(e.multiply_constant(a, constant, 1.0))
        np.testing.assert_array_equal(product, constant * exact)
        total = bench.coefficients(e.add_constant(a, constant))
        np.testing.assert_array_equal(total - exact, constant * (np.arange(N) == 0))
    for power in (1, 5, N - 1, -3, N, -2 * N + 1):
        moved = np.concatenate([exact, -exact])[(np.arange(N) - power) % (2 * N)]
        product = e.multiply_monomial(a, power)
        np.testing.assert_array_equal(bench.coefficients(product), moved)


@needs_openfhe
def test_constants_beyond_a_word_are_added_in_proportion(bench):
    e = bench.evaluator
    for bits in (70, 120, 160):
        a = e.load(bench.encryptor.encrypt_integers(np.zeros(N), 2.0**bits, 3))
        for value in (1.5, -1.5):
            slots = bench.slots(e.add_constant(a, value))
            np.testing.assert_allclose(slots, value, rtol=1e-12)


@needs_openfhe
def test_slots_of_the_library_are_values_at_powers_of_five(big_digits):
    random = np.random.default_rng(0)
    coefficients = random.normal(size=N)
    slots = coefficients_to_slots(big_digits, coefficients)
    values = to_openfhe(big_digits, slots)
    for j in (0, 1, 2, 1000):
        root = np.exp(1j * np.pi / N * pow(5, j, 2 * N))
        assert values[j] == pytest.approx(np.polyval(coefficients[::-1], root), abs=1e-8)
    np.testing.assert_array_equal(from_openfhe(big_digits, values), slots)


@needs_openfhe
@pytest.mark.parametrize("public", [False, True])
@pytest.mark.parametrize("level", [0, 3])
def test_integers_are_encrypted_exactly(bench, big_digits, public, level):
    """What comes back differs by the encryption's error alone, whatever the integers' size."""
    encryptor = bench.encryptor
    if public:
        encryptor = bench.scheme.encryptor(bench.keys.public_key())
    random = np.random.default_rng(level)
    integers = np.rint(random.normal(0, 2.0**45, N))
    data = encryptor.encrypt_integers(integers, 2.0**35, level)
    error = bench.keys.decrypt(data, level, 2.0**35) - integers
    predicted = model.fresh_error(big_digits, level, public)
    assert 0.9 * predicted < np.std(error) < 1.05 * predicted
    assert np.max(np.abs(error)) < 7 * predicted
    assert abs(np.mean(error)) < 5 * predicted / np.sqrt(N)


@needs_openfhe
def test_integers_too_large_to_encode_are_refused(bench):
    with pytest.raises(ValueError, match=r"below 2\^48"):
        bench.encryptor.encrypt_integers(np.full(N, 2.0**49), SCALE, 1)
    with pytest.raises(DepthExceeded, match="level must be"):
        bench.encryptor.encrypt(np.zeros(N // 2), SCALE, 4)


@needs_openfhe
def test_errors_are_within_the_model(bench, big_digits):
    """Key switches and rescales err by no more than is predicted, and by much of it.

    Dividing by k special primes, OpenFHE rounds down and is off by a sum of k numbers between
    zero and one: mean k/2, variance k/12. With the secret that makes more than a key's error. The
    mean's share is one sum of the secret's coefficients, so some keys have a few times as much.
    """
    k = big_digits.n_special
    division = np.sqrt(model.secret_norm(big_digits) * (k / 12 + k**2 / 4))
    e, random = bench.evaluator, np.random.default_rng(0)
    integers = np.rint(random.normal(0, 2.0**45, N))
    index = np.arange(N) * 3 % (2 * N)
    for level in (1, 2, 3):
        a = e.load(bench.encryptor.encrypt_integers(integers, SCALE, level))
        exact = bench.coefficients(a)
        moved = np.empty(N)
        moved[index % N] = exact * np.where(index < N, 1, -1)
        error = np.std(bench.coefficients(e.automorphism(a, 3)) - moved)
        predicted = np.hypot(model.key_switch_error(big_digits, level), division)
        assert 0.2 * predicted < error < 3 * predicted
        lower = bench.coefficients(e.rescale(a)) - exact / big_digits.primes[level]
        predicted = model.rescale_error(big_digits)
        assert 0.7 * predicted < np.std(lower) < 1.05 * predicted


@needs_openfhe
def test_ciphertexts_come_back_from_their_bytes(bench, big_digits):
    e = bench.evaluator
    for level in range(4):
        a = bench.encrypt(phases(level, big_digits), SCALE, level)
        for item in (a, e.multiply(a, a)) if level else (a,):
            data = e.save(item)
            again = e.load(data)
            assert (again.level, again.scale, again.size) == (level, item.scale, item.size)
            assert e.save(again) == data
    assert e.load_fresh(e.save(a), SCALE, 3).level == 3
    for scale, level in ((2 * SCALE, 3), (SCALE, 2)):
        with pytest.raises(MessageError, match="must have level"):
            e.load_fresh(e.save(a), scale, level)
        with pytest.raises(MessageError, match="must have level"):
            bench.keys.decrypt(e.save(a), level, scale)
    with pytest.raises(MessageError, match="size 3"):
        product = e.multiply(a, a)
        bench.keys.decrypt(e.save(product), 3, product.scale)


HEADER = 60


@needs_openfhe
def test_altered_messages_are_refused(bench, big_digits):
    """Every byte of the header, the lengths, and residues that are none."""
    e, random = bench.evaluator, np.random.default_rng(0)
    data = e.save(bench.encrypt(phases(1, big_digits), SCALE, 1))
    assert len(data) == HEADER + 4 * 8 * N
    refused = [b"", b"SKOF", data[:HEADER], data[:-1], data + b"\0", data[:-8] + b"\xff" * 8]
    refused += [data[: HEADER + 16 * N] + bytes(16 * N), random.bytes(len(data))]
    refused += [data[:i] + bytes([data[i] ^ 0x80]) + data[i + 1 :] for i in range(HEADER - 8)]
    for scale in (0.0, -1.0, np.inf, np.nan, 2.0**130):
        refused.append(data[: HEADER - 8] + np.float64(scale).tobytes() + data[HEADER:])
    refused.append(bench.keys.public_key())
    for wrong in refused:
        with pytest.raises(MessageError):
            e.load(wrong)
        with pytest.raises(MessageError):
            bench.keys.decrypt(wrong, 1, SCALE)
    assert bench.keys.decrypt(data, 1, SCALE).size == N


@needs_openfhe
def test_altered_keys_are_refused(bench, big_digits):
    scheme = bench.scheme
    keys = scheme.generate(ELEMENTS[:1])
    first, second = keys.evaluation_keys()
    public, secret = keys.public_key(), keys.secret_key()
    foreign = list(scheme.generate(ELEMENTS[:1]).evaluation_keys())[1]
    wrong_element = bytearray(second)
    wrong_element[46] ^= 1
    for wrong in (
        [],
        [b""],
        [second],
        [first[:-1]],
        [first[:-8] + b"\xff" * 8],
        [os.urandom(len(first))],
        [first, first],
        [first, second[:-8]],
        [first, foreign],
        [first, bytes(wrong_element)],
    ):
        with pytest.raises(MessageError):
            scheme.evaluator(wrong)
    for wrong in (b"", public[:-1], secret, os.urandom(len(public)), public[:-8] + b"\xff" * 8):
        with pytest.raises(MessageError):
            scheme.encryptor(wrong)
    for wrong in (b"", secret[:-1], public, os.urandom(len(secret))):
        with pytest.raises(MessageError):
            scheme.restore((), wrong)
    assert nothing_left()


@needs_openfhe
def test_a_restored_key_is_the_key(bench, big_digits):
    again = bench.scheme.restore(ELEMENTS, bench.keys.secret_key())
    evaluator = bench.scheme.evaluator(again.evaluation_keys())
    slots = phases(4, big_digits)
    public = bench.scheme.encryptor(again.public_key())
    a = evaluator.load(public.encrypt(slots, 2.0**55, 3, dither=True))
    product = evaluator.rescale(evaluator.relinearize(evaluator.multiply(a, a)))
    decrypted = bench.keys.decrypt(evaluator.save(product), 2, product.scale)
    found = coefficients_to_slots(big_digits, decrypted) / product.scale
    np.testing.assert_allclose(found, slots**2, atol=1e-4)


@needs_openfhe
def test_two_schemes_in_one_process_do_not_mix(bench, big_digits, make_bench):
    """Two rings and two key pairs in turns; keys of somebody else's stay in their place."""
    ring = Ring(N, scaling_primes(N, 3, 59, 60, 3), n_special=3, digit_primes=2)
    benches = [bench, make_bench(bench.scheme, ELEMENTS), make_bench(OpenFHEScheme(ring), (3,))]
    slots = phases(5, big_digits)
    values = [one.encrypt(slots, 2.0**30, 1) for one in benches]
    for _ in range(2):
        for one, a in zip(benches, values, strict=True):
            e = one.evaluator
            product = e.add_image(e.relinearize(e.multiply(a, a)), 3)
            np.testing.assert_allclose(
                one.slots(product), slots**2 + np.roll(slots**2, -1), atol=1e-3
            )
    for other in benches[1:]:
        with pytest.raises(MessageError):
            other.evaluator.load(bench.evaluator.save(values[0]))
    assert nothing_left()
    context = openfhe.GetAllContexts()[0]
    pair = context.KeyGen()
    context.EvalMultKeyGen(pair.secretKey)
    try:
        bench.evaluator.relinearize(bench.evaluator.multiply(values[0], values[0]))
        assert list(openfhe.CryptoContext.GetAllEvalMultKeys()) == [pair.secretKey.GetKeyTag()]
    finally:
        openfhe.ClearEvalMultKeys()


@needs_openfhe
def test_secrets_neither_pickle_nor_show(bench):
    keys = bench.scheme.generate(())
    encryptor = keys.encryptor()
    for secret in (keys, encryptor, bench.evaluator):
        with pytest.raises(TypeError, match="do not pickle"):
            pickle.dumps(secret)
        assert len(repr(secret)) < 120
    keys.destroy()
    encryptor.destroy()
    for use in (
        keys.public_key,
        keys.secret_key,
        keys.encryptor,
        keys.evaluation_keys,
        lambda: keys.decrypt(b"", 0, 1.0),
        lambda: encryptor.encrypt(np.zeros(N // 2), SCALE, 1),
    ):
        with pytest.raises(KeyBurned):
            use()


@needs_openfhe
def test_rings_that_the_library_does_not_choose_are_refused(big_digits):
    primes = big_digits.primes
    swapped = (primes[0], primes[2], primes[1], *primes[3:])
    with pytest.raises(InfeasiblePlan, match="data primes"):
        OpenFHEScheme(Ring(N, swapped, n_special=3, digit_primes=2))
    with pytest.raises(InfeasiblePlan, match="special primes"):
        OpenFHEScheme(Ring(N, primes[:-1], n_special=2, digit_primes=2))


@needs_openfhe
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_fork_encrypts_nothing(bench):
    """It would repeat the randomness of the process that it was forked from."""
    encryptor = bench.keys.encryptor()
    child = os.fork()
    if not child:
        try:
            encryptor.encrypt(np.zeros(N // 2), 2.0**40, 0)
        except RuntimeError as refused:
            os._exit("spawning" not in str(refused))
        finally:
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_a_missing_wheel_is_explained(monkeypatch):
    """Importing the room needs nothing; making a scheme says what is missing."""
    whole = builtins.__import__

    def without(name, *arguments, **named):
        if name == "openfhe":
            raise ImportError("no such wheel")
        return whole(name, *arguments, **named)

    monkeypatch.setattr(builtins, "__import__", without)
    ring = Ring(N, scaling_primes(N, 2, 59, 60, 2), n_special=2)
    with pytest.raises(ImportError, match=r"skfhe\[openfhe\].*CPython 3.10.*glibc 2.38"):
        OpenFHEScheme(ring)


@needs_openfhe
@pytest.mark.slow
def test_a_ciphertext_is_refreshed():
    """Forty-odd keys of 131 MB in one process with their maker, and two refreshes."""
    degree, slots = 65536, 256
    refreshing = Refreshing(slots, (2, 2), 5)
    ring = Ring(degree, scaling_primes(degree, 20, 59, 60, 5), 5, 4, refreshing)
    scheme = OpenFHEScheme(ring)
    keys = scheme.generate((2 * degree - 1,))
    evaluator, encryptor = scheme.evaluator(keys.evaluation_keys()), keys.encryptor()
    assert nothing_left()
    random, gap = np.random.default_rng(0), degree // (2 * slots)
    base = ring.primes[0] / (2 * np.pi)
    for bits, level in ((45, 1), (47, 5)):
        sparse = np.zeros(degree)
        sparse[::gap] = np.rint(random.uniform(-1, 1, 2 * slots) * 2.0**bits)
        # What is between the coefficients that count is removed.
        integers = sparse + np.rint(random.normal(0, 2.0**20, degree)) * (
            np.arange(degree) % gap > 0
        )
        a = evaluator.load(encryptor.encrypt_integers(integers, 2.0**40, level))
        b = evaluator.refresh(a)
        assert (b.level, b.scale) == (5, 2.0**40)
        error = keys.decrypt(evaluator.save(b), 5, b.scale) - base * np.sin(sparse / base)
        predicted = model.refresh_error(ring)
        assert np.std(error[::gap]) < predicted
        assert np.max(np.abs(error[::gap])) < 5 * predicted
        assert np.max(np.abs(error[np.arange(degree) % gap > 0])) < 2.0**18
        square = evaluator.relinearize(evaluator.multiply(b, b))
        assert evaluator.rescale(square).level == 4
        assert nothing_left()
    with pytest.raises(DepthExceeded):
        evaluator.refresh(evaluator.switch_to(a, 0))
    gc.collect()
    with open("/proc/self/status") as status:
        (peak,) = (int(line.split()[1]) for line in status if line.startswith("VmHWM"))
    assert peak < 14e6


@needs_openfhe
@pytest.mark.slow
def test_a_whole_fit_is_the_simulated_one():
    """The circuits are the same file; bootstraps err as simulated ones do."""
    rng = np.random.default_rng(0)
    X = rng.uniform(-1, 1, (200, 3))
    y = (X[:, 0] + 0.1 * rng.normal(size=200) > 0).astype(int)
    weights = []
    for backend in ("simulated", "openfhe"):
        estimator = EncryptedDPLogisticRegression(
            50.0,
            degree=1,
            max_iter=7,
            protocol="noninteractive",
            bootstrapping=True,
            backend=backend,
            random_state=0,
        )
        estimator.fit(X, y)
        assert estimator.plan_.rounds.refreshes
        weights.append(np.r_[estimator.coef_.ravel(), estimator.intercept_])
    assert nothing_left()
    error = np.linalg.norm(weights[1] - weights[0]) / np.linalg.norm(weights[0])
    assert error < 1e-4
