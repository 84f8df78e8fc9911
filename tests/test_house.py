"""The house rules: who may import whom, one name for everything about a rule, files that can be read at one sitting."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

from memlint import registry
from tests.support import FIXTURES, ROOT

LONGEST_FILE = 500

# The parts from left to right. A part imports itself and parts to its left, never to its right; parts of one row
# know nothing of each other. A part is a module or a whole package: `memlint.facts` stands for all below it.
ORDER = [
    {"memlint"},  # the version, and where the package lies
    {"memlint.runtime", "memlint.rule", "memlint.fixer"},  # the helpers, and the words that all others speak
    {"memlint.record"},
    {"memlint.positions"},
    {"memlint.magics", "memlint.nesting"},
    {"memlint.notebook"},
    {"memlint.source", "memlint.suppress", "memlint.page", "memlint.statements"},
    {"memlint.facts"},
    {"memlint.taught", "memlint.layout", "memlint.linking"},
    {"memlint.project"},
    {"memlint.conditions", "memlint.names"},
    {"memlint.imports"},
    {"memlint.tree"},
    {"memlint.rules", "memlint.fixers"},
    {"memlint.registry", "memlint.edit"},
    {"memlint.config"},
    {"memlint.proposals", "memlint.cache"},
    {"memlint.codec", "memlint.memo"},
    {"memlint.workers"},
    {"memlint.cluster"},
    {"memlint.known"},
    {"memlint.discover"},
    {"memlint.around"},
    {"memlint.engine"},
    {"memlint.disk", "memlint.shards", "memlint.roots", "memlint.git"},
    {"memlint.baseline", "memlint.changes", "memlint.uncommitted", "memlint.transaction", "memlint.draft"},
    {"memlint.repair"},
    {"memlint.verifying"},
    {"memlint.report"},
    {"memlint.cli"},
    {"memlint.__main__"},
]
# What some parts may import at most. The helpers are copied into other people's projects, alone.
ONLY: dict[str, set[str]] = {
    "memlint.runtime": set(),
    "memlint.rule": set(),
    "memlint.fixer": set(),
    "memlint.rules": {"memlint.rule", "memlint.facts", "memlint.conditions"},
    "memlint.fixers": {"memlint.fixer", "memlint.facts", "memlint.tree"},
}
# What is there for the user's own code, or for Python itself.
IMPORTED_BY_NOBODY = {"memlint.runtime", "memlint.__main__"}


def modules() -> dict[str, Path]:
    """Every module of the package by its import name, wherever its file lies."""
    found = {}
    for folder, package in [("memlint", "memlint"), ("rules", "memlint.rules"), ("fixers", "memlint.fixers")]:
        for file in sorted((ROOT / folder).rglob("*.py")):
            inner = file.relative_to(ROOT / folder).with_suffix("").parts
            found[".".join([package, *(part for part in inner if part != "__init__")])] = file
    return found


def part(module: str) -> str:
    """The part that a module belongs to: its first two names."""
    return ".".join(module.split(".")[:2])


def imported(tree: ast.AST, known: set[str], module: str) -> Iterator[str]:
    """The modules that a tree imports when it runs; imports for type checkers alone make no arrow."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module} imports relatively; the arrows are read from full names"
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                yield inner if inner in known else node.module or ""
        yield from imported(node, known, module)


def imports() -> dict[str, set[str]]:
    """For each module, all that it imports."""
    known = modules()
    return {
        module: set(imported(ast.parse(file.read_text(encoding="utf-8")), set(known), module))
        for module, file in known.items()
    }


def test_every_part_has_its_place_in_the_order() -> None:
    placed = [name for row in ORDER for name in row]
    assert len(placed) == len(set(placed))
    parts = {part(module) for module in modules()}
    assert parts - set(placed) == set(), "give it a place in ORDER"
    assert set(placed) - parts == set(), "take it out of ORDER"


