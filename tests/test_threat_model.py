"""What the threat model says is shown by a test, a test of that name shows."""

import re
from pathlib import Path

TESTS = Path(__file__).parent
PAGE = (TESTS.parent / "docs" / "security" / "threat-model.md").read_text()


def test_every_test_that_is_named_is_there():
    named = re.findall(r"`(test_[a-z_]+)(\.py)?`", PAGE)
    assert len(named) > 25
    present = "".join(path.read_text() for path in TESTS.glob("test_*.py"))
    for name, is_file in named:
        assert (TESTS / f"{name}.py").exists() if is_file else f"def {name}(" in present, name


def test_every_attack_is_told_in_four_columns():
    rows = [line for line in PAGE.splitlines() if line.startswith("| ")]
    attacks = [row for row in rows if row.count("|") == 5]
    assert len(attacks) > 20
    for row in attacks:
        _, attack, gets, stops, _, _ = (cell.strip() for cell in row.split("|"))
        assert attack and gets and stops
