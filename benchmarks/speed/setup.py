"""What is measured and on what: the other tools in environments of their own, and source archives, all pinned."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from memlint.config import Overrides, Resolver
from memlint.discover import find

ROOT = Path(__file__).resolve().parents[2]
PARSE = [sys.executable, str(Path(__file__).with_name("parse.py"))]
MEMLINT = [
    sys.executable,
    "-c",
    f"import sys; sys.path.insert(0, {str(ROOT)!r}); from memlint.__main__ import main; sys.exit(main())",
]
"""As the installed command does it."""


@dataclass(frozen=True)
class Peer:
    """Another tool. command: what its users type, without the path. needs: what has to be installed."""

    name: str
    needs: tuple[str, ...]
    command: tuple[str, ...]


PEERS = (
    Peer("torchfix", ("torchfix==0.7.0",), ("torchfix",)),
    Peer("torch-preflight", ("torch-preflight==0.5.0",), ("torch-preflight", "check", "--no-color")),
    Peer("fixit", ("fixit==2.2.1",), ("fixit", "--quiet", "lint")),
    Peer("flake8-bugbear", ("flake8-bugbear==26.10.27",), ("flake8", "--isolated", "--select", "B")),
    Peer("ruff", ("ruff==0.17.6",), ("ruff", "check", "--isolated", "--no-cache")),
)
ARCHIVES = {"timm": ("timm==1.0.22", "timm"), "stable-baselines3": ("stable-baselines3==2.7.0", "stable_baselines3")}
"""For each the archive, and the folder in it that is checked."""


def installed(peer: Peer, folder: Path) -> list[str]:
    """The command of a tool, installed below the folder if it is not yet."""
    home = folder / "-".join(peer.needs).replace("==", "-")
    scripts = home / ("Scripts" if os.name == "nt" else "bin")
    if not (home / "ready").exists():
        shutil.rmtree(home, ignore_errors=True)
        subprocess.run([sys.executable, "-m", "venv", str(home)], check=True)
        pip(scripts / "python", "install", *peer.needs)
        (home / "ready").touch()
    return [str(scripts / peer.command[0]), *peer.command[1:]]


def fetched(name: str, folder: Path) -> Path:
    """The folder of a source archive that is checked, alone: the settings beside it are not those of the benchmark."""
    pinned, package = ARCHIVES[name]
    home = folder / pinned.replace("==", "-")
    if not (home / "ready").exists():
        shutil.rmtree(home, ignore_errors=True)
        archives = home / "archive"
        pip(Path(sys.executable), "download", "--no-deps", "--no-binary", ":all:", "--dest", str(archives), pinned)
        with tarfile.open(next(archives.glob("*.tar.gz"))) as archive:
            archive.extractall(archives, filter="data")
        shutil.move(next(archives.glob(f"*/{package}")), home / package)
        shutil.rmtree(archives)
        (home / "ready").touch()
    return home / package


def one_file(corpus: Path, lines: int = 500) -> Path:
    """The file whose length is the nearest to so many lines, the first by its path among equals."""
    files = [Path(path) for path, _ in find([str(corpus)], Resolver(Overrides(), isolated=True)).files]
    return min(files, key=lambda file: (abs(file.read_bytes().count(b"\n") - lines), str(file)))


def pip(python: Path, *arguments: str) -> None:
    """Run pip, and show what it says only where it fails."""
    command: Sequence[str] = [str(python), "-m", "pip", "--quiet", "--disable-pip-version-check", *arguments]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}\n{done.stdout}")
