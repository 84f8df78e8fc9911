"""The shim's probes: what they read, that they start nothing up, and that a log line costs nothing where it is off."""

from __future__ import annotations

import ctypes
import gc
import logging
import math
import mmap
import sys
import types
import weakref
from typing import Any

import pytest

from memlint import runtime
from memlint.runtime import MemoryState, log_memory_state, log_performance, memory_state, synchronize
from tests.support.libraries import GB, Gpus, Mlx, Mps, Tensor, install, uninstall

MB = 1_000_000


@pytest.fixture
def nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    uninstall(monkeypatch)


class TestMemoryState:
    def test_plain_python_has_only_its_resident_size(self, nothing: None) -> None:
        state = memory_state()
        assert state[:3] == (0, 0, 0)
        assert state.rss > 0
        assert "torch" not in sys.modules

    def test_gpus_add_up(self, monkeypatch: pytest.MonkeyPatch) -> None:
        install(monkeypatch, cuda=Gpus((5 * GB, 2 * GB), (7 * GB, 3 * GB)), xpu=Gpus((GB, GB)))
        state = memory_state()
        assert state[:3] == (6 * GB, 13 * GB, 6 * GB + 3)

    def test_devices_that_are_not_in_use_are_not_started(self, monkeypatch: pytest.MonkeyPatch) -> None:
        unused = Gpus((GB, GB), initialized=False)  # fails when it is asked
        install(monkeypatch, cuda=unused, xpu=unused)
        assert memory_state()[:3] == (0, 0, 0)

    def test_apple_silicon_records_no_peak(self, monkeypatch: pytest.MonkeyPatch) -> None:
        install(monkeypatch, mps=Mps(3 * GB, 2 * GB))
        assert memory_state()[:3] == (2 * GB, 3 * GB, 0)

    @pytest.mark.parametrize("where", ["mlx.core", "mlx.core.metal"])
    def test_mlx_reserves_what_is_active_and_what_is_cached(self, monkeypatch: pytest.MonkeyPatch, where: str) -> None:
        mlx = Mlx(2 * GB, GB)
        install(monkeypatch, mlx=mlx if where == "mlx.core" else types.SimpleNamespace(metal=mlx))
        assert memory_state()[:3] == (2 * GB, 3 * GB, 2 * GB + 1)

    def test_nothing_is_waited_for(self, monkeypatch: pytest.MonkeyPatch) -> None:
        cuda, mps, mlx = Gpus((GB, GB)), Mps(GB, GB), Mlx(GB, GB)
        install(monkeypatch, cuda=cuda, mps=mps, mlx=mlx)
        memory_state()
        assert (cuda.waited_for, mps.waited, mlx.waited, mlx.evaluated) == ([], 0, 0, [])

    def test_a_release_that_lacks_a_function_counts_nothing_for_it(self, monkeypatch: pytest.MonkeyPatch) -> None:
        old = types.SimpleNamespace(is_initialized=lambda: True, device_count=lambda: 1, memory_allocated=lambda i: 7)
        install(monkeypatch, xpu=old)
        assert memory_state()[:3] == (7, 0, 0)

    def test_a_library_that_is_just_being_imported(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "torch", types.ModuleType("torch"))
        monkeypatch.setitem(sys.modules, "mlx.core", types.ModuleType("mlx.core"))
        assert memory_state()[:3] == (0, 0, 0)

    @pytest.mark.needs_torch
    def test_with_the_real_torch(self) -> None:
        import torch

        assert memory_state().rss > 0
        assert not torch.cuda.is_initialized()

    def test_with_the_real_mlx(self) -> None:
        mx = pytest.importorskip("mlx.core")
        before = memory_state()
        kept = mx.zeros((1_000_000,))
        mx.eval(kept)
        after = memory_state()
        assert after.allocated - before.allocated == kept.nbytes
        assert after.reserved >= after.allocated
        assert after.peak >= after.allocated


