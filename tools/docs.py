"""Build the documentation into `build/site`: `python -m tools.docs`. Needs the extra `docs`.

The pages in `docs/` are written by hand. Those of the rules, of the helpers and of the command line, and how to write a
rule, are made here from docstrings, from the parser of the command line and from CONTRIBUTING.md.
"""

from __future__ import annotations

import argparse
import ast
import importlib
import inspect
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from memlint import cli, page, registry, runtime
from memlint.config import all_rules
from memlint.rule import Rule

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
CONFIG = "zensical.toml"

# Links from `docs/` to other files of the checkout, which the site does not have.
_OUTSIDE = re.compile(r"(?<!!)\[([^\]]*)\]\(\.\./[^)]*\)")


def build(folder: Path) -> str:
    """Put the pages together in a folder and build the site there, strictly; what the generator said."""
    assemble(folder)
    command = [sys.executable, "-m", "zensical", "build", "--clean", "--strict", "--config-file", str(folder / CONFIG)]
    done = subprocess.run(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode:
        raise SystemExit(done.stdout)
    return done.stdout


def assemble(folder: Path) -> None:
    """Write all pages below `folder/docs`, and the generator's settings beside it."""
    shutil.rmtree(folder / "docs", ignore_errors=True)
    shutil.copytree(DOCS, folder / "docs", ignore=shutil.ignore_patterns(CONFIG))
    for path in (folder / "docs").glob("*.md"):
        path.write_text(_OUTSIDE.sub(r"\1", path.read_text(encoding="utf-8")), encoding="utf-8")
    for name, text in pages().items():
        path = folder / "docs" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
    (folder / CONFIG).write_text(config(), encoding="utf-8")


def pages() -> dict[str, str]:
    """The pages that are made, by their path."""
    rules = all_rules()
    return {
        "rules/index.md": index(rules),
        **{f"rules/{name}.md": rule_page(rule) for name, rule in rules.items()},
        "helpers.md": helpers(),
        "command-line.md": command_line(),
        "writing-a-rule.md": writing_a_rule(),
    }


def config() -> str:
    """The generator's settings, with every rule and every page of `docs/` in the navigation."""
    text = (DOCS / CONFIG).read_text(encoding="utf-8")
    rules: list[Any] = ["rules/index.md", *({name: f"rules/{name}.md"} for name in all_rules())]
    text = text.replace('"rules/index.md"', f"[{', '.join(map(_entry, rules))}]")
    evidence = '{ "Evidence" = [\n'
    for path in sorted(DOCS.glob("*.md")):
        if f'"{path.name}"' not in text:
            text = text.replace(evidence, f"{evidence}    {_entry({title(path.read_text('utf-8')): path.name})},\n")
    return text


def title(text: str) -> str:
    """The first heading of a page."""
    return text.partition("# ")[2].partition("\n")[0]


def _entry(item: Any) -> str:
    if isinstance(item, str):
        return json.dumps(item)
    return "{ " + ", ".join(f"{json.dumps(name)} = {json.dumps(path)}" for name, path in item.items()) + " }"


# -- rules -------------------------------------------------------------------------------------------------------------


def index(rules: dict[str, Rule]) -> str:
    """The table of all rules."""
    rows = [
        f"| [`{name}`]({name}.md) | {rule.summary} | {'yes' if rule.default else ''} | {_repair(name)} |"
        for name, rule in rules.items()
    ]
    on = sum(rule.default for rule in rules.values())
    return "\n".join(
        [
            "# Rules",
            "",
            f"{len(rules)} rules, of which {on} are on by default. The others are switched on with `extend-select`,",
            "see [configuration](../configuration.md). A name is advice: it says the cure. How a finding comes about",
            "is told in [how it decides](../how-it-decides.md), what a repair may change in",
            "[fix safety](../fix-safety.md).",
            "",
            "| Rule | What it finds | On | Its repair calls |",
            "|---|---|---|---|",
            *rows,
            "",
        ]
    )


def rule_page(rule: Rule) -> str:
    """The page of a rule: its docstring, whether it is on, what its repair calls, and its options."""
    head, _, rest = page.markdown(rule).partition(f"\n\n{rule.summary}\n\n")
    repair = _repair(rule.name, "../helpers.md")
    facts = [f"On by default: **{'yes' if rule.default else 'no'}**", f"its repair calls: {repair}"]
    parts = [head, f"**{rule.summary}**", "; ".join(facts) + ".", rest.rstrip("\n")]
    if rule.options:
        options = [f"{name} = {json.dumps(value)}" for name, value in rule.options.items()]
        parts += ["## Options", "```toml\n" + "\n".join([f"[tool.memlint.rules.{rule.name}]", *options]) + "\n```"]
    if rule.name in registry.rules():
        parts += ["## Switch it off"]
        parts += [f"In the code, with the reason: `# memlint: ignore[{rule.name}] why`. For a project:"]
        off = [f'ignore = ["{rule.name}"]     # no longer reported']
        off += [f'unfixable = ["{rule.name}"]  # reported, never repaired'] if rule.name in registry.fixers() else []
        parts += ["```toml\n" + "\n".join(["[tool.memlint]", *off]) + "\n```"]
    return "\n\n".join(parts) + "\n"


def _repair(name: str, reference: str = "../helpers.md") -> str:
    if name not in registry.fixers():
        return "no repair"
    helpers = registry.fixers()[name].helpers
    return ", ".join(f"[`{helper}`]({reference}#{anchor(helper)})" for helper in helpers) or "plain Python"


def anchor(heading: str) -> str:
    """The anchor of a heading, as the generator makes it."""
    text = re.sub(r"[^\w\s-]", "", heading.replace("`", "")).strip().lower()
    return re.sub(r"[-\s]+", "-", text)


# -- reference ---------------------------------------------------------------------------------------------------------


def helpers() -> str:
    """The reference of the runtime, from its source: sections, signatures as they are written, docstrings."""
    source = Path(inspect.getfile(runtime)).read_text(encoding="utf-8")
    tree = ast.parse(source)
    sections = {number: line for number, line in enumerate(source.splitlines(), 1) if line.startswith("# -----")}
    users: dict[str, list[str]] = {}
    for name, fixer in registry.fixers().items():
        for helper in fixer.helpers:
            users.setdefault(helper, []).append(f"[`{name}`](rules/{name}.md)")
    parts = ["# Helpers", ast.get_docstring(tree) or "", _HELPERS]
    section = ""
    for node in tree.body:
        if not isinstance(node, (ast.FunctionDef, ast.ClassDef)) or node.name not in runtime.__all__:
            continue
        above = [line for number, line in sections.items() if number < node.lineno]
        if above[-1] != section:
            section = above[-1]
            parts.append(f"## {section.lstrip('# -').capitalize()}")
        parts += [f"### {node.name}", _signature(node), ast.get_docstring(node) or ""]
        if node.name in users:
            parts.append(f"Called by the repairs of {', '.join(users[node.name])}.")
        for method in node.body if isinstance(node, ast.ClassDef) else ():
            if isinstance(method, ast.FunctionDef) and not method.name.startswith("_"):
                parts += [f"#### {node.name}.{method.name}", _signature(method), ast.get_docstring(method) or ""]
    return "\n\n".join(part for part in parts if part) + "\n"


_HELPERS = """\
```python
from memlint.runtime import append_bounded
```

A project that does not want to depend on memlint gets a copy of the file and imports that:
`memlint fix --runtime vendor:src/app/memory_helpers.py`.
See [where helpers come from](fix-safety.md#where-helpers-come-from)."""


def _signature(node: ast.FunctionDef | ast.ClassDef) -> str:
    """How it is called: a function's parameters and result, or those that make an object."""
    if isinstance(node, ast.FunctionDef):
        result = ast.unparse(node.returns) if node.returns else "None"
        text = _call(node.name, _parameters(node.args), "" if result == "None" else f" -> {result}")
    else:
        made = [n.args for n in node.body if isinstance(n, ast.FunctionDef) and n.name == "__init__"]
        fields = [ast.unparse(n) for n in node.body if isinstance(n, ast.AnnAssign)]
        text = _call(node.name, _parameters(made[0]) if made else fields, "")
    return f"```python\n{text}\n```"


def _call(name: str, parameters: list[str], result: str) -> str:
    text = f"{name}({', '.join(parameters)}){result}"
    if len(text) > 90:
        text = f"{name}(\n" + "".join(f"    {parameter},\n" for parameter in parameters) + f"){result}"
    return text


def _parameters(arguments: ast.arguments) -> list[str]:
    plain = [*arguments.posonlyargs, *arguments.args]
    values: list[ast.expr | None] = [None] * (len(plain) - len(arguments.defaults)) + [*arguments.defaults]
    shown = [_parameter(*pair) for pair in zip(plain, values, strict=True) if pair[0].arg != "self"]
    if arguments.vararg:
        shown.append("*" + _parameter(arguments.vararg, None))
    elif arguments.kwonlyargs:
        shown.append("*")
    return shown + [_parameter(*pair) for pair in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)]


