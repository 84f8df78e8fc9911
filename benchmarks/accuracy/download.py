"""Public packages, fetched when they are measured: nothing of them is kept, and nothing of them is run."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path

PACKAGES = (
    "botorch==0.18.1",
    "kornia==0.9.0",
    "pytorch-metric-learning==2.9.0",
    "skorch==1.4.0",
    "stable-baselines3==2.9.2",
    "timm==1.0.31",
    "torchmetrics==1.9.0",
    "trl==1.16.0",
)
"""What is measured unless other packages are named."""


def fetch(requirements: Sequence[str]) -> dict[str, dict[str, bytes]]:
    """The Python files of each package's wheel by path; the key is name==version."""
    found = {}
    for requirement in requirements:
        with tempfile.TemporaryDirectory() as folder:
            command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
            subprocess.run([*command, "--only-binary", ":all:", "--dest", folder, requirement], check=True)
            (wheel,) = Path(folder).iterdir()
            name, version, *_ = wheel.name.split("-")
            found[f"{name.replace('_', '-')}=={version}"] = dict(python_files(wheel))
    return found


def python_files(wheel: Path) -> Iterator[tuple[str, bytes]]:
    """The Python files in a wheel, those left out that are tests or no Python of today."""
    with zipfile.ZipFile(wheel) as opened:
        for path in sorted(opened.namelist()):
            if path.endswith(".py") and not {"test", "tests"} & set(path.split("/")):
                data = opened.read(path)
                try:
                    compile(data.decode("utf-8"), path, "exec", dont_inherit=True)
                except (UnicodeDecodeError, SyntaxError, ValueError):
                    continue
                yield path, data