class TestResidentSize:
    @pytest.mark.skipif(sys.platform != "linux", reason="counted by Linux")
    def test_it_follows_what_the_process_touches(self) -> None:
        gc.collect()
        before = memory_state().rss
        with mmap.mmap(-1, 200 * MB) as kept:  # straight from the system: an allocator may have as much to spare
            for start in range(0, len(kept), 4096):
                kept[start] = 1
            assert 190 * MB <= memory_state().rss - before <= 300 * MB

    def test_macos(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def proc_pid_rusage(pid: int, flavor: int, words: Any) -> int:
            assert flavor == 0
            words[:] = range(100, 112)
            return int(pid < 0)

        monkeypatch.setattr(sys, "platform", "darwin")
        monkeypatch.setattr(ctypes.pythonapi, "proc_pid_rusage", proc_pid_rusage, raising=False)
        assert memory_state().rss == 108

    @pytest.mark.parametrize(("answer", "expected"), [(1, 4_000_000_123), (0, 0)])
    def test_windows(self, monkeypatch: pytest.MonkeyPatch, answer: int, expected: int) -> None:
        class Counters(ctypes.Structure):  # PROCESS_MEMORY_COUNTERS, as psapi.h writes it
            _fields_ = (
                ("cb", ctypes.c_uint32),
                ("PageFaultCount", ctypes.c_uint32),
                ("PeakWorkingSetSize", ctypes.c_size_t),
                ("WorkingSetSize", ctypes.c_size_t),
                *((f"after_{i}", ctypes.c_size_t) for i in range(6)),
            )

        def ask(process: Any, buffer: Any, size: int) -> int:
            assert process.value == ctypes.c_void_p(-1).value
            assert size == ctypes.sizeof(Counters)
            counters = Counters.from_buffer(buffer)
            assert counters.cb == size
            counters.WorkingSetSize = 4_000_000_123
            return answer

        kernel = types.SimpleNamespace(K32GetProcessMemoryInfo=ask)
        monkeypatch.setattr(sys, "platform", "win32")
        monkeypatch.setattr(ctypes, "windll", types.SimpleNamespace(kernel32=kernel), raising=False)
        assert memory_state().rss == expected

    @pytest.mark.parametrize("platform", ["win32", "darwin", "haiku"])
    def test_a_system_that_does_not_tell(self, monkeypatch: pytest.MonkeyPatch, platform: str) -> None:
        monkeypatch.setattr(sys, "platform", platform)
        monkeypatch.setattr("builtins.open", lambda *_: (_ for _ in ()).throw(FileNotFoundError()))
        assert memory_state().rss == 0


class TestSynchronize:
    def test_without_an_accelerator_it_returns(self, nothing: None) -> None:
        synchronize()
        synchronize(1, None, [object()])

    def test_the_current_device_and_those_that_hold_memory(self, monkeypatch: pytest.MonkeyPatch) -> None:
        cuda, xpu, mps = Gpus((0, 0), (0, 0), (GB, 0), (0, 0)), Gpus((0, 0)), Mps(0, 0)
        install(monkeypatch, cuda=cuda, xpu=xpu, mps=mps)
        synchronize()
        assert (cuda.waited_for, xpu.waited_for, mps.waited) == ([0, 2], [0], 1)

    def test_the_devices_of_the_values(self, monkeypatch: pytest.MonkeyPatch) -> None:
        cuda, xpu = Gpus((0, 0), (0, 0), (0, 0)), Gpus((0, 0), (0, 0), (0, 0))
        install(monkeypatch, cuda=cuda, xpu=xpu)
        synchronize(Tensor("cuda", 2), Tensor("xpu", 1), Tensor("cpu", None), "text")
        assert (cuda.waited_for, xpu.waited_for) == ([0, 2], [0, 1])

    def test_devices_that_are_not_in_use_are_not_started(self, monkeypatch: pytest.MonkeyPatch) -> None:
        install(monkeypatch, cuda=Gpus((GB, GB), initialized=False))
        synchronize()

    def test_an_error_of_an_earlier_operation_is_raised(self, monkeypatch: pytest.MonkeyPatch) -> None:
        class Broken(Gpus):
            def synchronize(self, index: int) -> None:
                raise RuntimeError("illegal memory access")

        install(monkeypatch, cuda=Broken((GB, GB)))
        with pytest.raises(RuntimeError, match="illegal memory access"):
            synchronize()

    def test_mlx_evaluates_the_values_and_waits(self, monkeypatch: pytest.MonkeyPatch) -> None:
        mlx = Mlx(0, 0)
        install(monkeypatch, mlx=mlx)
        synchronize("a", ["b"])
        assert mlx.evaluated == [("a", ["b"])]
        assert mlx.waited == 1

    def test_an_mlx_that_has_no_synchronize(self, monkeypatch: pytest.MonkeyPatch) -> None:
        evaluated: list[Any] = []
        install(monkeypatch, mlx=types.SimpleNamespace(eval=evaluated.append))
        synchronize("a")
        assert evaluated == [("a",)]

    def test_with_the_real_mlx(self) -> None:
        mx = pytest.importorskip("mlx.core")
        mx.clear_cache()
        source = mx.zeros((100_000,))
        mx.eval(source)
        lazy = source + 1
        before = mx.get_active_memory()
        assert before < 2 * source.nbytes, "nothing is computed yet"
        synchronize({"loss": [(lazy,)]}, 3, "text", object(), None)
        assert mx.get_active_memory() - before >= lazy.nbytes - 100
        synchronize()

    @pytest.mark.needs_torch
    def test_with_the_real_torch(self) -> None:
        import torch

        synchronize(torch.ones(2), [torch.ones(2)])
        assert not torch.cuda.is_initialized()


class TestLogMemoryState:
    def test_one_line_from_the_place_that_calls(
        self, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        monkeypatch.setattr(runtime, "memory_state", lambda: MemoryState(1_200_000, 3_400_000, 5_600_000, 7_800_000))
        with caplog.at_level(logging.DEBUG, "memlint.runtime"):
            log_memory_state("train_step 100 %s")
        (record,) = caplog.records
        assert record.getMessage() == (
            "train_step 100 %s: 1.2 MB allocated, 3.4 MB reserved, 5.6 MB peak, 7.8 MB resident"
        )
        assert (record.levelno, record.name) == (logging.DEBUG, "memlint.runtime")
        assert record.funcName == "test_one_line_from_the_place_that_calls"

    def test_where_the_level_is_off_nothing_is_read(
        self, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        monkeypatch.setattr(runtime, "memory_state", lambda: pytest.fail("read"))
        with caplog.at_level(logging.INFO, "memlint.runtime"):
            log_memory_state("step")
        assert not caplog.records

    def test_logger_and_level(self, caplog: pytest.LogCaptureFixture, nothing: None) -> None:
        log_memory_state("step", logger=logging.getLogger("trainer"), level=logging.WARNING)
        (record,) = caplog.records
        assert (record.levelno, record.name) == (logging.WARNING, "trainer")

    def test_in_a_finally_it_does_not_hide_the_error_that_matters(
        self, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        def lost() -> MemoryState:
            raise RuntimeError("device lost")

        def step() -> None:
            try:
                raise MemoryError("out of memory")
            finally:
                log_memory_state("step")

        monkeypatch.setattr(runtime, "memory_state", lost)
        with caplog.at_level(logging.DEBUG, "memlint.runtime"), pytest.raises(MemoryError):
            step()
        assert "step: the memory can't be read" in caplog.text
        assert "device lost" in caplog.text


class Counted:
    def __init__(self) -> None:
        self.formatted = 0

    def __str__(self) -> str:
        self.formatted += 1
        return "0.5"


class TestLogPerformance:
    def test_one_line(self, caplog: pytest.LogCaptureFixture) -> None:
        with caplog.at_level(logging.DEBUG, "memlint.runtime"):
            log_performance("forward", 0.0123456, {"loss": Counted(), "50%": "%d"})
            log_performance("backward", 2)
        assert [record.getMessage() for record in caplog.records] == [
            "forward: 12.346 ms, loss=0.5, 50%=%d", "backward: 2000.000 ms",
        ]  # fmt: skip
        assert {record.funcName for record in caplog.records} == {"test_one_line"}

    def test_where_the_level_is_off_nothing_is_formatted(self, caplog: pytest.LogCaptureFixture) -> None:
        value = Counted()
        with caplog.at_level(logging.INFO, "memlint.runtime"):
            log_performance("forward", math.nan, {"loss": value})
            assert value.formatted == 0
            log_performance("forward", 1.0, {"loss": value}, level=logging.INFO)
        assert value.formatted == 1
        assert len(caplog.records) == 1

    def test_a_kept_record_keeps_no_value(self, caplog: pytest.LogCaptureFixture) -> None:
        value = Counted()
        watched = weakref.ref(value)
        with caplog.at_level(logging.DEBUG, "memlint.runtime"):
            log_performance("forward", 1.0, {"loss": value})
        del value
        gc.collect()
        assert len(caplog.records) == 1
        assert watched() is None
