"""What the tests share: fixture cases, running them, and measuring what they hold."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
"""The checkout."""

FIXTURES = ROOT / "tests" / "fixtures"
"""The fixture cases, one folder for each rule."""
