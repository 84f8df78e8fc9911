"""Write the rule table of the README from the rules themselves: `python -m tools.readme_table`."""

from __future__ import annotations

from pathlib import Path

from memlint import registry

README = Path(__file__).resolve().parents[1] / "README.md"
BEGIN, END = "<!-- rules: written by tools/readme_table.py -->", "<!-- end of rules -->"


def table() -> str:
    """The rules as a Markdown table."""
    fixers = registry.fixers()
    lines = ["| Rule | What it finds | On by default | What its repair calls |", "|---|---|---|---|"]
    for name, rule in registry.rules().items():
        if name not in fixers:
            repair = "no repair"
        else:
            repair = ", ".join(f"`{helper}`" for helper in fixers[name].helpers) or "plain torch"
        lines.append(f"| `{name}` | {rule.summary} | {'yes' if rule.default else 'no'} | {repair} |")
    return "\n".join(lines)


def with_table(readme: str) -> str:
    """A README with the table of today between its two marks."""
    head, _, rest = readme.partition(BEGIN)
    _, _, tail = rest.partition(END)
    return f"{head}{BEGIN}\n{table()}\n{END}{tail}"


if __name__ == "__main__":
    README.write_text(with_table(README.read_text(encoding="utf-8")), encoding="utf-8")
