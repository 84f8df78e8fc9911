"""The shim's `BufferedWriter`: what it took is in the file, whatever comes between, and it keeps nothing for ever."""

from __future__ import annotations

import errno
import gc
import json
import os
import pickle
import signal
import subprocess
import sys
import threading
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from memlint import runtime
from memlint.runtime import BufferedWriter


class Disk:
    """Stands for `open`: files that take `room` bytes more, at most `bite` at a time, and then are full."""

    def __init__(self) -> None:
        self.room: float = float("inf")
        self.bite: float = float("inf")
        self.opened = 0

    def __call__(self, path: str, mode: str, **options: Any) -> Any:
        self.opened += 1
        return _File(self, open(path, mode, **options))


class _File:
    def __init__(self, disk: Disk, file: Any) -> None:
        self.disk, self.file = disk, file

    def write(self, data: Any) -> int:
        if self.disk.room <= 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        size = int(min(len(data), self.disk.room, self.disk.bite))
        self.disk.room -= size
        return int(self.file.write(data[:size]))

    def __enter__(self) -> _File:
        return self

    def __exit__(self, *exception: object) -> None:
        self.file.close()


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Iterator[Disk]:
    stand_in = Disk()
    with monkeypatch.context() as patch:
        patch.setattr(runtime, "open", stand_in, raising=False)
        yield stand_in


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "log.txt"


def lines(path: Path) -> list[str]:
    return path.read_bytes().decode().split("\n")[:-1]


