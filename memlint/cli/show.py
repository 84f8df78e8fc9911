"""`memlint rule` and `memlint config`."""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Iterator
from typing import Any

from memlint import page, registry
from memlint.cli import inputs
from memlint.cli.screen import Screen
from memlint.config import COMMAND_LINE, DEFAULT, ConfigError, Settings, all_rules, display_path, nearest
from memlint.report.paint import Painter
from memlint.rule import Rule


def rule(arguments: argparse.Namespace) -> int:
    """Explain one rule, or list all."""
    screen = Screen(arguments.color)
    rules = all_rules()
    if arguments.name is not None and arguments.name not in rules:
        raise ConfigError(f'unknown rule "{arguments.name}"{nearest(arguments.name, rules)}')
    if arguments.output_format == "json":
        described = [_described(rule) for rule in rules.values() if arguments.name in (None, rule.name)]
        screen.show([json.dumps(described if arguments.name is None else described[0], indent=2) + "\n"])
    elif arguments.name is None:
        screen.show(_table(list(rules.values()), screen.paint))
    else:
        screen.show([_page(rules[arguments.name], screen.paint)])
    return 0


def _described(rule: Rule) -> dict[str, Any]:
    return {
        "name": rule.name,
        "summary": rule.summary,
        "default": rule.default,
        "fix": rule.name in registry.fixers(),
        "options": rule.options,
        "page": page.markdown(rule),
    }


def _table(rules: list[Rule], paint: Painter) -> Iterator[str]:
    wide = max(len(rule.name) for rule in rules)
    for rule in rules:
        on = "on " if rule.default else "off"
        fix = "fix" if rule.name in registry.fixers() else "   "
        yield f"{paint(rule.name, 'message')}{' ' * (wide - len(rule.name))}  {on}  {fix}  {rule.summary}\n"


def _page(rule: Rule, paint: Painter) -> str:
    parts = [paint(rule.name, "proved"), rule.summary]
    for heading, section in page.sections(rule.doc).items():
        parts.append(f"{paint(heading, 'label')}\n{section}")
    if rule.options:
        lines = [f"    {name} = {_toml(value)}" for name, value in rule.options.items()]
        parts.append("\n".join([f"{paint('Options', 'label')}\n    [tool.memlint.rules.{rule.name}]", *lines]))
    return "\n\n".join(parts) + "\n"


def config(arguments: argparse.Namespace) -> int:
    """Show the settings for a path, and where each comes from."""
    screen = Screen(arguments.color)
    path = os.path.normpath(arguments.path)
    if not os.path.exists(path):
        raise ConfigError(f"{display_path(path)}: no such file or directory")
    resolver = inputs.resolver(arguments)
    settings = resolver.settings(path if os.path.isdir(path) else os.path.dirname(path))
    rows = list(_rows(settings))
    enabled = sorted(settings.selected() if os.path.isdir(path) else settings.enabled(path))
    if arguments.output_format == "json":
        shown = {
            "path": display_path(path),
            "settings": [{"key": key, "value": value, "origin": origin} for key, value, origin in rows],
            "enabled": enabled,
        }
        screen.show([json.dumps(shown, indent=2) + "\n"])
        return 0
    screen.show(f"{key} = {_toml(value)}  {screen.paint(f'# {origin}', 'quiet')}\n" for key, value, origin in rows)
    screen.show([screen.paint(f"\n# rules that are on for {display_path(path)}:\n", "quiet")])
    screen.show(f"{name}\n" for name in enabled)
    return 0


def _rows(settings: Settings) -> Iterator[tuple[str, Any, str]]:
    """Key, value and origin of each setting. Where the command line adds to a list, the list has two rows."""

    def origin(key: str) -> str:
        return settings.origins.get(key, DEFAULT)

    said = settings.command_line
    if said.select is not None:
        yield "select", list(said.select), COMMAND_LINE
    elif settings.select is not None:
        yield "select", list(settings.select), origin("select")
    else:
        yield "select", [name for name, rule in all_rules().items() if rule.default], DEFAULT
    yield "extend-select", list(settings.extend_select), origin("extend-select")
    if said.extend_select:
        yield "extend-select", list(said.extend_select), COMMAND_LINE
    yield "ignore", list(settings.ignore), origin("ignore")
    if said.ignore:
        yield "ignore", list(said.ignore), COMMAND_LINE
    yield "fixable", list(settings.fixable), origin("fixable")
    yield "unfixable", list(settings.unfixable), origin("unfixable")
    for _, pattern, names in settings.per_file_ignores:
        yield f'per-file-ignores."{pattern}"', list(names), origin(f"per-file-ignores.{pattern}")
    for _, patterns in settings.exclude:
        yield "exclude", list(patterns), origin("exclude")
    yield "link", settings.link, origin("link")
    yield "strict", settings.strict, origin("strict")
    yield "baseline", settings.baseline, origin("baseline")
    yield "runtime", settings.runtime, origin("runtime")
    for key, names in settings.taught.lists().items():
        yield key, list(names), origin(key)
    for limit in settings.limits:
        key = f'"{limit.key}"' if "." in limit.key else limit.key
        yield f"limits.{key}", limit.text, origin(f"limits.{limit.key}")
    for name, rule in all_rules().items():
        for option, value in {**rule.options, **settings.rules.get(name, {})}.items():
            key = f"rules.{name}.{option}"
            yield key, value, origin(key)


def _toml(value: Any) -> str:
    # JSON writes lists, strings, numbers and truth values as TOML does.
    return json.dumps(value, ensure_ascii=False)
