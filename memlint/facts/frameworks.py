"""What memlint knows of training frameworks, as data: which methods they call per step, and which without gradients.

A method counts only where its class derives from something outside the project. Where that is a framework of this list,
only that framework's methods count; else those that say plainly what they are (`on_train_batch_end`).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple


def names(text: str) -> frozenset[str]:
    """The words of a text."""
    return frozenset(text.split())


class Framework(NamedTuple):
    """The interface of a framework.

    packages: how the dotted paths of its classes begin.
    step: methods that it calls for every batch or environment step. grad_off: those that it calls with gradients off.
    """

    packages: tuple[str, ...]
    step: frozenset[str]
    grad_off: frozenset[str] = frozenset()


_LIGHTNING = Framework(
    ("pytorch_lightning.", "lightning.", "lightning_fabric.", "pl_bolts."),
    names(
        "training_step validation_step test_step predict_step training_step_end validation_step_end test_step_end "
        "on_train_batch_start on_train_batch_end on_validation_batch_start on_validation_batch_end on_test_batch_start "
        "on_test_batch_end on_predict_batch_start on_predict_batch_end on_batch_start on_batch_end on_before_backward "
        "on_after_backward on_before_zero_grad on_before_optimizer_step optimizer_step optimizer_zero_grad "
        "configure_gradient_clipping lr_scheduler_step on_before_batch_transfer on_after_batch_transfer "
        "transfer_batch_to_device"
    ),
    names(
        "validation_step test_step predict_step validation_step_end test_step_end validation_epoch_end test_epoch_end "
        "predict_epoch_end on_validation_batch_start on_validation_batch_end on_test_batch_start on_test_batch_end "
        "on_predict_batch_start on_predict_batch_end on_validation_epoch_start on_validation_epoch_end "
        "on_test_epoch_start on_test_epoch_end on_predict_epoch_start on_predict_epoch_end on_validation_start "
        "on_validation_end on_test_start on_test_end on_predict_start on_predict_end on_sanity_check_start "
        "on_sanity_check_end"
    ),
)

FRAMEWORKS = (
    _LIGHTNING,
    # `Trainer.prediction_step` switches gradients off inside itself: an override of it runs with gradients on.
    Framework(
        ("transformers.", "trl.", "sentence_transformers.", "setfit."),
        names(
            "training_step compute_loss prediction_step on_step_begin on_step_end on_substep_end on_prediction_step "
            "on_pre_optimizer_step on_optimizer_step"
        ),
    ),
    # The policy acts under no_grad; callbacks and extractors run outside of it.
    Framework(("stable_baselines3.", "sb3_contrib.", "rl_zoo3."), names("_on_step _predict"), names("_predict")),
    Framework(
        ("skorch.",),
        names(
            "on_batch_begin on_batch_end on_grad_computed train_step train_step_single validation_step "
            "evaluation_step get_loss"
        ),
    ),
    Framework(
        ("fastai.",),
        names(
            "before_batch after_batch after_pred after_loss before_backward after_backward before_step after_step "
            "after_cancel_batch on_batch_begin on_batch_end on_loss_begin on_backward_begin on_backward_end "
            "on_step_end accumulate"
        ),
        names("before_validate after_validate"),
    ),
    Framework(
        ("mmengine.", "mmcv.", "mmdet.", "mmseg.", "mmaction.", "mmpretrain.", "mmpose."),
        names(
            "before_train_iter after_train_iter before_val_iter after_val_iter before_test_iter after_test_iter "
            "before_iter after_iter train_step val_step test_step process"
        ),
        names("before_val_iter after_val_iter before_test_iter after_test_iter val_step test_step process"),
    ),
    Framework(
        ("composer.",),
        names(
            "batch_start batch_end before_forward after_forward before_loss after_loss before_backward after_backward "
            "before_train_batch after_train_batch eval_batch_start eval_batch_end eval_before_forward "
            "eval_after_forward eval_forward update_metric loss"
        ),
        names(
            "eval_start eval_end eval_batch_start eval_batch_end eval_before_forward eval_after_forward eval_forward "
            "update_metric validate"
        ),
    ),
    Framework(
        ("catalyst.",),
        names("on_batch_start on_batch_end handle_batch _handle_batch predict_batch"),
        names("predict_batch"),
    ),
    Framework(
        ("keras.", "tensorflow.keras.", "poutyne.", "torchbearer.", "pytorch_accelerated.", "torchkeras."),
        names(
            "train_step test_step predict_step on_batch_begin on_batch_end on_train_batch_begin on_train_batch_end "
            "on_test_batch_begin on_test_batch_end on_predict_batch_begin on_predict_batch_end on_backward_end "
            "on_train_step_begin on_train_step_end on_eval_step_begin on_eval_step_end calculate_train_batch_loss "
            "calculate_eval_batch_loss on_sample on_forward on_criterion on_backward on_step_training "
            "on_step_validation"
        ),
        names("calculate_eval_batch_loss on_eval_step_begin on_eval_step_end test_step predict_step"),
    ),
    Framework(("torchmetrics.", "ignite.metrics."), names("update")),
    Framework(
        ("torchtnt.", "torcheval."),
        names("train_step eval_step predict_step on_train_step_start on_train_step_end on_eval_step_end update"),
        names("eval_step predict_step on_eval_step_start on_eval_step_end on_eval_epoch_end on_predict_step_end"),
    ),
)

# What counts for a base class of which nothing is known but that it is not in the project.
STEP_HOOKS = _LIGHTNING.step | names(
    "on_step_end on_step_begin on_substep_end after_train_iter before_train_iter after_val_iter before_val_iter "
    "_on_step on_train_step_end on_train_batch_begin eval_batch_end on_eval_step_end"
)
GRAD_OFF_HOOKS = _LIGHTNING.grad_off | names(
    "before_val_iter after_val_iter after_test_iter eval_batch_start eval_batch_end eval_forward"
)


# The names of all of them: whatever is called otherwise need not be asked about.
HOOKS = frozenset().union(STEP_HOOKS, GRAD_OFF_HOOKS, *(part for f in FRAMEWORKS for part in (f.step, f.grad_off)))


def runs_per_step(hook: str, bases: Iterable[str]) -> bool:
    """Whether a method of a class with these bases outside the project is called once per step."""
    known = _of(bases)
    return any(hook in framework.step for framework in known) if known else bool(bases) and hook in STEP_HOOKS


def runs_without_grad(hook: str, bases: Iterable[str]) -> bool:
    """Whether a method of a class with these bases outside the project is called with gradients off."""
    known = _of(bases)
    return any(hook in framework.grad_off for framework in known) if known else bool(bases) and hook in GRAD_OFF_HOOKS


def _of(bases: Iterable[str]) -> list[Framework]:
    return [framework for framework in FRAMEWORKS if any(base.startswith(framework.packages) for base in bases)]


# What such hooks are given: (hook, parameter), on the framework's own device.
HOOK_OUTPUTS = frozenset(
    (f"on_{phase}_batch_end", name) for phase in ("predict", "test", "validation") for name in ("outputs", "batch")
)

# -- handlers of ignite ----------------------------------------------------------------------------------------------

# `@engine.on(event)` and `engine.add_event_handler(event, function)`: the function runs per step for these events.
STEP_EVENTS = names("ITERATION_STARTED ITERATION_COMPLETED GET_BATCH_STARTED GET_BATCH_COMPLETED")
EVENT_PACKAGE = "ignite."
# What is given a function to call for every batch.
ENGINES = names("ignite.engine.Engine ignite.engine.engine.Engine")

# -- wrappers of a training loop -------------------------------------------------------------------------------------

# What wraps modules, optimizers and loaders, by the package of the wrapper; the results come in the order of what was
# given, on the accelerator.
PREPARING = names(
    "prepare prepare_model prepare_optimizer prepare_data_loader setup setup_module setup_optimizers setup_dataloaders"
)
WRAPPERS = ("accelerate.", "lightning.fabric.", "lightning_fabric.", "lightning.Fabric")
# Methods of theirs that gather a value from all processes; where there is one process, the value itself.
COLLECTING = names("gather gather_for_metrics pad_across_processes reduce all_gather all_reduce")
# Packages whose objects take the loss: `accelerator.backward(loss)`.
BACKWARD_OF_OTHERS = (*WRAPPERS, "deepspeed", "accelerate", "colossalai", "lightning", "pytorch_lightning")
INITIALIZERS = names("deepspeed.initialize")
