"""Settings: which rules are on for a file and with which options, and where each setting comes from.

They come from the `[tool.memlint]` tables of the `pyproject.toml` files between a file and the root of its repository;
the nearest wins key by key, and the command line wins over all.
"""

from __future__ import annotations

import difflib
import functools
import json
import os
import re
import sys
import warnings
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from msgspec import Struct, field

from memlint import record, registry, suppress
from memlint.facts.demands import Demand, demand
from memlint.rule import Rule
from memlint.taught import BOUNDED, GRAD_OFF, STEP, Taught, is_name

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

if TYPE_CHECKING:
    from pathspec import GitIgnoreSpec

ALL = "all"
FILE_NAME = "pyproject.toml"
DEFAULT = "default"
COMMAND_LINE = "command line"

_TAUGHT = (STEP, GRAD_OFF, BOUNDED)
_RULE_LISTS = ("select", "extend-select", "ignore", "fixable", "unfixable")
KEYS = (
    *_RULE_LISTS, "per-file-ignores", "exclude", "link", "strict", "baseline", "runtime", *_TAUGHT, "limits", "rules",
)  # fmt: skip
PROJECT, PATHS = LINKS = ("project", "paths")
"""With what files are linked: with all of their project, or with what was named beside them."""
LIMITS_RULE = "hold-config-limits"
"""The rule that is on by default where limits are declared: without any it has nothing to say."""

# How an option's type is called in an error.
_KINDS: dict[type, str] = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "a string",
    list: "a list",
}

# A setting's key path, its value, and where it comes from: the path of a file, DEFAULT or COMMAND_LINE.
Key = tuple[str, ...]
Layer = dict[Key, tuple[Any, str]]


class ConfigError(Exception):
    """A setting that can't be used: one line for the user."""


class Selection(Struct, frozen=True):
    """Which rules to take. `select` None: what was on before, at first the rules that are on by default."""

    select: tuple[str, ...] | None = None
    extend_select: tuple[str, ...] = ()
    ignore: tuple[str, ...] = ()

    def apply(self, before: frozenset[str], rules: Iterable[str]) -> frozenset[str]:
        """The rules that are on after this selection. A rule's own name outweighs `all`; a tie goes to `ignore`."""
        base = before if self.select is None else frozenset()
        wanted = (self.select or ()) + self.extend_select
        return frozenset(
            rule
            for rule in rules
            if (rule in base or _weight(rule, wanted)) and not _outweighed(rule, wanted, self.ignore)
        )


def _weight(rule: str, names: tuple[str, ...]) -> int:
    return 2 if rule in names else 1 if ALL in names else 0


def _outweighed(rule: str, wanted: tuple[str, ...], unwanted: tuple[str, ...]) -> bool:
    """Whether what drops a rule is at least as strong as what takes it: its own name outweighs `all`."""
    drop = _weight(rule, unwanted)
    return drop > 0 and drop >= _weight(rule, wanted)


class Overrides(Struct, frozen=True):
    """What the command line says; None and empty say nothing."""

    selection: Selection = Selection()
    exclude: tuple[str, ...] = ()
    strict: bool | None = None
    baseline: str | None = None
    runtime: str | None = None


class Settings(Struct, frozen=True):
    """The settings for the files of one directory.

    fixable, unfixable: whose fixes may be shown and made.
    per_file_ignores: (folder that the pattern starts from, pattern, rule names).
    exclude: (folder that the patterns start from, patterns); what is excluded by default is not listed.
    link: what is known beside the files that are asked for, one of LINKS.
    baseline: the path of the file that lists known findings, "" for none.
    taught: functions and containers that the user has listed by name.
    limits: what the user declares of settings of the program.
    rules: what the user set, by rule and option.
    origins: where each setting comes from, by its dotted key.
    """

    select: tuple[str, ...] | None = None
    extend_select: tuple[str, ...] = ()
    ignore: tuple[str, ...] = ()
    fixable: tuple[str, ...] = (ALL,)
    unfixable: tuple[str, ...] = ()
    per_file_ignores: tuple[tuple[str, str, tuple[str, ...]], ...] = ()
    exclude: tuple[tuple[str, tuple[str, ...]], ...] = ()
    link: str = PROJECT
    strict: bool = False
    baseline: str = ""
    runtime: str = "import"
    taught: Taught = field(default_factory=Taught)
    limits: tuple[Demand, ...] = ()
    rules: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    command_line: Selection = Selection()
    origins: Mapping[str, str] = field(default_factory=dict)

    def selected(self) -> frozenset[str]:
        """The names of the rules that are on, whatever the file."""
        rules = all_rules()
        default = frozenset(name for name, rule in rules.items() if rule.default or self.limits and name == LIMITS_RULE)
        configured = Selection(self.select, self.extend_select, self.ignore).apply(default, rules)
        return self.command_line.apply(configured, rules)

    def by_name(self) -> frozenset[str]:
        """The names under which rules were selected, one by one."""
        listed = (self.select, self.extend_select, self.command_line.select, self.command_line.extend_select)
        return frozenset(name for names in listed for name in names or ()) - {ALL}

    def enabled(self, path: str) -> frozenset[str]:
        """The names of the rules that are on for this file."""
        names = self.selected()
        for folder, pattern, ignored in self.per_file_ignores:
            if matches(folder, pattern, path):
                names = names - frozenset(names if ALL in ignored else ignored)
        return names

    def keeps_from_fixing(self, rule: str) -> str | None:
        """Why a rule's fix may not be shown nor made; None where it may."""
        if not _weight(rule, self.fixable):
            return f'it is not listed under "fixable" in {self.origins.get("fixable", DEFAULT)}'
        if _outweighed(rule, self.fixable, self.unfixable):
            return f'its fix is switched off by "unfixable" in {self.origins.get("unfixable", DEFAULT)}'
        return None

    def options(self, rule: str) -> Mapping[str, Any]:
        """A rule's options: its defaults, and over them what the user set."""
        return {**all_rules()[rule].options, **self.rules.get(rule, {})}


