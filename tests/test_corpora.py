"""The trial on real code: it sees harm where there is some, and sees none where memlint has worked."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.corpora import archives, page, verify
from benchmarks.corpora.__main__ import main
from benchmarks.corpora.trial import Result

OLD = b"""\
import torch

history = []  # all of them


def first(model, loader):
    for x in loader:
        history.append(model(x))


LIMIT = 3


def second(x):
    # halved
    return x / 2
"""
FIXED = (8,)
"""Where the fix of OLD was reported."""


def replaced(*pairs: tuple[bytes, bytes]) -> bytes:
    """OLD with some pieces replaced."""
    new = OLD
    for before, after in pairs:
        assert before in new
        new = new.replace(before, after)
    return new


def test_a_good_repair_is_not_complained_about() -> None:
    new = replaced(
        (b"model(x))", b"model(x).detach())"),
        (b"import torch\n", b"import torch\nfrom memlint.runtime import detach\n"),
    )
    assert verify.changed("a.py", OLD, new, FIXED) == []


@pytest.mark.parametrize(
    ("new", "complaint"),
    [
        (replaced((b"model(x))", b"model(x)")), "does not compile any more: SyntaxError: '(' was never closed"),
        (replaced((b"x / 2", b"x / 3")), "line 16 was changed, and no fix was reported there"),
        (replaced((b"x / 2", b"x / 3")), "line 14: a definition means something else, and no fix was reported in it"),
        (replaced((b"x / 2", b"x  / 2")), "line 16 was changed, and no fix was reported there"),
        (replaced((b"  # all of them", b"")), "lost the comment '# all of them'"),
        (replaced((b"model(x))\n", b"model(x).detach())\r\n")), "has a kind of line end that it did not have"),
        (replaced((b"model(x))", b"model(x).detach()) ")), "line 8: new code ends in blanks"),
        (b"\xef\xbb\xbf" + OLD, "the byte order mark changed"),
        (b"# coding: latin-1\n" + OLD, "the encoding changed"),
        (OLD.rstrip(), "the end of the file changed"),
    ],
)
def test_harm_is_seen(new: bytes, complaint: str) -> None:
    assert complaint in verify.changed("a.py", OLD, new, FIXED)


def test_harm_to_notebooks_is_seen() -> None:
    def notebook(source: str, text: str) -> bytes:
        cells = [{"cell_type": "markdown", "source": text}, {"cell_type": "code", "source": source, "outputs": []}]
        return json.dumps({"cells": cells, "nbformat": 4}).encode()

    old = notebook("x = 1\n", "words")
    assert verify.changed("a.ipynb", old, notebook("x = 2\n", "words"), ()) == []
    assert verify.changed("a.ipynb", old, notebook("x = 2\n", "other"), ()) != []
    assert verify.changed("a.ipynb", old, notebook("x = (\n", "words"), ()) != []


def test_harm_to_a_tree_is_seen(tmp_path: Path) -> None:
    for name in ("same.py", "gone.py", "changed.py", "reported.py", "mode.py"):
        (tmp_path / name).write_text("x = 1\n", encoding="utf-8")
    before = verify.snapshot(tmp_path)
    (tmp_path / "gone.py").unlink()
    (tmp_path / ".same.py.tmp").touch()
    for name in ("changed.py", "reported.py"):
        (tmp_path / name).write_text("x = 2\n", encoding="utf-8")
    (tmp_path / "mode.py").chmod(0o600)
    assert list(verify.trees(before, verify.snapshot(tmp_path), {"reported.py"})) == [
        "gone.py: is gone",
        ".same.py.tmp: was left behind",
        "changed.py: was changed, and no fix was reported",
        "mode.py: has other permissions",
    ]


def test_a_trial_of_a_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    code = tmp_path / "code"
    (code / "build").mkdir(parents=True)  # a folder that memlint leaves out unless told
    leak = "import torch\n\n\ndef load(model, path):\n    model.load_state_dict(torch.load(path))\n"
    (code / "build" / "leak.py").write_bytes(leak.replace("\n", "\r\n").encode())
    (code / "odd.py").write_bytes(b"# coding: nonsense\n")
    (code / "parser.py").write_bytes(b"(x): int = 1\n")
    monkeypatch.setattr(page, "PAGE", tmp_path / "page.md")
    page.PAGE.write_text("Before.\n<!-- written by benchmarks.corpora -->\n<!-- end -->\nAfter.\n", encoding="utf-8")
    assert main(["--path", str(code), "--jobs", "1", "--write"]) == 0
    written = page.PAGE.read_text(encoding="utf-8")
    assert capsys.readouterr().out.strip() in written
    assert "**3 files, 7 lines; 1 problems fixed in 1 files. Nothing was wrong.**" in written
    assert "| `map-checkpoint` | 1 | 1 | 0 |" in written
    assert "| `odd.py`, line 1 | unknown encoding: nonsense | SyntaxError: " in written
    assert "| `parser.py`, line 1 | does not parse: invalid syntax | is valid; LibCST alone can't parse it |" in written
    assert written.startswith("Before.\n")
    assert written.endswith("After.\n")
    assert (code / "build" / "leak.py").read_bytes() == leak.replace("\n", "\r\n").encode()  # a copy was repaired


def test_results_are_kept_from_run_to_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    result = Result(
        "x 1", "wheel", 1, 2, 3, {}, {}, {}, 0, {"check": 1.0, "fix": 1.0, "second fix": 1.0}, 4, [], [], "c"
    )
    monkeypatch.setattr(archives, "corpora", lambda: [archives.Corpus("x", "x 1", "wheel")])
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "x.json").write_text(result.to_json(), encoding="utf-8")
    assert main(["--folder", str(tmp_path)]) == 0
    result.wrong.append("x.py: lost the comment '# y'")
    (tmp_path / "results" / "x.json").write_text(result.to_json(), encoding="utf-8")
    assert main(["--folder", str(tmp_path)]) == 1
