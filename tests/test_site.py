"""The documentation: what its pages show is so, its links lead somewhere, and it builds without a complaint."""

from __future__ import annotations

import html.parser
import importlib.util
import re
import shutil
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

from memlint import config, registry, runtime
from tests.support import ROOT
from tools import docs, transcripts

LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All pages, put together."""
    folder = tmp_path_factory.mktemp("build")
    docs.assemble(folder)
    return folder


def prose(text: str) -> str:
    """A page without its code."""
    return re.sub(r"`[^`\n]*`", lambda code: "" if "](" in code[0] else code[0], transcripts.without_blocks(text))


@cache
def anchors(page: Path) -> frozenset[str]:
    """The anchors of a page's headings."""
    headings = re.findall(r"^#+ (.*)$", prose(page.read_text(encoding="utf-8")), re.MULTILINE)
    return frozenset(map(docs.anchor, headings))


def broken(page: Path) -> Iterator[str]:
    """The links of a page that lead nowhere. What lies on the web is not looked up."""
    for target in LINK.findall(prose(page.read_text(encoding="utf-8"))):
        path, _, anchor = target.partition("#")
        if target.startswith("https://"):
            continue
        file = page.parent / path if path else page
        if not file.is_file() or (anchor and anchor not in anchors(file)):
            yield f"{page.name}: {target}"


# -- the pages ---------------------------------------------------------------------------------------------------------


