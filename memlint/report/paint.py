"""Colours, for those who want them: a painter turns a text and a style's name into what is written."""

from __future__ import annotations

from collections.abc import Callable

Painter = Callable[[str, str], str]

# The sixteen colours that every terminal lets its user choose.
STYLES = {
    "proved": "bold bright_red",
    "suspected": "bold bright_yellow",
    "message": "bold",
    "place": "cyan",
    "frame": "bold bright_blue",
    "label": "bold bright_cyan",
    "quiet": "dim",
    "removed": "red",
    "added": "green",
    "good": "bold green",
    "error": "bold red",
}


def plain(text: str, style: str) -> str:
    """No colour."""
    return text


def colours() -> Painter:
    """A painter for terminals. Costs the import of rich."""
    from rich.color import ColorSystem
    from rich.style import Style

    styles = {name: Style.parse(style) for name, style in STYLES.items()}

    def paint(text: str, style: str) -> str:
        return styles[style].render(text, color_system=ColorSystem.STANDARD) if text else ""

    return paint
