"""Check and repair real code by the thousands of files, and look for harm: crashes, broken files, unstable repairs.

Pinned packages are fetched with pip, the standard library and torch are taken from where they are installed. Each is
copied, given to `memlint check`, `memlint fix --unsafe-fixes`, the same again and `memlint check` again, with all
rules. Then what these runs said is compared, and every changed file is looked at without memlint (verify.py beside this
file). pip runs code of a source archive to find out its metadata; nothing else of the packages is run.

The tables go to stdout, --write puts them into docs/corpora.md. A run with --folder can be interrupted: corpora that
have a result there are not run again unless --only names them. Exit status 1: something was wrong.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

from benchmarks.corpora import archives, page
from benchmarks.corpora.trial import Result, trial


def main(arguments: list[str] | None = None) -> int:
    """Run, print, and write what was asked for."""
    arg = parser().parse_args(arguments)
    with tempfile.TemporaryDirectory() as scratch:
        folder = (arg.folder or Path(scratch)).resolve()
        results = folders(arg.path, folder, arg.jobs) if arg.path else packages(arg.only, folder, arg.jobs)
        done = []
        for result in results:
            done.append(result)
            print(
                f"{result.title}: {result.files} files, {len(result.wrong)} things wrong", file=sys.stderr, flush=True
            )
    print(page.summary(done))
    if arg.write:
        page.write(page.summary(done))
    return int(any(result.wrong for result in done))


def parser() -> argparse.ArgumentParser:
    """The command line."""
    ask = argparse.ArgumentParser(
        prog="python -m benchmarks.corpora",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    ask.add_argument("--folder", type=Path, help="where downloads, copies and results are kept (default: nowhere)")
    ask.add_argument("--jobs", type=int, default=2, help="how many processes memlint may use (default: 2)")
    what = ask.add_mutually_exclusive_group()
    names = [corpus.name for corpus in archives.corpora()]
    what.add_argument("--only", nargs="+", default=[], choices=names, metavar="NAME", help=", ".join(names))
    what.add_argument("--path", nargs="+", type=Path, default=[], help="these folders instead; they are copied")
    ask.add_argument("--write", action="store_true", help="write the tables into docs/corpora.md")
    return ask


def packages(only: Iterable[str], folder: Path, jobs: int) -> Iterator[Result]:
    """The result of every corpus, those that are known already read from the folder."""
    kept = folder / "results"
    kept.mkdir(parents=True, exist_ok=True)
    for corpus in archives.corpora():
        file = kept / f"{corpus.name}.json"
        if corpus.name in only or not (only or file.is_file()):
            found = archives.files(corpus, folder / "downloads")
            result = _tried(corpus.title, corpus.origin, found, folder / "work" / corpus.name, jobs)
            file.write_text(result.to_json(), encoding="utf-8")
            yield result
        elif file.is_file():
            yield Result.from_json(file.read_text(encoding="utf-8"))


def folders(paths: Iterable[Path], folder: Path, jobs: int) -> Iterator[Result]:
    """The result of each of these folders."""
    for path in paths:
        yield _tried(path.name, "folder", archives.tree(path), folder / "work" / path.name, jobs)


def _tried(title: str, origin: str, found: Iterator[tuple[str, bytes]], work: Path, jobs: int) -> Result:
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    return trial(title, origin, work, archives.lay_out(found, work), jobs)


if __name__ == "__main__":
    sys.exit(main())
