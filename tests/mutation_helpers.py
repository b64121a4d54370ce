"""Damage to messages and files: by accident, and by a forger who can compute checksums.

Independent of the package's own reader and writer: `split` and `joined` are a second one.
"""

import copy
import hashlib
import json
import struct

import zstandard

MAGIC, CHECKSUM = b"SKFHE\x01", 32
SEAL_MAGIC = b"\x5e\xa1"
SEAL_HEADER = 16
# What lengths, counts and identifiers become.
NUMBERS = (0, 1, 2, 3, 2**15, 2**31 - 1, 2**32, 2**40, 2**63 - 1, 2**63, 2**64 - 1)
DEEP = 900
STRANGE = (
    *(None, True, False, -1, 0, 1, 2, 3.5, 2**31, 2**48, 2**63, 10**30, 10**400, 1e308),
    *(float("nan"), float("inf"), "", "0", "x" * 5000, "\ud800", "../../etc/passwd", "ab" * 32),
    *([], {}, [[]], [0, 0], [-1], [2**62, 2**62], {"a": 1}),
)


def sealed(body):
    """A body and its checksum."""
    return body + hashlib.sha256(body).digest()


def split(data):
    """Header and sections of a message that is whole."""
    start = len(MAGIC) + 4
    end = start + int.from_bytes(data[len(MAGIC) : start], "little")
    header, sections = json.loads(data[start:end]), []
    for length in header["sections"]:
        sections.append(data[end : end + length])
        end += length
    assert end == len(data) - CHECKSUM
    return header, sections


def joined(header, sections, lengths=True):
    """A message with a right checksum around any header and sections."""
    if lengths:
        header = {**header, "sections": [len(section) for section in sections]}
    text = json.dumps(header).encode()
    return sealed(MAGIC + len(text).to_bytes(4, "little") + text + b"".join(sections))


def claims(data):
    """What a message says it is, for a release; None if it is none at all."""
    if data[: len(MAGIC)] != MAGIC or data[-CHECKSUM:] != sealed(data[:-CHECKSUM])[-CHECKSUM:]:
        return None
    try:
        header, sections = split(data)
    except (ValueError, KeyError, TypeError, AssertionError, RecursionError):
        return None
    which = "name" if header.get("kind") == "statistics" else "step"
    told = {name: header.get(name) for name in ("kind", "plan", "run", which)}
    return {**told, "sections": len(sections)}


# Bytes.


def place(rng, data):
    """A position; half of the time where headers and lengths are."""
    near = min(len(data), 160)
    return rng.randrange(near if rng.random() < 0.5 else len(data)) if data else 0


def flipped(rng, data):
    """A few bits turned over."""
    altered = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 8, 64)) if data else 0):
        altered[place(rng, data)] ^= 1 << rng.randrange(8)
    return bytes(altered)


def truncated(rng, data):
    """The beginning alone, or without it."""
    cut = place(rng, data)
    return rng.choice((data[:cut], data[cut:], data[: len(data) - rng.randrange(1, 64)]))


def extended(rng, data):
    """More at the end, or in the middle."""
    more = rng.randbytes(rng.choice((1, 8, 100, 100_000)))
    cut = rng.choice((len(data), place(rng, data)))
    return data[:cut] + more + data[cut:]


def numbered(rng, data):
    """A number that a length or a count could be, written over something."""
    cut, size = place(rng, data), rng.choice((1, 2, 4, 8))
    number = (rng.choice(NUMBERS) % 2 ** (8 * size)).to_bytes(size, "little")
    return data[:cut] + number + data[cut + size :]


def repeated(rng, data):
    """A stretch twice, zeroed, or left out."""
    a = place(rng, data)
    b = min(len(data), a + rng.choice((1, 8, 64, 4096)))
    middle = rng.choice((data[a:b] * 2, bytes(b - a), b"\xff" * (b - a), b""))
    return data[:a] + middle + data[b:]


def mutated(rng, data, other=b""):
    """One kind of damage, or a splice with another message."""
    if other and rng.random() < 0.1:
        return data[: place(rng, data)] + other[place(rng, other) :]
    return rng.choice((flipped, truncated, extended, numbered, repeated))(rng, data)


# JSON.


def tampered(rng, content):
    """JSON's content with one thing in it changed, left out, added or renamed."""
    content = copy.deepcopy(content)
    places = [*_places(content)]
    holder, key = rng.choice(places)
    kind = rng.random()
    if kind < 0.7:
        holder[key] = rng.choice((*STRANGE, nested(rng.choice((20, DEEP)))))
    elif kind < 0.8:
        del holder[key]
    elif isinstance(holder, dict):
        holder[rng.choice(("more", "", "run", "step"))] = holder[key]
        if kind < 0.9:
            del holder[key]
    else:
        holder.insert(0, copy.deepcopy(holder[key]))
    return content


