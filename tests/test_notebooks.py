"""Notebooks: their code cells are one program, and nothing but the source of a repaired cell changes in the file."""

from __future__ import annotations

import codecs
import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from memlint import magics
from memlint.notebook import Notebook, NotebookError
from tests.test_cli import Run, Write, command, run, write

__all__ = ["run", "write"]

SETUP = "%matplotlib inline\nimport torch\nfrom torch import nn"
MODEL = "model = nn.Linear(4, 1)\noptimizer = torch.optim.SGD(model.parameters(), 0.1)\nlosses = []"
TRAINING = """\
%time print("ü")
for step in range(10_000):
    loss = model(torch.rand(8, 4)).mean()
    loss.backward()
    optimizer.step()
    optimizer.zero_grad()
    losses.append(loss)"""
LEAKY = ("# Training", SETUP, "!pip install torch", MODEL, TRAINING, "print(losses)")
ONLY = ("--isolated", "--select", "detach-kept-tensors")
FOUND = "`losses` keeps a value of each step with the nodes of its graph, whose backward pass has run"


def document(*cells: str, language: str = "python", **metadata: Any) -> dict[str, Any]:
    """A notebook with these cells: of Markdown where they begin with `# `, else of code."""
    made: list[dict[str, Any]] = []
    for number, source in enumerate(cells):
        cell: dict[str, Any] = {"cell_type": "markdown", "id": f"c{number}", "metadata": {}}
        if not source.startswith("# "):
            cell |= {"cell_type": "code", "execution_count": number, "outputs": [output(number)]}
        made.append({**cell, "source": source.splitlines(keepends=True)})
    info = {"kernelspec": {"display_name": "x", "language": language, "name": "x"}, "language_info": {"name": language}}
    return {"cells": made, "metadata": {**info, **metadata}, "nbformat": 4, "nbformat_minor": 5}


def output(number: int) -> dict[str, Any]:
    return {"name": "stdout", "output_type": "stream", "text": [f"{number} \u001b[31mrot\n", "losses.append(loss)"]}


def text(*cells: str, **more: Any) -> str:
    """The same as Jupyter writes it."""
    return json.dumps(document(*cells, **more), indent=1, ensure_ascii=False) + "\n"


# -- places ------------------------------------------------------------------------------------------------------------


def test_cells_know_what_earlier_ones_define(run: Run, write: Write) -> None:
    write("a.ipynb", text(*LEAKY))
    result = run("check", *ONLY, ".")
    assert result.out == f"a.ipynb:cell 5:7:5: detach-kept-tensors {FOUND}\n"
    assert (result.status, result.err) == (1, "Found 1 problem (1 proved) in 1 of 1 file.\n")


def test_full_shows_the_cell_as_it_is(run: Run, write: Write) -> None:
    cells = ("import torch\nmodel = torch.nn.Linear(4, 1).cuda()", "%time model.load_state_dict(torch.load('x.pt'))")
    write("a.ipynb", text(*cells, "model = 1\n%matplotlib\n"))
    result = run("check", "--isolated", "--select", "map-checkpoint", "--output-format", "full")
    assert result.out.splitlines()[1:] == [
        " --> a.ipynb:cell 2:1:29",
        "  |",
        "1 | %time model.load_state_dict(torch.load('x.pt'))",
        "  |                             ^^^^^^^^^^^^^^^^^^",
        "  |",
        "  = 1. its tensors are copied from there by `load_state_dict`",
        "  |    a.ipynb:cell 2:1:7: %time model.load_state_dict(torch.load('x.pt'))",
        "  = help: load it to the CPU.",
        "  = no fix: the fix would change a line that only IPython understands",
        "",
    ]


def test_full_names_the_other_cell_that_a_fix_changes(run: Run, write: Write) -> None:
    write("a.ipynb", text(*LEAKY))
    out = run("check", "--isolated", "--select", "bound-history", "--output-format", "full").out
    fix = out[out.index("fix: ") :].splitlines()[2:]
    assert fix[:7] == [
        "    cell 2",
        "3 | from torch import nn",
        "  + from memlint.runtime import append_bounded",
        "    cell 5",
        "6 |     optimizer.zero_grad()",
        "7 -     losses.append(loss)",
        "  +     append_bounded(losses, loss, limit=1000)",
    ]


