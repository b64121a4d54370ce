"""Levels spent, keys missing or destroyed, parameters refused."""

import copy
import pickle

import numpy as np
import pytest
import tenseal
from helpers import SCALE, N, phases

from skfhe.crypto.parameters import CKKSParameters, Ring
from skfhe.crypto.simulated import SimulatedScheme
from skfhe.crypto.tenseal import (
    TensealScheme,
    coefficient_modulus,
    context_parameters,
    is_context,
)
from skfhe.crypto.tracing import TracingEvaluator
from skfhe.exceptions import DepthExceeded, InfeasiblePlan, KeyBurned

# Levels, keys and parameters

SPENT = {
    "rescale": lambda e, a: e.rescale(a),
    "rise": lambda e, a: e.switch_to(a, 1),
    "multiply": lambda e, a: e.multiply(a, a),
    "dot": lambda e, a: e.dot([a, a], [a, a]),
    "multiply_constant": lambda e, a: e.multiply_constant(a, 1.5, SCALE),
}


@pytest.mark.parametrize("name", SPENT)
@pytest.mark.parametrize("backend", ["tracing", "simulated", "encrypted"])
def test_spent_levels(name, backend, ring, request):
    if backend == "tracing":
        evaluator = TracingEvaluator(ring)
        a = evaluator.fresh(0, SCALE, 1.0)
    else:
        bench = request.getfixturevalue(backend)
        evaluator, a = bench.evaluator, bench.encrypt(phases(1, ring), SCALE, 0)
    with pytest.raises(DepthExceeded, match="level"):
        SPENT[name](evaluator, a)


MIXED_UP = {
    "add levels": lambda e, a, low, other: e.add(a, low),
    "add scales": lambda e, a, low, other: e.add(a, other),
    "multiply levels": lambda e, a, low, other: e.multiply(a, low),
    "dot levels": lambda e, a, low, other: e.dot([a, a], [a, low]),
    "dot scales": lambda e, a, low, other: e.dot([a, a], [a, other]),
}


@pytest.mark.parametrize("backend", ["simulated", "encrypted"])
@pytest.mark.parametrize("name", MIXED_UP)
def test_operands_that_do_not_go_together(name, backend, ring, request):
    """A mix-up is a mistake in the circuit, not a lack of levels."""
    bench = request.getfixturevalue(backend)
    slots = phases(1, ring)
    a, low = bench.encrypt(slots, SCALE, 3), bench.encrypt(slots, SCALE, 2)
    other = bench.encrypt(slots, 2 * SCALE, 3)
    with pytest.raises(ValueError) as caught:
        MIXED_UP[name](bench.evaluator, a, low, other)
    assert not isinstance(caught.value, DepthExceeded)


@pytest.mark.parametrize("backend", ["simulated", "encrypted"])
def test_a_missing_automorphism_key_is_told(backend, ring, request):
    bench = request.getfixturevalue(backend)
    a = bench.encrypt(phases(1, ring), SCALE)
    with pytest.raises(ValueError, match=r"(?i)(no automorphism|galois) key"):
        bench.evaluator.project(a, 5)
    with pytest.raises(ValueError, match=r"(?i)(no automorphism|galois) key"):
        bench.evaluator.merge(a, a, 1, 4097 * 4 + 1)


def test_secret_keys_do_not_pickle(encrypted):
    public = encrypted.scheme.encryptor(encrypted.keys.public_key())
    for item in (encrypted.keys, encrypted.encryptor, public, encrypted.evaluator):
        with pytest.raises(TypeError):
            pickle.dumps(item)
        with pytest.raises(TypeError):
            copy.deepcopy(item)


def test_an_evaluator_holds_no_secret(encrypted):
    names = {type(value).__name__ for value in vars(encrypted.evaluator).values()}
    assert not names & {"SecretKey", "KeyGenerator", "Decryptor", "Encryptor", "TensealKeys"}
    assert "RelinKeys" in names


