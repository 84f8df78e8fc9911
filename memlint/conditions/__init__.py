"""The questions that rules may leave to the project."""

from __future__ import annotations

from memlint.conditions.containers import (
    MadeSomewhere,
    MovedLater,
    NobodyEmpties,
    NothingBoundsCache,
    NothingTrims,
    OnlyEndsRead,
    ReadHereOnly,
)
from memlint.conditions.flags import IsFlag, PassedFlags
from memlint.conditions.grads import (
    CalleeKeeps,
    CalleeKeepsGrad,
    CalleeMayKeep,
    CalleeOnlyRuns,
    CalleeTrains,
    ForwardKeepsGrad,
    HelpersKeepGrad,
    NotForLoss,
    NotFrozen,
    NothingTrainsOn,
    NoTrainingReached,
    SomeCallerPassesGraph,
    SomeCallerWithGrad,
)
from memlint.conditions.kinds import GivenTensor, Heavy, IsModule, IsModuleAttribute, IsModuleClass, MadeAnew
from memlint.conditions.layouts import FitsSlots
from memlint.conditions.meant import Open
from memlint.conditions.ranges import DemandsRange, OnlyLimited
from memlint.conditions.running import (
    CalledEachStep,
    CalledPerItem,
    EachTick,
    PerStep,
    RunsAgain,
    RunsInEveryStep,
    TrainedInALoop,
)
from memlint.conditions.saving import SavedWithConfig
from memlint.conditions.settings import PassesElsewhere
from memlint.conditions.states import CutsGraphs, KeepsStateGraph, NothingResets
from memlint.conditions.unused import NobodyElseReads, NobodyPasses, NobodyReads, NobodyReadsKey
from memlint.conditions.watching import ImportedNeverCalled, NobodyMeasures

__all__ = [
    "CalledEachStep",
    "CalledPerItem",
    "CalleeKeeps",
    "CalleeKeepsGrad",
    "CalleeMayKeep",
    "CalleeOnlyRuns",
    "CalleeTrains",
    "CutsGraphs",
    "DemandsRange",
    "EachTick",
    "FitsSlots",
    "ForwardKeepsGrad",
    "GivenTensor",
    "Heavy",
    "HelpersKeepGrad",
    "ImportedNeverCalled",
    "IsFlag",
    "IsModule",
    "IsModuleAttribute",
    "IsModuleClass",
    "KeepsStateGraph",
    "MadeAnew",
    "MadeSomewhere",
    "MovedLater",
    "NoTrainingReached",
    "NobodyElseReads",
    "NobodyEmpties",
    "NobodyMeasures",
    "NobodyPasses",
    "NobodyReads",
    "NobodyReadsKey",
    "NotForLoss",
    "NotFrozen",
    "NothingBoundsCache",
    "NothingResets",
    "NothingTrainsOn",
    "NothingTrims",
    "OnlyEndsRead",
    "OnlyLimited",
    "Open",
    "PassedFlags",
    "PassesElsewhere",
    "PerStep",
    "ReadHereOnly",
    "RunsAgain",
    "RunsInEveryStep",
    "SavedWithConfig",
    "SomeCallerPassesGraph",
    "SomeCallerWithGrad",
    "TrainedInALoop",
]
