"""A look at a project: where it begins, what it is made of. Files are read, nothing is imported or run."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from msgspec import Struct, field

from memlint import discover, imports
from memlint.config import FILE_NAME, ConfigError, Resolver, display_path, parsed
from memlint.facts.frameworks import FRAMEWORKS
from memlint.fixer import Refuse
from memlint.notebook import SUFFIX

OLDEST = 10  # the runtime's helpers need Python 3.10
HELPERS = "memory_helpers.py"

# What memlint is about first, then the frameworks on top of it that it knows.
_KNOWN = (
    "torch",
    "mlx",
    *sorted({package.split(".")[0] for framework in FRAMEWORKS for package in framework.packages}),
)
_IMPORT = re.compile(rf"^[ \t]*(?:import|from)[ \t]+({'|'.join(_KNOWN)})\b", re.MULTILINE)

# Folders that by their name hold other people's code.
_OTHERS = {
    "third_party",
    "third-party",
    "thirdparty",
    "3rdparty",
    "external",
    "externals",
    "extern",
    "vendor",
    "vendored",
}


class Survey(Struct):
    """What a project looks like.

    root: its folder. top: the folder of its repository, the same where there is none. settings: the bytes of its
    pyproject.toml, None where it has none. document: the same, parsed. others: folders in it that hold other people's
    code, from the root. files: its own Python files, by display path. imported: for each package that memlint knows
    the files that import it.
    """

    root: Path
    top: Path
    in_git: bool
    settings: bytes | None = None
    document: Mapping[str, Any] = field(default_factory=dict)
    others: Sequence[str] = ()
    files: Sequence[str] = ()
    imported: dict[str, list[str]] = field(default_factory=dict)

    @property
    def path(self) -> str:
        """The display path of its pyproject.toml."""
        return display_path(str(self.root / FILE_NAME))

    @property
    def users(self) -> list[str]:
        """The files that import anything memlint knows."""
        return sorted({file for files in self.imported.values() for file in files})

    @property
    def older_python(self) -> int | None:
        """The minor version of the oldest Python 3 that the project says it runs on, where that is too old."""
        project, tool = self.document.get("project"), self.document.get("tool")
        said = project.get("requires-python") if isinstance(project, dict) else None
        if said is None:
            poetry = tool.get("poetry") if isinstance(tool, dict) else None
            said = poetry.get("dependencies", {}).get("python") if isinstance(poetry, dict) else None
        found = re.search(r"(?:>=|\^|~=?|==)\s*3\.(\d+)", said) if isinstance(said, str) else None
        return int(found[1]) if found and int(found[1]) < OLDEST else None

    def folders(self, files: Sequence[str]) -> list[str]:
        """The folders that files lie in, from the root, cut to one level below it, or two below `src`."""
        found: Counter[str] = Counter()
        for file in files:
            parts = Path(os.path.relpath(file, self.root)).parent.parts
            found["/".join(parts[: 2 if parts[:1] == ("src",) else 1]) or "."] += 1
        return [folder for folder, _ in sorted(found.items(), key=lambda item: (-item[1], item[0]))]

    def helpers(self) -> str | None:
        """Where a copy of the helpers would lie so that the files that use torch or mlx can import it."""
        users = [Path(os.path.abspath(file)) for file in self.users]
        if not users:
            return None
        packages = Counter(top for file in users if (top := _package(file)) is not None)
        folder = (
            packages.most_common(1)[0][0] if packages else Path(os.path.commonpath([file.parent for file in users]))
        )
        place = (folder / HELPERS).as_posix()
        try:
            for user in users:
                imports.runtime_module(f"vendor:{place}", str(user))
        except Refuse:
            return None
        return Path(os.path.relpath(place, self.root)).as_posix()


def look(path: str) -> Survey:
    """Look at the project that a path belongs to. Raises ConfigError."""
    start = Path(os.path.abspath(path))
    if not start.exists():
        raise ConfigError(f"{display_path(path)}: no such file or directory")
    survey = _found(start if start.is_dir() else start.parent)
    survey.settings, survey.document = _parsed(survey.root / FILE_NAME)
    found = {
        file: _others(survey.root, file)
        for file, _ in discover.find([str(survey.root)], Resolver(isolated=True)).files
        if not file.endswith(SUFFIX)
    }
    survey.others = sorted({folder for folder in found.values() if folder is not None})
    survey.files = [file for file, others in found.items() if others is None]
    for file in survey.files:
        try:
            text = Path(file).read_bytes().decode("utf-8", "replace")
        except OSError:
            continue  # `memlint check` will say so
        for package in {match[1] for match in _IMPORT.finditer(text)}:
            survey.imported.setdefault(package, []).append(file)
    survey.imported = {package: survey.imported[package] for package in _KNOWN if package in survey.imported}
    return survey


def _found(start: Path) -> Survey:
    """The nearest folder with a pyproject.toml, not above the repository's; else the repository's; else this one."""
    with_settings: Path | None = None
    for folder in (start, *start.parents):
        if with_settings is None and (folder / FILE_NAME).is_file():
            with_settings = folder
        if (folder / ".git").exists():
            return Survey(with_settings or folder, folder, in_git=True)
    root = with_settings or start
    return Survey(root, root, in_git=False)


def _parsed(path: Path) -> tuple[bytes | None, Mapping[str, Any]]:
    shown = display_path(str(path))
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return None, {}
    except OSError as error:
        raise ConfigError(f"{shown}: {error.strerror}") from None
    return data, parsed(data, shown)


def _others(root: Path, file: str) -> str | None:
    """The folder of other people's code that a file lies in: a submodule of git, or one that is called so."""
    parts = Path(os.path.relpath(file, root)).parts[:-1]
    for depth, name in enumerate(parts, 1):
        folder = Path(*parts[:depth])
        if name.lower() in _OTHERS or (root / folder / ".git").exists():
            return folder.as_posix() + "/"
    return None


def _package(file: Path) -> Path | None:
    """The outermost package that a file lies in."""
    folder, found = file.parent, None
    while (folder / "__init__.py").is_file():
        folder, found = folder.parent, folder
    return found
