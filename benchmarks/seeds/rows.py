"""Every fix that the five documents name, in their order: the rule that stands for it, and how its worth is measured."""

from __future__ import annotations

from dataclasses import dataclass

ATHERIA = "Atheria: memory management"
DISTRUST = "Empirical Distrust: memory leak fixes"
PLAN = "energy_flow: memory plan"
REPORT = "energy_flow: optimisation report"
LIFE = "Life: runtime plan"


@dataclass(frozen=True)
class Row:
    """One fix of a document.

    fix: what its authors did or wanted. rules: those that find the defect; none where it is no matter of code.
    case: the folder of tests/fixtures that shows it, rule and case; by default the first case of the first rule.
    work: the name of a measurement in benchmarks/seeds/work.py, where the fixture's own is not the one asked for.
    instead: what to do instead, where the fix as the document has it helps nothing; or what else is to be said.
    """

    name: str
    document: str
    section: str
    fix: str
    rules: tuple[str, ...] = ()
    case: str = ""
    work: str = ""
    instead: str = ""


ROWS = (
    # -- Atheria -------------------------------------------------------------------------------------------------------
    Row(
        "psi-history", ATHERIA, "Áreas críticas 1; qc_trainer_v4", "keep only the states of `psi_history` that are needed, or a sample",
        ("keep-only-last",), "keep_only_last/state_of_the_last_step", "episode",
    ),
    Row(
        "snapshots", ATHERIA, "Áreas críticas 2; Backend 2; pipeline_server", "move snapshots to the CPU before they are stored",
        ("snapshots-to-cpu",), "snapshots_to_cpu/trajectory_on_the_accelerator",
    ),
    Row(
        "frontend-state", ATHERIA, "Áreas críticas 3; Frontend 1-3; WebSocketContext", "limit `simData` and the logs, rotate the oldest out",
        ("bound-history",), "bound_history/module_log",
        instead="The front end is React; the same defect in Python is found and bounded.",
    ),
    Row(
        "motor", ATHERIA, "Áreas críticas 4; Backend 1; pipeline_server", "release the old engine before another one is loaded",
        ("release-before-reload",), "release_before_reload/handler_of_a_server",
    ),
    Row(
        "convlstm", ATHERIA, "Áreas críticas 5; Notas", "reset the ConvLSTM's `h_state` and `c_state`",
        ("detach-recurrent-state",), "detach_recurrent_state/loop_over_an_lstm",
    ),
    Row(
        "simulation-history", ATHERIA, "Áreas críticas 6", "frames are bounded and sampled already",
        ("bound-history",), "bound_history/history_of_the_base_class", "sampled",
        instead="A history that something trims is left alone; `subsample` keeps an even sample.",
    ),
    Row(
        "free-before-backward", ATHERIA, "Backend 3; qc_trainer_v4", "`del psi_history` once the loss is computed",
        ("release-the-owner",), "release_the_owner/history_before_backward", "del_before_backward",
        instead="The graph holds the states until backward has run: keep fewer of them (`keep-only-last`), or delete after backward.",
    ),
    Row(
        "collect-garbage", ATHERIA, "Backend 4; qc_trainer_v4", "`gc.collect()` in each episode",
        ("rate-limit-cleanup",), "rate_limit_cleanup/end_of_each_step", "collect_each_step",
        instead="What is held is not garbage. `Cleanup(prune=gc.collect)` collects on every tenth step.",
    ),
    Row(
        "destructors", ATHERIA, "C++ Engine 1-2", "destructors that release, smart pointers",
        ("break-cycles",), "break_cycles/handlers_of_an_environment",
        instead="The engine is C++; in Python it is the object that holds itself and is freed late.",
    ),
    Row(
        "no-grad", ATHERIA, "Notas de implementación", "`torch.no_grad()` wherever possible",
        ("no-grad-inference",), "no_grad_inference/predict_numpy",
    ),
    Row(
        "old-snapshots", ATHERIA, "pipeline_server", "let old snapshots go when there are more than 500",
        ("bound-history",), "bound_history/trajectory_of_a_simulation",
    ),
    Row(
        "areas-to-watch", ATHERIA, "Áreas para monitoreo 1-4", "watch the memory of long simulations",
        ("log-memory-state", "monitor-leaks"), "", "slow_leak",
    ),
    # -- Empirical Distrust --------------------------------------------------------------------------------------------
    Row(
        "sleep", DISTRUST, "1", "evaluate and synchronise instead of sleeping",
        ("synchronize-not-sleep",), "synchronize_not_sleep/before_a_memory_probe", "sleep_each_step",
    ),
    Row(
        "reload-without-checkpoints", DISTRUST, "2", "no reload where checkpoints are off",
        ("reload-saved-only",), "reload_saved_only/manager_may_be_missing", "reload_what_was_saved",
    ),
    Row(
        "clear-before-gradient", DISTRUST, "3", "clear MLX's cache before each gradient",
        ("rate-limit-cleanup",), "rate_limit_cleanup/mlx_each_step", "clear_each_step",
        instead="The next step asks for the same buffers again. `mx.set_cache_limit` bounds the cache, `Cleanup` empties it when it is large.",
    ),
    Row(
        "clear-after-gradient", DISTRUST, "4", "clear MLX's cache after the gradients are dropped",
        ("rate-limit-cleanup",), "rate_limit_cleanup/mlx_each_step", "clear_each_step",
        instead="As above. Dropped arrays are free as soon as nothing refers to them; evaluate what is accumulated (`detach-kept-tensors`).",
    ),
    Row(
        "leak-monitor", DISTRUST, "5", "measure the growth of each step",
        ("monitor-leaks",), "", "slow_leak",
        instead="Two probes next to each other differ by 0. `LeakMonitor` takes one at the same place of each step.",
    ),
    Row(
        "emergency-reload", DISTRUST, "5", "reload from an emergency checkpoint above a threshold",
        ("reload-saved-only",), "reload_saved_only/emergency_under_another_name", "emergencies",
        instead="The emergency file was never written under that name, and the reload fired again in each step. `LeakMonitor` calls once and rests.",
    ),
    Row(
        "threshold", DISTRUST, "6", "reload at an interval or above a threshold",
        ("independent-thresholds",), "independent_thresholds/names_across_statements", "threshold_between_intervals",
    ),
    Row(
        "clear-interval", DISTRUST, "Cache clearing frequency", "clear the cache every N steps",
        ("rate-limit-cleanup",), "rate_limit_cleanup/interval_or_threshold", "allocated_threshold",
    ),
    Row(
        "memory-budget", DISTRUST, "Future improvements 1-4", "enforce a memory budget; adapt thresholds",
        ("monitor-leaks",), "", "slow_leak",
        instead="`MemoryGuard(limit_gb).ok(needed)` asks before a large allocation.",
    ),
    # -- energy_flow, the plan -----------------------------------------------------------------------------------------
    Row(
        "no-spawn", PLAN, "1", "`movement_based_spawn=False`, `max_spawn_per_step=0`",
        ("hold-config-limits",), "hold_config_limits/preset_and_validator",
        instead="The validator forbade the 0: literal and assert are edited together or not at all.",
    ),
    Row(
        "max-active", PLAN, "1", "`max_active_flows=50000`",
        ("hold-config-limits", "cap-spawn"), "hold_config_limits/default_above_the_limit", "population",
    ),
    Row(
        "log-memory", PLAN, "2", "`log_memory_state` and `log_performance` at the ends of the train step",
        ("log-memory-state",), "", "slow_leak",
    ),
    Row(
        "reflection", PLAN, "1 and 3", "switch the reflection at the borders on",
        ("test-before-clamp",), "test_before_clamp/walls_that_never_reflect", "reflection",
        instead="It was on and could not be reached: the value had been clamped before the test.",
    ),
    Row(
        "reflection-flag", PLAN, "3", "reflection only where the flag is on",
        ("negate-flags-with-not",), "",
    ),
    Row("position-history", PLAN, "3", "update `position_history`", ("use-or-drop-state",)),
    Row(
        "warn-before-cap", PLAN, "4", "warn when the active flows come near the cap",
        ("cap-spawn",), "cap_spawn/cut_without_a_warning", "warning",
    ),
    Row(
        "flow-memory-manager", PLAN, "4; Fallback", "a manager that limits flows and cleans periodically, as an option",
        ("bound-history", "rate-limit-cleanup"), "bound_history/trajectory_of_a_simulation",
        instead="The manager said most recent and kept the oldest. `append_bounded` keeps the newest.",
    ),
    Row(
        "staged-spawn", PLAN, "5", "spawning again in stages, at most 1 or 2 a step",
        ("cap-spawn",), "cap_spawn/cells_that_divide", "population",
    ),
    Row(
        "reserved-threshold", PLAN, "6", "warn and skip optional work where `memory_reserved()` is above a limit",
        ("monitor-leaks",), "", "room",
    ),
    Row(
        "block-spawn", PLAN, "6", "no spawning for a step above 90 % of the cap",
        ("cap-spawn",), "cap_spawn/wanderers_in_a_service", "warning",
    ),
    Row(
        "batch-size", PLAN, "Fallback", "a smaller batch, fewer flows",
        instead="That is a decision on the training, not a defect. `[tool.memlint.limits]` holds what you decide.",
    ),
    Row(
        "rollback", PLAN, "1; Быстрый rollback", "feature flags, a quick way back",
        instead="`unfixable` in the configuration switches off a rule's fix; `memlint fix --diff` prints a patch that git applies and reverts.",
    ),
    Row(
        "old-documents", PLAN, "План по устаревшим документам", "archive outdated documents",
        instead="No matter of code.",
    ),
    # -- energy_flow, the report ---------------------------------------------------------------------------------------
    Row(
        "clamp", REPORT, "1", "clamp the displacement, the sum and the noise",
        ("clamp-coordinates",), "clamp_coordinates/drift_and_noise", "coordinates",
    ),
    Row(
        "batch-create", REPORT, "2", "create 100,000 flows in one call",
        ("batch-tensor-creation",), "", "creation",
    ),
    Row(
        "no-log-per-flow", REPORT, "2", "no log line for each flow, only for the first five",
        ("log-sparsely",), "log_sparsely/for_each_item",
    ),
    Row(
        "read-per-flow", REPORT, "2", "no value read back for each flow",
        ("hoist-item-sync",), "",
        instead="The report's batched version still read one distance for each flow.",
    ),
    Row(
        "rounding", REPORT, "3", "find the nearest lattice position without a loop",
        ("vectorize-rounding",), "vectorize_rounding/rows_by_index", "rounding",
    ),
    Row(
        "rounding-broadcast", REPORT, "3", "subtract every lattice position from every flow",
        ("vectorize-rounding",), "vectorize_rounding/all_rows_at_once", "broadcast",
        instead="That needs batch x lattice x 3 numbers, 57 GB in the report's own preset. `nearest_rows` stays within a budget.",
    ),
    Row(
        "cleanup-safe", REPORT, "4", "clean every 10 steps, and the cache only above 20 GB",
        ("rate-limit-cleanup",), "rate_limit_cleanup/threshold_on_allocated", "allocated_threshold",
        instead="The report compared what is allocated, which emptying does not lower. `Cleanup` looks at what is reserved and not in use.",
    ),
    Row(
        "locals-del", REPORT, "4", "delete large temporaries by name",
        ("release-the-owner",), "release_the_owner/alias_of_an_attribute", "del_alias",
        instead="An alias of something that is held frees nothing: release it where it is held.",
    ),
    Row(
        "position-memory", REPORT, "5", "a layer for the last five positions",
        ("use-or-drop-state",),
        instead="The layer was never called, the history never written: dead weights, and older checkpoints no longer load.",
    ),
    Row(
        "training-speed", REPORT, "Метрики", "50 training steps a second instead of 10",
        ("vectorize-rounding", "hoist-item-sync", "log-sparsely", "batch-tensor-creation"), "", "training_step",
    ),
    Row(
        "drop-branches", REPORT, "Рекомендации 1", "drop the branches of the old architecture",
        instead="No defect of memory or speed.",
    ),
    Row(
        "profile", REPORT, "Рекомендации 2", "profile",
        instead="`log_memory_state` and `log_performance` say it in the run; a profiler says more.",
    ),
    Row(
        "checkpoint", REPORT, "Рекомендации 3", "compare the configuration of a checkpoint",
        ("validate-checkpoint",), "validate_checkpoint/resumed_trainer",
        instead="By default the mismatch was only logged, after all weights were unpickled. `check_config` raises before.",
    ),
    # -- Life ----------------------------------------------------------------------------------------------------------
    Row(
        "measure", LIFE, "Этап 1", "profile under load; measure memory and I/O; a benchmark",
        ("log-memory-state",), "", "ticks",
    ),
    Row("decay", LIFE, "Этап 2.1", "let weights decay in one batch", ("batch-decay",), "", "decay"),
    Row("archive-io", LIFE, "Этап 2.2", "archive without holding up the tick", ("buffer-step-io",)),
    Row("index", LIFE, "Этап 2.3", "an index for the archive", ("index-lookups",), "", "lookup"),
    Row("entries", LIFE, "Этап 2.4", "pool `MemoryEntry` objects", ("slot-records",),
        instead="Pooled objects keep what they held. `__slots__` makes each one small."),
    Row("batch-events", LIFE, "Этап 3.1", "take events in groups", ("drain-queue",), "", "events_left"),
    Row("memoize", LIFE, "Этап 3.2", "remember what was computed", ("cache-serialization",), "", "serialised_once"),
    Row("formats", LIFE, "Этап 3.3", "serialise less", ("cache-serialization",), "", "serialised_once"),
    Row("async-io", LIFE, "Этап 3.4", "write snapshots and logs in the background", ("buffer-step-io",)),
    Row("metrics", LIFE, "Этап 4.1", "metrics in the run", ("log-memory-state",), "", "slow_leak"),
    Row("rare-updates", LIFE, "Этап 4.2", "update what is not critical less often", ("log-sparsely",), "log_sparsely/printed_in_the_loop"),
    Row(
        "garbage", LIFE, "Этап 4.3", "less work for the garbage collector",
        ("rate-limit-cleanup",), "rate_limit_cleanup/step_with_inner_loops", "collect_each_step",
    ),
    Row(
        "ticks", LIFE, "Критерии завершения 1-2", "100 ticks a second with 1,000 records",
        ("buffer-step-io", "index-lookups", "batch-decay", "cache-serialization"), "", "ticks",
    ),
)  # fmt: skip


