r"""Executes the code blocks of all pages: ``pytest docs README.md``.

- ``python``: in the page's order, in one namespace, in a folder of the page's own.
- ``pycon``: as a doctest.
- ``text`` right after ``python``: what that block prints.
- ``console``: commands after ``$ ``, with what they print, in one bash per page (with openssl and
  curl); ``sh``: a script.
  What fails, fails the page. A command that ends in ``&`` has ten minutes to print what is shown.
  `skfhe keyholder serve` goes on in the background to the end of the page, without ``&``, too.
  Port 8443 stands for a free one, in Python as well, and host 0.0.0.0 for 127.0.0.1.
- Commands that install, or run benchmarks, are not run: the extras, the targets of make and the
  files that they name must exist.
- ``json``, ``ini``, ``dockerfile``: parsed, with the options of `skfhe` in them.

In what is printed ``...`` stands for anything, one digest or name of a run for another, and
white space does not matter. Comments that readers do not see (``%``, or HTML's in README.md) hold

- ``file: schema.json``: the block below is saved under that name;
- ``invisible-code-block: python`` (or ``sh``): code that a page needs and nobody wants to read;
- ``skip: next "reason"``: the next block is not run.
"""

import collections
import contextlib
import doctest
import io
import os
import re
import shutil
import sys
import tempfile
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MPLBACKEND", "agg")
sys.path.insert(0, str(Path(__file__).parent / "_ext"))

import pages
from page_shell import PageShell, ShellError, session
from sybil import Sybil
from sybil.evaluators.doctest import DocTest, DocTestRunner
from sybil.evaluators.python import PythonEvaluator
from sybil.parsers.myst import CodeBlockParser, SkipParser

FILE = re.compile(r"^(?:% *|<!-- *)file: *([\w./-]+)(?: *-->)?\s*\Z", re.MULTILINE)
DIGEST = re.compile(r"\b([0-9a-f]{12}|[0-9a-f]{32}|[0-9a-f]{64})\b")
DOTS = re.compile(r"\s*^ *\.\.\. *$\s*|\.\.\.", re.MULTILINE)
collect_ignore = ["_build", "gallery"]
executed = collections.Counter()
NOT_COMPARED, not_compared = "text that no Python comes before", []


class Page:
    """The folder and the shell of the page whose blocks are running."""

    def __init__(self):
        self.folder = tempfile.mkdtemp(prefix="page-")
        self.back = os.getcwd()
        os.chdir(self.folder)
        self.shell = PageShell(self.folder)
        self.printed = ""

    def close(self):
        self.shell.close()
        os.chdir(self.back)
        shutil.rmtree(self.folder, ignore_errors=True)


def turn_page(namespace):
    global page
    page = Page()


def close_page(namespace):
    page.close()


def like(want, got):
    """Whether output is what a page shows; a line of three dots stands for no line, too."""
    got = " ".join(DIGEST.sub("#", got).split())
    parts = [" ".join(part.split()) for part in DOTS.split(DIGEST.sub("#", want))]
    if len(parts) == 1:
        return got == parts[0]
    first, *middle, last = parts
    at, end = len(first), len(got) - len(last)
    for part in middle:
        at = got.find(part, at, max(end, 0))
        if at < 0:
            return False
        at += len(part)
    return got.startswith(first) and got.endswith(last) and at <= end


def difference(want, got):
    return f"the page says\n{want}\nbut it is\n{got}"


def run_python(example):
    example.parsed = type(example.parsed)(
        page.shell.here(example.parsed), example.parsed.offset, example.parsed.line_offset
    )
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        PythonEvaluator()(example)
    page.printed = printed.getvalue()
    print(page.printed, end="")


def run_doctest(example):
    examples = doctest.DocTestParser().get_examples(example.parsed)
    test = DocTest(examples, example.namespace, "page", example.path, example.line, None)
    said = []
    DocTestRunner(doctest.ELLIPSIS).run(test, clear_globs=False, out=said.append)
    return "".join(said)


def run_console(example):
    for command, shown in session(example.parsed):
        shown = page.shell.here(shown)
        if known_only(command):
            continue
        got = page.shell.run(command, shown, lambda got, want=shown: like(want, got))
        print(got, end="")
        if shown.strip() and not like(shown, got):
            return f"$ {command}\n{difference(shown, got)}"
    return None


def run_script(example):
    kept = [line for line in example.parsed.splitlines(True) if not known_only(line)]
    if any(line.strip() for line in kept):
        print(page.shell.run("".join(kept)), end="")


def known_only(command):
    """Whether a command is not run; what it names exists then."""
    if not pages.NOT_RUN.match(command):
        return False
    if unknown := pages.unknown_names(f"`{command}`"):
        raise ShellError(f"{command} names what does not exist: {unknown}")
    return True


def compare_text(example):
    """A block of text right after a block of Python is what that prints."""
    regions = [region for _, region in example.document.regions]
    before = regions[max(regions.index(example.region) - 1, 0)]
    between = example.document.text[before.end : example.region.start]
    if before.evaluator is not evaluators["python"] or between.strip():
        return NOT_COMPARED
    return None if like(example.parsed, page.printed) else difference(example.parsed, page.printed)


def checked(check):
    return lambda example: check(example.parsed)


def counted(language, evaluate):
    def count(example):
        if name := FILE.search(example.document.text[: example.region.start]):
            path = Path(page.folder, name[1])
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(example.parsed)
        failure = evaluate(example)
        if failure is NOT_COMPARED:
            not_compared.append(f"{Path(example.path).name}:{example.line}")
            return None
        hidden = example.document.text[example.region.start] not in " `"
        executed[f"hidden {language}" if hidden else language] += not failure
        return failure

    return count


evaluators = {
    "python": run_python,
    "pycon": run_doctest,
    "text": compare_text,
    "console": run_console,
    "sh": run_script,
    "json": checked(pages.check_json),
    "ini": checked(pages.check_ini),
    "dockerfile": checked(pages.check_dockerfile),
}
evaluators = {language: counted(language, one) for language, one in evaluators.items()}
sybil = Sybil(
    [*(CodeBlockParser(*pair) for pair in evaluators.items()), SkipParser()],
    path=str(pages.ROOT),
    patterns=["docs/*.md", "docs/*/*.md", "README.md"],
    setup=turn_page,
    teardown=close_page,
)


class Everywhere:
    """A plugin, since a conftest's own hooks do not see README.md, which is above it."""

    pytest_collect_file = staticmethod(sybil.pytest())


def pytest_configure(config):
    config.pluginmanager.register(Everywhere())


def pytest_terminal_summary(terminalreporter):
    """How many blocks were executed, by language."""
    counts = ", ".join(f"{n} {language}" for language, n in executed.most_common() if n)
    terminalreporter.write_line(f"code blocks executed: {executed.total()} ({counts or 'none'})")
    if not_compared:
        terminalreporter.write_line(f"text shown alone: {', '.join(not_compared)}")
    for report in terminalreporter.stats.get("skipped", []):
        if isinstance(report.longrepr, tuple):
            terminalreporter.write_line(f"not executed: {report.nodeid}: {report.longrepr[2]}")