def test_json_names_cells(run: Run, write: Write) -> None:
    write("a.ipynb", text(*LEAKY))
    [found] = json.loads(run("check", "--isolated", "--select", "bound-history", "--output-format", "json").out)
    assert (found["path"], found["cell"], found["line"], found["end_column"]) == ("a.ipynb", 5, 7, 24)
    assert [step["cell"] for step in found["evidence"]] == [5, 5, 4, 5]
    edits = [(e["cell"], e["line"], e["end_line"], e["replacement"]) for e in found["fix"]["edits"]]
    assert edits == [
        (2, 4, 4, "from memlint.runtime import append_bounded\n"),
        (5, 7, 8, "    append_bounded(losses, loss, limit=1000)\n"),
    ]


def test_services_get_lines_of_the_file(run: Run, write: Write) -> None:
    source = text(*LEAKY, "x = (")
    write("a.ipynb", source)
    lines = source.splitlines()
    line = lines.index('    "    losses.append(loss)"') + 1
    out = run("check", *ONLY, "--output-format", "github").out.splitlines()
    assert out[0].startswith(f"::error file=a.ipynb,line={line},endLine={line},title=")
    broken = lines.index('    "x = ("') + 1
    assert out[1].startswith(f"::error file=a.ipynb,line={broken},title=memlint (file error)::a.ipynb:cell 7: ")
    log = json.loads(run("check", *ONLY, "--output-format", "sarif").out)["runs"][0]
    [result] = log["results"]
    region = result["locations"][0]["physicalLocation"]["region"]
    assert region == {"startLine": line, "endLine": line}
    [change] = result["fixes"][0]["artifactChanges"]
    [edit] = change["replacements"]
    assert edit["deletedRegion"]["startLine"] == line
    assert edit["insertedContent"]["text"] == '    "    losses.append(loss.detach())"\n'
    [note] = log["invocations"][0]["toolExecutionNotifications"]
    assert note["locations"][0]["physicalLocation"]["region"] == {"startLine": broken}


def test_every_line_is_found_in_the_file() -> None:
    data = text(*LEAKY)
    book = Notebook(data.encode())
    for number, source in enumerate(LEAKY, 1):
        for line, code in enumerate(source.splitlines(), 1):
            if not code.startswith("# "):
                assert json.dumps(code, ensure_ascii=False)[:-1] in data.splitlines()[book.file_line(number, line) - 1]


def test_a_notebook_is_not_the_module_of_its_name(run: Run, write: Write) -> None:
    write("a.ipynb", text(*LEAKY), "a.py", "losses = []\n", "b.py", "import a\n\na.losses.clear()\n")
    assert "a.ipynb:cell 5:7:5" in run("check", *ONLY).out


# -- what is no Python -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "code"),
    [
        ("%matplotlib inline\nx = 1", "pass #\nx = 1"),
        ("if x:\n    !ls 'a\n    y = 1", "if x:\n    pass #\n    y = 1"),
        ("!ls \\\n", "pass #"),
        ("!pip install \\\n  a \\\n b\nx", "pass #\npass #\npass #\nx"),
        ("x = !ls\ny, z = %who_ls int", "x = get_ipython() #\ny, z = get_ipython() #"),
        ("x.y?\n?x\nx??", "pass #\npass #\npass #"),
        ("%time y = f(x)\n%time\n%time -x f()", "y = f(x) #\npass #\npass #"),
        ("%%time\nx = 1", "pass #\nx = 1"),
        ("pip install torch\ncd data", "pass #\npass #"),
        (",f a b\n;f a b\n/f a", "pass #\npass #\npass #"),
        ("x = '''\n%d\n'''\n%who", "x = '''\n%d\n'''\npass #"),
        ("x = (1\n% 2)\ny = 1 \\\n% 3", "x = (1\n% 2)\ny = 1 \\\n% 3"),
        ("x = 'a?'\n# why?\ny = a % b", "x = 'a?'\n# why?\ny = a % b"),
        ("ls in x\ncd = 1", "ls in x\ncd = 1"),
        ("x = '\\\\'\n%who\ny = \"it's\"\n%who", "x = '\\\\'\npass #\ny = \"it's\"\npass #"),
    ],
)
def test_what_only_ipython_understands(source: str, code: str) -> None:
    data = text("z = 0", source).encode()
    book = Notebook(data)
    lines = [line.partition("  # %%nb")[0] + " #" * ("  # %%nb" in line) for line in book.text.splitlines()]
    assert lines[:3] == ["pass #", "z = 0", "pass #"]
    assert lines[3:] == code.split("\n")
    assert book.broken == []
    assert book.write(book.text) == data


