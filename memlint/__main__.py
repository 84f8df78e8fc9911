"""`python -m memlint`: the same as the `memlint` command."""

from __future__ import annotations

import os
import sys

# `python -m` looks for modules in the current folder before all others. What lies there is to be checked, never
# imported: a `queue.py` of a project must not stand in for Python's own. Not so where memlint itself lies there.
if sys.path[0] in ("", os.getcwd()) and not __file__.startswith(os.path.join(os.getcwd(), "")):
    del sys.path[0]

from memlint.cli import main

sys.exit(main())
