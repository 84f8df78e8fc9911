"""What `memlint init` adds to files of the user: at one place, every other byte as it was, and parsed again."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from typing import Any

import yaml

from memlint import __version__
from memlint.cli.survey import OLDEST, Survey
from memlint.config import ConfigError, display_path
from memlint.report.summary import plural

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

_BOM = "\ufeff"


# -- [tool.memlint] ----------------------------------------------------------------------------------------------------


def table(survey: Survey, runtime: str) -> str:
    """The [tool.memlint] table for a project, commented. runtime: as the key says it."""
    helpers = survey.helpers()
    older = survey.older_python
    lines = [
        "[tool.memlint]",
        *_seen(survey),
        "# `memlint rule` lists the rules, `memlint config` shows the settings in effect.",
        "",
        "# Rules beside those that are on by default, or all of them; and rules to leave out.",
        "extend-select = []",
        "ignore = []",
        "",
        "# Rules that report and never repair.",
        "unfixable = []",
        "",
        "# Left out of the check, as in a .gitignore. What .gitignore names is left out as well.",
        f"exclude = {json.dumps(survey.others, ensure_ascii=False)}",
        "",
        "# true: suspected findings fail the check as well, not only proved ones.",
        "strict = false",
        "",
        '# Where repaired code gets its helpers. "import": torch-memlint has to be installed where the program runs.',
        '# "vendor:PATH": they are copied to one file of this project'
        + (f', such as "vendor:{helpers}".' if helpers else "."),
    ]
    if older is not None:
        lines.append(f"# They need Python 3.{OLDEST} or newer; this project says that it runs on 3.{older} as well.")
    lines += [
        f"runtime = {json.dumps(runtime, ensure_ascii=False)}",
        "",
        "# What memlint can't see: functions that run once per step or with gradients off, whoever calls them, and",
        '# containers that something else keeps small. For example ["Trainer.tick"], ["score_*"], ["Trainer.log"].',
        "step-functions = []",
        "no-grad-functions = []",
        "bounded-containers = []",
    ]
    return "\n".join(lines) + "\n"


def _seen(survey: Survey) -> list[str]:
    if not survey.imported:
        return [
            f"# Written by `memlint init`. It saw {plural(len(survey.files), 'Python file')}, none with torch or mlx."
        ]
    lines = [f"# Written by `memlint init`. Of {plural(len(survey.files), 'Python file')} it saw"]
    for package, files in survey.imported.items():
        folders = survey.folders(files)
        more = f" and {len(folders) - 4} more" if len(folders) > 4 else ""
        lines.append(f"#   {package} in {len(files)} ({', '.join(folders[:4])}{more})")
    return lines


def with_table(survey: Survey, addition: str) -> bytes:
    """The project's pyproject.toml with the table below all that it says now. Raises ConfigError."""
    old = survey.settings or b""
    new = _appended(old, addition)
    tool = survey.document.get("tool", {})
    try:
        after = tomllib.loads(new.decode("utf-8"))
        added = after["tool"].pop("memlint")
    except (tomllib.TOMLDecodeError, KeyError):
        added = None
    if added != tomllib.loads(addition)["tool"]["memlint"] or after != {**survey.document, "tool": tool}:
        raise ConfigError(f"{survey.path}: a table can't be added at its end; add [tool.memlint] by hand")
    return new


def _appended(old: bytes, addition: str) -> bytes:
    newline = b"\r\n" if b"\r\n" in old else b"\n"
    gap = b"" if not old else newline if old.endswith(b"\n") else newline * 2
    return old + gap + addition.encode().replace(b"\n", newline)


# -- .pre-commit-config.yaml -------------------------------------------------------------------------------------------


def entry(repository: str | None) -> dict[str, Any]:
    """The entry of `repos` that runs `memlint check`: from a repository, or the memlint that is installed."""
    if repository is not None:
        return {"repo": repository, "rev": f"v{__version__}", "hooks": [{"id": "memlint"}]}
    hook = {
        "id": "memlint",
        "name": "memlint",
        "entry": "memlint check --force-exclude",
        "language": "system",
        "types_or": ["python", "jupyter"],
        "require_serial": True,
    }
    return {"repo": "local", "hooks": [hook]}


def has_hook(data: bytes, path: str) -> bool:
    """Whether a pre-commit file runs memlint already."""
    repos = _document(_text(data, path), path).get("repos")
    return any(
        isinstance(hook, dict) and str(hook.get("id", "")).startswith("memlint")
        for repo in (repos if isinstance(repos, list) else [])
        for hook in (repo.get("hooks") or [] if isinstance(repo, dict) else [])
    )


