"""`python -m memlint`: the same as the `memlint` command."""

from __future__ import annotations

import sys

from memlint.cli import main

sys.exit(main())
