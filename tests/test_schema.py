"""The names of columns and labels: read from a person's file, part of the plan, checked by all."""

import dataclasses
import json
import math

import pytest
from helpers import make
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from test_plan import different

from skfhe import KeyHolder, PlanMismatch, TrainingPlan
from skfhe.plan import Schema
from skfhe.planning import check_plan

GIVEN = {
    "features": ["age", "income", "bmi", "smoker"],
    "label": "sick",
    "classes": ["no", "yes"],
    "bounds": {"income": [0, 1e5], "age": [0, 120], "smoker": [0, 1], "bmi": [10.5, 60]},
}
SCHEMA = Schema.read(json.dumps(GIVEN))


def with_schema(schema=SCHEMA, **parameters):
    return dataclasses.replace(make(**parameters), schema=schema)


def altered(**changes):
    """The file with keys changed, and those left out that are None."""
    content = {**GIVEN, **changes}
    return json.dumps({key: value for key, value in content.items() if value is not None})


# What a person writes.


def test_a_file_is_read():
    assert SCHEMA.features == ("age", "income", "bmi", "smoker") and SCHEMA.label == "sick"
    assert SCHEMA.classes == ("no", "yes")
    assert SCHEMA.low == (0.0, 0.0, 10.5, 0.0) and SCHEMA.high == (120.0, 1e5, 60.0, 1.0)
    assert all(type(bound) is float for bound in SCHEMA.low + SCHEMA.high)
    assert Schema.read(json.dumps(GIVEN).encode()) == SCHEMA


def test_bounds_may_be_left_out():
    schema = Schema.read(altered(bounds=None))
    assert schema.low == schema.high == ()
    assert Schema.read(json.dumps({**GIVEN, "bounds": None})) == schema


@pytest.mark.parametrize(
    "text, said",
    [
        ("", "must be JSON"),
        ("{", "must be JSON"),
        (b"\xff\xfe\x00", "must be JSON"),
        ("[" * 100_000, "must be JSON"),
        ("[]", "JSON object"),
        ('{"label": "y", "label": "z"}', r"keys.*\['label'\]"),
        ("{}", r"missing: \['features', 'label', 'classes'\]"),
        (altered(label=None), r"missing: \['label'\]"),
        (altered(bound={}), r"unknown: \['bound'\]"),
        (altered(features="age"), "features must be a list"),
        (altered(classes={"no": 0}), "classes must be a list"),
        (altered(features=[]), "one name"),
        (altered(features=["age", 3]), "one name"),
        (altered(features=["age", ""]), "one name"),
        (altered(features=["age", ["income"]]), "one name"),
        (altered(label=3), "one name"),
        (altered(features=["age", "bmi", "age"]), r"\['age'\]"),
        (altered(label="bmi"), r"\['bmi'\]"),
        (altered(classes=["no"]), "two labels"),
        (altered(classes=["no", "no"]), r"\['no'\]"),
        (altered(classes=[1, 1.0]), "repeatedly"),
        (altered(classes=["1", 1]), "all text"),
        (altered(classes=[0, True]), "all text"),
        (altered(classes=["no", ["yes"]]), "all text"),
        (altered(classes=[0, math.inf]), "finite"),
        (altered(classes=[0, math.nan]), "finite"),
        (altered(bounds=[[0, 1]] * 4), "object"),
        (altered(bounds={"age": [0, 1]}), r"missing: \['income', 'bmi', 'smoker'\]"),
        (altered(bounds={**GIVEN["bounds"], "sick": [0, 1]}), r"no features: \['sick'\]"),
        *(
            (altered(bounds={**GIVEN["bounds"], "bmi": pair}), r"'bmi'")
            for pair in (
                *([1, 1], [2, 1], [0, math.inf], [math.nan, 1], [-1e308, 1e308], [0, 10**400]),
                *([0], [0, 1, 2], ["0", 1], [False, True], {"low": 0}, 3, None),
            )
        ),
    ],
)
def test_what_is_no_schema_is_refused(text, said):
    with pytest.raises(ValueError, match=said):
        Schema.read(text)


@pytest.mark.parametrize(
    "changes",
    [
        {"features": ["age", "income", "bmi", "smoker"]},
        {"classes": None},
        {"low": (), "high": SCHEMA.high},
        {"low": SCHEMA.low[:3]},
        {"low": (0, 0.0, 10.5, 0.0)},
        {"low": SCHEMA.high, "high": SCHEMA.low},
    ],
)
def test_what_no_schema_can_say_is_refused(changes):
    with pytest.raises(ValueError, match="schema's"):
        dataclasses.replace(SCHEMA, **changes)


# As a part of the plan.

NAMES = st.text(min_size=1)
CLASSES = st.one_of(
    st.lists(st.text(), min_size=2, unique=True),
    st.just([False, True]),
    st.lists(
        st.integers() | st.floats(allow_nan=False, allow_infinity=False), min_size=2, unique=True
    ),
)
BOUND = st.floats(-1e100, 1e100)


