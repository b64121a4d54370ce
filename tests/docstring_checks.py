"""The public names, read from the reference, and what their docstrings must have.

A name is public if a directive of docs/api/*.md shows it. `public_of` and `required_members` say
what the reference has to show, so that no name is public by accident, or forgotten.
"""

from __future__ import annotations

import ast
import dataclasses
import functools
import importlib
import inspect
import re
import textwrap
from pathlib import Path

from numpydoc.docscrape import get_doc_object
from numpydoc.validate import Validator, validate

API = Path(__file__).parents[1] / "docs" / "api"
# Everything public in these is in the reference: what `__all__` names, or else what they define.
MODULES = (
    "skfhe",
    "skfhe.approximation",
    "skfhe.convergence",
    "skfhe.displays",
    "skfhe.exceptions",
    "skfhe.parties",
    "skfhe.plan",
    "skfhe.preprocessing",
    "skfhe.privacy.accounting",
    "skfhe.reporting",
    "skfhe.service",
    "skfhe.sources",
)
# numpydoc's checks that are not asked for; all others are.
LEFT_OUT = {
    "ES01": "a summary that says all needs no second paragraph",
    "SA01": "relatives are named in the text, where they link",
    "EX01": "asked for of what skfhe itself exports, below",
    "RT02": "what is returned has a name, as in scikit-learn",
    "SS05": "a guess from the first word's last letter, which plural nouns share",
}
_DIRECTIVE = re.compile(r"^\.\. auto(class|function|module):: ([\w.]+).*\n((?:(?: .*)?\n)*)", re.M)
_MEMBERS = re.compile(r":members:((?:.*\n)(?: {4,}[^: ].*\n)*)")
_PROPERTIES = (property, functools.cached_property)
_METHODS = (*_PROPERTIES, classmethod, staticmethod)


def _directives():
    """Kind, name and members of every directive of the reference."""
    for page in sorted(API.glob("*.md")):
        for kind, name, options in _DIRECTIVE.findall(page.read_text()):
            found = _MEMBERS.search(options)
            members = re.findall(r"\w+", found.group(1)) if found else []
            members += re.findall(r"^ +\.\. auto(?:method|property):: (\w+)$", options, re.M)
            if kind == "module" and found and not members:
                members = importlib.import_module(name).__all__
            yield kind, name, tuple(members)


DIRECTIVES = tuple(_directives())
CLASSES = {name: members for kind, name, members in DIRECTIVES if kind == "class"}
NAMES = [
    *(name for kind, name, _ in DIRECTIVES if kind != "module"),
    *(f"{name}.{member}" for _, name, members in DIRECTIVES for member in members),
]
load = Validator._load_obj


def public_of(module: str) -> list:
    """The classes and functions that a module makes public."""
    room = importlib.import_module(module)
    own = [
        name
        for name, value in vars(room).items()
        if getattr(value, "__module__", None) == module and not name.startswith("_")
    ]
    return [getattr(room, name) for name in getattr(room, "__all__", own)]


def required_members(cls: type) -> set[str]:
    """Methods and properties of this package without an underscore, and calls.

    Those that a base in the reference has are shown there.
    """
    shown = {load(name): members for name, members in CLASSES.items()}
    inherited = {member for base in cls.__mro__[1:] for member in shown.get(base, ())}
    found = {
        name
        for base in cls.__mro__
        if base.__module__.startswith("skfhe")
        for name, value in vars(base).items()
        if inspect.isfunction(value) or isinstance(value, _METHODS)
        if not name.startswith("_") or name == "__call__"
    }
    return found - inherited


class Docstring(Validator):
    """numpydoc's validator, for the ways of this package.

    A class method is a function, too; a context manager is no generator to its caller; a protocol
    is not called, and parameters with an underscore are not public. The fields of a dataclass or
    a named tuple are parameters and attributes at once, and documented once: as attributes.
    """

    def __init__(self, name: str):
        super().__init__(get_doc_object(load(name), config={"show_class_members": False}))
        owner = name.rpartition(".")[0]
        self.owner = Docstring(owner) if owner in CLASSES else None

    @property
    def is_function_or_method(self):
        return inspect.isroutine(self.obj)

    @property
    def is_generator_function(self):
        return inspect.isgeneratorfunction(self.obj)

    @property
    def signature_parameters(self):
        if getattr(self.obj, "_is_protocol", False) or _is_exception(self.obj):
            return ()
        return tuple(p for p in super().signature_parameters if not p.startswith("_"))

    @property
    def doc_all_parameters(self):
        record = dataclasses.is_dataclass(self.obj) or hasattr(self.obj, "_fields")
        if inspect.isclass(self.obj) and record and not self.doc["Parameters"]:
            return self._doc_parameters(["Attributes"])
        return super().doc_all_parameters

    def entries(self, *sections: str) -> list[tuple[str, str, str]]:
        """Name, type and description of all that sections list."""
        return [
            (one.name, one.type, " ".join(one.desc))
            for section in sections
            for one in self.doc[section]
        ]

    def listed(self, section: str) -> set[str]:
        """The names in Raises or Warns, or in the class's."""
        own = {name for _, names, _ in self.entries(section) for name in names.split(", ")}
        return own | (self.owner.listed(section) if self.owner else set())


def _is_exception(obj) -> bool:
    return inspect.isclass(obj) and issubclass(obj, BaseException)


def complaints(name: str) -> list[str]:
    """All that is wrong with a docstring."""
    doc = Docstring(name)
    checks = (of_numpydoc, of_entries, of_shapes, of_units, of_sources, of_errors, of_attributes)
    return [f"{check.__name__}: {text}" for check in checks for text in check(doc, name)]