def test_imports_run_one_way() -> None:
    rank = {name: number for number, row in enumerate(ORDER) for name in row}
    wrong = [
        f"{module} imports {other}"
        for module, others in imports().items()
        for other in others
        if {part(module), part(other)} <= set(rank) and part(other) != part(module)
        if rank[part(other)] >= rank[part(module)]
    ]
    assert wrong == []


def test_some_parts_import_little() -> None:
    wrong = [
        f"{module} imports {other}"
        for module, others in imports().items()
        for other in others
        if part(module) in ONLY and part(other).startswith("memlint")
        if part(other) != part(module) and part(other) not in ONLY[part(module)]
    ]
    assert wrong == []


def test_nothing_of_memlint_imports_the_shim() -> None:
    wrong = {module: hit for module, others in imports().items() if (hit := others & IMPORTED_BY_NOBODY)}
    assert wrong == {}


def test_rules_and_fixers_are_opened_by_the_registry_alone() -> None:
    folders = {"rules", "fixers", "memlint.rules", "memlint.fixers"}
    files = [*modules().values(), *(ROOT / "tests").glob("**/*.py"), *(ROOT / "tools").glob("**/*.py")]
    wrong = [
        f"{file.relative_to(ROOT)} imports {name}"
        for file in files
        if FIXTURES not in file.parents
        for name in imported(ast.parse(file.read_text(encoding="utf-8")), set(), file.name)
        if any(name == folder or name.startswith(f"{folder}.") for folder in folders)
    ]
    assert wrong == []


def test_the_arrows_are_read_from_any_kind_of_import() -> None:
    source = (
        "import memlint.cli\nfrom memlint import engine\nfrom memlint.rule import Rule\n"
        "if TYPE_CHECKING:\n    import memlint.facts\n"
        "def later():\n    import memlint.report.sarif\n"
    )
    known = {"memlint.engine", "memlint.rule"}
    assert set(imported(ast.parse(source), known, "x")) == {
        "memlint.cli",
        "memlint.engine",
        "memlint.rule",
        "memlint.report.sarif",
    }


@pytest.mark.parametrize("name", registry.rules())
def test_a_rule_has_one_name_everywhere(name: str) -> None:
    stem = registry.stem_of(name)
    assert name == name.lower()
    assert (ROOT / "rules" / f"{stem}.py").is_file()
    folder = FIXTURES / stem
    assert list(folder.glob("*/before.py")), f"no case in {folder}"
    assert list(folder.glob("clean/*.py")), f"no look-alike in {folder}/clean"


def test_nothing_is_named_after_a_rule_that_is_not_there() -> None:
    stems = {registry.stem_of(name) for name in registry.rules()}
    assert {registry.stem_of(name) for name in registry.fixers()} <= stems
    assert {path.name for path in FIXTURES.iterdir()} <= stems


every_case_folder = pytest.mark.parametrize(
    "path", [pytest.param(path, id=f"{path.parent.name}/{path.name}") for path in sorted(FIXTURES.glob("*/*"))]
)


@every_case_folder
def test_a_case_is_complete(path: Path) -> None:
    assert path.is_dir(), "a file beside the cases"
    known = {"before.py", "after.py", "findings.txt", "unfixed.txt", "project"}
    files = {inner.name for inner in path.iterdir()} - {"__pycache__"}
    if path.name == "clean":
        assert all(name.endswith(".py") for name in files)
    else:
        assert files <= known
        assert {"before.py", "findings.txt"} <= files


@pytest.mark.parametrize("file", [pytest.param(file, id=module) for module, file in modules().items()])
def test_a_file_can_be_read_at_one_sitting(file: Path) -> None:
    if file.name == "runtime.py":
        pytest.skip("one file by contract, so that it can be copied into other people's projects")
    assert len(file.read_text(encoding="utf-8").splitlines()) <= LONGEST_FILE


def test_the_packages_are_all_shipped() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    shipped = set(project["tool"]["setuptools"]["packages"])
    assert shipped == {module for module, file in modules().items() if file.name == "__init__.py"}