class TestWriting:
    def test_appends_what_it_was_given(self, path: Path) -> None:
        path.write_text("before\n")
        with BufferedWriter(path) as writer:
            writer.write("one")
            writer.write("two\n")
            writer.write("")
            writer.write("three\nfour")
            assert lines(path) == ["before"], "nothing was due"
        assert lines(path) == ["before", "one", "two", "", "three", "four"]

    def test_utf_8_and_the_same_newline_everywhere(self, path: Path) -> None:
        with BufferedWriter(str(path)) as writer:
            writer.write("żółw 🐢")
            writer.write("ends\r\n")
        assert path.read_bytes() == "żółw 🐢\nends\r\n".encode()

    @pytest.mark.parametrize(
        ("flush_every", "max_pending", "expected"), [(3, 100, [0, 0, 3, 3, 3, 6]), (100, 2, [0, 2, 2, 4, 4, 6])]
    )
    def test_flushes_on_count(self, path: Path, flush_every: int, max_pending: int, expected: list[int]) -> None:
        writer = BufferedWriter(path, flush_every=flush_every, max_pending=max_pending)
        written = []
        for number in range(6):
            writer.write(str(number))
            written.append(len(lines(path)))
        assert written == expected
        writer.close()

    def test_flushes_a_few_long_lines(self, path: Path) -> None:
        writer = BufferedWriter(path)
        for _ in range(4):
            writer.write("x" * (1 << 18))
        assert path.stat().st_size == 4 * ((1 << 18) + 1), "a mebibyte does not wait for the hundredth line"
        writer.write("y")
        assert len(lines(path)) == 4
        writer.close()

    @given(
        actions=st.lists(st.one_of(st.just("flush"), st.just("again"), st.text(st.characters(codec="utf-8")))),
        flush_every=st.integers(1, 5),
        max_pending=st.integers(1, 5),
    )
    def test_no_order_of_calls_loses_a_line(
        self, tmp_path_factory: pytest.TempPathFactory, actions: list[str], flush_every: int, max_pending: int
    ) -> None:
        path = tmp_path_factory.mktemp("any") / "log"
        writer = BufferedWriter(path, flush_every=flush_every, max_pending=max_pending)
        expected = ""
        for action in actions:
            if action == "flush":
                writer.flush()
                assert path.read_bytes() == expected.encode()
            elif action == "again":
                writer.close()
                writer = BufferedWriter(path, flush_every=flush_every, max_pending=max_pending)
            else:
                writer.write(action)
                expected += action if action.endswith("\n") else action + "\n"
        writer.close()
        assert path.read_bytes() == expected.encode()

    def test_the_file_may_be_moved_and_the_folder_changed(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(path.parent)
        writer = BufferedWriter(path.name, flush_every=1)
        writer.write("one")
        path.rename(path.with_name("log.1"))
        monkeypatch.chdir("/")
        writer.write("two")
        writer.close()
        assert lines(path.with_name("log.1")) == ["one"]
        assert lines(path) == ["two"]

    @pytest.mark.parametrize("line", [b"bytes", 3, None])
    def test_only_text(self, path: Path, line: Any) -> None:
        with BufferedWriter(path) as writer, pytest.raises(TypeError):
            writer.write(line)
        assert lines(path) == []

    def test_half_a_surrogate_pair_is_refused_and_the_rest_stays(self, path: Path) -> None:
        with BufferedWriter(path) as writer:
            writer.write("one")
            with pytest.raises(UnicodeEncodeError):
                writer.write("\ud800")
            writer.write("two")
        assert lines(path) == ["one", "two"]

    def test_a_path_that_cannot_be_opened_is_an_error_before_the_loop(self, tmp_path: Path) -> None:
        with pytest.raises(FileNotFoundError):
            BufferedWriter(tmp_path / "no" / "log")

    @pytest.mark.parametrize(
        ("wrong", "error"),
        [({"flush_every": 0}, ValueError), ({"max_pending": 0}, ValueError), ({"flush_every": 1.5}, TypeError)],
    )
    def test_bad_numbers(self, path: Path, wrong: dict[str, Any], error: type[Exception]) -> None:
        with pytest.raises(error):
            BufferedWriter(path, **wrong)
        assert not path.exists()


class TestClosing:
    def test_the_loop_raises(self, path: Path) -> None:
        def run() -> None:
            with BufferedWriter(path) as writer:
                for step in range(10):
                    writer.write(str(step))
                    if step == 3:
                        raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            run()
        assert lines(path) == ["0", "1", "2", "3"]

    def test_twice_and_nothing_after(self, path: Path) -> None:
        writer = BufferedWriter(path)
        writer.write("one")
        writer.close()
        writer.close()
        writer.flush()
        with pytest.raises(ValueError, match="closed"):
            writer.write("two")
        assert lines(path) == ["one"]

    def test_forgotten_without_a_close(self, path: Path) -> None:
        writer = BufferedWriter(path)
        writer.write("one")
        watched = weakref.ref(writer)
        del writer
        gc.collect()
        assert watched() is None, "nothing keeps it alive until the end of the process"
        assert lines(path) == ["one"]

    def test_a_closed_one_leaves_nothing_behind(self, path: Path) -> None:
        before = len(weakref.finalize._registry)  # type: ignore[attr-defined]
        for _ in range(50):
            BufferedWriter(path).close()
        gc.collect()
        assert len(weakref.finalize._registry) == before  # type: ignore[attr-defined]

    def test_open_until_the_interpreter_exits(self, path: Path) -> None:
        code = (
            "import sys; from memlint.runtime import BufferedWriter\n"
            "writer = BufferedWriter(sys.argv[1])\n"
            "writer.write('one')\n"
            "def work():\n"
            "    writer.write('two')\n"
            "    raise RuntimeError('the loop')\n"
            "work()\n"
        )
        root = Path(runtime.__file__).parents[1]
        done = subprocess.run(
            [sys.executable, "-c", code, str(path)], cwd=root, capture_output=True, text=True, check=False
        )
        assert done.returncode == 1
        assert done.stderr.endswith("RuntimeError: the loop\n")
        assert lines(path) == ["one", "two"]


class TestAFullDisk:
    def test_the_lines_wait_and_the_next_flush_goes_on(self, path: Path, disk: Disk) -> None:
        writer = BufferedWriter(path)
        for number in range(10):
            writer.write(f"line {number}")
        disk.room = 25  # in the middle of the fourth line
        with pytest.raises(OSError, match="No space"):
            writer.flush()
        assert path.stat().st_size == 25
        with pytest.raises(OSError, match="No space"):
            writer.flush()
        disk.room = float("inf")
        writer.write("line 10")
        writer.flush()
        assert lines(path) == [f"line {number}" for number in range(11)]
        writer.close()

    def test_the_write_that_was_due_raises_and_its_line_is_kept(self, path: Path, disk: Disk) -> None:
        writer = BufferedWriter(path, flush_every=2)
        disk.room = 0
        writer.write("one")
        for line in ("two", "three"):
            with pytest.raises(OSError, match="No space"):
                writer.write(line)
        disk.room = float("inf")
        writer.write("four")
        assert lines(path) == ["one", "two", "three", "four"]
        writer.close()

    def test_at_the_most_lines_one_more_is_refused(self, path: Path, disk: Disk) -> None:
        writer = BufferedWriter(path, flush_every=2, max_pending=5)
        disk.room = 0
        for number in range(50):
            try:
                writer.write(str(number))
            except OSError:
                assert number > 0
        disk.room = float("inf")
        writer.write("end")
        writer.close()
        assert lines(path) == ["0", "1", "2", "3", "4", "end"]

    def test_close_may_be_tried_again(self, path: Path, disk: Disk) -> None:
        writer = BufferedWriter(path)
        writer.write("one")
        disk.room = 2
        with pytest.raises(OSError, match="No space"):
            writer.close()
        disk.room = float("inf")
        writer.close()
        assert lines(path) == ["one"]

    def test_the_error_of_the_loop_is_not_forgotten(self, path: Path, disk: Disk) -> None:
        def run() -> None:
            with BufferedWriter(path) as writer:
                writer.write("one")
                disk.room = 0
                raise ZeroDivisionError

        with pytest.raises(OSError, match="No space") as caught:
            run()
        assert isinstance(caught.value.__context__, ZeroDivisionError)
        disk.room = float("inf")
        del caught
        gc.collect()
        assert lines(path) == ["one"], "and the writer, forgotten, tries once more"

    @given(
        moves=st.lists(st.one_of(st.text("ab\n", max_size=5), st.integers(0, 12), st.just("flush")), max_size=40),
        flush_every=st.integers(1, 4),
        bite=st.integers(1, 9),
    )
    def test_whatever_fails_each_line_that_was_taken_is_there_once(
        self, tmp_path_factory: pytest.TempPathFactory, moves: list[Any], flush_every: int, bite: int
    ) -> None:
        path, disk, expected = tmp_path_factory.mktemp("any") / "log", Disk(), ""
        writer = BufferedWriter(path, flush_every=flush_every)
        disk.bite = bite
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(runtime, "open", disk, raising=False)
            for move in moves:
                if isinstance(move, int):
                    disk.room = move
                    continue
                try:
                    if move == "flush":
                        writer.flush()
                    else:
                        expected += move if move.endswith("\n") else move + "\n"
                        writer.write(move)
                except OSError:
                    assert disk.room == 0
                assert expected.encode().startswith(path.read_bytes())
            disk.room = float("inf")
            writer.close()
        assert path.read_bytes() == expected.encode()


class TestTogether:
    def test_threads_lose_nothing_and_tear_no_line(self, path: Path) -> None:
        writer = BufferedWriter(path, flush_every=7)

        def work(name: int) -> None:
            for number in range(300):
                writer.write(json.dumps([name, number]))
                if number % 50 == 0:
                    writer.flush()

        threads = [threading.Thread(target=work, args=(name,)) for name in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        writer.close()
        found = [json.loads(line) for line in lines(path)]
        for name in range(8):
            assert [number for who, number in found if who == name] == list(range(300))

    @pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="no such signal")
    def test_a_signal_handler_that_writes_and_flushes(self, path: Path) -> None:
        writer = BufferedWriter(path, flush_every=3)
        seen = 0

        def handle(*_: object) -> None:
            nonlocal seen
            writer.write(f"signal {seen}")
            seen += 1
            writer.flush()
            signal.setitimer(signal.ITIMER_REAL, 0.0002)  # the next one, so that they don't interrupt each other

        before = signal.signal(signal.SIGALRM, handle)
        try:
            signal.setitimer(signal.ITIMER_REAL, 0.0002)
            count = 0
            while seen < 100:
                writer.write(f"loop {count}")
                count += 1
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)
        writer.close()
        found = lines(path)
        assert [line for line in found if line.startswith("loop")] == [f"loop {number}" for number in range(count)]
        assert [line for line in found if line.startswith("signal")] == [f"signal {number}" for number in range(seen)]
        assert len(found) == count + seen

    @pytest.mark.parametrize("again", [lambda writer: pickle.loads(pickle.dumps(writer))])
    def test_a_copy_is_a_new_writer_of_the_same_file(self, path: Path, again: Callable[[Any], Any]) -> None:
        writer = BufferedWriter(path, flush_every=3, max_pending=5)
        writer.write("one")
        other = again(writer)
        other.write("two")
        assert (other.path, other.flush_every, other.max_pending) == (str(path), 3, 5)
        other.close()
        assert lines(path) == ["two"]
        writer.close()
        assert lines(path) == ["two", "one"]

    @pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
    @pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
    def test_a_forked_process_writes_only_its_own_lines(self, path: Path) -> None:
        code = (
            "import os, sys; from memlint.runtime import BufferedWriter\n"
            "writer = BufferedWriter(sys.argv[1])\n"
            "writer.write('parent 1')\n"
            "child = os.fork()\n"
            "if child == 0:\n"
            "    writer.write('child')\n"
            "    sys.exit()\n"
            "os.waitpid(child, 0)\n"
            "writer.write('parent 2')\n"
        )
        root = Path(runtime.__file__).parents[1]
        subprocess.run([sys.executable, "-c", code, str(path)], cwd=root, check=True)
        assert lines(path) == ["child", "parent 1", "parent 2"]
