"""Whatever comes in a message or a file: no crash, no hang, one clear error, no decryption.

The damage is done in processes of their own (`mutation_run`), with 8 GB of address space and 30
seconds for each attempt: a crash of SEAL, or what swells when it is read, is seen and can be done
again. Every attempt also looks at what was decrypted: `mutation_run.World.read_reply`.
"""

import json
import os
import random
import struct
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import mutation_helpers as damage
import numpy as np
import pytest
import zstandard
from helpers import make, make_rows, owners_of, ring_of
from hypothesis import given, settings
from hypothesis import strategies as st

from skfhe import Evaluator, KeyHolder
from skfhe.crypto.simulated import SimulatedScheme
from skfhe.exceptions import MessageError, PlanMismatch
from skfhe.plan import TrainingPlan
from skfhe.protocol import messages
from skfhe.protocol.course import StepRecord
from skfhe.protocol.outcome import Released, pack_outcome, unpack_outcome
from skfhe.protocol.places import StoredMessage

SCRIPT = Path(__file__).with_name("mutation_run.py")
READERS = {
    *("rows", "weights", "noise", "statistic", "public_key", "frame", "outcome", "keys"),
    *("reply", "dataset", "state", "plan", "schema"),
}


def damaged(folder, seed, count):
    """Outcomes by reader, of so many attempts in a process of their own."""
    folder.mkdir()
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(SCRIPT.parent)}
    done = subprocess.run(
        [sys.executable, SCRIPT, str(seed), str(count), folder],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60 + count / 5,
    )
    lines = done.stdout.splitlines()
    last = [line for line in lines if line[:1].isdigit()][-1:]
    assert done.returncode == 0, f"seed {seed}, attempt {last}:\n{done.stderr[-3000:]}"
    found = json.loads(lines[-1])
    assert not found["failures"], "\n".join(map(str, found["failures"][:5]))
    assert sum(sum(by.values()) for by in found["outcomes"].values()) == count
    assert max(found["slowest"].values()) < 10
    return found["outcomes"]


def assert_each_was_tried(outcomes):
    """Every reader has refused, and whoever can have taken what does no harm has."""
    assert outcomes.keys() == READERS
    for name, by in outcomes.items():
        assert sum(by.values()) > by.get("accepted", 0), name
    assert outcomes["reply"]["KeyBurned"] and outcomes["reply"]["accepted"]
    assert all(outcomes[name]["PlanMismatch"] for name in ("rows", "noise", "reply"))
    assert outcomes["state"]["StateError"]


def test_a_thousand_mutations(tmp_path):
    assert_each_was_tried(damaged(tmp_path / "0", 0, 1000))


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(1, 5))
def test_twenty_thousand_mutations(tmp_path, seed):
    assert_each_was_tried(damaged(tmp_path / str(seed), seed, 5000))


# That the damage is what it should be.


def test_the_second_reader_and_writer_agree_with_the_package():
    data = messages.pack("noise", "ab" * 32, [b"one", b"", b"three"], run="r", step=1)
    header, sections = damage.split(data)
    assert sections == [b"one", b"", b"three"] and header["run"] == "r"
    again = damage.joined(header, sections)
    assert messages.unpack(again, "noise", "ab" * 32, 3, run="r", step=1)[1] == sections
    assert damage.claims(again) == damage.claims(data) is not None
    assert damage.claims(damage.joined({**header, "step": 2}, sections)) != damage.claims(data)
    assert damage.claims(data[:-1]) is None and damage.claims(b"") is None


def test_most_of_the_damage_has_a_right_checksum():
    """Else nothing behind the checksum would ever be reached."""
    rng = random.Random(0)
    data = messages.pack("noise", "ab" * 32, [rng.randbytes(500)], run="r", step=1)
    forger = damage.Forger(rng, [data], [b"other"])
    made = [forger.forged(data) for _ in range(800)]
    assert {kind for kind, _ in made} == {*damage.Forger.KINDS}
    whole = [d for _, d in made if d[-32:] == damage.sealed(d[:-32])[-32:]]
    assert 0.6 < len(whole) / len(made) < 0.95
    assert sum(d == data for _, d in made) < 100