def all_rules() -> dict[str, Rule]:
    """Every rule by name, with the one that is not in `rules/`: it judges comments, not code."""
    return dict(sorted({**registry.rules(), suppress.NAME: suppress.RULE}.items()))


def display_path(path: str) -> str:
    """A path as the user reads it: relative to the current folder where it lies below it, with forward slashes."""
    absolute, prefix = os.path.abspath(path), os.path.join(os.getcwd(), "")
    if absolute.startswith(prefix):
        path = absolute[len(prefix) :]
    return path.replace(os.sep, "/")


def matches(folder: str, pattern: str, path: str) -> bool:
    """Whether a path matches a pattern, in gitignore's syntax, that starts from a folder. `!pattern`: all but those."""
    relative = os.path.relpath(os.path.abspath(path), folder).replace(os.sep, "/")
    hit: bool = compiled(pattern.removeprefix("!")).match_file(relative)
    return hit != pattern.startswith("!")


@functools.lru_cache(maxsize=1024)
def compiled(pattern: str) -> GitIgnoreSpec:
    """A pattern in gitignore's syntax, ready to match. Raises ValueError."""
    from pathspec import GitIgnoreSpec  # here, because a run without patterns should not pay for it

    try:
        with warnings.catch_warnings():
            # What a class like [[:alpha:]] means to git, Python's expressions only warn about.
            warnings.simplefilter("ignore")
            return GitIgnoreSpec.from_lines([pattern])
    except re.error as error:
        raise ValueError(str(error)) from None


def check_names(names: Iterable[str], where: str) -> tuple[str, ...]:
    """The names as they are, if each is a rule or `all`; else a ConfigError that names the nearest right one."""
    known = all_rules()
    checked = []
    for name in names:
        if name.lower() == ALL:
            name = ALL
        elif name not in known:
            raise ConfigError(f'{where} unknown rule "{name}"{nearest(name, known)}')
        checked.append(name)
    return tuple(checked)


def nearest(word: str, choices: Iterable[str]) -> str:
    """`, did you mean "..."?` for the choice that looks most like a word, or nothing."""
    close = difflib.get_close_matches(word, sorted(choices), n=1, cutoff=0.5)
    return f', did you mean "{close[0]}"?' if close else ""


class Resolver:
    """Finds the settings of a folder, and remembers them."""

    def __init__(self, overrides: Overrides | None = None, *, isolated: bool = False, file: str | None = None) -> None:
        self._overrides = overrides or Overrides()
        self.isolated = isolated
        self._search = not isolated and file is None
        self._fixed: Layer = {}
        if file is not None and not isolated:
            if not record.is_file(file):
                raise ConfigError(f"{display_path(file)}: no such file")
            layer = read(file, os.getcwd())
            if layer is None:
                raise ConfigError(f"{display_path(file)}: has no [tool.memlint] table")
            self._fixed = layer
        self._layers: dict[str, Layer] = {}
        self._settings: dict[int, Settings] = {}

    def settings(self, folder: str) -> Settings:
        """The settings of the files in this folder."""
        layer = self._layer(os.path.abspath(folder)) if self._search else self._fixed
        # Folders without a table of their own share the layer of the folder above, and so its settings.
        if id(layer) not in self._settings:
            self._settings[id(layer)] = _settings(layer, self._overrides)
        return self._settings[id(layer)]

    def _layer(self, folder: str) -> Layer:
        if folder not in self._layers:
            parent = os.path.dirname(folder)
            is_root = parent == folder or record.exists(os.path.join(folder, ".git"))
            above = self._fixed if is_root else self._layer(parent)
            own = read(os.path.join(folder, FILE_NAME), folder)
            self._layers[folder] = {**above, **own} if own else above
        return self._layers[folder]


