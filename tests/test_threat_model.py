"""What the threat model says is shown by a test, a test of that name shows."""

from named_tests import TESTS, assert_present, named_tests

PAGE = (TESTS.parent / "docs" / "security" / "threat-model.md").read_text()


def test_every_test_that_is_named_is_there():
    named = named_tests(PAGE)
    assert len(named) > 25
    assert_present(named)


def test_every_attack_is_told_in_four_columns():
    rows = [line for line in PAGE.splitlines() if line.startswith("| ")]
    attacks = [row for row in rows if row.count("|") == 5]
    assert len(attacks) > 20
    for row in attacks:
        _, attack, gets, stops, _, _ = (cell.strip() for cell in row.split("|"))
        assert attack and gets and stops
