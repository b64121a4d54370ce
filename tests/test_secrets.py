"""Where the secret key is, and where it never is.

What a search for key bytes can show: SEAL's objects travel compressed, so every payload is loaded
with SEAL and all words of all its polynomials are searched, seeded halves expanded, besides the
bytes as sent. It finds a key that was copied, whole or in part of eight words. It cannot find one
that was transformed; that nothing of the sort happens is what the walk over objects is for.
"""

import contextlib
import copy
import gc
import os
import pickle
import types

import numpy as np
import pytest
import tenseal
import tenseal.sealapi as seal
from helpers import gather, make, make_rows, scheme_of, write
from sklearn.base import clone

from skfhe import CKKSParameters, EncryptedDPLogisticRegression, KeyHolder
from skfhe.crypto.tenseal.compact import load_ciphertext
from skfhe.crypto.tenseal.context import seal_context
from skfhe.protocol import messages
from skfhe.protocol.session import Costs, run_session

SECRET = (seal.SecretKey, seal.Decryptor, seal.KeyGenerator)
HOLDERS = (*SECRET, seal.Encryptor)
WINDOW = 64


def reachable(root):
    """Everything that an object holds, directly or not; not what its classes import."""
    seen, pending = {}, [root]
    while pending:
        item = pending.pop()
        if id(item) in seen or isinstance(item, (type, types.ModuleType)):
            continue
        seen[id(item)] = item
        if isinstance(item, types.FunctionType):
            pending.extend(cell.cell_contents for cell in item.__closure__ or ())
            pending.extend(item.__defaults__ or ())
            continue
        pending.extend(gc.get_referents(item))
        pending.extend(getattr(item, "__dict__", {}).values())
        for kind in type(item).__mro__:
            for name in getattr(kind, "__slots__", ()):
                pending.append(getattr(item, name, None))
    return list(seen.values())


def holds(root, kinds=SECRET):
    return [item for item in reachable(root) if isinstance(item, kinds)]


def saved(item):
    """SEAL's own bytes of an object."""
    fd = os.memfd_create("test")
    try:
        item.save(f"/proc/self/fd/{fd}")
        return os.pread(fd, os.fstat(fd).st_size, 0)
    finally:
        os.close(fd)


def loaded(kind, ring, data):
    fd = os.memfd_create("test")
    try:
        os.write(fd, data)
        item = kind()
        item.load(seal_context(ring), f"/proc/self/fd/{fd}")
        return item
    finally:
        os.close(fd)


def words(ciphertext):
    array = ciphertext.dyn_array()
    return np.array([array.at(i) for i in range(array.size())], dtype="<u8")


def key_words(secret_key):
    plaintext = secret_key.data()
    return np.array([plaintext.data(i) for i in range(plaintext.coeff_count())], dtype="<u8")


def expanded(ring, section, kind):
    """All words of a payload after decompression."""
    if kind == "evaluation keys":
        for key_type in (seal.GaloisKeys, seal.RelinKeys):
            with contextlib.suppress(RuntimeError):
                whole = loaded(key_type, ring, section)  # data() is a view of it
                found = [words(key.data()) for keys in whole.data() for key in keys]
                if sum(one.size for one in found):
                    return np.concatenate(found)
    if kind == "public key":
        key = loaded(seal.PublicKey, ring, section)  # data() is a view of it
        return words(key.data())
    return words(load_ciphertext(ring, section))