def of_numpydoc(doc, name):
    """numpydoc's own, and examples of what skfhe itself exports."""
    found = validate(name, validator_cls=lambda obj_name: Docstring(obj_name))["errors"]
    yield from (f"{code} {text}" for code, text in found if code not in LEFT_OUT)
    if doc.obj in public_of("skfhe") and not doc.examples:
        yield "EX01 no example"


def of_entries(doc, name):
    """Sections that numpydoc does not look into: a type or an error, and a sentence."""
    for section in ("Attributes", "Yields", "Raises", "Warns"):
        for entry, what, text in doc.entries(section):
            if not what or not re.match(r"[A-Z`*\"0-9].*\.$", text):
                yield f"{section}: {entry or what} must have a type and a sentence"


_LISTS = ("Parameters", "Other Parameters", "Attributes", "Returns", "Yields")


def of_shapes(doc, name):
    """Arrays name their shapes, in the type or, for several of them, in the description."""
    for entry, what, text in doc.entries(*_LISTS):
        if re.search(r"array|sparse matrix", what) and not re.search(r"shape|\(\w+,", what + text):
            yield f"{entry}: an array without a shape"


# Parameters and attributes whose names are quantities, and what must be said of them.
_WHOSE = r"guarantee|budget|release|score|learns|fit|target|row"
QUANTITIES = (
    (r"seconds|timeout|patience", r"[Ss]econds"),
    (r"(key|data|step|memory|cache|head|n)_bytes", r"[Bb]ytes"),
    (r"_bits", r"\b[Bb]its|2\*\*"),
    (r"^(nominal_)?epsilon$|^delta$|^epsilon, delta$", _WHOSE),
    (r"noise_multiplier", r"sensitivity"),
    (r"^sensitivity$", r"L2"),
    (r"^sigma|noise_units", r"units"),
    (r"^(radius|hidden_reach)$", r"margin|pre-activation|distances"),
    (r"per_minute", r"minute"),
)


def of_units(doc, name):
    """Quantities name their unit, or what they are of."""
    for entry, what, text in doc.entries(*_LISTS):
        for quantity, must in QUANTITIES:
            if re.search(quantity, entry) and not re.search(must, f"{what} {text}"):
                yield f"{entry}: its description must have {must!r}"


# A formula has a function or a power of symbols; a source is a statement of ours, or of a paper.
_FORMULA = re.compile(r":math:|\.\. math::|\b(sqrt|exp|log|log2|expm1|Phi|max abs) ?\(|\^|\bsum_")
_SOURCE = re.compile(
    r"statements? \d|arXiv|eprint|Theorem|Corollary|RFC \d|\b(19|20)\d\d, see the module"
)


def of_sources(doc, name):
    """A docstring with a formula says where it is proved, or its class does."""
    text = re.split(r"\n *Examples\n *-----", doc.raw_doc)[0]
    above = doc.owner.raw_doc if doc.owner else ""
    found = _FORMULA.search(text)
    if found and not _SOURCE.search(text + above):
        yield f"no source of the formula at {text[found.start() :][:40]!r}"


def of_errors(doc, name):
    """What is raised and warned of, in the body or in private helpers beside it, is listed."""
    for section, thrown in zip(("Raises", "Warns"), _thrown(name, doc.obj), strict=True):
        yield from (f"{section}: {one} is not listed" for one in thrown - doc.listed(section))


def _thrown(name: str, obj) -> tuple[set[str], set[str]]:
    """Names of errors and of warnings."""
    if isinstance(obj, _PROPERTIES):
        obj = obj.fget if isinstance(obj, property) else obj.func
    obj = inspect.unwrap(obj)
    owner = load(name.rpartition(".")[0])
    near = owner.__mro__ if inspect.isclass(owner) else getattr(obj, "__mro__", (obj,))
    modules = {inspect.getmodule(one) for one in near if one.__module__.startswith("skfhe")}
    helpers = {
        node.name: node
        for module in modules
        for node in ast.walk(ast.parse(inspect.getsource(module)))
        if isinstance(node, ast.FunctionDef) and node.name.startswith("_")
    }
    todo = ast.parse(textwrap.dedent(inspect.getsource(obj))).body
    if isinstance(todo[0], ast.ClassDef):
        made = ("__init__", "__post_init__")
        todo = [node for node in todo[0].body if getattr(node, "name", "") in made]
    errors, warned, seen = set(), set(), set()
    while todo:
        for node in ast.walk(todo.pop()):
            if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call):
                errors.add(ast.unparse(node.exc.func))
            if isinstance(node, ast.Call):
                called = re.sub(r"^(self|cls)\.", "", ast.unparse(node.func))
                if called == "warnings.warn":
                    warned.add(ast.unparse(node.args[1]))
                if called in helpers and called not in seen:
                    seen.add(called)
                    todo.append(helpers[called])
    return {one for one in errors if one[0].isupper()}, warned


def of_attributes(doc, name):
    """What `__init__` sets without an underscore is a parameter, an attribute or a member."""
    if not inspect.isclass(doc.obj) or dataclasses.is_dataclass(doc.obj):
        return
    if "__init__" not in vars(doc.obj):
        return
    tree = ast.parse(textwrap.dedent(inspect.getsource(doc.obj.__init__)))
    told = {entry for names, _, _ in doc.entries(*_LISTS) for entry in names.split(", ")}
    for node in ast.walk(tree):
        stored = isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store)
        if stored and not node.attr.startswith("_") and node.attr not in told:
            yield f"attribute {node.attr} is not documented"