@pytest.mark.parametrize("scheme", [SimulatedScheme, TensealScheme])
def test_a_destroyed_key_decrypts_nothing(scheme, ring, make_bench):
    bench = make_bench(scheme(ring))
    data = bench.encryptor.encrypt(phases(1, ring), SCALE, 1)
    bench.keys.decrypt(data, 1, SCALE)
    bench.keys.destroy()
    bench.keys.destroy()
    with pytest.raises(KeyBurned):
        bench.keys.decrypt(data, 1, SCALE)


@pytest.mark.parametrize("scheme", [SimulatedScheme, TensealScheme])
def test_a_destroyed_encryptor_encrypts_nothing(scheme, ring, make_bench):
    encryptor = make_bench(scheme(ring)).encryptor
    encryptor.encrypt(phases(1, ring), SCALE, 1)
    encryptor.destroy()
    with pytest.raises(KeyBurned):
        encryptor.encrypt(phases(1, ring), SCALE, 1)
    with pytest.raises(KeyBurned):
        encryptor.encrypt_integers(np.zeros(N, dtype=np.int64), SCALE, 1)


def test_a_destroyed_key_makes_nothing(ring, make_bench):
    keys = make_bench(TensealScheme(ring)).keys
    keys.destroy()
    for derive in (keys.encryptor, keys.public_key, keys.evaluation_keys):
        with pytest.raises(KeyBurned):
            derive()
    held = {type(value).__name__ for value in vars(keys).values()}
    assert not held & {"SecretKey", "KeyGenerator", "Decryptor", "Encryptor"}


@pytest.mark.parametrize(
    "degree, bits",
    [(8192, (61, 40)), (8192, (1, 40)), (8192, (14, 15)), (5000, (30, 30)), (8192, (30.5, 40)),
     (8192, (-3, 40)), (8192, ("30", 40))],
)  # fmt: skip
def test_primes_that_do_not_exist(degree, bits):
    with pytest.raises(InfeasiblePlan, match="coeff_mod_bit_sizes"):
        coefficient_modulus(degree, bits)


def test_primes_have_their_sizes_and_suit_the_ring():
    bits = (50, 40, 30, 30, 50)
    primes = coefficient_modulus(N, bits)
    assert tuple(p.bit_length() for p in primes) == bits
    assert len(set(primes)) == 5
    assert all(p % (2 * N) == 1 for p in primes)


@pytest.mark.parametrize("degree, limit", [(8192, 214), (16384, 430), (32768, 868)])
def test_security_limits(degree, limit):
    """One bit more than the table is refused, the table's own figure is not."""
    count, rest = divmod(limit, 50)
    widths = [50] * (count - 1) + [25 + rest // 2, 25 + rest - rest // 2]
    assert Ring(degree, tuple((1 << w) - 1 for w in widths)).total_bits == limit
    widths[-1] += 1
    with pytest.raises(InfeasiblePlan, match=f"{limit + 1} bits.*allows {limit}"):
        Ring(degree, tuple((1 << w) - 1 for w in widths))


def test_rings_that_are_none():
    with pytest.raises(InfeasiblePlan, match="poly_modulus_degree"):
        Ring(2048, (12289, 40961))
    with pytest.raises(InfeasiblePlan, match="special prime"):
        Ring(8192, (65537,))
    with pytest.raises(InfeasiblePlan, match="SEAL refuses"):
        TensealScheme(Ring(8192, (2**30, 2**31)))


@pytest.mark.parametrize("global_scale, expected", [(None, 30), (2.0**33, 33)])
def test_a_users_context_gives_its_parameters(global_scale, expected):
    context = tenseal.context(
        tenseal.SCHEME_TYPE.CKKS, 8192, coeff_mod_bit_sizes=[50, 40, 30, 30, 50]
    )
    if global_scale:
        context.global_scale = global_scale
    assert is_context(context)
    assert not is_context(CKKSParameters())
    parameters = context_parameters(context)
    assert (
        parameters.get_params()
        == CKKSParameters(8192, (50, 40, 30, 30, 50), expected).get_params()
    )


def test_a_context_of_another_scheme_is_refused():
    context = tenseal.context(tenseal.SCHEME_TYPE.BFV, 8192, plain_modulus=1032193)
    with pytest.raises(InfeasiblePlan, match="CKKS"):
        context_parameters(context)
