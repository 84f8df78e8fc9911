"""memlint: finds memory defects in PyTorch and MLX code, explains them, and repairs them."""

from __future__ import annotations

import os

__version__ = "0.1.0"

# In a checkout (or an editable install) `rules/` and `fixers/` lie beside this package, not inside it.
_HERE = os.path.dirname(os.path.abspath(__file__))
if not os.path.exists(os.path.join(_HERE, "rules", "__init__.py")):
    __path__.append(os.path.dirname(_HERE))
