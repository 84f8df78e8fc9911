"""The built distributions hold what they should, and memlint runs from each way of installing it."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest

import memlint
from memlint import registry
from tests.support import FIXTURES, ROOT
from tests.support.checkout import copy_to


def call(*command: object, folder: Path) -> str:
    """Run a command that must succeed, far from the checkout's own packages; what it printed."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "COV_", "PIP_"))}
    done = subprocess.run([str(part) for part in command], cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def distributions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel and a source distribution, the wheel built from the latter."""
    folder = tmp_path_factory.mktemp("build")
    copy = copy_to(folder / "checkout")
    call(sys.executable, "-m", "build", "--no-isolation", "--outdir", folder / "dist", copy, folder=folder)
    return folder / "dist"


def virtual_environment(folder: Path) -> Path:
    """A new environment that sees the packages of this one, but not the memlint that may be installed in it."""
    venv.create(folder, with_pip=False, symlinks=True)
    python = folder / ("Scripts" if os.name == "nt" else "bin") / "python"
    purelib = Path(call(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", folder=folder).strip())
    # A .pth file adds the folder itself and leaves the .pth files in it alone, editable installs among them.
    (purelib / "others.pth").write_text(sysconfig.get_path("purelib"), encoding="utf-8")
    return python


def assert_runs(python: Path, folder: Path, *, at: Path | None = None) -> None:
    """memlint answers in this environment, and its rules were found; `at`: the folder it must have come from."""
    assert call(python, "-m", "memlint", "--version", folder=folder).split() == ["memlint", memlint.__version__]
    names = call(python, "-c", "from memlint import registry; print(*registry.rules())", folder=folder)
    assert names.split() == list(registry.rules())
    place = Path(call(python, "-c", "import memlint; print(memlint.__file__)", folder=folder).strip()).parent.parent
    assert place != ROOT
    if at is not None:
        assert place == at


def test_the_wheel_holds_rules_and_fixers_inside_of_memlint(distributions: Path) -> None:
    (wheel,) = distributions.glob("*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    tops = {name.split("/")[0] for name in names}
    assert tops == {"memlint", f"torch_memlint-{memlint.__version__}.dist-info"}
    sources = {
        *(f"memlint/{path.relative_to(ROOT / 'memlint').as_posix()}" for path in (ROOT / "memlint").rglob("*.py")),
        *(f"memlint/rules/{path.name}" for path in (ROOT / "rules").glob("*.py")),
        *(f"memlint/fixers/{path.name}" for path in (ROOT / "fixers").glob("*.py")),
    }
    assert {name for name in names if name.startswith("memlint/")} == {*sources, "memlint/py.typed"}


def test_the_wheel_runs(distributions: Path, tmp_path: Path) -> None:
    (wheel,) = distributions.glob("*.whl")
    python = virtual_environment(tmp_path / "venv")
    call(python, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", wheel, folder=tmp_path)
    assert_runs(python, tmp_path)
    command = python.with_name("memlint")
    assert call(command, "--version", folder=tmp_path).split() == ["memlint", memlint.__version__]


def test_the_source_distribution_holds_the_tests(distributions: Path) -> None:
    (sdist,) = distributions.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    fixtures = {path.relative_to(ROOT).as_posix() for path in FIXTURES.rglob("*") if path.suffix in {".py", ".txt"}}
    assert fixtures <= names
    assert {"README.md", "LICENSE", "examples/leaky_training.py", "tests/support/case.py"} <= names
    assert {"rules/__init__.py", "fixers/__init__.py", ".pre-commit-hooks.yaml", ".ci/run"} <= names


@pytest.mark.parametrize("mode", ["lenient", "strict", "compat"])
def test_an_editable_install_runs(mode: str, tmp_path: Path) -> None:
    checkout = copy_to(tmp_path / "checkout")
    python = virtual_environment(tmp_path / "venv")
    options = ["--no-deps", "--no-index", "--no-build-isolation", f"--config-settings=editable_mode={mode}"]
    call(python, "-m", "pip", "install", "--quiet", *options, "-e", checkout, folder=tmp_path)
    assert_runs(python, tmp_path)


def test_a_bare_checkout_runs(tmp_path: Path) -> None:
    checkout = copy_to(tmp_path / "checkout")
    assert_runs(virtual_environment(tmp_path / "venv"), checkout, at=checkout)
