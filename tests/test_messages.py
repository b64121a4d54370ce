"""Messages: whatever is wrong with the bytes, there is one clear error."""

import hashlib
import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from skfhe.exceptions import MessageError, PlanMismatch
from skfhe.protocol.messages import pack, unpack

DIGEST = "ab" * 32
SAMPLE = pack("noise", DIGEST, [b"first", b"", b"third" * 9], run="r1", step=3, owner=0)
SETTINGS = settings(max_examples=200, deadline=None)

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)
names = st.text(min_size=1, max_size=8).filter(
    lambda n: n not in {"kind", "plan", "sections", "plan_digest"}
)


def refused(data, kind="noise", digest=DIGEST, errors=(MessageError,), **expected):
    """Whether the bytes are refused with one of the errors; any other error fails the test."""
    with pytest.raises(Exception) as caught:
        unpack(data, kind, digest, **expected)
    assert type(caught.value) in errors, repr(caught.value)
    return True


def sealed(header, payload=b""):
    """A message with a right checksum around any header: what a forger can make."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    body = b"SKFHE\x01" + len(text).to_bytes(4, "little") + text + payload
    return body + hashlib.sha256(body).digest()


@SETTINGS
@given(
    st.text(min_size=1),
    st.text(),
    st.lists(st.binary(max_size=200), max_size=5),
    st.dictionaries(names, json_values, max_size=4),
)
def test_round_trip(kind, digest, sections, fields):
    header, back = unpack(pack(kind, digest, sections, **fields), kind, digest)
    assert back == sections
    assert header["kind"] == kind and header["plan"] == digest
    assert {name: header[name] for name in fields} == fields


def test_the_sample_is_good():
    _header, sections = unpack(SAMPLE, "noise", DIGEST, run="r1", step=3, owner=0)
    assert sections == [b"first", b"", b"third" * 9]


def test_truncation_at_every_length():
    for length in range(len(SAMPLE)):
        refused(SAMPLE[:length])
        refused(SAMPLE[length + 1 :])


def test_every_flipped_bit_is_seen():
    for position in range(8 * len(SAMPLE)):
        altered = bytearray(SAMPLE)
        altered[position // 8] ^= 1 << position % 8
        refused(bytes(altered))


@SETTINGS
@given(st.data())
def test_edits_anywhere(data):
    start = data.draw(st.integers(0, len(SAMPLE)))
    stop = data.draw(st.integers(start, len(SAMPLE)))
    altered = SAMPLE[:start] + data.draw(st.binary(max_size=40)) + SAMPLE[stop:]
    if altered != SAMPLE:
        refused(altered)


@SETTINGS
@given(st.binary(max_size=300))
def test_foreign_bytes(data):
    refused(data)
    refused(b"SKFHE\x01" + data)


def test_another_format_version():
    refused(sealed({"kind": "noise", "plan": DIGEST, "sections": []}).replace(b"\x01", b"\x02", 1))


@pytest.mark.parametrize("kind", ["gradient", "weights", "rows", "NOISE", ""])
def test_wrong_kind(kind):
    refused(SAMPLE, kind=kind)


@pytest.mark.parametrize(
    "expected",
    [{"digest": "cd" * 32}, {"run": "r2"}, {"step": 2}, {"step": 4}, {"owner": 1}, {"more": 1}],
)
def test_wrong_plan_run_step_or_owner(expected):
    assert refused(SAMPLE, errors=(PlanMismatch,), **expected)


def test_errors_are_short_whatever_the_message_says():
    long = pack("noise", "x" * 10_000, [b""], run="y" * 10_000)
    for expected in ({}, {"run": "r1"}):
        with pytest.raises(PlanMismatch) as caught:
            unpack(long, "noise", DIGEST if not expected else "x" * 10_000, **expected)
        assert len(str(caught.value)) < 300


@SETTINGS
@given(json_values)
def test_forged_headers(header):
    """A forger can compute the checksum, so every header may come."""
    refused(sealed(header), errors=(MessageError, PlanMismatch))


@SETTINGS
@given(json_values, st.binary(max_size=20))
def test_forged_section_tables(table, payload):
    """A wrong section table is refused; a right one covers the payload exactly."""
    data = sealed({"kind": "noise", "plan": DIGEST, "sections": table}, payload)
    try:
        _, sections = unpack(data, "noise", DIGEST)
    except MessageError:
        return
    assert b"".join(sections) == payload


@pytest.mark.parametrize(
    "table, payload",
    [
        ([1.0], b"x"),
        ([-1, 3], b"xy"),
        ([2, -1, 1], b"xy"),
        ([True], b"x"),
        ({}, b""),
        ({"a": 1}, b"x"),
        ("", b""),
        (None, b""),
        ([1e400], b"x"),
        ([10**30], b"x"),
        ([[1]], b"x"),
    ],
)
def test_section_tables_must_be_lengths(table, payload):
    refused(sealed({"kind": "noise", "plan": DIGEST, "sections": table}, payload))


@pytest.mark.parametrize(
    "text", [b"", b"{", b"[]", b"3", b"null", b'"kind"', b"\xff\xfe", b"[" * 100_000, b"NaN"]
)
def test_headers_that_are_no_object(text):
    refused(sealed(text))


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.integers(0, 2**32 - 1))
def test_any_header_length(length):
    body = b"SKFHE\x01" + length.to_bytes(4, "little") + b'{"kind":"noise","sections":[]}'
    if length != 30:
        refused(body + hashlib.sha256(body).digest())
