"""Names of tests in pages: what a page says is shown by a test, a test of that name shows."""

import re
from pathlib import Path

TESTS = Path(__file__).parent
_NAME = re.compile(r"`(test_[a-z0-9_]+)(\.py)?`")


def named_tests(text):
    """(file, test) for every test that a text names, in order.

    A test is one of the file that is named before it, `test_x.py`: `test_a`, `test_b`; a file that
    no test follows is named as a whole, with no test.
    """
    found, file, alone = [], None, False
    for name, is_file in _NAME.findall(text):
        if is_file:
            if alone:
                found.append((file, None))
            file, alone = f"{name}.py", True
        else:
            found.append((file, name))
            alone = False
    return [*found, (file, None)] if alone else found


def assert_present(named):
    """Every test is a function of its file."""
    for file, name in named:
        assert file, f"{name} is named without its file"
        path = TESTS / file
        assert path.exists(), file
        if name:
            assert f"\ndef {name}(" in path.read_text(), f"{file} has no {name}"
