"""memlint: finds memory defects in PyTorch and MLX code, explains them, and repairs them."""

from __future__ import annotations

from pathlib import Path

__version__ = "0.1.0"

# In a checkout (or an editable install) `rules/` and `fixers/` lie beside this package, not inside it.
if not (Path(__file__).parent / "rules" / "__init__.py").exists():
    __path__.append(str(Path(__file__).parent.parent))
