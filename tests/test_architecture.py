"""Arrows between modules point one way, and secrets have one way out."""

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

import skfhe

ROOT = Path(skfhe.__file__).parent
FILES = {path.relative_to(ROOT).with_suffix("").as_posix(): path for path in ROOT.rglob("*.py")}
TREES = {name: ast.parse(path.read_text(), str(path)) for name, path in FILES.items()}

# Layers from the top down: a module may import from layers below its own, and within its own.
LAYERS = (
    {"__main__"},
    {"cli", "displays", "reporting"},
    {"service", "_base", "linear_model", "neural_network", "preprocessing", "model_selection"},
    {"_arguments"},
    {"protocol"},
    {"sources"},
    {"planning"},
    {"circuits", "privacy"},
    {"packing"},
    {"crypto"},
    {"plan", "plan_text", "convergence"},
    {"plan_parts", "parties", "schema"},
    {"plan_rounds"},
    {"_html"},
    {"approximation"},
    {"exceptions"},
)
RANK = {room: -i for i, layer in enumerate(LAYERS) for room in layer}
# What the ranks would allow and the design does not.
FORBIDDEN = {
    ("crypto", "privacy"),
    ("crypto", "packing"),
    ("crypto", "plan"),
    ("crypto", "approximation"),
    ("privacy", "crypto"),
    ("privacy", "circuits"),
    ("privacy", "packing"),
    ("privacy", "protocol"),
    ("circuits", "privacy"),
    ("service", "_base"),
    ("_base", "linear_model"),
    *(("sources", room) for room in RANK if room not in {"sources", "schema", "exceptions"}),
    *(
        (alone, room)
        for alone in ("preprocessing", "model_selection")
        for room in RANK
        if room not in {alone, "privacy", "exceptions"}
    ),
}


def imported(name):
    """Dotted names of all that a module imports, wherever in the file, made absolute."""
    package = ["skfhe", *name.split("/")[:-1]]
    for node in ast.walk(TREES[name]):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            module = [*base, *(node.module.split(".") if node.module else [])]
            # "from . import a" names the module a; "from .a import b" may name one too.
            for alias in node.names:
                yield ".".join([*module, alias.name])


def rooms(name):
    """The parts of skfhe that a module imports from."""
    for full in imported(name):
        parts = full.split(".")
        if parts[0] == "skfhe":
            assert len(parts) > 1 and parts[1] in RANK, f"{name} imports the unknown {full}"
            yield parts[1]


def test_the_parser_sees_imports_of_every_kind():
    assert "crypto" in set(rooms("planning/encryption"))  # inside a function, relative
    assert "tenseal.sealapi" in set(imported("crypto/tenseal/keys"))
    assert {"skfhe.exceptions.PlanMismatch"} < set(imported("protocol/messages"))
    assert "plan_text" in set(rooms("plan"))


@pytest.mark.parametrize("name", sorted(FILES))
def test_arrows_point_one_way(name):
    room = name.split("/")[0]
    if room == "__init__":
        return
    assert room in RANK, f"{name} belongs to no layer"
    for target in rooms(name):
        assert RANK[target] <= RANK[room], f"{name} imports from {target}, which is above it"
        assert (room, target) not in FORBIDDEN, f"{name} must not import from {target}"


def test_the_plan_is_a_plain_value():
    assert set(rooms("plan")) <= {
        "approximation",
        "exceptions",
        "plan_text",
        "plan_parts",
        "plan_rounds",
        "schema",
        "parties",
        "convergence",
        "_html",
    }
    assert not set(rooms("parties"))
    assert set(rooms("convergence")) <= {"plan"}
    assert set(rooms("plan_text")) <= {"plan", "parties", "_html"}
    assert not set(rooms("_html"))
    assert not set(rooms("schema"))
    assert not any(
        set(rooms(name)) - {"approximation"} for name in FILES if name.startswith("approximation/")
    )
    assert not set(rooms("exceptions"))


def test_modules_are_free_of_cycles():
    """Between files, not only between rooms."""
    modules = {n.replace("/__init__", "").replace("/", "."): n for n in FILES if n != "__init__"}

    def targets(name):
        for full in imported(name):
            inner = full.removeprefix("skfhe.")
            while inner and inner not in modules:
                inner = inner.rpartition(".")[0]
            # A package's own __init__ gathers its files; plan loads its page and its bound when
            # it is asked for them.
            if inner and modules[inner] != name and name not in {"plan_text", "convergence"}:
                yield modules[inner]

    done, open_ = set(), []

    def visit(name):
        assert name not in open_, f"import cycle {open_[open_.index(name) :] + [name]}"
        if name in done:
            return
        open_.append(name)
        for target in targets(name):
            visit(target)
        open_.pop()
        done.add(name)

    for name in modules.values():
        visit(name)


@pytest.mark.parametrize("library", ["tenseal", "openfhe"])
def test_only_one_room_imports_each_library(library):
    users = {n for n in FILES if any(i.split(".")[0] == library for i in imported(n))}
    assert users
    assert all(name.startswith(f"crypto/{library}/") for name in users)


def test_only_displays_import_matplotlib():
    users = {n for n in FILES if any(i.split(".")[0] == "matplotlib" for i in imported(n))}
    assert users == {"displays/_common"}


