"""The proofs are complete: every statement has what a reader asks for, and all of it exists."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from named_tests import TESTS, assert_present, named_tests
from shrunk_bounds import SHRUNK

ROOT = TESTS.parent
DOCS = ROOT / "docs"
PAGES = {path.name: path.read_text() for path in sorted((DOCS / "proofs").glob("*.md"))}
INDEX = PAGES["index.md"]
LABEL = re.compile(r"^\(statement-(\w+)\)=$", re.MULTILINE)
# Number of a statement: its rank in the table, what it rests on, code, tests.
ROW = re.compile(r"^\| \[(\w+)\]\(#statement-(\w+)\) \|(.*)\|$", re.MULTILINE)
# "statement 4b", "Statements 11 to 13", "[statements 2](#statement-2) and [2a](#statement-2a)".
MENTION = re.compile(r"[Ss]tatements?\s+(\d+[a-f]?)((?:(?:,| and| to| or)\s+\d+[a-f]?\b)*)")


def statements():
    """The text of every statement up to the next one or the next heading."""
    found = {}
    for name, page in PAGES.items():
        starts = [*LABEL.finditer(page)]
        ends = [*(match.start() for match in starts), len(page)][1:]
        for match, end in zip(starts, ends, strict=True):
            assert match[1] not in found, f"statement {match[1]} is twice there"
            text = page[match.end() : end]
            found[match[1]] = name, re.split(r"^#", text, maxsplit=1, flags=re.MULTILINE)[0]
    return found


STATEMENTS = statements()
ROWS = {number: (link, rest.split("|")) for number, link, rest in ROW.findall(INDEX)}


def fact(text, name):
    """What a statement's list of facts says under a name."""
    found = re.search(rf"^{name}\n: (.*?)(?=\n\n|\n\S)", text + "\n\n", re.MULTILINE | re.DOTALL)
    assert found, f"no {name!r}"
    return found[1]


def public_files(*folders):
    """Text that people read: pages, docstrings, tests, examples."""
    for folder in folders:
        for path in sorted((ROOT / folder).rglob("*")):
            built = {"_build", "gallery", "__pycache__"} & set(path.relative_to(ROOT).parts)
            if path.suffix in (".py", ".md", ".ipynb") and not built:
                yield path


def test_there_are_fifteen_with_letters():
    assert len(STATEMENTS) == len(ROWS) == 25
    assert sorted({int(re.match(r"\d+", number)[0]) for number in STATEMENTS}) == [*range(1, 16)]


@pytest.mark.parametrize("number", STATEMENTS)
def test_a_statement_has_all_that_a_reader_asks_for(number):
    _, text = STATEMENTS[number]
    assert text.lstrip().startswith(f"**Statement {number}")
    places = [
        text.find(part) for part in ("*Assumptions.*", "*Proof.*", "∎", "{.statement-facts}")
    ]
    assert 0 <= places[0] < places[1] < places[2] < places[3], places
    assert len(fact(text, "Source")) > 3
    tests = named_tests(fact(text, "Tried to break by"))
    assert any(name for _, name in tests)
    assert_present(tests)


@pytest.mark.parametrize("number", STATEMENTS)
def test_the_code_that_is_named_is_there(number):
    _, text = STATEMENTS[number]
    code, file = re.findall(r"`([\w./]+)`", fact(text, "In the code")), None
    assert code and code[0].startswith("skfhe/")
    for name in code:
        if "/" in name:
            file = (ROOT / name).read_text()
        else:
            assert_defined(file, name)


def assert_defined(source, name):
    last = name.split(".")[-1]
    assert re.search(rf"^\s*(def|class) {last}\b|^{last}\b.* = ", source, re.MULTILINE), name


def test_tests_that_the_text_names_are_there():
    """Beside statements, too, where files are not always named again."""
    present = "".join(path.read_text() for path in TESTS.glob("test_*.py"))
    for page in PAGES.values():
        for file, name in named_tests(page):
            assert f"def {name}(" in present if name else (TESTS / file).exists(), name


@pytest.mark.parametrize("name", PAGES)
def test_no_formula_is_torn(name):
    """A line within a formula that begins like a list item ends the paragraph."""
    for paragraph in PAGES[name].split("\n\n"):
        open_formula = False
        for line in re.sub(r"`[^`]*`", "", paragraph).splitlines():
            assert not (open_formula and re.match(r"\s{0,3}([-+*>]|\d+[.)])\s", line)), line
            open_formula ^= line.replace("$$", "").count("$") % 2 == 1
        assert not open_formula, paragraph


# The table and the drawing.


