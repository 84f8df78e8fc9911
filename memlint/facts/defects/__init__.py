"""The typed facts that rules hand to fixers, under the headings of the rules that make them."""

from __future__ import annotations

from memlint.facts.defects.coordinates import InvertedFlag, TestAfterClamp, UnclampedSum
from memlint.facts.defects.device import (
    DetachedForNobody,
    ForwardWithGrad,
    GraphKept,
    KeptGraph,
    KeptOnDevice,
    KeptView,
    RetriedInHandler,
    StateCarried,
    Unevaluated,
)
from memlint.facts.defects.growth import OnlyEndsKept, PinningCache, UnboundedGrowth, UncappedSpawn
from memlint.facts.defects.lifecycle import FutileRelease, UnclosedResource, UnreleasedObject
from memlint.facts.defects.monitoring import (
    BlindMonitor,
    BrokenLimit,
    DeadState,
    HiddenLimit,
    UnmappedLoad,
    UnsavedReload,
    UnvalidatedWeights,
    UnwatchedStep,
)
from memlint.facts.defects.spans import Span
from memlint.facts.defects.throughput import (
    BroadcastSearch,
    CacheCleared,
    FrequentMessage,
    MadePerItem,
    OneByOneDecay,
    OneTaken,
    PerItemLoop,
    ReadsPerItem,
    RecordClass,
    SleptForDevice,
    StepWrite,
)

__all__ = [
    "BlindMonitor",
    "BroadcastSearch",
    "BrokenLimit",
    "CacheCleared",
    "DeadState",
    "DetachedForNobody",
    "ForwardWithGrad",
    "FrequentMessage",
    "FutileRelease",
    "GraphKept",
    "HiddenLimit",
    "InvertedFlag",
    "KeptGraph",
    "KeptOnDevice",
    "KeptView",
    "MadePerItem",
    "OneByOneDecay",
    "OneTaken",
    "OnlyEndsKept",
    "PerItemLoop",
    "PinningCache",
    "ReadsPerItem",
    "RecordClass",
    "RetriedInHandler",
    "SleptForDevice",
    "Span",
    "StateCarried",
    "StepWrite",
    "TestAfterClamp",
    "UnboundedGrowth",
    "UncappedSpawn",
    "UnclampedSum",
    "UnclosedResource",
    "Unevaluated",
    "UnmappedLoad",
    "UnreleasedObject",
    "UnsavedReload",
    "UnvalidatedWeights",
    "UnwatchedStep",
]