def test_pyarrow_and_fsspec_are_imported_only_where_files_are_opened():
    users = {n for n in FILES if {i.split(".")[0] for i in imported(n)} & {"pyarrow", "fsspec"}}
    assert "sources/arrow" in users
    assert users <= {"sources/arrow", "protocol/places"}


def test_only_the_command_line_imports_click_skops_and_distributed():
    for module in ("click", "skops", "distributed"):
        users = {n for n in FILES if any(i.split(".")[0] == module for i in imported(n))}
        assert users and all(name.startswith("cli/") for name in users)


def test_only_the_service_speaks_http():
    web = {"starlette", "uvicorn", "httpx", "h11", "anyio"}
    users = {n for n in FILES if {i.split(".")[0] for i in imported(n)} & web}
    assert users and all(name.startswith("service/") for name in users)


def test_the_service_knows_parties_alone():
    for name in FILES:
        if name.startswith("service/"):
            assert set(rooms(name)) <= {"service", "protocol", "plan", "exceptions"}


def test_nothing_pickles():
    banned = {"pickle", "cPickle", "_pickle", "dill", "cloudpickle", "joblib", "marshal", "shelve"}
    # What passes to worker processes is public; files and messages hold no pickle.
    allowed = {
        "protocol/mapping": {"joblib.Parallel", "joblib.delayed", "joblib.effective_n_jobs"},
        "cli/fit": {"joblib.parallel_config"},
    }
    for name in FILES:
        found = set(imported(name)) - allowed.get(name, set())
        assert not {i.split(".")[0] for i in found} & banned, name


def calls(tree, attribute):
    return [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr == attribute
    ]


def test_one_place_decrypts_and_pays_first():
    # The vault opens its own file, which holds no ciphertext of the scheme.
    other = {n for n in TREES if n.startswith("crypto/")} | {"protocol/vault"}
    outside = {n: calls(t, "decrypt") for n, t in TREES.items() if n not in other}
    assert {n: len(found) for n, found in outside.items() if found} == {"protocol/key_holder": 1}
    (holder,) = (
        node
        for node in TREES["protocol/key_holder"].body
        if isinstance(node, ast.ClassDef) and node.name == "KeyHolder"
    )
    (release,) = (
        node
        for node in holder.body
        if isinstance(node, ast.FunctionDef) and node.name == "_decrypt"
    )
    (decrypt,), (spend,) = calls(release, "decrypt"), calls(release, "spend")
    (begin,), (finish,) = calls(release, "begin"), calls(release, "finish")
    assert decrypt is outside["protocol/key_holder"][0]
    assert spend.lineno < begin.lineno < decrypt.lineno < finish.lineno
    # At the top level of the function, so that no branch leads around them.
    for call in (spend, begin, finish):
        assert any(isinstance(s, ast.Expr) and s.value is call for s in release.body)
    # Nothing takes the method as a value either.
    names = [
        n
        for name, tree in TREES.items()
        if name not in other
        for n in ast.walk(tree)
        if (isinstance(n, ast.Attribute) and n.attr in {"decrypt", "_decryptor"})
        or (isinstance(n, ast.Constant) and n.value in {"decrypt", "_decryptor"})
    ]
    assert names == [decrypt.func]


def test_in_crypto_only_the_key_pair_decrypts():
    for name, tree in TREES.items():
        if not name.startswith("crypto/"):
            continue
        for holder in (n for n in ast.walk(tree) if isinstance(n, ast.ClassDef)):
            if any(calls(holder, how) for how in ("decrypt", "Decrypt", "Decryptor")):
                assert holder.name in {"TensealKeys", "OpenFHEKeys"}


@pytest.mark.parametrize("name", sorted(FILES))
def test_files_are_short(name):
    lines = len(FILES[name].read_text().splitlines())
    assert lines <= 400, f"skfhe/{name}.py has {lines} lines"


HEAVY = (
    *("dp_accounting", "tenseal", "matplotlib", "scipy.stats", "scipy.optimize", "tqdm"),
    *(
        "pyarrow",
        "fsspec",
        "click",
        "skops",
        "starlette",
        "uvicorn",
        "httpx",
        "distributed",
        "openfhe",
    ),
)
PROBE = """
import sys, time
start = time.process_time()
import sklearn.linear_model
middle = time.process_time()
before = set(sys.modules)
import skfhe
own = time.process_time() - middle
print(own / (middle - start), *(set(sys.modules) - before))
"""


@pytest.fixture(scope="module")
def cold_import():
    """Its share of scikit-learn's own seconds, the best of three, and the modules it brings."""
    best, loaded = float("inf"), set()
    for _ in range(3):
        result = subprocess.run(
            [sys.executable, "-c", PROBE],
            capture_output=True,
            text=True,
            check=True,
            env={**os.environ, "PYTHONPATH": str(ROOT.parent)},
        )
        share, *modules = result.stdout.split()
        best, loaded = min(best, float(share)), set(modules)
    return best, loaded


def test_import_is_quick(cold_import):
    assert cold_import[0] < 0.5


@pytest.mark.parametrize("module", HEAVY)
def test_heavy_imports_wait(cold_import, module):
    assert module not in cold_import[1], f"import skfhe also imports {module}"
