"""What pages say, and what of it can be checked without running it."""

import configparser
import json
import re
import shlex
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
RUN = ("python", "pycon", "console", "sh")
CHECKED = ("json", "ini", "dockerfile")
SHOWN = ("text", "bibtex")
FENCE = re.compile(r"^( *)(`{3,})([^\n`]*)\n(.*?)^\1\2`* *$", re.MULTILINE | re.DOTALL)
EXTRA = re.compile(r"(?:skfhe|(?<=['\" ])\.|/src)\[([a-z,]+)\]")
TARGET = re.compile(r"\bmake ([a-z][a-z-]+)")
PROGRAM = re.compile(r"(?<![\w/])((?:benchmarks|tests|examples|skfhe)/[\w/]+\.(?:py|ipynb))\b")
# Commands that pages name and nobody runs here: they install, or take minutes.
NOT_RUN = re.compile(r"(python -m )?pip install |make |python benchmarks/")


def pages():
    """README.md and all pages of the documentation that are written by hand."""
    docs = ROOT / "docs"
    made = {docs / "_build", docs / "gallery"}
    paths = (path for path in sorted(docs.rglob("*.md")) if not made & {*path.parents})
    return [ROOT / "README.md", *paths]


def blocks(text):
    """Line, language and content of every fenced block; directives are none, but may hold some."""
    for match in FENCE.finditer(text):
        line = text.count("\n", 0, match.start()) + 1
        language = match[3].strip()
        if language.startswith("{"):
            yield from ((line + at, *rest) for at, *rest in blocks(match[4]))
        else:
            yield line, language, match[4]


def unknown_names(text):
    """Extras, targets of make and programs that a text names and that do not exist."""
    setup = configparser.ConfigParser(interpolation=None)
    setup.read(ROOT / "setup.cfg")
    makefile = (ROOT / "Makefile").read_text()
    extras = {one for names in EXTRA.findall(text) for one in names.split(",")}
    unknown = [f"extra {one}" for one in extras if one not in setup["options.extras_require"]]
    targets = set(TARGET.findall(_code(text)))
    known = set(re.findall(r"^([a-z][a-z-]*):", makefile, re.MULTILINE))
    unknown += [f"make {one}" for one in targets - known]
    programs = set(PROGRAM.findall(text))
    return sorted(unknown + [one for one in programs if not (ROOT / one).exists()])


def unknown_options(words):
    """Commands and options of an `skfhe` command line that do not exist."""
    from skfhe.cli.app import skfhe as command

    options = [word.partition("=")[0] for word in words if word.startswith("--")]
    for word in words:
        found = getattr(command, "commands", {}).get(word)
        if found is None and hasattr(command, "commands"):
            return [word]
        command = found or command
    known = {"--help", *(name for one in command.params for name in one.opts)}
    return [option for option in options if option not in known]


def check_json(text):
    """One JSON value, or one a line."""
    try:
        json.loads(text)
    except ValueError:
        for line in text.splitlines():
            json.loads(line)


def check_ini(text):
    """A unit of systemd, whose keys may come twice, or a configuration file."""
    parser = configparser.ConfigParser(strict=False, interpolation=None)
    parser.optionxform = str
    parser.read_string(text)
    assert parser.sections(), "no section"
    for section in parser.sections():
        if command := parser[section].get("ExecStart"):
            _check_command(shlex.split(command.replace("\\\n", " ")))


def check_dockerfile(text):
    """Instructions, whose commands are this package's as they are."""
    for line in text.replace("\\\n", " ").splitlines():
        name, _, rest = line.partition(" ")
        assert name in ("FROM", "COPY", "RUN", "USER", "EXPOSE", "ENTRYPOINT", "VOLUME"), name
        if name == "ENTRYPOINT":
            _check_command(json.loads(rest))
    assert not unknown_names(text), unknown_names(text)


def _check_command(words):
    assert Path(words[0]).name == "skfhe", words
    assert not unknown_options(words[1:]), unknown_options(words[1:])


def _code(text):
    """What is in backticks or in a fenced block."""
    inline = re.findall(r"`([^`\n]+)`", FENCE.sub("", text))
    return "\n".join([*inline, *(content for _, _, content in blocks(text))])
