"""Encoding rounds deterministically; owners dither, so data do not decide the roundings."""

import numpy as np
import pytest
from helpers import make

from skfhe.crypto.embedding import coefficients_to_slots
from skfhe.crypto.parameters import Ring
from skfhe.crypto.tenseal import TensealScheme, coefficient_modulus


@pytest.fixture(scope="module")
def encryptor_and_keys():
    ring = Ring(8192, coefficient_modulus(8192, (50, 50, 50)))
    keys = TensealScheme(ring).generate([])
    return ring, keys, keys.encryptor()


def roundings(ring, keys, encryptor, fraction, dither):
    """What encoding adds to coefficients that all have one fractional part.

    The encryption error has mean zero and deviation 3.24, so its mean over 8,192 coefficients
    has deviation .036.
    """
    values = np.full(ring.poly_modulus_degree, 1000 + fraction)
    data = encryptor.encrypt(coefficients_to_slots(ring, values), 1.0, 0, dither=dither)
    return keys.decrypt(data, 0, 1.0) - values


@pytest.mark.parametrize("fraction", [0.1, 0.4, 0.5, 0.75])
def test_dithered_roundings_have_mean_zero_whatever_the_data(encryptor_and_keys, fraction):
    errors = roundings(*encryptor_and_keys, fraction, dither=True)
    assert abs(errors.mean()) < 6 * 0.036
    halves = errors[0::2] * errors[1::2]  # neighbouring coefficients are uncorrelated
    assert abs(halves.mean()) < 6 * 10.75 / np.sqrt(halves.size)


def test_without_dither_the_data_chooses_its_roundings(encryptor_and_keys):
    errors = roundings(*encryptor_and_keys, 0.4, dither=False)
    assert errors.mean() == pytest.approx(-0.4, abs=6 * 0.036)


def test_owners_dither_rows_and_labels(monkeypatch):
    from skfhe.protocol.data_owner import DataOwner

    plan = make(20, 3, degree=1, max_iter=1)
    seen = []

    class Encryptor:
        symmetric = True

        def encrypt(self, slots, scale, level, dither=False):
            seen.append(dither)
            return b""

    owner = DataOwner(plan, Encryptor(), "run")
    list(owner.encrypt(np.zeros((20, 3)), np.zeros(20, dtype=int)))
    assert seen
    assert all(seen)
