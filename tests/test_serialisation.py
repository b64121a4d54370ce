"""Ciphertexts and keys as bytes: round trips, and one clear error for anything else."""

import contextlib

import numpy as np
import pytest
from helpers import SCALE, N, phases
from hypothesis import example, given, settings
from hypothesis import strategies as st

from skfhe.crypto.parameters import Ring
from skfhe.crypto.simulated import SimulatedScheme
from skfhe.crypto.tenseal import (
    TensealScheme,
    coefficient_modulus,
)
from skfhe.exceptions import MessageError

# Serialisation


def test_save_and_load_are_the_identity(ring, simulated, encrypted):
    for bench in (simulated, encrypted):
        for level in (3, 0):
            a = bench.encrypt(phases(1, ring), SCALE, level)
            data = bench.evaluator.save(a)
            b = bench.evaluator.load(data)
            assert bench.evaluator.save(b) == data
            assert bench.evaluator.level(b) == level
            assert bench.evaluator.scale(b) == SCALE
            np.testing.assert_array_equal(bench.coefficients(a), bench.coefficients(b))


@pytest.mark.parametrize("backend", ["simulated", "encrypted"])
def test_malformed_bytes_are_one_clear_error(backend, ring, request):
    bench = request.getfixturevalue(backend)
    good = bench.evaluator.save(bench.encrypt(phases(1, ring), SCALE))
    public, (evaluation, *rest) = bench.keys.public_key(), bench.keys.evaluation_keys()
    foreign = [b"", b"x", b"no ciphertext at all", bytes(100), b"\xff" * 300, b"PK\x03\x04" * 9]
    for read, whole in (
        (bench.evaluator.load, good),
        (bench.scheme.encryptor, public),
        (lambda data: bench.scheme.evaluator([data, *rest]), evaluation),
        (lambda data: bench.keys.decrypt(data, 3, SCALE), good),
    ):
        read(whole)
        truncated = [whole[:cut] for cut in (1, 9, len(whole) // 2, len(whole) - 1)]
        others = [data for data in (good, public, evaluation) if data != whole]
        accepted = []
        for data in foreign + truncated + others:
            try:
                read(data)
                accepted.append(data[:40])
            except MessageError as error:
                assert "these bytes are no" in str(error)
        assert accepted == []


@settings(max_examples=25, deadline=None)
@given(st.binary(max_size=200), st.integers(0, 100))
@example(b"\x00\x00\x00\x00\x00\x00\x06", 6)  # a forged length that no memory holds
def test_no_bytes_raise_anything_else(simulated, encrypted, data, place):
    """Headers overwritten with junk: a MessageError or, where it does no harm, no error."""
    for bench in (simulated, encrypted):
        good = bench.evaluator.save(bench.encrypt(np.ones(N // 2), SCALE))
        altered = good[:place] + data + good[place + len(data) :]
        for read, tampered in (
            (bench.evaluator.load, altered),
            (bench.evaluator.load, data),
            (lambda data, bench=bench: bench.scheme.evaluator([data]), data),
            (bench.scheme.encryptor, data),
        ):
            with contextlib.suppress(MessageError):
                read(tampered)


def test_simulated_keys_with_elements_that_are_no_list(ring):
    for junk in (b'{"simulated evaluation keys": 3}', b'{"simulated evaluation keys": [[1]]}'):
        with pytest.raises(MessageError):
            SimulatedScheme(ring).evaluator([junk])


def test_ciphertexts_of_another_ring_are_refused(small_ring, encrypted, simulated, make_bench):
    primes = coefficient_modulus(N, (44, 40, 30, 30, 60))
    for scheme, bench in ((TensealScheme, encrypted), (SimulatedScheme, simulated)):
        smaller = make_bench(scheme(small_ring))
        foreign = smaller.encryptor.encrypt(np.ones(2048), 2.0**20, 1)
        with pytest.raises(MessageError):
            bench.evaluator.load(foreign)
    other = make_bench(TensealScheme(Ring(N, primes)))
    with pytest.raises(MessageError):
        encrypted.evaluator.load(other.encryptor.encrypt(np.ones(N // 2), SCALE, 3))
    with pytest.raises(MessageError):
        encrypted.scheme.evaluator(other.keys.evaluation_keys())
    with pytest.raises(MessageError):
        encrypted.scheme.encryptor(other.keys.public_key())


@pytest.mark.parametrize("backend", ["simulated", "encrypted"])
def test_decrypting_at_another_level_or_scale_is_refused(backend, ring, request):
    bench = request.getfixturevalue(backend)
    data = bench.encryptor.encrypt(phases(1, ring), SCALE, 2)
    bench.keys.decrypt(data, 2, SCALE)
    for level, scale in ((1, SCALE), (3, SCALE), (2, 2 * SCALE), (2, SCALE * (1 + 1e-6))):
        with pytest.raises(MessageError, match="must have level"):
            bench.keys.decrypt(data, level, scale)
