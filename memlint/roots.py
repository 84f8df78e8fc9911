"""What may be written: the files below the paths that the user named, wherever links among them lead."""

from __future__ import annotations

import os
from collections.abc import Iterable

from memlint.cache import default_folder
from memlint.config import display_path


class Roots:
    """The paths of a command line.

    A folder opens all below it, a file itself. A link that was named opens no more than its own project: whoever names
    all files, such as a hook, has not looked where each leads.
    """

    def __init__(self, paths: Iterable[str]) -> None:
        self._folders: set[str] = set()
        self._files: set[str] = set()
        for path in paths:
            real = os.path.realpath(path)
            if os.path.isdir(real):
                self._folders.add(real)
            elif not os.path.islink(path):
                self._files.add(real)
            else:
                folder = os.path.realpath(os.path.dirname(path))
                project = str(default_folder(folder).parent)
                if is_below(real, project):
                    self._files.add(real)

    def bar(self, path: str) -> str | None:
        """Why a file may not be written; None where it may."""
        real = os.path.realpath(path)
        if real in self._files or any(is_below(real, folder) for folder in self._folders):
            return None
        return f"it is a link to {display_path(real)}, which lies outside of the paths that were given"


def is_below(path: str, folder: str) -> bool:
    """Whether a real path lies in a folder, or below."""
    return path.startswith(os.path.join(folder, ""))
