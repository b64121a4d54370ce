"""What pages say of the project is so; that their code runs is what `make docs` sees to."""

import itertools
import re
import shlex
import sys
from pathlib import Path

import pytest
from site_links import broken_links

sys.path.append(str(Path(__file__).parents[1] / "docs" / "_ext"))

import page_shell
import pages

NAMES = {str(path.relative_to(pages.ROOT)): path for path in pages.pages()}


@pytest.fixture(params=NAMES)
def text(request):
    return NAMES[request.param].read_text(encoding="utf-8")


def test_every_block_has_a_language(text):
    known = (*pages.RUN, *pages.CHECKED, *pages.SHOWN)
    assert [block[:2] for block in pages.blocks(text) if block[1] not in known] == []


def test_what_pages_name_exists(text):
    assert pages.unknown_names(text) == []


def commands(text):
    """Words of the `skfhe` commands that a page has, in blocks or in a line."""
    found = re.findall(r"`(skfhe [^`\n]+)`", pages.FENCE.sub("", text))
    for _, language, content in pages.blocks(text):
        if language == "console":
            found += [command for command, _ in page_shell.session(content)]
        elif language == "sh":
            found += page_shell.logical_lines(content)
    for command in found:
        if command.startswith("skfhe "):
            lexer = shlex.shlex(
                command.replace("\\\n", " "), posix=True, punctuation_chars="|&;<>"
            )
            lexer.whitespace_split = True
            words = list(itertools.takewhile(lambda word: word[0] not in "|&;<>", lexer))
            yield [word for word in words[1:] if word != "..."]


def test_commands_and_options_exist(text):
    assert [one for one in map(pages.unknown_options, commands(text)) if one] == []


def test_a_skipped_block_says_why(text):
    skips = re.findall(r"^(?:%|<!-+) *skip: *(?:next|start)(.*)$", text, re.MULTILINE)
    assert all('"' in reason for reason in skips)


def test_every_page_is_in_a_table_of_contents():
    docs = pages.ROOT / "docs"
    listed = {docs / "index.md"}
    for path in NAMES.values():
        for match in pages.FENCE.finditer(path.read_text(encoding="utf-8")):
            if match[3].strip() == "{toctree}":
                entries = [line for line in match[4].splitlines() if line and line[0] != ":"]
                names = [re.sub(r".*<(.*)>", r"\1", entry) for entry in entries]
                listed |= {(path.parent / f"{name}.md").resolve() for name in names}
    assert {path for path in NAMES.values() if docs in path.parents} - listed == set()


def test_a_session_is_commands_and_what_they_print():
    block = "$ one \\\n    --two\nout\n\nmore\n$ for i in 1 2; do\n>   echo $i\n> done\n1\n2\n"
    assert page_shell.session(block) == [
        ("one \\\n    --two", "out\n\nmore\n"),
        ("for i in 1 2; do\n  echo $i\ndone", "1\n2\n"),
    ]


def test_a_page_s_shell(tmp_path):
    """It keeps its state, and tells a failure anywhere in a script."""
    shell = page_shell.PageShell(tmp_path)
    try:
        shell.run("X=kept; cd /")
        assert shell.run('echo $X; false || echo "code $?"').split() == ["kept", "code", "1"]
        with pytest.raises(page_shell.ShellError, match="exit code 3"):
            shell.run("(exit 3)\ntrue")
        assert shell.run("echo on").split() == ["on"]
    finally:
        shell.close()


def test_links_that_lead_nowhere_are_found(tmp_path):
    page = '<a id="here" href="#here">1</a><a href="#gone">2</a><a href="b.html#x">3</a>'
    (tmp_path / "index.html").write_text(
        f'{page}<img src="none.png"><a href="https://e.org">4</a>'
    )
    (tmp_path / "b.html").write_text('<p id="x"></p><a href="index.html#nowhere">5</a>')
    broken, n_links, n_pages = broken_links(tmp_path)
    assert (n_links, n_pages) == (5, 2)
    assert [line.split(": ", 1)[1] for line in broken] == [
        "index.html#nowhere: no such anchor",
        "#gone: no such anchor",
        "none.png: no such file",
    ]