def _places(content):
    items = content.items() if isinstance(content, dict) else enumerate(content)
    for key, value in items:
        yield content, key
        if isinstance(value, (dict, list)):
            yield from _places(value)


def nested(depth):
    """Lists in lists."""
    value = []
    for _ in range(depth):
        value = [value]
    return value


def forged_manifest(content):
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return json.dumps({**content, "checksum": hashlib.sha256(text.encode()).hexdigest()}).encode()


def forged_plan(content):
    """With the digest that the changed plan has."""
    kept = {name: content[name] for name in content if name not in ("digest", "prediction")}
    text = json.dumps(kept, sort_keys=True, separators=(",", ":"))
    return json.dumps({**content, "digest": hashlib.sha256(text.encode()).hexdigest()}).encode()


# SEAL's objects.


def inflated(section):
    """An object of SEAL's, not compressed: its fields are then where a forger finds them."""
    data = zstandard.ZstdDecompressor().decompressobj().decompress(section[SEAL_HEADER:])
    return seal_header(0, len(data)) + data


def seal_header(compression, length):
    """What SEAL writes before `length` bytes."""
    return struct.pack("<2sBBBBHQ", SEAL_MAGIC, SEAL_HEADER, 4, 3, compression, 0, 16 + length)


def swollen(n_bytes, start=b""):
    """An object of SEAL's that begins as told and goes on in zeros: four bytes for 128 KiB."""
    block = 2**17

    def header(kind, size, last=0):
        return (last | kind << 1 | size << 3).to_bytes(3, "little")

    frame = bytes.fromhex("28b52ffd0038")  # a window of 128 KiB, no length
    for first in range(0, len(start), block):
        part = start[first : first + block]
        frame += header(0, len(part)) + part
    frame += (header(1, block) + b"\0") * (n_bytes // block) + header(0, 0, last=1)
    return seal_header(2, len(frame)) + frame


# Messages.


class Forger:
    """Makes one damaged message after another out of whole ones.

    Parameters
    ----------
    rng : random.Random
        Which damage.
    spare : list of bytes
        Whole messages of other kinds, plans, runs and steps, which are replayed and spliced.
    crafted : list of bytes
        Objects of SEAL's that are whole and out of place.
    """

    KINDS = ("bytes", "sealed", "section", "object", "header", "replay", "crafted", "more")

    def __init__(self, rng, spare, crafted):
        self.rng, self.spare, self.crafted = rng, spare, crafted
        self._inflated = {}

    def forged(self, data):
        """A damaged message and the kind of damage."""
        kind = self.rng.choice(self.KINDS)
        return kind, getattr(self, f"_{kind}")(data)

    def _bytes(self, data):
        return mutated(self.rng, data, self.rng.choice(self.spare))

    def _sealed(self, data):
        other = self.rng.choice(self.spare)[:-CHECKSUM]
        return sealed(mutated(self.rng, data[:-CHECKSUM], other))

    def _section(self, data):
        header, sections = split(data)
        return self._with(header, sections, lambda old: mutated(self.rng, old))

    def _object(self, data):
        """A section's SEAL object changed within, where it is one."""
        header, sections = split(data)

        def altered(section):
            if section[:2] != SEAL_MAGIC:
                return mutated(self.rng, section)
            key = hashlib.sha256(section).digest()
            if key not in self._inflated:
                self._inflated[key] = inflated(section)
            whole = self._inflated[key]
            start = SEAL_HEADER if self.rng.random() < 0.8 else 0
            body = mutated(self.rng, whole[start:])
            return seal_header(0, len(body)) + body if start else body

        return self._with(header, sections, altered)

    def _with(self, header, sections, alter):
        sections = [*sections]
        if sections:
            index = self.rng.randrange(len(sections))
            sections[index] = alter(sections[index])
        return joined(header, sections)

    def _header(self, data):
        header, sections = split(data)
        return joined(tampered(self.rng, header), sections, lengths=False)

    def _replay(self, data):
        other = self.rng.choice(self.spare)
        if self.rng.random() < 0.5:
            return other
        (header, _), (_, sections) = split(data), split(other)
        return joined(header, sections)

    def _crafted(self, data):
        header, sections = split(data)
        return self._with(header, sections, lambda _: self.rng.choice(self.crafted))

    def _more(self, data):
        header, sections = split(data)
        many = self.rng.choice((2, 300))
        return self.rng.choice(
            (
                joined(header, [*sections, self.rng.randbytes(2**20)]),
                joined(header, [*sections, *[b""] * many]),
                joined(header, sections[:1] * many if len(data) < 1e6 else []),
                joined({**header, "more": "x" * 2**20}, sections),
                data + bytes(2**20),
                data.replace(MAGIC, MAGIC[:-1] + b"\2", 1),
                sealed(data[:-CHECKSUM].replace(MAGIC, MAGIC[:-1] + b"\2", 1)),
            )
        )
