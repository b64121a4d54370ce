"""Tables of the page for reviewers, read off the code whenever the pages are built.

A page says what each line is for, the code says what lines there are:

    ```{review-table} decrypts
    protocol/key_holder KeyHolder._decrypt: the one release
    ```

Each line of the body is a key and words. A build fails where the code has a line that the page
does not explain, or the page explains what the code does not have.
"""

import ast
import configparser
import dataclasses
import importlib
import inspect
import re
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, metadata
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "skfhe"

# What opens ciphertexts or sealed files, and what makes, reads or hands out a secret key.
DECRYPTS = {"decrypt", "Decrypt", "DecryptCore", "_decrypt"}
KEYS = {
    *("KeyGen", "KeyGenerator", "Decryptor", "DeserializePrivateKeyString", "_load_secret_key"),
    *("generate", "restore", "secret_key", "secret", "keep_secret"),
    *("owner_key", "read_secret", "write_secret"),
}
# Parts of names of whatever draws random numbers.
RANDOM = re.compile(
    r"urandom|uuid4?$|default_rng|PCG64|check_random_state|_random\.|^random\.|^secrets\."
)
# Calls that open files, folders, data bases or sockets, by the last part of their names.
FILES = {
    *("open", "read_bytes", "read_text", "write_bytes", "write_text", "pipe_file", "OpenFile"),
    *("memfd_create", "TemporaryDirectory", "SerializeToFile"),
    *("create_server", "load_cert_chain", "load_verify_locations"),
}
CONNECTS = {"sqlite3.connect", "httpx.Client", "Client"}
# What has a method `open` of this package's own, which opens nothing itself.
OWN = {"PrivacyLedger", "connection"}
LIBRARIES = ("tenseal", "openfhe")
PARTS = (
    *("TrainingPlan", "Problem", "Preparation", "Statistic", "Optimizer", "Network"),
    *("Certificate", "Guarantee", "Encryption", "Rounds", "Schema", "Prediction"),
)
# Extras that are no part of what a party runs.
TOOLS = ("all", "notebooks", "test", "dev", "bench", "docs")


@dataclasses.dataclass(frozen=True)
class Site:
    """A place in the code.

    Attributes
    ----------
    module : str
        Its file, below the package and without the ending.
    function : str
        The function around it, dotted; empty at the top of a module.
    line : int
        Its line.
    call : str
        What is called.
    summary : str
        First line of the function's docstring, or of the class's or module's around it.
    """

    module: str
    function: str
    line: int
    call: str
    summary: str

    @property
    def key(self):
        """What a page names it by."""
        return f"{self.module} {self.function}".strip()


@lru_cache(maxsize=1)
def trees():
    """Every module of the package, parsed."""
    files = sorted(PACKAGE.rglob("*.py"))
    names = [path.relative_to(PACKAGE).with_suffix("").as_posix() for path in files]
    return {name: ast.parse(path.read_text()) for name, path in zip(names, files, strict=True)}


def sites(wanted):
    """Places whose node `wanted` gives a text for, in order."""
    found = []

    def visit(node, module, function, summary):
        for child in ast.iter_child_nodes(node):
            name, said = function, summary
            if isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
                name = f"{function}.{child.name}".lstrip(".")
                said = (ast.get_docstring(child) or summary).split("\n")[0]
            elif text := wanted(child):
                found.append(Site(module, name, child.lineno, text, said))
            visit(child, module, name, said)

    for module, tree in trees().items():
        visit(tree, module, "", (ast.get_docstring(tree) or "").split("\n")[0])
    return sorted(found, key=lambda site: (site.module, site.line))


def called(node):
    """The dotted name of what a node calls; None for what is no call."""
    return ast.unparse(node.func) if isinstance(node, ast.Call) else None


def decrypts():
    """Calls that decrypt."""
    return sites(lambda node: (name := called(node)) and name.split(".")[-1] in DECRYPTS and name)


def secret_keys():
    """Calls that make, read, write or hand out a secret key."""
    return sites(lambda node: (name := called(node)) and name.split(".")[-1] in KEYS and name)