@pytest.mark.parametrize("magic", ["bash", "html", "javascript", "writefile a.py", "timeit", "R", "!"])
def test_cells_of_other_kinds_are_left_out(run: Run, write: Write, magic: str) -> None:
    write("a.ipynb", text(*LEAKY[:4], f"%%{magic}\n{TRAINING}\nx = ("))
    result = run("check", *ONLY)
    assert (result.status, result.out, result.err) == (0, "", "No problems found in 1 file.\n")


@pytest.mark.parametrize("language", ["R", "julia", "c++"])
def test_notebooks_in_other_languages_are_passed_over(run: Run, write: Write, language: str) -> None:
    write("a.ipynb", text("x <- c(1", language=language))
    result = run("check", *ONLY)
    assert (result.status, result.out, result.err) == (0, "", "No problems found in 1 file.\n")


def test_a_cell_that_does_not_parse_is_named_and_the_others_are_checked(run: Run, write: Write) -> None:
    write("a.ipynb", text(*LEAKY, "x = 1\ndef f(:\n", "\n    indented = 1"))
    result = run("check", *ONLY)
    assert result.out.startswith("a.ipynb:cell 5:7:5: ")
    assert result.err.startswith("memlint: error: a.ipynb:cell 7:2:")
    assert ": this cell does not parse: invalid syntax\nFound 1 problem" in result.err
    assert run("fix", *ONLY).out.startswith("fixed  a.ipynb:cell 5:7:5: ")


def test_the_cache_says_the_same(run: Run, write: Write) -> None:
    write("a.ipynb", text(*LEAKY, "def f(:"))
    results = [run("check", *ONLY, *more) for more in (["--no-cache"], [], [])]
    assert "a.ipynb:cell 5:7:5: " in results[0].out
    assert "a.ipynb:cell 7:1:" in results[0].err
    assert results[1:] == results[:1] * 2
    assert Path(".memlint_cache").is_dir()


def test_a_text_that_looks_like_a_mark_is_the_users() -> None:
    data = text("x = 1\npass  # %%nb cell 2\npass  # %%nb line 1", "!ls").encode()
    book = Notebook(data)
    assert book.write(book.text) == data


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", ":1:1: is not valid JSON: Expecting value"),
        (b'{"cells": [}', ":1:12: is not valid JSON: Expecting value"),
        (b'{"cells": []} x', ":1:15: is not valid JSON: Extra data"),
        (b"[]", ": is not a notebook: it has no list of cells"),
        (b'{"nbformat": 4}', ": is not a notebook: it has no list of cells"),
        (b'{"nbformat": 3, "worksheets": []}', ": is a notebook of format 3; `jupyter nbconvert --to notebook` makes "),
        (b'{"cells": [{"cell_type": "code", "source": 1}]}', ": is not a notebook: the source of cell 1 is no text"),
        (b'{"cells": ["\xff"]}', ": can't be decoded as utf-8: invalid start byte"),
        (b"[" * 100_000, ": is nested too deeply to be read"),
        (b" " * 20_000_001, ": larger than 20 MB, not checked"),
        (b'{"cells": [{"cell_type": "code", "source": "\\ud800"}]}', ":cell 1:1:1: this cell does not parse: it holds"),
        (b'{"cells": [{"cell_type": "code", "source": "\\u0000"}]}', ":cell 1:1:1: this cell does not parse: it holds"),
    ],
)
def test_a_file_that_can_not_be_used_is_one_line(run: Run, write: Write, data: bytes, message: str) -> None:
    write("a.ipynb", data)
    result = run("check", *ONLY, "--quiet")
    assert (result.status, result.out) == (1, "")
    assert result.err.startswith(f"memlint: error: a.ipynb{message}")
    assert result.err.count("\n") == 1


@pytest.mark.parametrize("source", ["{}", '{"cells": []}', '{"cells": [{"cell_type": "code", "source": []}]}'])
def test_nothing_in_it_is_no_error(run: Run, write: Write, source: str) -> None:
    write("a.ipynb", source)
    assert run("check", *ONLY).status == int(source == "{}")


def test_comments_silence_findings(run: Run, write: Write) -> None:
    write("a.ipynb", text(*LEAKY[:4], TRAINING + "  # memlint: ignore[detach-kept-tensors] few steps"))
    assert run("check", *ONLY).status == 0
    write("a.ipynb", text(*LEAKY, "x = (", "y = 1  # memlint: skip-file"))
    result = run("check", *ONLY)
    assert (result.status, result.out) == (0, "")
    write("a.ipynb", text("import torch", "x = 1  # memlint: ignore[detach-kept-tensors]"))
    assert run("check", "--isolated", "--strict").out.startswith("a.ipynb:cell 2:1:26: unused-suppression ")


