"""`python -m memlint`: the same as the `memlint` command."""

import os
import sys

# Python looks in the current folder first, and it may be that of a project that is only to be read. A checkout of
# memlint is used from its own folder.
if sys.path[:1] == [os.getcwd()] != [os.path.dirname(os.path.dirname(os.path.abspath(__file__)))]:
    del sys.path[0]

from memlint.cli import main

sys.exit(main())
