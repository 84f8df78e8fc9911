"""The limit: every `*.py` file at or below the paths goes through `libcst.parse_module`, and nothing else is done."""

import contextlib
import pathlib
import sys

import libcst

for root in map(pathlib.Path, sys.argv[1:]):
    for path in sorted(root.rglob("*.py")) if root.is_dir() else [root]:
        with contextlib.suppress(libcst.ParserSyntaxError):
            libcst.parse_module(path.read_bytes())
