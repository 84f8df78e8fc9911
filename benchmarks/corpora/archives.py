"""Where the real code comes from, and how it is laid out to be worked on."""

from __future__ import annotations

import hashlib
import importlib.metadata
import os
import platform
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from memlint.discover import SUFFIXES

WHEELS = (
    "accelerate==1.15.0",
    "botorch==0.18.1",
    "espnet==202511",
    "fastai==2.8.12",
    "gpytorch==1.15.2",
    "jedi==0.20.1",
    "kornia==0.9.0",
    "libcst==1.9.0",
    "lightning==2.6.6",
    "mlx-lm==0.32.2",
    "monai==1.6.1",
    "mypy==2.4.1",
    "numpy==2.4.6",
    "peft==0.21.2",
    "pip==26.3",
    "pytorch-ignite==0.5.5",
    "recbole==1.2.1",
    "speechbrain==1.1.2",
    "stable-baselines3==2.9.2",
    "sympy==1.14.0",
    "textattack==0.3.11",
    "tianshou==2.0.1",
    "timm==1.0.31",
    "torch-geometric==2.8.1",
    "torchvision==0.29.1",
    "trl==1.16.0",
    "ultralytics==8.4.190",
)
"""Packages whose wheel holds what is wanted of them: tests, stubs, or training code."""

SOURCES = (
    "black==26.10.1",
    "django==5.2.19",
    "future==1.0.0",
    "ipython==9.18.1",
    "nbconvert==7.17.2",
    "nbformat==5.11.1",
    "parso==0.8.7",
    "setuptools==84.2.1",
    "transformers==5.23.0",
    "twisted==26.10.0",
)
"""Packages whose tests, or notebooks, are only in the source archive."""

INSTALLED = ("torch",)
"""Packages that are too large to be fetched for this: taken from where they are installed."""

LIBRARY = "standard library"
MODES = (0o644, 0o755, 0o640, 0o600)
"""The permissions that files get, in turn: a repair has to keep them."""


@dataclass(frozen=True, slots=True)
class Corpus:
    """A body of code. title: with its version. origin: what it is taken from."""

    name: str
    title: str
    origin: str


def corpora() -> list[Corpus]:
    """All of them, the standard library first."""
    version = platform.python_version()
    found = [Corpus(LIBRARY, f"CPython {version}, standard library and its tests", "installed")]
    for name in INSTALLED:
        found.append(Corpus(name, f"{name} {importlib.metadata.version(name)}", "installed"))
    for origin, pinned in (("wheel", WHEELS), ("source archive", SOURCES)):
        for requirement in pinned:
            name, _, number = requirement.partition("==")
            found.append(Corpus(name, f"{name} {number}", origin))
    return sorted(found, key=lambda corpus: (corpus.name != LIBRARY, corpus.name))


def files(corpus: Corpus, downloads: Path) -> Iterator[tuple[str, bytes]]:
    """Path and bytes of each Python file, stub and notebook of a corpus."""
    if corpus.name == LIBRARY:
        yield from _below(Path(sysconfig.get_path("stdlib")))
    elif corpus.origin == "installed":
        distribution = importlib.metadata.distribution(corpus.name)
        for path in distribution.files or ():
            if path.name.endswith(SUFFIXES) and ".." not in path.parts:
                yield str(path), Path(str(path.locate())).read_bytes()
    else:
        yield from _packed(_fetched(corpus, downloads))


def lay_out(found: Iterable[tuple[str, bytes]], folder: Path) -> dict[str, bytes]:
    """Write files below a folder, with permissions that vary, and return them."""
    written = {}
    for name, data in found:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        path.chmod(MODES[hashlib.sha256(os.fsencode(name)).digest()[0] % len(MODES)])
        written[name] = data
    return written


def tree(folder: Path) -> Iterator[tuple[str, bytes]]:
    """The same of any folder, what git keeps for itself left out."""
    for path in sorted(folder.rglob("*")):
        inner = path.relative_to(folder)
        if path.name.endswith(SUFFIXES) and path.is_file() and not path.is_symlink() and ".git" not in inner.parts:
            yield str(inner), path.read_bytes()


def _below(library: Path) -> Iterator[tuple[str, bytes]]:
    """The standard library without what was installed beside it."""
    return ((name, data) for name, data in tree(library) if not name.startswith(("site-packages", "dist-packages")))


def _fetched(corpus: Corpus, downloads: Path) -> Path:
    """The archive of a pinned package, from the folder of downloads or fetched into it."""
    title = corpus.title.replace(" ", "==")
    folder = downloads / title
    if not folder.is_dir() or not any(folder.iterdir()):
        form = ["--only-binary", ":all:"] if corpus.origin == "wheel" else ["--no-binary", corpus.name]
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
        subprocess.run([*command, *form, "--dest", str(folder), title], check=True)
    (archive,) = folder.iterdir()
    return archive


def _packed(archive: Path) -> Iterator[tuple[str, bytes]]:
    if archive.suffix in (".whl", ".zip"):
        with zipfile.ZipFile(archive) as opened:
            for name in sorted(opened.namelist()):
                if _is_wanted(name):
                    yield name, opened.read(name)
        return
    with tarfile.open(archive) as packed:
        for member in packed:
            if member.isreg() and _is_wanted(member.name):
                content = packed.extractfile(member)
                if content is not None:
                    yield member.name, content.read()


def _is_wanted(name: str) -> bool:
    path = PurePosixPath(name)
    return path.name.endswith(SUFFIXES) and not path.is_absolute() and ".." not in path.parts