@pytest.mark.parametrize("number", STATEMENTS)
def test_a_statement_is_in_the_table(number):
    link, cells = ROWS[number]
    assert link == number and len(cells) == 4, cells
    says, _, code, test = (cell.strip() for cell in cells)
    assert says
    module, name = re.findall(r"`([\w.]+)`", code)
    assert_defined((ROOT / "skfhe" / f"{module.replace('.', '/')}.py").read_text(), name)
    if number in SHRUNK:
        file, _, named = SHRUNK[number].test.partition("::")
        (shown,) = re.findall(r"`(\w+)`", test)
        assert not named or named.partition("[")[0] == shown
        assert_present([(file, shown)])
        assert (file, shown) in named_tests(STATEMENTS[number][1])
    else:
        assert test.startswith("(no")


def edges():
    found = {number: re.findall(r"\[(\w+)\]", cells[1]) for number, (_, cells) in ROWS.items()}
    found["model"] = re.search(r"<!-- a fitted model: (.*) -->", INDEX)[1].split(", ")
    return found


def test_no_statement_rests_on_itself():
    left = edges()
    while left:
        free = {number for number, others in left.items() if not {*others} & {*left}}
        assert free, left
        left = {number: others for number, others in left.items() if number not in free}


def test_the_drawing_is_the_tables():
    drawing = (DOCS / "_static" / "proof-dependencies.svg").read_text()
    drawn = {(a, b) for a, b in re.findall(r"<title>(\w+) → (\w+)</title>", drawing)}
    assert drawn == {(a, b) for b, others in edges().items() for a in others}
    pages = {f"{page[:-3]}.html#statement-{n}" for n, (page, _) in STATEMENTS.items()}
    assert pages <= set(re.findall(r'href="([^"]*)"', drawing))


# Mentions.


def test_statements_that_are_mentioned_exist():
    seen = set()
    for path in public_files("skfhe", "docs", "tests"):
        text = path.read_text()
        named = re.findall(r"#statement-(\w+)", text)
        for first, others in MENTION.findall(re.sub(r"\s*\n[ #:>]*", " ", text)):
            named += [first, *re.findall(r"\d+[a-f]?", others)]
        # "#statement-N" in this file stands for all of them.
        unknown = (
            set(named) - set(STATEMENTS) - ({"N"} if path.name == Path(__file__).name else set())
        )
        assert not unknown, (path, unknown)
        seen |= {*named} if path.suffix == ".py" else set()
    assert len(seen) >= 10


def test_mentions_on_other_pages_are_links():
    for name, page in PAGES.items():
        bare = re.sub(r"\[[^\]]*\]\([^)]*\)", "", page)
        for first, _ in MENTION.findall(bare):
            if f"**Statement {first}" not in page:
                pytest.fail(f"{name} mentions statement {first} of another page without a link")


def test_links_go_to_the_statement_that_they_name():
    for path in public_files("docs"):
        links = re.findall(
            r"\[(?:[Ss]tatements?\s+)?(\d+[a-f]?)\]\(#statement-(\w+)\)", path.read_text()
        )
        assert all(shown == target for shown, target in links), path


def test_pages_that_are_mentioned_exist():
    """In docstrings, tests and the papers at the root, from the root; not counting URLs."""
    files = [*public_files("skfhe", "tests", "benchmarks", "examples")]
    files += [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md")]
    missing = {
        (str(path.relative_to(ROOT)), page)
        for path in files
        for page in re.findall(r"(?<![\w/])docs/[\w./-]+\.md\b", path.read_text())
        if not (ROOT / page).exists()
    }
    assert not missing


# Bounds that are too small.


def test_every_bound_that_can_be_tried_is_tried():
    assert set(STATEMENTS) - set(SHRUNK) == {"4b"}
    for one in SHRUNK.values():
        file, _, name = one.test.partition("::")
        assert_present([(file, name.partition("[")[0] or None)])


@pytest.mark.slow
@pytest.mark.parametrize("number", SHRUNK)
def test_tests_notice_bounds_that_are_too_small(number):
    """With the bound a tenth nearer the named test fails; by itself it passes, as always."""
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "shrunk_bounds", "-p"]
    command += ["no:cacheprovider", "--tb=line", SHRUNK[number].test]
    places = os.pathsep.join([str(TESTS), str(ROOT), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "SHRUNK_BOUND": number, "PYTHONPATH": places}
    done = subprocess.run(command, cwd=TESTS, env=environment, capture_output=True, text=True)
    assert done.returncode == 1, done.stdout[-2000:] + done.stderr[-2000:]
    assert " failed" in done.stdout and " error" not in done.stdout.splitlines()[-1]
