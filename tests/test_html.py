"""Cards in notebooks: what they say is the plan's, and nothing in it is markup."""

import dataclasses
import html
import re

import numpy as np
import pytest
import sklearn
from helpers import make, make_rows
from sklearn.base import clone
from sklearn.pipeline import make_pipeline

from skfhe import BoundsScaler, EncryptedDPLogisticRegression
from skfhe._html import cards
from skfhe.plan_text import sections


@pytest.fixture(scope="module")
def fitted():
    plan = make()
    model = EncryptedDPLogisticRegression(degree=3, max_iter=3, backend="simulated")
    return model.fit(*make_rows(plan))


def rows_of(page):
    """Names and values of all rows of a fragment."""
    found = re.findall(r'<th scope="row">(.*?)</th><td>(.*?)</td>', page)
    return [(html.unescape(name), html.unescape(value)) for name, value in found]


def test_a_plans_card_has_the_rows_of_its_page():
    plan = make(classes=3, n_owners=2, n_colluding=1)
    page, expected = plan._repr_html_(), sections(plan)
    assert rows_of(page) == [row for _, rows in expected for row in rows]
    assert f"<summary>{expected[0][0]}</summary>" in page
    assert re.findall("<caption>(.*?)</caption>", page) == [t for t, _ in expected[1:]]
    for name, value in rows_of(page):
        assert any(name in line and value in line for line in str(plan).splitlines())


def test_a_guarantees_card(fitted):
    privacy = fitted.privacy_
    rows = dict(rows_of(privacy._repr_html_()))
    assert rows["guarantee"] == dict(sections(fitted.plan_)[1][1])["guarantee"]
    assert f"{privacy.noise_multiplier:.4f} over 5 releases" == rows["noise multiplier"]
    assert rows["sensitivity"].startswith(f"{privacy.sensitivity:.5f} ")


def test_seeded_noise_is_no_guarantee(fitted):
    privacy = dataclasses.replace(fitted.privacy_, epsilon=np.inf, guaranteed=False)
    rows = dict(rows_of(privacy._repr_html_()))
    assert rows["guarantee"].startswith("no privacy")


def test_nothing_is_taken_for_markup():
    plan = make()
    evil = '</td><script>alert("1")</script>&amp;'
    plan = dataclasses.replace(
        plan, encryption=dataclasses.replace(plan.encryption, security=evil)
    )
    page = plan._repr_html_()
    assert "<script" not in page
    assert any(evil in value for _, value in rows_of(page))
    page = cards([("<i>", [("<b>", "<u>")]), ("<s>", [])])
    assert not {"<i>", "<b>", "<u>", "<s>"} & set(re.findall("<[a-z]+>", page))


def test_the_first_card_is_open():
    page = cards([("a", [])], [("a", [])], [("b", [])])
    assert re.findall("<details(.*?)><summary>(.)", page) == [(" open", "a"), ("", "a"), ("", "b")]


def test_cards_are_small_and_inert(fitted):
    page = fitted.plan_._repr_html_()
    assert len(page) < 6000
    assert not re.search("<script|javascript:|http|url\\(| on[a-z]+=", page)


def test_both_themes_set_the_same_colours():
    page = cards([("a", [])])
    used = set(re.findall(r"var\((--[a-z-]+)\)", page))
    for block in re.findall(r"\{ (--[^}]*)\}", page):
        assert set(re.findall(r"(--[a-z-]+):", block)) == used
    assert len(re.findall(r"\{ (--[^}]*)\}", page)) == 4


def test_a_fitted_estimator_adds_the_cards_to_the_diagram(fitted):
    page = fitted._repr_html_()
    assert "sk-estimator" in page
    for card in (fitted.privacy_.page(), sections(fitted.plan_)):
        for row in card[0][1]:
            assert row in rows_of(page)
    assert fitted._repr_mimebundle_()["text/html"].endswith(page[page.index("skfhe-cards") :])


def test_an_unfitted_estimator_has_the_diagram_alone(fitted):
    page = clone(fitted)._repr_html_()
    assert "sk-estimator" in page
    assert "skfhe-cards" not in page


def test_text_display_is_honoured(fitted):
    with sklearn.config_context(display="text"):
        assert not hasattr(fitted, "_repr_html_")
        assert set(fitted._repr_mimebundle_()) == {"text/plain"}


def test_a_pipeline_is_drawn_too(fitted):
    X, y = make_rows(make())
    model = make_pipeline(BoundsScaler((-1, 1)), clone(fitted)).fit(X, y)
    assert "EncryptedDPLogisticRegression" in model._repr_html_()


def test_all_that_shows_is_public(fitted):
    """scikit-learn's diagram shows every attribute that ends in an underscore."""
    assert {name for name in vars(fitted) if name.endswith("_")} == {
        *("classes_", "coef_", "intercept_", "n_iter_", "n_features_in_"),
        *("plan_", "privacy_", "history_"),
    }