@settings(max_examples=50, deadline=None)
@given(st.lists(NAMES, min_size=2, max_size=6, unique=True), CLASSES, st.data())
def test_plans_with_a_schema_round_trip(names, classes, data):
    bounds = data.draw(
        st.just([])
        | st.lists(
            st.tuples(BOUND, BOUND).map(sorted).filter(lambda b: b[0] < b[1]),
            min_size=len(names) - 1,
            max_size=len(names) - 1,
        )
    )
    low, high = tuple(b[0] for b in bounds), tuple(b[1] for b in bounds)
    schema = Schema(tuple(names[1:]), names[0], tuple(classes), low, high)
    plan = with_schema(schema)
    back = TrainingPlan.from_json(plan.to_json())
    assert back == plan and back.digest == plan.digest and hash(back) == hash(plan)
    assert list(map(type, back.schema.classes)) == list(map(type, classes))
    assert back.to_json() == plan.to_json()


def test_plans_without_a_schema_round_trip():
    plan = make()
    assert plan.schema is None and json.loads(plan.to_json())["schema"] is None
    assert TrainingPlan.from_json(plan.to_json()) == plan


@pytest.mark.parametrize(
    "changes",
    [
        {"features": ("income", "age", "bmi", "smoker")},
        {"label": "ill"},
        {"classes": ("yes", "no")},
        {"low": (), "high": ()},
        {"low": (math.nextafter(0, -1), 0.0, 10.5, 0.0)},
    ],
)
def test_the_digest_covers_the_schema(changes):
    other = with_schema(dataclasses.replace(SCHEMA, **changes))
    assert len({make().digest, with_schema().digest, other.digest}) == 3


def test_the_digest_tells_kinds_of_classes_apart():
    kinds = [(0, 1), (0.0, 1.0), (False, True), ("0", "1")]
    schemas = [dataclasses.replace(SCHEMA, classes=classes) for classes in kinds]
    assert len({with_schema(schema).digest for schema in schemas}) == 4


FIELDS = [field.name for field in dataclasses.fields(Schema)]


@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.data(), st.sampled_from(FIELDS))
def test_any_altered_field_is_refused(data, name):
    content = json.loads(with_schema().to_json())
    changed = different(content["schema"][name], data)
    assume(json.dumps(changed) != json.dumps(content["schema"][name]))
    content["schema"][name] = changed
    with pytest.raises(ValueError, match=r"no training plan|altered"):
        TrainingPlan.from_json(json.dumps(content))


@pytest.mark.parametrize("name", FIELDS)
def test_missing_and_unknown_fields_are_refused(name):
    for change in ({name: ...}, {"more": 1}):
        content = json.loads(with_schema().to_json())
        content["schema"].update(change)
        content["schema"] = {k: v for k, v in content["schema"].items() if v is not ...}
        with pytest.raises(ValueError, match="no training plan"):
            TrainingPlan.from_json(json.dumps(content))


@pytest.mark.parametrize("schema", [None, [1], {}, "age"])
def test_another_schema_is_refused(schema):
    content = {**json.loads(with_schema().to_json()), "schema": schema}
    with pytest.raises(ValueError, match=r"no training plan|altered"):
        TrainingPlan.from_json(json.dumps(content))


def test_a_schema_must_fit_the_problem():
    check_plan(with_schema())
    check_plan(with_schema(dataclasses.replace(SCHEMA, classes=(1, 2, 3)), classes=3))
    wrong = [with_schema(d=5), with_schema(d=3), with_schema(classes=3)]
    for plan in wrong:
        with pytest.raises(PlanMismatch, match="schema names 4 and 2"):
            check_plan(plan)
        with pytest.raises(PlanMismatch, match="schema"):
            KeyHolder(plan)


def test_the_page_names_the_columns():
    page = str(with_schema())
    (row,) = (line for line in page.splitlines() if line.startswith("  columns"))
    assert "label 'sick' of 'no', 'yes'" in row and "4 features, 'age' to 'smoker'" in row
    assert row.endswith("scaled by bounds")
    assert "columns" not in str(make())
    plain = with_schema(dataclasses.replace(SCHEMA, low=(), high=()))
    assert "as they are" in str(plain)


def test_the_page_keeps_to_itself_with_any_names():
    features = ("<script>", "a\nb", "\x1b[31m", "d")
    schema = Schema(features, "<b>", tuple(range(100)))
    plan = with_schema(schema, classes=100)
    assert len(str(plan).splitlines()) == len(str(make(classes=100)).splitlines()) + 1
    assert "of 0, 1, 2, 3, 4, 5, 6, ..., 99;" in str(plan)
    page = plan._repr_html_()
    assert "<script>" not in page and "<b>" not in page and "&lt;b&gt;" in page