class Search:
    """Finds windows of a key's bytes, at any offset of what is searched."""

    def __init__(self, secret_key):
        values = key_words(secret_key)
        compressed = saved(secret_key)
        self.windows = {
            block[i : i + WINDOW]
            for block in (values.tobytes(), compressed[32:])
            for i in range(0, len(block) - WINDOW + 1, WINDOW)
        }
        assert len(self.windows) > 5000
        self.words = values

    def in_bytes(self, data):
        """Any window anywhere: compare rolling 8-byte words first, then whole windows."""
        firsts = {int.from_bytes(w[:8], "little") for w in self.windows}
        firsts = np.array(sorted(firsts), dtype="<u8")
        for shift in range(8):
            cut = data[shift : shift + (len(data) - shift) // 8 * 8]
            for i in np.flatnonzero(np.isin(np.frombuffer(cut, "<u8"), firsts)):
                start = shift + 8 * int(i)
                if data[start : start + WINDOW] in self.windows:
                    return True
        return False

    def in_words(self, values):
        return self.in_bytes(values.tobytes())


@pytest.fixture(scope="module")
def sent():
    """A run whose every message is kept, with the key that it was made under."""
    parties = gather(make())
    secret_key = parties.key_holder._keys._generator.secret_key()
    k, (owner,) = parties.key_holder, parties.owners
    weights, noise = k.weights(), owner.noise(0)
    reply = parties.evaluator.step(weights, [noise])
    return (
        parties,
        Search(secret_key),
        {
            "evaluation keys": k.evaluation_keys(),
            "public key": k.public_key(),
            "rows": next(iter(owner.encrypt(parties.X, parties.targets))),
            "weights": weights,
            "noise": noise,
            "gradient": reply,
        },
    )


def test_the_search_finds_a_key(sent):
    """Positive controls: the whole key, a piece of it at an odd place, its compressed form."""
    parties, search, _ = sent
    secret_key = parties.key_holder._keys._generator.secret_key()
    assert search.in_words(search.words)
    piece = search.words.tobytes()[1024 * WINDOW : 1025 * WINDOW]
    assert search.in_bytes(b"abc" + os.urandom(1000) + piece + os.urandom(77))
    assert search.in_bytes(b"x" + saved(secret_key))
    assert not search.in_bytes(os.urandom(100_000))


@pytest.mark.parametrize(
    "kind", ["evaluation keys", "public key", "rows", "weights", "noise", "gradient"]
)
def test_no_message_carries_the_key(sent, kind):
    parties, search, sent_messages = sent
    _, sections = messages.unpack(sent_messages[kind], kind, parties.plan.digest)
    assert sections and not search.in_bytes(sent_messages[kind])
    for section in sections:
        values = expanded(parties.key_holder.scheme.ring, section, kind)
        assert values.size >= parties.plan.encryption.poly_modulus_degree
        assert not search.in_words(values)


def test_the_walk_finds_a_key(sent):
    parties, _, _ = sent
    assert holds(parties.key_holder)
    kinds = {type(item) for item in holds(parties.key_holder)}
    assert {seal.Decryptor, seal.KeyGenerator} <= kinds
    assert holds({"a": [lambda key=parties.key_holder._keys: key]})


def test_an_evaluator_holds_nothing_to_decrypt_with(sent):
    """Neither a key nor an encryptor, and nothing of another party."""
    parties, _, _ = sent
    assert not holds(parties.evaluator, HOLDERS)
    found = {type(item).__name__ for item in reachable(parties.evaluator)}
    assert not found & {"KeyHolder", "TensealKeys", "TensealEncryptor", "DataOwner"}
    assert {"TensealEvaluator", "RelinKeys", "GaloisKeys", "Ciphertext"} <= found
    assert not any("decrypt" in name for name in dir(parties.evaluator._backend))


def test_owners_under_the_public_key_hold_no_secret():
    parties = gather(make(n_owners=2))
    for owner in parties.owners:
        assert not holds(owner)
        assert holds(owner, HOLDERS)


def test_a_burnt_key_holder_holds_nothing():
    parties = gather(make())
    assert holds(parties.key_holder, HOLDERS)
    parties.key_holder.burn()
    assert not holds(parties.key_holder, HOLDERS)


def test_what_a_run_leaves_behind_holds_nothing():
    plan = make()
    X, targets = make_rows(plan)
    outcome = run_session(KeyHolder(plan, scheme_of(plan)), X, targets, Costs())
    kinds = (*HOLDERS, seal.Ciphertext, bytes)
    assert not holds(outcome, kinds)


# Representations and pickles.


def test_no_representation_shows_a_key(sent):
    parties, search, _sent_messages = sent
    k = parties.key_holder
    shown = [
        k, k._keys, k.encryptor(), k.scheme, k.releases, k.plan, parties.evaluator,
        parties.evaluator._backend, parties.owners[0],
        gather(make()).owners[0].dataset(parties.X, parties.targets),
    ]  # fmt: skip
    for item in shown:
        for text in (repr(item), str(item)):
            assert len(text) < 20_000
            assert not any(str(int(word)) in text for word in search.words[:200])
            assert not any(f"{int(word):x}" in text for word in search.words[:200])
            assert "\\x" not in text
    assert k.run not in repr(k)


@pytest.mark.parametrize("copier", [pickle.dumps, copy.copy, copy.deepcopy])
def test_secrets_do_not_pickle(copier):
    parties = gather(make())
    k = parties.key_holder
    public = gather(make(n_owners=2)).owners[0]._encryptor
    for secret in (k, k._keys, k.encryptor(), public, [k], {"key": k}):
        if copier is copy.copy and isinstance(secret, (list, dict)):
            continue
        with pytest.raises(TypeError):
            copier(secret)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_owners_and_evaluators_do_not_pickle(protocol):
    """Old protocols would reach into SEAL's objects, whose bindings then abort the process."""
    parties = gather(make())
    backend = parties.evaluator._backend
    for party in (parties.owners[0], parties.evaluator, backend):
        if party is not parties.owners[0] and type(backend).__reduce__ is object.__reduce__:
            assert protocol >= 2, "TensealEvaluator has no __reduce__: this would abort"
        with pytest.raises(TypeError):
            pickle.dumps(party, protocol)


# Estimators.


@pytest.fixture(scope="module")
def fitted():
    """A fitted estimator and the secret key of its run."""
    kept = []
    begin = KeyHolder.__init__

    def keeping(self, *arguments, **keywords):
        begin(self, *arguments, **keywords)
        kept.append(self._keys._generator.secret_key())

    plan = make()
    X, targets = make_rows(plan)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(KeyHolder, "__init__", keeping)
        model = EncryptedDPLogisticRegression(degree=3, max_iter=3).fit(X, targets)
    return model, Search(kept[0]), (X, targets)


@pytest.mark.parametrize("how", ["pickle", "joblib", "skops"])
def test_a_fitted_estimator_has_no_key(fitted, how):
    model, search, _ = fitted
    data = write(how, model)
    assert not search.in_bytes(data)
    assert how == "skops" or len(data) < 30_000
    assert not holds(model, (*HOLDERS, seal.Ciphertext, seal.SEALContext, tenseal.Context, bytes))


def test_a_fitted_estimator_remembers_no_row(fitted):
    """Nothing that could hold one value per row; no figure of the rows themselves."""
    model, _, (X, _targets) = fitted
    arrays = [a for a in reachable(model) if isinstance(a, np.ndarray) and a.dtype.kind in "fiu"]
    assert max(a.size for a in arrays) < len(X)
    data = pickle.dumps(model)
    assert not any(row.tobytes() in data for row in X)
    # Beyond what pickle shows: the history has one entry per step, released quantities alone.
    assert set(model.history_) == {
        "gradient_norm", "weight_norm", "interval", "contribution", "split",
        "step_seconds", "phase_seconds", "bytes",
    }  # fmt: skip


def make_context():
    context = tenseal.context(
        tenseal.SCHEME_TYPE.CKKS, 8192, coeff_mod_bit_sizes=[52, 52, 30, 30, 50]
    )
    context.global_scale = 2.0**28
    context.generate_galois_keys()
    return context


@pytest.mark.parametrize(
    "copier",
    [clone, copy.copy, copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))],
    ids=["clone", "copy", "deepcopy", "pickle"],
)
def test_copies_of_an_estimator_leave_the_context_behind(copier):
    context = make_context()
    assert context.is_private()
    model = EncryptedDPLogisticRegression(degree=3, context=context)
    other = copier(model)
    assert model.context is context
    assert type(other.context) is CKKSParameters
    assert other.context.get_params() == {
        "poly_modulus_degree": 8192,
        "coeff_mod_bit_sizes": (52, 52, 30, 30, 50),
        "scale_bits": 28,
    }
    assert other.plan(200, 4) == model.plan(200, 4)
    secret_key = context.secret_key().data
    compressed = saved(secret_key)
    data = pickle.dumps(model)
    assert len(data) < 2000 and compressed[40:104] not in data


def test_a_fit_does_not_use_the_keys_of_a_context():
    """Existing keys are neither used nor destroyed."""
    context = make_context()
    before = saved(context.secret_key().data)
    plan = make()
    X, targets = make_rows(plan)
    model = EncryptedDPLogisticRegression(degree=3, max_iter=2, context=context).fit(X, targets)
    assert context.is_private() and saved(context.secret_key().data) == before
    assert not holds({name: v for name, v in vars(model).items() if name != "context"}, HOLDERS)
    assert "SecretKey" not in repr(model)
