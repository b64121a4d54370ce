"""Damages messages and files in bulk and gives them to those who read them; see test_mutations.

A process of its own, with a limit on memory and on seconds, as a crash must not be the tests'.
Before each attempt its number is printed, and what is given to the reader lies in ``last``.
"""

import argparse
import faulthandler
import hashlib
import json
import random
import resource
import shutil
import time
import traceback
from collections import Counter, defaultdict
from pathlib import Path

import numpy as np
import tenseal.sealapi as seal
from helpers import make, make_rows
from mutation_helpers import (
    SEAL_HEADER,
    Forger,
    claims,
    forged_manifest,
    forged_plan,
    inflated,
    joined,
    mutated,
    seal_header,
    split,
    swollen,
    tampered,
)

from skfhe import DataOwner, EncryptedDataset, Evaluator, KeyHolder
from skfhe.crypto.tenseal import TensealScheme
from skfhe.crypto.tenseal.context import seal_context
from skfhe.crypto.tenseal.keys import TensealKeys
from skfhe.exceptions import BudgetExceeded, KeyBurned, MessageError, PlanMismatch, StateError
from skfhe.plan import TrainingPlan
from skfhe.planning import check_plan
from skfhe.protocol.folder_state import FolderState
from skfhe.protocol.outcome import unpack_outcome
from skfhe.protocol.preparation import unpack_frame
from skfhe.protocol.schemes import plan_scheme
from skfhe.protocol.state import RunState
from skfhe.protocol.vault import owner_key
from skfhe.schema import Schema

OWN = (MessageError, PlanMismatch, KeyBurned, StateError, BudgetExceeded)
SECONDS, ADDRESS_SPACE = 30, 8 * 2**30
# Where the residues of a ciphertext begin that has no seed.
CIPHERTEXT_HEADER = 109
SCHEMA = {
    "features": ["age", "weight"],
    "label": "sick",
    "classes": ["no", "yes"],
    "bounds": {"age": [0, 120], "weight": [1.5, 300]},
}


class Remembered(RunState):
    """A state that comes from nowhere: a run's name, its key and the releases so far."""

    def __init__(self, run, secret, releases):
        super().__init__()
        self.run, self._secret = run, secret
        self._releases = {release.name: release for release in releases}

    def secret(self):
        return self._secret


class Loaded:
    """A scheme whose evaluator is there already: keys take long to load."""

    name = "tenseal"

    def __init__(self, backend):
        self.ring, self._backend = backend.ring, backend

    def evaluator(self, _):
        return self._backend