def randomness():
    """Uses of random sources, called or passed on."""

    def wanted(node):
        if isinstance(node, (ast.Attribute, ast.Name)):
            return None if not RANDOM.search(name := ast.unparse(node)) else name
        return None

    found = sites(wanted)
    # A chain of attributes matches at each of its links; the longest is enough.
    lines = {}
    for site in found:
        lines.setdefault((site.module, site.line), []).append(site)
    return [
        site
        for same in lines.values()
        for site in same
        if not any(site.call != other.call and other.call.startswith(site.call) for other in same)
    ]


def files():
    """Calls that open files, folders, data bases or sockets."""

    def wanted(node):
        name = called(node)
        if not name:
            return None
        before, _, last = name.rpartition(".")
        opens = last in FILES and before not in OWN
        return name if opens or name in CONNECTS else None

    return sites(wanted)


def libraries():
    """Imports of the libraries that hold keys, with what is imported."""

    def wanted(node):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and not node.level:
            names = [node.module]
        else:
            return None
        return ", ".join(n for n in names if n.split(".")[0] in LIBRARIES) or None

    return sites(wanted)


@dataclasses.dataclass(frozen=True)
class Entry:
    """One entry of the docstring of a part of the plan, for one field or several."""

    names: tuple[str, ...]
    kinds: str
    default: str
    meaning: str

    @property
    def key(self):
        return ", ".join(self.names)


def plan_part(name):
    """The dataclass of a part of the plan."""
    return getattr(importlib.import_module("skfhe.plan"), name)


def entries(name):
    """The documented fields of a part, as its docstring has them."""
    part = plan_part(name)
    defaults = {f.name: f.default for f in dataclasses.fields(part)}
    doc = inspect.getdoc(part)
    body = doc.split("Attributes\n----------\n")[1].split("\n\n")[0]
    found = []
    for head, text in re.findall(r"^(\S.*)\n((?:[ ]+.*\n?)+)", body, re.M):
        names, _, kinds = head.partition(" : ")
        names = tuple(names.split(", "))
        given = {str(defaults[n]) for n in names if defaults[n] is not dataclasses.MISSING}
        meaning = " ".join(text.split()).replace("``", "`")
        found.append(Entry(names, kinds, ", ".join(sorted(given)), meaning))
    return found


@dataclasses.dataclass(frozen=True)
class Requirement:
    """A package that a party runs."""

    name: str
    bound: str
    extras: tuple[str, ...]
    licence: str

    @property
    def key(self):
        return self.name


def requirements():
    """The packages in setup.cfg that a party runs, the required ones first."""
    config = configparser.ConfigParser(interpolation=None)
    config.read(ROOT / "setup.cfg")
    found = {}

    def add(text, extra):
        for line in text.split("\n"):
            line = line.partition(";")[0].strip()
            if line and not line.startswith("%("):
                name, bound = re.fullmatch(r"([\w-]+)(.*)", line).groups()
                found.setdefault((name, bound), []).extend([extra] if extra else [])

    add(config["options"]["install_requires"], None)
    for extra, text in config["options.extras_require"].items():
        if extra not in TOOLS:
            add(text, extra)
    return [Requirement(*one, tuple(extras), licence(one[0])) for one, extras in found.items()]


def licence(package):
    """What an installed package says of its licence; in the shortest form that it has."""
    try:
        told = metadata(package)
    except PackageNotFoundError:
        return "not installed where this page was built"
    classifiers = [c.split(" :: ")[-1] for c in told.get_all("Classifier", []) if "License" in c]
    stated = (told.get("License") or "").split("\n")[0]
    short = stated if 0 < len(stated) < 40 else ""
    named = [c for c in classifiers if c != "OSI Approved"]
    return told.get("License-Expression") or short or ", ".join(named) or "see its files"


def limits():
    """The largest modulus for every ring, and the table that it comes from."""
    ring = importlib.import_module("skfhe.crypto.parameters")
    return [
        *((n, bits, ring.SECURITY_TABLE) for n, bits in ring.MAX_MODULUS_BITS.items()),
        *((n, bits, ring.SPARSE_SECURITY) for n, bits in ring.MAX_SPARSE_MODULUS_BITS.items()),
    ]


def said(lines):
    """Keys and words of a directive's body, a line each."""
    pairs = [line.partition(": ") for line in lines if line.strip()]
    found = {key.strip(): words.strip() for key, _, words in pairs}
    if len(found) != len(pairs) or not all(found.values()):
        raise ValueError("every line must be a key of its own, a colon, and words")
    return found


