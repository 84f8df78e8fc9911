"""The `memlint` command, and `python -m memlint`."""

from __future__ import annotations

import gc
import os
import sys

# Python looks in the current folder first, and it may be that of a project that is only to be read. A checkout of
# memlint is used from its own folder.
if sys.path[:1] == [os.getcwd()] != [os.path.dirname(os.path.dirname(os.path.abspath(__file__)))]:
    del sys.path[0]


def main() -> int:
    """Run memlint in a process of its own."""
    if sys.argv[1:] == ["--version"]:
        from memlint import __version__

        print(f"memlint {__version__}")
        return 0
    # Classes and functions that stay are most of what a short run makes: the collector would walk them again and again,
    # and once more at the end.
    gc.set_threshold(100_000)
    from memlint import cli

    try:
        return cli.main()
    finally:
        gc.freeze()


if __name__ == "__main__":
    sys.exit(main())