class World:
    """One run of two steps with all its messages and files."""

    def __init__(self, folder, rng):
        self.folder, self.rng = folder, rng
        self.plan = make(max_iter=2, standardize=True, precondition=True)
        self.names = [*self.plan.preparation.statistics, *range(2)]
        self.X, self.targets = make_rows(self.plan)
        self.decryptions = 0
        self._spy()
        FolderState.create(folder / "state", self.plan).close()
        self._run()
        other = make(max_iter=2, degree=1)
        foreign, self.several = KeyHolder(other), make(max_iter=2, n_owners=2)
        spare = [foreign.weights(), DataOwner(other, foreign.encryptor(), "ab" * 16).noise(0)]
        self.messages["public key"] = KeyHolder(self.several).public_key()
        again = KeyHolder(self.plan)  # other keys, another run
        owner = DataOwner(self.plan, again.encryptor(), again.run)
        spare += [owner.noise(0), owner.noise(1), owner.statistic("moments", self.X)]
        own = [m for name, m in self.messages.items() if name != "keys"]
        sections = [self._under_other_keys(again), *self._crafted()]
        self.forger = Forger(rng, [*own, *self.noise, *self.replies, *spare], sections)

    def _spy(self):
        decrypt = TensealKeys.decrypt

        def counted(keys, *arguments):
            self.decryptions += 1
            return decrypt(keys, *arguments)

        TensealKeys.decrypt = counted

    def _run(self):
        """All messages of a run, and the states between its releases."""
        plan, state = self.plan, FolderState(self.folder / "state")
        holder = KeyHolder(plan, state=state)
        self.run, self.secret = holder.run, state.secret()
        owner = DataOwner.with_secret_key(self.folder / "state")
        keys = holder.evaluation_keys()
        self.backend = plan_scheme(plan).evaluator(split(keys)[1])
        self.messages = {"keys": keys}
        self.replies, self.shares, self.noise, self.weights = [], {}, [], []
        evaluator = self.evaluator()
        for name in plan.preparation.statistics:
            self.shares[name] = owner.statistic(name, self.X)
            self.replies.append(evaluator.aggregate(name, [self.shares[name]]))
            holder.prepare(self.replies[-1])
            self.messages["frame"] = holder.frame()
            owner.adopt(holder.frame())
        (self.rows,) = owner.encrypt(self.X, self.targets)
        evaluator.load([self.rows])
        self.noise = [owner.noise(step) for step in range(2)]
        for step in range(2):
            self.weights.append(holder.weights())
            if step == 1:
                shutil.copytree(self.folder / "state", self.folder / "template")
            self.replies.append(evaluator.step(self.weights[-1], [self.noise[step]]))
            holder.release(self.replies[-1])
        self.messages["outcome"] = holder.outcome()
        self.releases = [*state.releases()]
        state.close()
        fresh = DataOwner.with_secret_key(self.folder / "template")
        fresh.adopt(self.messages["frame"])
        fresh.save(self.folder / "data", self.X, self.targets)

    def _under_other_keys(self, holder):
        """A gradient that decrypts to anything at all."""
        used = self.plan.encryption
        zeros = np.zeros(used.poly_modulus_degree)
        return holder.encryptor().encrypt_integers(zeros, used.output_scale, 0)

    def _crafted(self):
        """Ciphertexts of other levels, sizes and scales; and what swells when it is read."""
        scheme, used = TensealScheme(self.backend.ring), self.plan.encryption
        encryptor = scheme.restore((), self.secret).encryptor()
        evaluator = seal.Evaluator(seal_context(self.backend.ring))
        slots = np.full(used.poly_modulus_degree // 2, 0.5)
        for level in range(len(used.primes) - 1):
            one = self.backend.load(encryptor.encrypt(slots, 2.0**20, level))
            odd = (float("nan"), float("inf"), -1.0, 0.0, 1e-300, 1e300)
            for scale in (1.0, used.scale, used.output_scale, used.row_scale, *odd):
                one.scale = scale
                yield self.backend.save(one)
            one.scale = 1.0
            product = seal.Ciphertext()
            evaluator.multiply(one, one, product)
            product.scale = used.output_scale
            data = self.backend.save(product)
            yield data
            yield data[:CIPHERTEXT_HEADER] + bytes(len(data) - CIPHERTEXT_HEADER)  # transparent
        yield swollen(2**32)

    def evaluator(self, step=0):
        header = {"kind": "evaluation keys", "plan": self.plan.digest, "run": self.run}
        return Evaluator(self.plan, joined(header, [b""]), Loaded(self.backend), step=step)

    def holder(self, n_releases):
        state = Remembered(self.run, self.secret, self.releases[:n_releases])
        return KeyHolder(self.plan, state=state)

    def forged(self, data):
        """A damaged message."""
        self.damage, altered = self.forger.forged(data)
        return self.kept(altered)

    def kept(self, data):
        """Left where it is found after a crash."""
        (self.folder / "last").write_bytes(data)
        return data

    # What reads messages. Each gives itself something damaged once.

    def read_rows(self):
        evaluator = self.evaluator()
        evaluator.load([self.forged(self.rows)])
        evaluator.step(self.weights[0], [self.noise[0]])

    def read_weights(self):
        evaluator = self.evaluator()
        evaluator.load([self.rows])
        evaluator.step(self.forged(self.weights[0]), [self.noise[0]])

    def read_noise(self):
        evaluator = self.evaluator(step=1)
        evaluator.load([self.rows])
        evaluator.step(self.weights[1], [self.forged(self.noise[1])])

    def read_statistic(self):
        name = self.rng.choice([*self.shares])
        self.evaluator().aggregate(name, [self.forged(self.shares[name])])

    def read_public_key(self):
        data = self.forged(self.messages["public key"])
        DataOwner.with_public_key(self.several, data).noise(0)

    def read_frame(self):
        data = self.forged(self.messages["frame"])
        unpack_frame(data, self.plan, self.run)
        encryptor = plan_scheme(self.plan).restore((), self.secret).encryptor()
        DataOwner(self.plan, encryptor, self.run).adopt(data)

    def read_outcome(self):
        unpack_outcome(self.forged(self.messages["outcome"]), self.plan, self.run)

    def read_keys(self):
        """A relinearisation key, then automorphism keys, a section each."""
        header, parts = split(self.messages["keys"])
        kind = self.rng.choice(("any", "whole", "object", "object"))
        if kind == "any":
            data = self.forged(self.messages["keys"])
        else:
            index = self.rng.randrange(2)
            part = parts[index]
            if kind == "object":
                body = mutated(self.rng, inflated(part)[SEAL_HEADER:])
                parts[index] = seal_header(0, len(body)) + body
            else:
                parts[index] = mutated(self.rng, part)
            data = joined(header, parts)
        Evaluator(self.plan, self.kept(data))

    def read_reply(self):
        """Nothing is decrypted but a release that is right in all but its ciphertext."""
        stage = self.rng.randrange(len(self.names))
        holder, good, before = self.holder(stage), self.replies[stage], self.decryptions
        if stage >= len(self.plan.preparation.statistics):
            holder.weights()
        begun, paid = holder.status(), [*holder.releases.spent]
        data = self.forged(good)
        take = holder.prepare if isinstance(self.names[stage], str) else holder.release
        try:
            take(data)
        finally:
            used, ended = self.decryptions - before, holder.status()
            right = claims(data) == claims(good)
            assert used <= right, f"decrypted: {claims(data)} for {claims(good)}"
            if used:
                released = ended.step + len(ended.prepared) == stage + 1
                assert released or ended.burned, "decrypted for nothing"
                assert len(holder.releases.spent) == len(paid) + 1
            else:
                assert (ended, holder.releases.spent) == (begun, paid), "refused, but changed"
                take(good)

    # What reads files.

    def read_dataset(self):
        folder = self._copy("data")
        kind = self.rng.random()
        if kind < 0.5:
            path = folder / "manifest.json"
            if self.rng.random() < 0.5:
                data = mutated(self.rng, path.read_bytes())
            else:
                content = json.loads(path.read_bytes())
                del content["checksum"]
                data = forged_manifest(tampered(self.rng, content))
        else:
            path = self.rng.choice([*folder.rglob("*.skfhe")])
            data = self.forged(path.read_bytes())
            if kind < 0.9:  # and the manifest with it
                manifest = folder / "manifest.json"
                found = json.loads(manifest.read_bytes())
                del found["checksum"]
                for file in (*found["shards"], *found["noise"], found["curvature"]):
                    if file["name"].endswith(path.name):
                        file.update(bytes=len(data), sha256=hashlib.sha256(data).hexdigest())
                manifest.write_bytes(forged_manifest(found))
        path.write_bytes(self.kept(data))
        evaluator = self.evaluator()
        dataset = EncryptedDataset.load(folder, plan_digest=self.plan.digest)
        evaluator.load(dataset.shards)
        for message in dataset.curvature:
            evaluator.aggregate("curvature", [message.read()])
        for step in range(2):
            evaluator.step(self.weights[step], dataset.noise_of(step))

    def read_state(self):
        """Whatever is damaged, no step is released again."""
        folder, before = self._copy("template"), self.decryptions
        names = "journal", "journal", "plan.json", "secret.key", "weights.skfhe"
        path = folder / self.rng.choice(names)
        path.write_bytes(self.kept(mutated(self.rng, path.read_bytes())))
        if path.name in ("plan.json", "secret.key"):
            owner_key(folder)
        state = FolderState(folder)
        try:
            holder = KeyHolder(self.plan, state=state)
            known = holder.status()
            assert known.step == 1 or known.burned, "a release was forgotten"
            for stage in range(3):
                take = holder.prepare if stage < 2 else holder.release
                take(self.replies[stage])
            assert self.decryptions == before, "a release was decrypted again"
            holder.weights()
            holder.release(self.replies[3])
        finally:
            state.close()

    def read_plan(self):
        if self.rng.random() < 0.3:
            data = mutated(self.rng, self.plan.to_json().encode())
        else:
            data = forged_plan(tampered(self.rng, json.loads(self.plan.to_json())))
        plan = TrainingPlan.from_json(self.kept(data))
        check_plan(plan)
        str(plan)

    def read_schema(self):
        content = tampered(self.rng, SCHEMA)
        data = json.dumps(content).encode()
        if self.rng.random() < 0.5:
            data = mutated(self.rng, data)
        Schema.read(self.kept(data))

    def _copy(self, name):
        folder = self.folder / "copy"
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(self.folder / name, folder)
        return folder


# How often each reader comes up.
READERS = {
    **{"rows": 8, "weights": 8, "noise": 8, "statistic": 8, "public_key": 8, "frame": 6},
    **{"outcome": 8, "keys": 2, "reply": 24, "dataset": 10, "state": 8, "plan": 6, "schema": 6},
}


def main(seed, count, folder, only=None):
    resource.setrlimit(resource.RLIMIT_AS, (ADDRESS_SPACE, ADDRESS_SPACE))
    rng = random.Random(seed)
    world = World(folder, rng)
    outcomes, failures, slowest = defaultdict(Counter), [], Counter()
    for number in range(count):
        rng.seed(f"{seed}/{number}")
        name = rng.choices([*READERS], [*READERS.values()])[0]
        if only not in (None, name):
            continue
        print(number, name, flush=True)
        allowed = (*OWN, ValueError) if name in ("plan", "schema") else OWN
        faulthandler.dump_traceback_later(SECONDS, exit=True)
        world.damage, start = "", time.monotonic()
        try:
            getattr(world, f"read_{name}")()
            outcomes[name]["accepted"] += 1
        except Exception as error:
            outcomes[name][type(error).__name__] += 1
            if not isinstance(error, allowed) or (allowed is OWN and len(str(error)) > 600):
                where = traceback.format_exc(limit=-4)
                failures.append([number, name, world.damage, repr(error)[:300], where])
        faulthandler.cancel_dump_traceback_later()
        slowest[name] = max(slowest[name], time.monotonic() - start)
    print(json.dumps({"outcomes": outcomes, "failures": failures, "slowest": slowest}))


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("seed", type=int)
    parser.add_argument("count", type=int)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--only")
    main(**vars(parser.parse_args()))