def test_standard_input_by_a_notebooks_name(run: Run, write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    class Input:
        class buffer:
            @staticmethod
            def read() -> bytes:
                return text(*LEAKY).encode()

    monkeypatch.setattr("sys.stdin", Input)
    assert "sub/a.ipynb:cell 5:7:5: " in run("check", *ONLY, "--stdin-filename", "sub/a.ipynb").out


# -- repairs -----------------------------------------------------------------------------------------------------------


def layouts() -> list[tuple[str, bytes]]:
    plain = document(*LEAKY)
    as_strings = document(*LEAKY)
    for cell in as_strings["cells"]:
        cell["source"] = "".join(cell["source"])
    odd = text(*LEAKY).replace("optimizer.step", r"optimizer\u002estep").replace("ü", r"\u00FC")
    return [
        ("jupyter", text(*LEAKY).encode()),
        ("one line", json.dumps(plain).encode()),
        ("tabs and sorted", json.dumps(plain, indent="\t", sort_keys=True).encode()),
        ("strings", json.dumps(as_strings, indent=2, ensure_ascii=False).encode()),
        ("one line of strings", json.dumps(as_strings, separators=(",", ":")).encode()),
        ("escapes", odd.encode()),
        ("crlf", text(*LEAKY).replace("\n", "\r\n").encode()),
        ("byte order mark", codecs.BOM_UTF8 + text(*LEAKY).encode()),
        ("NaN", text(*LEAKY).replace('"nbformat":', '"other": NaN,\n "nbformat":').encode()),
    ]


every_layout = pytest.mark.parametrize("data", [pytest.param(data, id=name) for name, data in layouts()])


@every_layout
def test_only_the_line_that_is_repaired_changes(run: Run, write: Write, data: bytes) -> None:
    write("a.ipynb", data)
    result = run("fix", *ONLY)
    assert (result.status, result.out) == (0, f"fixed  a.ipynb:cell 5:7:5: detach-kept-tensors {FOUND}\n")
    at = data.index(b"append(loss)", data.index(b"zero_grad"))
    new = Path("a.ipynb").read_bytes()
    assert new == data[:at] + data[at:].replace(b"append(loss)", b"append(loss.detach())", 1)
    assert run("fix", *ONLY).out == ""
    assert Path("a.ipynb").read_bytes() == new


def test_a_new_import_joins_those_of_the_notebook(run: Run, write: Write) -> None:
    write("a.ipynb", text(*LEAKY))
    assert run("fix", "--isolated", "--select", "bound-history", "--unsafe-fixes").status == 0
    after = json.loads(Path("a.ipynb").read_text(encoding="utf-8"))["cells"]
    assert "".join(after[1]["source"]) == SETUP + "\nfrom memlint.runtime import append_bounded"
    assert after[4]["source"][-1] == "    append_bounded(losses, loss, limit=1000)"
    assert [after[n] for n in (0, 2, 3, 5)] == [document(*LEAKY)["cells"][n] for n in (0, 2, 3, 5)]


def test_without_imports_it_goes_into_the_first_cell_with_code() -> None:
    book = Notebook(text("", "%%time\nx = 1", "y = 2").encode())
    new = json.loads(book.write("import torch\n\n" + book.text))
    assert ["".join(cell["source"]) for cell in new["cells"]] == ["", "%%time\nimport torch\n\nx = 1", "y = 2"]


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ("pass  # %%nb cell 2\n", "", "that only IPython understands"),
        ("\npass  # %%nb cell 3\n", "", "would take away a cell"),
        ("pass  # %%nb line 1\n", "", "that only IPython understands"),
        ("pass  # %%nb line 1\n", "if x:\n    pass  # %%nb line 1\n", "that only IPython understands"),
        ("x = 1\npass  # %%nb cell 2\n", "pass  # %%nb cell 2\nx = 1\n" * 2, "between cells"),
        ("x\n", "with y:\n    x\n", "take away what the cell shows"),
    ],
)
def test_what_can_not_be_put_back_is_refused(old: str, new: str, reason: str) -> None:
    book = Notebook(text("x = 1", "!ls\nx", "y = 1").encode())
    assert old in book.text
    changed = book.text.replace(old, new, 1)
    with pytest.raises(NotebookError, match=reason):
        book.write(changed)


