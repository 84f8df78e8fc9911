"""Stretches of source."""

from __future__ import annotations

Span = tuple[int, int, int, int]
"""(line, column, end line, end column), all counted from 1; the end column is the first one after the stretch."""
