"""The shim as one file: it can be copied, and imports nothing before it is called."""

from __future__ import annotations

import ast
import inspect
import shutil
import subprocess
import sys
from pathlib import Path

from memlint import runtime


class TestTheFile:
    SOURCE = Path(runtime.__file__)

    def run_copy(self, folder: Path, code: str, *flags: str) -> str:
        shutil.copy(self.SOURCE, folder / "borrowed_name.py")
        start = f"import sys; sys.path.insert(0, {str(folder)!r}); import borrowed_name as shim\n"
        command = [sys.executable, "-I", *flags, "-c", start + code]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def test_a_copy_works_where_torch_is_not_installed(self, tmp_path: Path) -> None:
        # -S: no site-packages, so nothing but the standard library can be imported.
        code = """
try:
    import torch
except ModuleNotFoundError:
    kept = [1, 2]
    shim.append_bounded(kept, 3, limit=2)
    print(kept, shim.subsample(range(9), limit=3), shim.to_cpu({"a": [1, (2,)]}), shim.detach((1, "x")))

    guard, monitor, policy = shim.MemoryGuard(0.001), shim.LeakMonitor(), shim.ReloadPolicy(interval_steps=2)
    due, cleanup, budget = shim.every(2), shim.Cleanup(every=1), shim.SpawnBudget(3)
    with shim.BufferedWriter("lines.txt") as writer:
        for step in range(4):
            shim.log_memory_state("step")
            shim.log_performance("step", 0.1)
            shim.synchronize()
            told = due(), policy.due(step, 0), cleanup.step(), guard.ok(), budget.allow(step, 9), monitor.step()
            writer.write(repr(told))
    print(open("lines.txt").read(), end="")
    state = shim.memory_state()
    print(state[:3], state.rss >= 0)
    slot = {"model": 1}
    shim.release(slot, "model")
    try:
        shim.check_config({"width": 1}, {"width": 2}, ["width"])
    except shim.ConfigMismatch as error:
        print(slot, error.differences)
"""
        room = sys.platform not in ("linux", "darwin", "win32")  # elsewhere the resident size is not known
        assert self.run_copy(tmp_path, code, "-S") == (
            "[2, 3] [0, 4, 8] {'a': [1, (2,)]} (1, 'x')\n"
            f"(True, False, False, {room}, 3, 0.0)\n"
            f"(False, False, False, {room}, 2, 0.0)\n"
            f"(True, True, False, {room}, 1, 0.0)\n"
            f"(False, False, False, {room}, 0, 0.0)\n"
            "(0, 0, 0) True\n"
            "{'model': None} ('width: saved 1, current 2',)\n"
        )

    def test_import_loads_neither_torch_nor_mlx_nor_memlint(self, tmp_path: Path) -> None:
        code = "print([name for name in ('torch', 'mlx', 'numpy', 'memlint') if name in sys.modules])"
        assert self.run_copy(tmp_path, code) == "[]\n"

    def test_imports_only_the_standard_library_at_the_top(self) -> None:
        tree = ast.parse(self.SOURCE.read_text(encoding="utf-8"))
        names = {alias.name for node in tree.body if isinstance(node, ast.Import) for alias in node.names}
        names |= {str(node.module) for node in tree.body if isinstance(node, ast.ImportFrom)}
        assert names
        assert {name.partition(".")[0] for name in names} <= sys.stdlib_module_names | {"__future__"}

    def test_everything_public_is_exported_and_documented(self) -> None:
        public = {
            name
            for name, value in vars(runtime).items()
            if (inspect.isfunction(value) or inspect.isclass(value)) and value.__module__ == runtime.__name__
            if not name.startswith("_")
        }
        assert public == set(runtime.__all__)
        assert all(getattr(runtime, name).__doc__ for name in public)