def test_a_shown_value_is_not_wrapped_away(run: Run, write: Write) -> None:
    cells = ("import torch\nmodel = torch.nn.Linear(4, 1)", "model(torch.rand(1, 4)).detach()")
    write("a.ipynb", text(*cells), "b.ipynb", text(*cells[:1], "x = " + cells[1]))
    result = run("fix", "--isolated", "--unsafe-fixes")
    assert result.out == "".join(
        [
            "fixed  b.ipynb:cell 2:1:5: no-grad-inference `model` runs with gradients on, but nothing uses its graph\n",
            "left   a.ipynb:cell 2:1:1: no-grad-inference `model` runs with gradients on, but nothing uses its graph\n",
            "       the fix would take away what the cell shows below it\n",
        ]
    )


@pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")
@every_layout
def test_git_applies_the_patch(write: Write, data: bytes) -> None:
    write("a.ipynb", data)
    shutil.rmtree(".git")
    subprocess.run(["git", "init", "--quiet"], check=True)
    diff = subprocess.run(command("fix", *ONLY, "--diff", "--quiet"), stdout=subprocess.PIPE).stdout
    assert Path("a.ipynb").read_bytes() == data
    subprocess.run(["git", "apply", "--whitespace=nowarn", "-"], input=diff, check=True)
    patched = Path("a.ipynb").read_bytes()
    Path("a.ipynb").write_bytes(data)
    assert subprocess.run(command("fix", *ONLY, "--quiet", "--allow-dirty")).returncode == 0
    assert Path("a.ipynb").read_bytes() == patched


def test_what_is_written_is_a_valid_notebook(run: Run, write: Write) -> None:
    nbformat = pytest.importorskip("nbformat")
    write("a.ipynb", text(*LEAKY))
    assert run("fix", "--isolated", "--unsafe-fixes").status == 0
    assert Path("a.ipynb").read_text(encoding="utf-8") != text(*LEAKY)
    nbformat.validate(nbformat.read("a.ipynb", as_version=4))


# -- any notebook ------------------------------------------------------------------------------------------------------

pieces = st.sampled_from(
    [
        "x = 1",
        "!ls \\",
        "%who",
        "if x:",
        "    y = 2",
        "'''",
        "é = 'ü'",
        "",
        "\t",
        "x?",
        "\r",
        "\x0c",
        "f(",
        ")",
        "%%time",
    ]
)
sources = st.one_of(
    st.lists(pieces, max_size=6).map("\n".join), st.text(alphabet=st.characters(codec="utf-8"), max_size=30)
)
shapes = st.sampled_from([str, lambda source: source.splitlines(keepends=True), list])
dumps = st.fixed_dictionaries(
    {"indent": st.sampled_from([None, 1, "\t"]), "ensure_ascii": st.booleans(), "sort_keys": st.booleans()}
)


@given(st.lists(st.tuples(sources, shapes), max_size=5), dumps)
def test_any_notebook_is_written_back_as_it_was(cells: list[tuple[str, Any]], layout: dict[str, Any]) -> None:
    made = [{"cell_type": "code", "metadata": {}, "outputs": [], "source": shape(source)} for source, shape in cells]
    data = json.dumps({"cells": made, "metadata": {}, "nbformat": 4, "nbformat_minor": 5}, **layout).encode()
    book = Notebook(data)
    assert book.write(book.text) == data
    assert len(book.lines()) == len(magics.split(book.text))
    assert len(book.broken) <= len(cells)


@given(st.lists(st.tuples(sources, shapes), max_size=4), dumps, st.data())
def test_a_changed_line_changes_one_source(cells: list[tuple[str, Any]], layout: dict[str, Any], data: Any) -> None:
    made = [{"cell_type": "code", "metadata": {}, "outputs": [1], "source": shape(source)} for source, shape in cells]
    at = data.draw(st.integers(0, len(made)))
    made.insert(at, {"cell_type": "code", "source": ["a = 1\n", "b = 'ä'\n", "c = 3"], "outputs": [2]})
    file = json.dumps({"cells": made, "metadata": {}, "nbformat": 4}, **layout)
    book = Notebook(file.encode())
    new = json.loads(book.write(book.text.replace("\nb = 'ä'\nc", "\nb = 'ö'\nd = 4\nc")))
    assert new["cells"][at]["source"] == ["a = 1\n", "b = 'ö'\n", "d = 4\n", "c = 3"]
    new["cells"][at]["source"] = made[at]["source"]
    assert new == json.loads(file)