MISTAKES = (
    ("`del` of an alias as release", "tests/fixtures/release_the_owner/alias_of_an_attribute/before.py"),
    ("freeing between loss and backward", "tests/fixtures/release_the_owner/history_before_backward/before.py"),
    (
        "a threshold on allocated memory that fires in each step",
        "tests/test_runtime_cleanup.py: test_what_tensors_use_does_not_count",
    ),
    (
        "a threshold consulted only at the interval",
        "tests/test_runtime_watching.py: test_the_threshold_is_looked_at_between_the_intervals",
    ),
    ("a reload of what was never saved", "tests/test_runtime_watching.py: test_a_save_that_wrote_nothing_is_not_reloaded"),
    ("two probes side by side", "tests/test_runtime_watching.py: test_the_callback_may_call_step_and_it_is_not_a_second_probe"),
    ("a monitor that keeps everything", "tests/test_runtime_watching.py: test_it_keeps_numbers_of_one_window_only"),
    ("a writer that keeps everything", "tests/test_runtime_writer.py: test_a_closed_one_leaves_nothing_behind"),
    ("a guard lost when a loop is split", "tests/fixtures/batch_tensor_creation/clean/read_while_filled.py"),
    ("stop or flush in a `finally` inside the loop", "tests/test_runtime_writer.py: test_the_loop_raises"),
    ("a constant edited against its own assert", "tests/fixtures/hold_config_limits/preset_and_validator/before.py"),
    (
        "text replacement that reports success where nothing matched",
        "tests/test_repair.py: test_a_fix_that_does_not_help_is_taken_back",
    ),
)  # fmt: skip
"""What the authors of the documents did wrong, and what holds that memlint and its helpers don't: a file, or a test."""