@pytest.mark.skipif(None in (shutil.which("git"), shutil.which("sh")), reason="the commands want git and a shell")
@pytest.mark.parametrize(
    "page",
    [
        pytest.param(
            page,
            id=page.stem,
            marks=[pytest.mark.needs_torch] if "\n$ python " in page.read_text(encoding="utf-8") else [],
        )
        for page in transcripts.with_transcripts()
    ],
)
def test_commands_print_what_the_page_shows(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert transcripts.refreshed(text) == text, "run: python -m tools.transcripts"


@pytest.mark.skipif(None in (shutil.which("git"), shutil.which("sh")), reason="the commands want git and a shell")
def test_a_transcript_is_made_anew() -> None:
    page = '```python title="a/b.py"\nx = 1\n```\nWords.\n```console\n$ cat a/b.py\nold\n\n$ true\n```\nEnd.\n'
    assert transcripts.refreshed(page) == page.replace("old\n", "x = 1\n")


def test_every_page_is_in_the_navigation_and_is_there(site: Path) -> None:
    def paths(entry: object) -> Iterator[str]:
        if isinstance(entry, str):
            yield entry
        for inner in entry if isinstance(entry, list) else entry.values() if isinstance(entry, dict) else ():
            yield from paths(inner)

    listed = list(paths(tomllib.loads((site / docs.CONFIG).read_text(encoding="utf-8"))["project"]["nav"]))
    assert sorted(listed) == sorted(path.relative_to(site / "docs").as_posix() for path in site.rglob("*.md"))


def test_links_lead_somewhere(site: Path) -> None:
    pages = [*site.rglob("*.md"), ROOT / "README.md", ROOT / "CONTRIBUTING.md"]
    assert [link for page in pages for link in broken(page)] == []


def test_links_to_other_files_of_the_checkout() -> None:
    texts = {page: page.read_text(encoding="utf-8") for page in docs.DOCS.glob("*.md")}
    outside = [
        (page, target) for page, text in texts.items() for target in LINK.findall(prose(text)) if "../" in target
    ]
    assert [f"{page.name}: {target}" for page, target in outside if not (page.parent / target).exists()] == []


def test_a_page_that_nobody_listed_is_in_the_navigation_without_links_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(docs.DOCS, tmp_path / "docs")
    (tmp_path / "docs" / "more.md").write_text('Text.\n\n# One "more" page\n\n[`a`](../a.py), [b](index.md)\n', "utf-8")
    monkeypatch.setattr(docs, "DOCS", tmp_path / "docs")
    docs.assemble(tmp_path / "build")
    (evidence,) = (
        entry["Evidence"]
        for entry in tomllib.loads((tmp_path / "build" / docs.CONFIG).read_text(encoding="utf-8"))["project"]["nav"]
        if "Evidence" in entry
    )
    assert {'One "more" page': "more.md"} in evidence
    assert (tmp_path / "build" / "docs" / "more.md").read_text("utf-8").endswith("\n`a`, [b](index.md)\n")


def test_a_broken_link_is_noticed(tmp_path: Path) -> None:
    page = tmp_path / "a.md"
    page.write_text("# One two\n\n[a](#one-two) [b](#three) [c](b.md) `[d](e.md)`\n```sh\n[f](g.md)\n```\n", "utf-8")
    assert list(broken(page)) == ["a.md: #three", "a.md: b.md"]


def test_every_rule_and_every_helper_has_its_page(site: Path) -> None:
    index = (site / "docs" / "rules" / "index.md").read_text(encoding="utf-8")
    assert all(f"| [`{name}`]({name}.md) | {rule.summary} |" in index for name, rule in registry.rules().items())
    reference = (site / "docs" / "helpers.md").read_text(encoding="utf-8")
    assert sorted(re.findall(r"^### (.*)$", reference, re.MULTILINE)) == sorted(runtime.__all__)
    assert "\n## Geometry\n\n### nearest_rows\n\n```python\nnearest_rows(points: Tensor, grid: Tensor, " in reference
    assert "\n#### LeakMonitor.reset\n\n```python\nreset()\n```\n" in reference
    assert "\nsynchronize(*values: object)\n" in reference
    called = {helper for fixer in registry.fixers().values() for helper in fixer.helpers}
    assert called <= set(runtime.__all__)


def test_every_key_is_explained_with_its_default() -> None:
    text = (docs.DOCS / "configuration.md").read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| `(\w[\w-]*)` \| (.*?) \|", text, re.MULTILINE))
    assert tuple(rows) == config.KEYS
    settings = config.Settings()
    for key in ("extend-select", "ignore", "fixable", "unfixable", "exclude", "strict", "baseline", "runtime"):
        default = getattr(settings, key.replace("-", "_"))
        shown = tomllib.loads(f"x = {rows[key].strip('`')}")["x"]
        assert shown == (list(default) if isinstance(default, tuple) else default)


def test_settings_that_a_page_shows_are_right(site: Path, tmp_path: Path) -> None:
    file = tmp_path / "pyproject.toml"
    wrong = 'ignore = ["bound-histroy"]'  # what a page says is an error
    for page in site.rglob("*.md"):
        for block in transcripts.blocks(page.read_text(encoding="utf-8")):
            if block[1] == "toml" and wrong not in block[3]:
                file.write_text(block[3], encoding="utf-8")
                assert config.read(str(file), str(tmp_path)) is not None, page.name


# -- the site ----------------------------------------------------------------------------------------------------------


class Links(html.parser.HTMLParser):
    """What a page of the site links to and loads, its anchors, and its paragraphs."""

    def __init__(self, page: Path) -> None:
        super().__init__()
        self.targets: list[tuple[str, str]] = []
        self.ids: set[str] = set()
        self.feed(page.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if name == "id" and value:
                self.ids.add(value)
            elif name in ("href", "src") and value:
                self.targets.append((tag, value))


@pytest.mark.skipif(importlib.util.find_spec("zensical") is None, reason="the extra docs is not installed")
def test_the_site_builds_and_holds_together(tmp_path: Path) -> None:
    docs.build(tmp_path)
    root = tmp_path / "site"
    pages = {page: Links(page) for page in root.rglob("index.html")}
    assert len(pages) == len(list((tmp_path / "docs").rglob("*.md")))
    missing = []
    for page, links in pages.items():
        for tag, target in links.targets:
            if target.startswith(("http:", "https:", "//")):
                assert tag == "a", f"{page} loads {target}"
                continue
            path, _, anchor = target.partition("#")
            file = (page.parent / path).resolve()
            file = file / "index.html" if file.is_dir() else file
            if not file.is_file() or (anchor and file in pages and anchor not in pages[file].ids):
                missing.append(f"{page.relative_to(root)}: {target}")
        text = page.read_text(encoding="utf-8")
        assert not re.search(r"<p>[^<]*\n([-*]|\d+\.) ", text), f"{page}: a list needs an empty line above it"
    assert missing == []