def matched(words, keys):
    """The words for every key, in the order of the page; refused if the sets differ."""
    missing, unknown = set(keys) - set(words), set(words) - set(keys)
    if missing or unknown:
        raise ValueError(f"not explained: {sorted(missing)}; not in the code: {sorted(unknown)}")
    return words


def code(text):
    return f"`{text}`" if text else ""


def site_rows(found, words, by, summaries=False):
    """One row for every key: file, lines and functions; calls; words."""
    for key, text in matched(words, [by(site) for site in found]).items():
        same = [site for site in found if by(site) == key]
        lines = ", ".join(dict.fromkeys(str(site.line) for site in same))
        functions = "<br>".join(dict.fromkeys(code(site.function) for site in same))
        calls = "<br>".join(dict.fromkeys(code(site.call) for site in same))
        where = f"{code(same[0].module + '.py')} {lines}<br>{functions}"
        yield [where, calls, *([same[0].summary] if summaries else []), text]


def table(kind, argument, words):
    """Head and rows of a table, as Markdown cells."""
    if kind == "decrypts":
        rows = site_rows(decrypts(), words, lambda s: s.key, summaries=True)
        return ["file, lines, function", "calls", "docstring", "what that is"], rows
    if kind in ("keys", "randomness"):
        found = secret_keys() if kind == "keys" else randomness()
        return ["file, lines, function", "calls", "for"], site_rows(found, words, lambda s: s.key)
    if kind == "files":
        return ["file, lines, functions", "calls", "what is there"], site_rows(
            files(), words, lambda s: s.module
        )
    if kind == "libraries":
        words = {site.key: site.summary for site in libraries()}
        rows = site_rows(libraries(), words, lambda s: s.key)
        return ["file, lines, function", "imports", "docstring"], rows
    if kind == "plan":
        found = {entry.key: entry for entry in entries(argument)}
        rows = (
            [
                "<br>".join(map(code, e.names)),
                e.kinds + (f"<br>default {code(e.default)}" if e.default else ""),
                e.meaning,
                text,
            ]
            for e, text in ((found[k], t) for k, t in matched(words, found).items())
        )
        return ["field", "type", "meaning", "who checks it; if it is forged"], rows
    if kind == "dependencies":
        found = {one.key: one for one in requirements()}
        rows = (
            [code(k), code(found[k].bound), ", ".join(found[k].extras), found[k].licence, text]
            for k, text in matched(words, found).items()
        )
        return ["package", "bound", "extra", "licence", "role, and what it is trusted with"], rows
    if kind == "limits":
        return ["$N$", "bits of the modulus, at most", "table"], [
            [*map(str, row)] for row in limits()
        ]
    if kind == "reading":
        lines = {key: len((PACKAGE / f"{key}.py").read_text().splitlines()) for key in words}
        rows = ([str(i), code(f"{k}.py"), str(lines[k]), words[k]] for i, k in enumerate(words, 1))
        return ["", "file", "lines", "look for"], rows
    raise ValueError(f"there is no table {kind!r}")


def markdown(head, rows):
    """A table's lines."""

    def line(cells):
        return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"

    return [line(head), "|" + " --- |" * len(head), *map(line, rows)]


def setup(app):
    from docutils import nodes
    from docutils.parsers.rst import Directive
    from docutils.statemachine import StringList

    class ReviewTable(Directive):
        """``{review-table} kind [argument]``, see the module."""

        required_arguments = 1
        optional_arguments = 1
        has_content = True

        def run(self):
            kind, argument = (*self.arguments, "")[:2]
            try:
                lines = markdown(*table(kind, argument, said(self.content)))
            except (ValueError, OSError) as error:
                raise self.error(f"review-table {kind} {argument}: {error}.") from error
            node = nodes.container(classes=["review-table", f"review-{kind}"])
            self.state.nested_parse(StringList(lines), self.content_offset, node)
            for path in (*PACKAGE.rglob("*.py"), ROOT / "setup.cfg"):
                self.state.document.settings.env.note_dependency(str(path))
            return [node]

    app.add_directive("review-table", ReviewTable)
    app.add_css_file("review.css")
    return {"parallel_read_safe": True, "parallel_write_safe": True}