def read(path: str, folder: str) -> Layer | None:
    """The settings in one TOML file, checked; None where it says nothing about memlint.

    folder: where the patterns in it start from.
    """
    shown = display_path(path)
    try:
        data = record.read(path)
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        return None
    except OSError as error:
        raise ConfigError(f"{shown}: {error.strerror}") from None
    # A pyproject.toml that never mentions memlint is somebody else's business, broken or not.
    if b"memlint" not in data:
        return None
    tool = parsed(data, shown).get("tool")
    table = tool.get("memlint") if isinstance(tool, dict) else None
    if table is None:
        return None
    return {key: (value, shown) for key, value in _checked(table, shown, folder)}


def parsed(data: bytes, shown: str) -> dict[str, Any]:
    """The TOML document that some bytes are. shown: how errors name the file. Raises ConfigError."""
    try:
        return tomllib.loads(data.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise ConfigError(f"{shown}: not UTF-8: {error.reason} at byte {error.start}") from None
    except RecursionError:
        raise ConfigError(f"{shown}: not valid TOML: nested too deeply") from None
    except ValueError as error:  # a number with too many digits is no error of TOML's own
        raise ConfigError(f"{shown}: not valid TOML: {' '.join(str(error).split())}") from None


def _checked(table: Any, shown: str, folder: str) -> Iterator[tuple[Key, Any]]:
    """The settings in a [tool.memlint] table, flat, each checked."""
    here = f"{shown}: [tool.memlint]"
    for key, value in _table(table, here).items():
        if key not in KEYS:
            raise ConfigError(f'{here} unknown key "{key}"{nearest(key, KEYS)}')
        if key in _RULE_LISTS:
            yield (key,), check_names(_strings(value, f'{here} "{key}"'), f'{here} "{key}":')
        elif key == "per-file-ignores":
            for pattern, names in _table(value, f'{here} "{key}"').items():
                where = f'{shown}: [tool.memlint.per-file-ignores] "{pattern}"'
                check_pattern(pattern.removeprefix("!"), where)
                yield (key, pattern), (folder, check_names(_strings(names, where), f"{where}:"))
        elif key == "exclude":
            patterns = _strings(value, f'{here} "{key}"')
            for pattern in patterns:
                check_pattern(pattern, f'{here} "{key}"')
            yield (key,), (folder, patterns)
        elif key in _TAUGHT:
            names = _strings(value, f'{here} "{key}"')
            for name in names:
                if not is_name(name):
                    raise ConfigError(
                        f'{here} "{key}": not a dotted name, with or without a "*" at its end: {_shown(name)}'
                    )
            yield (key,), names
        elif key == "limits":
            for name, text in _table(value, f'{here} "{key}"').items():
                yield (key, name), check_limit(name, text, f'{shown}: [tool.memlint.limits] "{name}"')
        elif key == "link":
            if value not in LINKS:
                raise ConfigError(f'{here} "link" must be "project" or "paths", not {_shown(value)}')
            yield (key,), value
        elif key == "strict":
            if not isinstance(value, bool):
                raise ConfigError(f'{here} "strict" must be true or false, not {_shown(value)}')
            yield (key,), value
        elif key == "baseline":
            if not isinstance(value, str):
                raise ConfigError(f'{here} "baseline" must be a string, not {_shown(value)}')
            yield (key,), display_path(os.path.join(folder, value)) if value else ""
        elif key == "runtime":
            runtime = check_runtime(value, f'{here} "runtime"')
            if runtime != "import":
                # Like the patterns, the path starts from the folder of its file, not from where the command runs.
                target = os.path.join(folder, runtime.removeprefix("vendor:"))
                if not _is_in_project(target, folder):
                    raise ConfigError(f'{here} "runtime" leads out of the project: {_shown(value)}')
                runtime = f"vendor:{display_path(target)}"
            yield (key,), runtime
        else:
            yield from _rule_options(_table(value, f'{here} "rules"'), shown)


def _is_in_project(path: str, folder: str) -> bool:
    """Whether a path lies in the repository of a folder, or, outside of any, below the folder, wherever links lead."""
    top = record.real(folder)
    top = record.nearest(top, (".git",)) or top
    try:
        return record.real(path).startswith(os.path.join(top, ""))
    except ValueError:  # a NUL, which is in no path
        return False


def _rule_options(table: Mapping[str, Any], shown: str) -> Iterator[tuple[Key, Any]]:
    known = all_rules()
    for name, options in table.items():
        if name not in known:
            raise ConfigError(f'{shown}: [tool.memlint.rules] unknown rule "{name}"{nearest(name, known)}')
        here = f"{shown}: [tool.memlint.rules.{name}]"
        defaults = known[name].options
        for option, value in _table(options, here).items():
            if option not in defaults:
                raise ConfigError(f'{here} unknown option "{option}"{nearest(option, defaults)}')
            if not _fits(value, defaults[option]):
                kind = _KINDS.get(type(defaults[option]), "a table")
                raise ConfigError(f'{here} "{option}" must be {kind}, not {_shown(value)}')
            yield ("rules", name, option), value


def _fits(value: Any, default: Any) -> bool:
    """Whether a value has the type of an option's default; a whole number also fits where a fraction is expected."""
    if isinstance(default, float):
        return isinstance(value, (int, float)) and not isinstance(value, bool)
    return type(value) is type(default)


def check_limit(name: str, text: Any, where: str) -> Demand:
    """A condition such as `<= 50000`, `>= 0, < 5` or `== false` for a setting, with or without a class before it."""
    if not is_name(name) or name.endswith("*"):
        raise ConfigError(f"{where}: not the name of a setting, with or without its class")
    if not isinstance(text, str):
        raise ConfigError(f'{where} must be a condition such as "<= 50000", not {_shown(text)}')
    found = demand(name, text)
    if found is None:
        raise ConfigError(f'{where}: not a condition such as "<= 50000", ">= 0, < 5" or "== false": {_shown(text)}')
    return found


def check_runtime(value: Any, where: str) -> str:
    """`import` or `vendor:PATH`."""
    if value == "import" or (isinstance(value, str) and value.startswith("vendor:") and value != "vendor:"):
        return str(value)
    raise ConfigError(f'{where} must be "import" or "vendor:PATH", not {_shown(value)}')


def check_pattern(pattern: str, where: str) -> None:
    """A pattern in gitignore's syntax."""
    try:
        compiled(pattern)
    except ValueError:
        raise ConfigError(f'{where}: not a valid pattern: "{pattern}"') from None


def _table(value: Any, where: str) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise ConfigError(f"{where} must be a table, not {_shown(value)}")
    return value


def _strings(value: Any, where: str) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise ConfigError(f"{where} must be a list of strings, not {_shown(value)}")
    return tuple(value)


def _shown(value: Any) -> str:
    """A TOML value in one line."""
    return json.dumps(value, default=str, ensure_ascii=False)


def _settings(layer: Layer, overrides: Overrides) -> Settings:
    def get(key: str, default: Any) -> Any:
        return layer[key,][0] if (key,) in layer else default

    origins = {".".join(key): origin for key, (_, origin) in layer.items()}
    if overrides.strict is not None:
        origins["strict"] = COMMAND_LINE
    if overrides.baseline is not None:
        origins["baseline"] = COMMAND_LINE
    if overrides.runtime is not None:
        origins["runtime"] = COMMAND_LINE
    exclude = [get("exclude", None)] if ("exclude",) in layer else []
    if overrides.exclude:
        exclude.append((os.getcwd(), overrides.exclude))
    rules: dict[str, dict[str, Any]] = {}
    ignores = []
    limits = tuple(value for key, (value, _) in layer.items() if key[0] == "limits")
    for key, (value, _) in layer.items():
        if key[0] == "rules":
            rules.setdefault(key[1], {})[key[2]] = value
        elif key[0] == "per-file-ignores":
            ignores.append((value[0], key[1], value[1]))
    return Settings(
        select=get("select", None),
        extend_select=get("extend-select", ()),
        ignore=get("ignore", ()),
        fixable=get("fixable", (ALL,)),
        unfixable=get("unfixable", ()),
        per_file_ignores=tuple(ignores),
        exclude=tuple(exclude),
        link=get("link", PROJECT),
        strict=overrides.strict if overrides.strict is not None else get("strict", False),
        baseline=overrides.baseline if overrides.baseline is not None else get("baseline", ""),
        runtime=overrides.runtime if overrides.runtime is not None else get("runtime", "import"),
        taught=Taught(*(get(key, ()) for key in _TAUGHT)),
        limits=limits,
        rules=rules,
        command_line=overrides.selection,
        origins=origins,
    )
