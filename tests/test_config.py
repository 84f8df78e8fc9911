"""Settings: which file they come from, what they switch on, and what is said about mistakes in them."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from memlint import config, registry
from memlint.config import ConfigError, Overrides, Resolver, Selection, Settings
from memlint.rule import Rule

Write = Callable[..., Path]


def make_rule(name: str, default: bool = True, **options: object) -> Rule:
    return Rule(name, "Summary.", lambda facts: (), (), default, dict(options))


RULES = {
    "bound-history": make_rule("bound-history", limit=1000, ratio=0.5, keep=["a"], label="x", loud=False),
    "clamp-it": make_rule("clamp-it"),
    "rare-one": make_rule("rare-one", default=False),
}
DEFAULTS = {"bound-history", "clamp-it", "unused-suppression"}


@pytest.fixture(autouse=True)
def _rules(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "rules", lambda: RULES)


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Write:
    """Write a [tool.memlint] table into a folder below an empty repository that is the current folder."""
    (tmp_path / ".git").mkdir()
    monkeypatch.chdir(tmp_path)

    def write(table: str, folder: str = ".") -> Path:
        path = tmp_path / folder / "pyproject.toml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("[tool.memlint]\n" + table, encoding="utf-8")
        return path

    return write


def settings(folder: str = ".", selection: Selection | None = None) -> Settings:
    return Resolver(Overrides(selection=selection or Selection())).settings(folder)


def error(folder: str = ".") -> str:
    with pytest.raises(ConfigError) as caught:
        settings(folder)
    return str(caught.value)


# -- which rules are on ------------------------------------------------------------------------------------------------


def test_without_settings_the_default_rules_are_on() -> None:
    assert Settings().enabled("a.py") == DEFAULTS


@pytest.mark.parametrize(
    ("table", "expected"),
    [
        ('select = ["rare-one"]', {"rare-one"}),
        ("select = []", set()),
        ('select = ["all"]', {*DEFAULTS, "rare-one"}),
        ('select = ["ALL"]', {*DEFAULTS, "rare-one"}),
        ('extend-select = ["rare-one"]', {*DEFAULTS, "rare-one"}),
        ('ignore = ["clamp-it"]', DEFAULTS - {"clamp-it"}),
        ('ignore = ["unused-suppression"]', DEFAULTS - {"unused-suppression"}),
        ('select = ["all"]\nignore = ["clamp-it"]', {*DEFAULTS, "rare-one"} - {"clamp-it"}),
        ('select = ["clamp-it"]\nignore = ["all"]', {"clamp-it"}),
        ('select = ["clamp-it"]\nignore = ["clamp-it"]', set()),
        ('extend-select = ["rare-one"]\nignore = ["all"]', {"rare-one"}),
    ],
)
def test_selection_in_a_file(write: Write, table: str, expected: set[str]) -> None:
    write(table)
    assert settings().enabled("a.py") == expected


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        (Selection(select=("rare-one",)), {"rare-one"}),
        (Selection(select=("clamp-it",)), {"clamp-it"}),  # as in ruff, the command line outweighs the file's ignore
        (Selection(select=("all",), ignore=("rare-one",)), DEFAULTS),
        (Selection(extend_select=("clamp-it",)), {"bound-history", "clamp-it"}),
        (Selection(ignore=("bound-history",)), set()),
        (Selection(ignore=("all",)), set()),
    ],
)
def test_the_command_line_comes_after_the_file(write: Write, said: Selection, expected: set[str]) -> None:
    write('select = ["bound-history"]\nignore = ["clamp-it"]')
    assert settings(selection=said).enabled("a.py") == expected


@pytest.mark.parametrize(
    ("pattern", "path", "hit"),
    [
        ("tests/*", "tests/a.py", True),
        ("tests/*", "tests/deep/a.py", True),
        ("tests/*", "src/a.py", False),
        ("*.pyi", "src/a.pyi", True),
        ("__init__.py", "src/__init__.py", True),
        ("src/**/gen_*.py", "src/x/y/gen_a.py", True),
        ("!src/**", "src/a.py", False),
        ("!src/**", "tests/a.py", True),
    ],
)
def test_rules_ignored_for_some_files(write: Write, pattern: str, path: str, hit: bool) -> None:
    write(f'[tool.memlint.per-file-ignores]\n"{pattern}" = ["clamp-it"]')
    assert settings().enabled(path) == (DEFAULTS - {"clamp-it"} if hit else DEFAULTS)


def test_all_rules_ignored_for_some_files(write: Write) -> None:
    write('select = ["all"]\nper-file-ignores = {"a.py" = ["all"]}')
    assert settings().enabled("a.py") == set()
    assert settings(selection=Selection(select=("clamp-it",))).enabled("a.py") == set()


def test_patterns_start_from_the_folder_of_their_file(write: Write) -> None:
    write('per-file-ignores = {"gen/*" = ["clamp-it"]}', "lib")
    assert "clamp-it" not in settings("lib").enabled("lib/gen/a.py")
    assert "clamp-it" in settings("lib").enabled("lib/other/gen/a.py")


@pytest.mark.parametrize(
    ("table", "fixed"),
    [
        ("", {"bound-history", "clamp-it", "rare-one"}),
        ('unfixable = ["clamp-it"]', {"bound-history", "rare-one"}),
        ('fixable = ["clamp-it"]', {"clamp-it"}),
        ('fixable = ["clamp-it"]\nunfixable = ["clamp-it"]', set()),
        ('fixable = ["clamp-it"]\nunfixable = ["ALL"]', {"clamp-it"}),
        ('unfixable = ["all"]', set()),
        ("fixable = []", set()),
    ],
)
def test_fixes_are_switched_off_by_rule(write: Write, table: str, fixed: set[str]) -> None:
    write(table)
    assert {rule for rule in RULES if settings().keeps_from_fixing(rule) is None} == fixed
    assert settings().selected() == DEFAULTS


def test_a_fix_that_is_off_says_which_file_did_it(write: Write) -> None:
    write('unfixable = ["clamp-it"]')
    write('fixable = ["clamp-it"]', "lib")
    assert settings("lib").keeps_from_fixing("clamp-it") == ('its fix is switched off by "unfixable" in pyproject.toml')
    assert settings("lib").keeps_from_fixing("rare-one") == 'it is not listed under "fixable" in lib/pyproject.toml'


# -- where they come from ----------------------------------------------------------------------------------------------


def test_nested_files_override_key_by_key(write: Write) -> None:
    write('strict = true\nignore = ["clamp-it"]\n[tool.memlint.rules.bound-history]\nlimit = 5\nratio = 0.1')
    write("ignore = []\n[tool.memlint.rules.bound-history]\nlimit = 7\n[tool.memlint.per-file-ignores]\nx = []", "lib")
    nested = settings("lib/deep")
    assert (nested.strict, nested.ignore) == (True, ())
    options = nested.options("bound-history")
    assert (options["limit"], options["ratio"], options["label"]) == (7, 0.1, "x")
    assert nested.origins["strict"] == "pyproject.toml"
    assert nested.origins["ignore"] == "lib/pyproject.toml"
    assert nested.origins["rules.bound-history.limit"] == "lib/pyproject.toml"
    assert nested.origins["rules.bound-history.ratio"] == "pyproject.toml"
    assert settings().options("bound-history")["limit"] == 5


def test_tables_of_patterns_merge(write: Write) -> None:
    write('per-file-ignores = {"*.pyi" = ["clamp-it"], "a.py" = ["clamp-it"]}')
    write('per-file-ignores = {"a.py" = []}', "lib")
    assert "clamp-it" not in settings("lib").enabled("lib/b.pyi")
    assert "clamp-it" in settings("lib").enabled("lib/a.py")


def test_names_that_the_user_lists(write: Write) -> None:
    write('step-functions = ["Trainer.tick", "pkg.mod.step", "on_*", "pkg.*"]\nbounded-containers = ["LOG"]')
    write("step-functions = []", "lib")
    assert settings().taught.step_functions == ("Trainer.tick", "pkg.mod.step", "on_*", "pkg.*")
    assert (settings("lib").taught.step_functions, settings("lib").taught.bounded_containers) == ((), ("LOG",))
    assert settings("lib").origins["bounded-containers"] == "pyproject.toml"


def test_limits_of_settings(write: Write) -> None:
    write('[tool.memlint.limits]\nmax_active_flows = "<= 50000"\n"pkg.Flow.spawn" = "== false"\nsize = ">= 0, < 5"')
    write('[tool.memlint.limits]\nmax_active_flows = "<= 9"', "lib")
    flows, spawn, size = settings().limits
    assert (flows.key, flows.owner, flows.name) == ("max_active_flows", "", "max_active_flows")
    assert (spawn.owner, spawn.name, spawn.text) == ("Flow", "spawn", "== false")
    assert [flows.met(50000), flows.met(50001), spawn.met(False), spawn.met(True)] == [True, False, True, False]
    assert [size.met(value) for value in (-1, 0, 4, 5)] == [False, True, True, False]
    assert [size.nearest(-1), size.nearest(7), flows.nearest(10**6), spawn.nearest(True)] == [
        "0",
        "4",
        "50000",
        "False",
    ]
    assert [limit.text for limit in settings("lib").limits] == ["<= 9", "== false", ">= 0, < 5"]
    assert settings("lib").origins["limits.max_active_flows"] == "lib/pyproject.toml"
    assert settings("lib").origins["limits.size"] == "pyproject.toml"


def test_declared_limits_switch_their_rule_on(monkeypatch: pytest.MonkeyPatch) -> None:
    names = [config.LIMITS_RULE, "bound-history"]
    rules = {name: Rule(name, "", lambda facts: (), (), name == "bound-history", {}) for name in names}
    monkeypatch.setattr(config, "all_rules", lambda: rules)
    limits = (config.check_limit("flows", "< 5", ""),)
    assert Settings().selected() == {"bound-history"}
    assert Settings(limits=limits).selected() == {config.LIMITS_RULE, "bound-history"}
    assert Settings(limits=limits, ignore=(config.LIMITS_RULE,)).selected() == {"bound-history"}


def test_limits_that_name_no_value(write: Write) -> None:
    write('[tool.memlint.limits]\nrate = "< 0.5"\nmode = "!= \'slow\'"\nsteps = ">= 10, <= 5"')
    rate, mode, steps = settings().limits
    assert [rate.met(0.5), mode.met("slow"), mode.met("fast"), steps.met(7)] == [False, False, True, False]
    assert [rate.nearest(0.7), mode.nearest("slow"), steps.nearest(7)] == ["", "", ""]


def test_nothing_is_read_above_the_repository(write: Write, tmp_path: Path) -> None:
    write("strict = true")
    (tmp_path / "inner" / ".git").mkdir(parents=True)
    assert not settings("inner").strict
    assert settings("other").strict


def test_isolated_reads_nothing(write: Write) -> None:
    write("nonsense = 1")
    assert Resolver(isolated=True).settings(".").select is None


def test_a_named_file_stands_in_for_all_others(write: Write, tmp_path: Path) -> None:
    write("strict = true")
    named = tmp_path / "etc" / "memlint.toml"
    named.parent.mkdir()
    named.write_text('[tool.memlint]\nselect = ["clamp-it"]\nexclude = ["gen"]\n', encoding="utf-8")
    chosen = Resolver(file=str(named)).settings(".")
    assert (chosen.strict, chosen.select) == (False, ("clamp-it",))
    assert chosen.exclude == ((os.getcwd(), ("gen",)),)


def test_the_command_line_wins(write: Write) -> None:
    write('runtime = "vendor:lib/rt.py"\nstrict = false')
    chosen = Resolver(Overrides(strict=True, runtime="import")).settings(".")
    assert (chosen.strict, chosen.runtime) == (True, "import")
    assert (chosen.origins["strict"], chosen.origins["runtime"]) == (config.COMMAND_LINE, config.COMMAND_LINE)


def test_a_vendored_runtime_starts_from_the_folder_of_its_file(write: Write) -> None:
    write('runtime = "vendor:pkg/rt.py"', "lib")
    assert settings("lib").runtime == "vendor:lib/pkg/rt.py"


# -- mistakes ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ('selct = ["all"]', '[tool.memlint] unknown key "selct", did you mean "select"?'),
        ("extend_select = []", '[tool.memlint] unknown key "extend_select", did you mean "extend-select"?'),
        ("zzzz = 1", '[tool.memlint] unknown key "zzzz"'),
        (
            'ignore = ["bound-histroy"]',
            '[tool.memlint] "ignore": unknown rule "bound-histroy", did you mean "bound-history"?',
        ),
        (
            'ignore = ["bound_history"]',
            '[tool.memlint] "ignore": unknown rule "bound_history", did you mean "bound-history"?',
        ),
        (
            'step-functions = ["Trainer.tick()"]',
            '[tool.memlint] "step-functions": not a dotted name, with or without a "*" at its end: "Trainer.tick()"',
        ),
        (
            'no-grad-functions = ["*.predict"]',
            '[tool.memlint] "no-grad-functions": not a dotted name, with or without a "*" at its end: "*.predict"',
        ),
        ("limits = 3", '[tool.memlint] "limits" must be a table, not 3'),
        (
            "[tool.memlint.limits]\nflows = 5",
            '[tool.memlint.limits] "flows" must be a condition such as "<= 50000", not 5',
        ),
        (
            '[tool.memlint.limits]\nflows = "5"',
            '[tool.memlint.limits] "flows": not a condition such as "<= 50000", ">= 0, < 5" or "== false": "5"',
        ),
        (
            '[tool.memlint.limits]\nflows = "< true"',
            '[tool.memlint.limits] "flows": not a condition such as "<= 50000", ">= 0, < 5" or "== false": "< true"',
        ),
        (
            '[tool.memlint.limits]\n"flows*" = "< 5"',
            '[tool.memlint.limits] "flows*": not the name of a setting, with or without its class',
        ),
        (
            'bounded-containers = "Trainer.log"',
            '[tool.memlint] "bounded-containers" must be a list of strings, not "Trainer.log"',
        ),
        ("step_functions = []", '[tool.memlint] unknown key "step_functions", did you mean "step-functions"?'),
        ('select = "all"', '[tool.memlint] "select" must be a list of strings, not "all"'),
        ("exclude = [1]", '[tool.memlint] "exclude" must be a list of strings, not [1]'),
        ('exclude = ["a", "[z-a]"]', '[tool.memlint] "exclude": not a valid pattern: "[z-a]"'),
        ('per-file-ignores = {"a\\\\" = []}', '[tool.memlint.per-file-ignores] "a\\": not a valid pattern: "a\\"'),
        ('fixable = ["clamp"]', '[tool.memlint] "fixable": unknown rule "clamp", did you mean "clamp-it"?'),
        ('unfixable = "all"', '[tool.memlint] "unfixable" must be a list of strings, not "all"'),
        ('strict = "yes"', '[tool.memlint] "strict" must be true or false, not "yes"'),
        ('runtime = "vendor:"', '[tool.memlint] "runtime" must be "import" or "vendor:PATH", not "vendor:"'),
        ("runtime = 3", '[tool.memlint] "runtime" must be "import" or "vendor:PATH", not 3'),
        ("rules = []", '[tool.memlint] "rules" must be a table, not []'),
        ("per-file-ignores = []", '[tool.memlint] "per-file-ignores" must be a table, not []'),
        (
            'per-file-ignores = {"a" = "all"}',
            '[tool.memlint.per-file-ignores] "a" must be a list of strings, not "all"',
        ),
        (
            'per-file-ignores = {"a" = ["clampit"]}',
            '[tool.memlint.per-file-ignores] "a": unknown rule "clampit", did you mean "clamp-it"?',
        ),
        ("[tool.memlint.rules.clamp_it]", '[tool.memlint.rules] unknown rule "clamp_it", did you mean "clamp-it"?'),
        (
            "[tool.memlint.rules.bound-history]\nlimt = 3",
            '[tool.memlint.rules.bound-history] unknown option "limt", did you mean "limit"?',
        ),
        ("rules = {clamp-it = 3}", "[tool.memlint.rules.clamp-it] must be a table, not 3"),
        (
            "[tool.memlint.rules.bound-history]\nlimit = 3.5",
            '[tool.memlint.rules.bound-history] "limit" must be a whole number, not 3.5',
        ),
        (
            "[tool.memlint.rules.bound-history]\nlimit = true",
            '[tool.memlint.rules.bound-history] "limit" must be a whole number, not true',
        ),
        (
            "[tool.memlint.rules.bound-history]\nratio = true",
            '[tool.memlint.rules.bound-history] "ratio" must be a number, not true',
        ),
    ],
)
def test_mistakes_are_one_line_that_helps(write: Write, table: str, message: str) -> None:
    write(table, "lib")
    assert error("lib") == f"lib/pyproject.toml: {message}"


def test_a_whole_number_fits_where_a_fraction_is_expected(write: Write) -> None:
    write("[tool.memlint.rules.bound-history]\nratio = 1")
    assert settings().options("bound-history")["ratio"] == 1


def test_broken_toml_is_one_line_with_the_place(write: Write) -> None:
    write("select = [1 2]")
    assert re.fullmatch(r"pyproject.toml: not valid TOML: .* \(at line 2, column \d+\)", error())


def test_settings_that_are_not_utf8(write: Write) -> None:
    write("").write_bytes(b"[tool.memlint]\n# \xff\n")
    assert error() == "pyproject.toml: not UTF-8: invalid start byte at byte 17"


def test_memlint_that_is_no_table(tmp_path: Path, write: Write) -> None:
    (tmp_path / "pyproject.toml").write_text("[tool]\nmemlint = 3\n", encoding="utf-8")
    assert error() == "pyproject.toml: [tool.memlint] must be a table, not 3"


@pytest.mark.parametrize("text", ["[tool.ruff]\n", "this is = = not TOML", 'tool = "memlint"\n', "[memlint]\n"])
def test_files_that_say_nothing_about_memlint(tmp_path: Path, write: Write, text: str) -> None:
    (tmp_path / "pyproject.toml").write_text(text, encoding="utf-8")
    assert settings().origins == {}


def test_an_unreadable_file(tmp_path: Path, write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object) -> None:
        raise PermissionError(13, "Permission denied")

    write("")
    monkeypatch.setattr("builtins.open", refuse)
    assert error() == "pyproject.toml: Permission denied"


def test_a_named_file_must_exist_and_speak(tmp_path: Path, write: Write) -> None:
    with pytest.raises(ConfigError, match=r"nope\.toml: no such file"):
        Resolver(file="nope.toml")
    (tmp_path / "other.toml").write_text("[tool.ruff]\n", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"other\.toml: has no \[tool.memlint\] table"):
        Resolver(file="other.toml")


def test_names_from_the_command_line() -> None:
    assert config.check_names(["ALL", "clamp-it"], "--select:") == ("all", "clamp-it")
    with pytest.raises(ConfigError, match=r'^--select: unknown rule "clamp", did you mean "clamp-it"\?$'):
        config.check_names(["clamp"], "--select:")


def test_paths_are_shown_from_the_current_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    assert config.display_path(str(tmp_path / "here" / "a" / "b.py")) == "a/b.py"
    assert config.display_path("../there/b.py") == "../there/b.py"
    assert config.display_path(str(tmp_path / "hereafter.py")) == (tmp_path / "hereafter.py").as_posix()