# What the mutations have found, one by one.


@pytest.fixture(scope="module")
def run():
    plan = make(max_iter=2)
    return plan, KeyHolder(plan)


def keys_with(run, alter):
    """The evaluation keys' message with other automorphism keys."""
    header, (relinearisation, first, *others) = damage.split(run[1].evaluation_keys())
    return damage.joined(header, [relinearisation, alter(first), *others])


def many_keys(section, nested):
    """A hundred automorphism keys whose residues are zeros: 260 MB of memory."""
    whole = damage.inflated(section)[damage.SEAL_HEADER :]
    outer = struct.unpack_from("<Q", whole, 32)[0]
    at = 40
    while not (inner := struct.unpack_from("<Q", whole, at)[0]):
        at += 8
    size = struct.unpack_from("<Q", whole, at + 16)[0]
    key = whole[at + 8 :][:size]
    key = key[:200] + bytes(size - 400) + key[-200:]
    if nested:
        frame = zstandard.compress(key[damage.SEAL_HEADER :])
        key = damage.seal_header(2, len(frame)) + frame
    many = (struct.pack("<Q", inner) + key * inner) * 100 + bytes(8 * (outer - 100))
    body = whole[:40] + many
    if nested:
        return damage.seal_header(0, len(body)) + body
    frame = zstandard.compress(body)
    return damage.seal_header(2, len(frame)) + frame


@pytest.mark.parametrize("nested", [False, True])
def test_keys_that_swell_are_refused_before_they_do(run, nested):
    """SEAL would read them: thirty thousand bytes of memory for each that was sent."""
    data = keys_with(run, lambda section: many_keys(section, nested))
    with pytest.raises(MessageError, match="swell"):
        Evaluator(run[0], data)


@pytest.mark.parametrize("compression", [1, 3, 255])
def test_other_compressions_are_refused(run, compression):
    def alter(section):
        return section[:5] + bytes([compression]) + section[6:]

    with pytest.raises(MessageError):
        Evaluator(run[0], keys_with(run, alter))
    assert Evaluator(run[0], keys_with(run, lambda section: section))


@pytest.mark.parametrize("run_name", [None, 7, ["r"], ...])
def test_keys_must_name_their_run(run, run_name):
    header, sections = damage.split(run[1].evaluation_keys())
    del header["run"]
    if run_name is not ...:
        header["run"] = run_name
    with pytest.raises(MessageError, match="run"):
        Evaluator(run[0], damage.joined(header, sections))


def test_noise_that_would_cost_the_key_is_refused_by_the_evaluator(run):
    """Noise of another level, or at another scale by the last digit, spoils no step."""
    plan, holder = run
    header, _ = damage.split(owners_of(holder)[0].noise(0))
    used, encryptor = plan.encryption, holder.encryptor()
    rows = [*owners_of(holder)[0].encrypt(*make_rows(plan))]
    for scale, level in ((used.output_scale * (1 + 1e-15), 0), (used.output_scale, 1)):
        section = encryptor.encrypt_integers([1] * used.poly_modulus_degree, scale, level)
        evaluator = Evaluator(plan, holder.evaluation_keys())
        evaluator.load(rows)
        with pytest.raises(MessageError, match="level"):
            evaluator.step(holder.weights(), [damage.joined(header, [section])])