def with_hook(data: bytes | None, path: str, added: dict[str, Any]) -> bytes:
    """A pre-commit file with one more entry behind its last one, or a new file. Raises ConfigError."""
    if data is None:
        return ("repos:\n" + _rendered(added, "", "- ", "")).encode()
    text = _text(data, path)
    before = _document(text, path)
    place, layout = _end_of_repos(text, path)
    newline = "\r\n" if "\r\n" in text else "\n"
    addition = _rendered(added, *layout).replace("\n", newline)
    if not text[:place].endswith("\n"):
        addition = newline + addition
    new = text[:place] + addition + text[place:]
    try:
        after = yaml.safe_load(new)
    except yaml.YAMLError:
        after = None
    if after != {**before, "repos": [*before["repos"], added]}:
        raise _by_hand(path)
    return ((_BOM if data.startswith(_BOM.encode()) else "") + new).encode()


def _text(data: bytes, path: str) -> str:
    try:
        return data.decode("utf-8").removeprefix(_BOM)
    except UnicodeDecodeError as error:
        raise ConfigError(f"{display_path(path)}: not UTF-8: {error.reason} at byte {error.start}") from None


def _document(text: str, path: str) -> dict[str, Any]:
    try:
        document = yaml.safe_load(text)
    except RecursionError:
        raise ConfigError(f"{display_path(path)}: not valid YAML: nested too deeply") from None
    except (yaml.YAMLError, ValueError) as error:  # a date that is none is no error of YAML's own
        raise ConfigError(f"{display_path(path)}: not valid YAML: {' '.join(str(error).split())}") from None
    if not isinstance(document, dict):
        raise ConfigError(f'{display_path(path)}: has no list of "repos"')
    return document


def _by_hand(path: str) -> ConfigError:
    return ConfigError(f"{display_path(path)}: an entry can't be added safely; use --no-pre-commit and add it by hand")


def _end_of_repos(text: str, path: str) -> tuple[int, tuple[str, str, str]]:
    """Where the line behind the last entry begins, and how entries are laid out: indent, dash, indent of hooks."""
    document = yaml.compose(text, yaml.SafeLoader)
    repos = next((value for key, value in document.value if key.value == "repos"), None)
    if not isinstance(repos, yaml.SequenceNode) or repos.flow_style or not repos.value:
        raise _by_hand(path)
    last = repos.value[-1]
    indent = repos.start_mark.column
    hooks = [value for key, value in _pairs(last) if key.value == "hooks" and isinstance(value, yaml.SequenceNode)]
    inner = hooks[0].start_mark.column - last.start_mark.column if hooks and not hooks[0].flow_style else 0
    end = _end(last)
    if not text[:end].endswith("\n"):
        line_end = text.find("\n", end)
        end = line_end + 1 if line_end >= 0 else len(text)
    return end, (" " * indent, "-".ljust(last.start_mark.column - indent), " " * inner)


def _pairs(node: Any) -> Sequence[tuple[Any, Any]]:
    return node.value if isinstance(node, yaml.MappingNode) else ()


def _end(node: Any) -> int:
    """Where the last thing written in a node ends; a block's own end mark lies behind the comments that follow it."""
    if isinstance(node, yaml.ScalarNode) or node.flow_style or not node.value:
        return int(node.end_mark.index)
    last = node.value[-1]
    return max(map(_end, last)) if isinstance(last, tuple) else _end(last)


def _rendered(added: dict[str, Any], indent: str, dash: str, inner: str) -> str:
    below = indent + " " * len(dash)
    rows = [f"{key}: {_scalar(value)}" for key, value in added.items() if key != "hooks"] + ["hooks:"]
    lines = [indent + dash + rows[0], *(below + row for row in rows[1:])]
    for hook in added["hooks"]:
        first, *rest = [f"{key}: {_scalar(value)}" for key, value in hook.items()]
        lines += [below + inner + dash + first, *(below + inner + " " * len(dash) + row for row in rest)]
    return "\n".join(lines) + "\n"


def _scalar(value: Any) -> str:
    """A value in one line of YAML, with quotes only where it needs them."""
    return str(yaml.safe_dump(value, default_flow_style=True, allow_unicode=True, width=10**6)).split("\n", 1)[0]