def _parameter(argument: ast.arg, value: ast.expr | None) -> str:
    return ast.unparse(argument) + (f" = {ast.unparse(value)}" if value is not None else "")


def command_line() -> str:
    """What can be said on the command line, from its parser."""
    parser, commands = cli.parsers()
    parts = ["# Command line", f"{parser.description} `memlint --version` says which version it is."]
    for name, command in commands.items():
        parts += [f"## memlint {name}", command.description or ""]
        rows = [_argument(action) for action in command._actions if action.dest != "help"]
        parts.append("\n".join(["| | |", "|---|---|", *rows]))
    parts += ["## Exit status", _STATUS]
    return "\n\n".join(parts) + "\n"


_STATUS = """\
| Status | Meaning |
|---|---|
| 0 | nothing proved (with `--strict`: nothing suspected either), or `--exit-zero`; `init`, `rule`, `config`: done |
| 1 | findings, or files that could not be read, parsed or written; `fix --diff`: there is something to change |
| 2 | a wrong command line or configuration, or a defect of memlint itself |"""


def _argument(action: argparse.Action) -> str:
    value = str(action.metavar or "|".join(map(str, action.choices or ())))
    names = [f"{name} {value}" if action.nargs != 0 and value else name for name in action.option_strings] or [value]
    cells = ", ".join(f"`{name}`" for name in names), action.help or ""
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def writing_a_rule() -> str:
    """How to add a rule, from CONTRIBUTING.md."""
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    section = text.partition("\n## Add a rule: three places\n")[2].partition("\n## The house\n")[0]
    house = text.partition("\n## The house\n")[2].partition("\n## ")[0]
    if not section or not house:
        raise SystemExit("CONTRIBUTING.md has no section on how to add a rule, or none on the house")
    return f"# Writing a rule\n{section.replace(chr(10) + '### ', chr(10) + '## ')}\n\n## The house\n{house}"


if __name__ == "__main__":
    importlib.import_module("zensical")  # or say at once what is missing
    print(build(ROOT / "build"), end="")