def test_noise_that_is_not_encrypted_is_refused():
    """A ciphertext of zeros needs no key, and would add nothing where noise is due."""
    plan = make(n_owners=2, max_iter=2)
    holder = KeyHolder(plan)
    owners = owners_of(holder)
    evaluator = Evaluator(plan, holder.evaluation_keys())
    X, targets = make_rows(plan)
    evaluator.load(owners[0].encrypt(X, targets))
    good = [owner.noise(0) for owner in owners]
    header, (section,) = damage.split(good[0])
    fields = 5 + 5 + 73 + 24 + 2  # docs/how/formats.md
    zeros = section[:fields] + bytes(len(section) - fields)
    with pytest.raises(MessageError, match="not encrypted"):
        evaluator.step(holder.weights(), [damage.joined(header, [zeros]), good[1]])
    holder.release(evaluator.step(holder.weights(), good))


@pytest.mark.parametrize("figure", [10**400, float("nan"), "0", None, [0], damage.nested(900)])
def test_records_of_a_model_must_be_numbers(run, figure):
    plan, holder = run
    problem = plan.problem
    model = np.zeros((problem.n_columns, problem.n_outputs))
    records = [StepRecord(0.0, 0.0, 1.0, 1.0, 1.0)] * 2
    good = pack_outcome(Released(model, records, True), plan, holder.run)
    assert unpack_outcome(good, plan, holder.run).guaranteed
    header, sections = damage.split(good)
    for forged in (
        {**header, "records": [{**header["records"][0], "interval": figure}] * 2},
        {**header, "shapes": [[figure, 1]]},
    ):
        with pytest.raises(MessageError):
            unpack_outcome(damage.joined(forged, sections), plan, holder.run)


def test_a_size_that_is_told_is_not_set_aside(tmp_path):
    """A file of three bytes that should have 2^47, or at most 2^40."""
    (tmp_path / "x").write_bytes(b"abc")
    stored = StoredMessage(str(tmp_path), "x", 2**47, "0" * 64)
    with pytest.raises(MessageError, match="altered"):
        stored.read()
    with pytest.raises(MessageError, match="at most 2"):
        replace(stored, n_bytes=2).read()


@pytest.mark.parametrize("depth", [500, 900, 960, 980, 990, 1000, 3000])
@pytest.mark.parametrize("field", ["plan", "run", "sections", "kind"])
def test_nested_headers(depth, field):
    """Near Python's limit of recursion, wherever it is met."""
    text = '{"kind":"noise","plan":"p","sections":[]}'
    nested = "[" * depth + "]" * depth
    text = text[:-1] + f',"{field}":{nested}}}'
    body = damage.MAGIC + len(text).to_bytes(4, "little") + text.encode()
    for extra in range(3):
        with pytest.raises((MessageError, PlanMismatch)):
            messages.unpack(damage.sealed(body), "noise", "p", run=["r"] * extra)


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=40) | st.text("[]{}0123456789.,-eEINfa", max_size=30).map(str.encode))
def test_simulated_ciphertexts(head):
    ring = ring_of(make(max_iter=2))
    evaluator = SimulatedScheme(ring).evaluator([b'{"simulated evaluation keys": []}'])
    data = len(head).to_bytes(2, "little") + head + bytes(16 * ring.slots)
    try:
        found = evaluator.load(data)
    except MessageError:
        return
    assert type(found.level) is int and found.scale > 0


@pytest.mark.parametrize("value", [[1], {"a": 1}, "1", None, True, 1.5])
def test_fields_of_a_plan_are_of_their_kind(value):
    """Whatever the digest says: who forges a plan computes it."""
    plan = make(max_iter=2)
    content = json.loads(plan.to_json())
    numbers = {
        part: [name for name, old in fields.items() if type(old) in (int, type(value), float)]
        for part, fields in content.items()
        if isinstance(fields, dict)
    }
    refused = 0
    for part, names in numbers.items():
        for name in names:
            if type(content[part][name]) is type(value):
                continue
            changed = {**content, part: {**content[part], name: value}}
            with pytest.raises(ValueError):
                TrainingPlan.from_json(damage.forged_plan(changed))
            refused += 1
    assert refused > 15
