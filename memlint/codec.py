"""What one file contributes, as bytes and back. Reading runs nothing: it fills the known classes, or refuses.

The format is MessagePack by the classes' own type hints. Facts and conditions, which rules choose freely, stand beside
the name of their class, which must be one of `memlint.facts.defects` or `memlint.conditions`.
"""

from __future__ import annotations

import functools
from typing import Any

import msgspec

from memlint import conditions
from memlint.facts import defects
from memlint.facts.summary import Summary
from memlint.proposals import FileResult
from memlint.rule import Evidence, Place, Proposal, Severity


class Unfit(ValueError):
    """Bytes that are not what they should be, or values that the format can't hold."""


class _Proposal(msgspec.Struct, array_like=True, forbid_unknown_fields=True):
    rule: str
    message: str
    place: Place
    severity: Severity
    evidence: tuple[Evidence, ...]
    fact: tuple[str, msgspec.Raw] | None
    conditions: tuple[tuple[str, msgspec.Raw], ...]


class _Result(msgspec.Struct, array_like=True, forbid_unknown_fields=True):
    summary: Summary
    proposals: tuple[_Proposal, ...]


class _Known(msgspec.Struct, array_like=True, forbid_unknown_fields=True):
    summary: Summary
    proposals: msgspec.Raw


_Places = dict[tuple[int, str, int], Place]

_encoder = msgspec.msgpack.Encoder()


def encode(result: FileResult | None) -> bytes:
    """The bytes of a result; None for a file that asks to be skipped. Raises Unfit."""
    if result is None:
        return _encode(None)
    proposals = tuple(
        _Proposal(p.rule, p.message, p.place, p.severity, p.evidence,
                  None if p.fact is None else _named(p.fact), tuple(map(_named, p.conditions)))
        for p in result.proposals
    )  # fmt: skip
    return _encode(_Result(result.summary, proposals))


def decode(data: bytes) -> FileResult | None:
    """What was encoded. Raises Unfit."""
    read: _Result | None = _decode(_Result | None, data)
    if read is None:
        return None
    return FileResult(
        read.summary,
        tuple(
            Proposal(
                message=p.message,
                place=p.place,
                fact=None if p.fact is None else _object(p.fact),
                evidence=p.evidence,
                conditions=tuple(map(_object, p.conditions)),
                severity=p.severity,
                rule=p.rule,
            )
            for p in read.proposals
        ),
    )


def decode_summary(data: bytes) -> FileResult | None:
    """The same without its proposals, which stay unread."""
    read: _Known | None = _decode(_Known | None, data)
    return None if read is None else FileResult(read.summary, ())


def encode_places(places: _Places) -> bytes:
    """The bytes of the places of a file's events. Raises Unfit."""
    return _encode(list(places.items()))


def decode_places(data: bytes) -> _Places:
    """What was encoded. Raises Unfit."""
    return dict(_decode(list[tuple[tuple[int, str, int], Place]], data))


@functools.cache
def classes() -> dict[str, type]:
    """The classes that facts and conditions may be of, by name."""
    chosen = [getattr(conditions, name) for name in conditions.__all__]
    chosen += [cls for cls in vars(defects).values() if isinstance(cls, type) and issubclass(cls, msgspec.Struct)]
    return {cls.__name__: cls for cls in chosen}


def _named(value: Any) -> tuple[str, msgspec.Raw]:
    name = type(value).__name__
    if classes().get(name) is not type(value):
        raise Unfit(f"{name} is neither a fact nor a condition")
    return name, msgspec.Raw(_encode(value))


def _object(named: tuple[str, msgspec.Raw]) -> Any:
    name, data = named
    if name not in classes():
        raise Unfit(f"{name} is neither a fact nor a condition")
    return _decode(classes()[name], data)


def _encode(value: Any) -> bytes:
    try:
        return _encoder.encode(value)
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise Unfit(str(error)) from None


def _decode(cls: Any, data: bytes | msgspec.Raw) -> Any:
    try:
        return _decoder(cls).decode(data)
    except (msgspec.DecodeError, ValueError, OverflowError, RecursionError) as error:
        raise Unfit(str(error)) from None


@functools.cache
def _decoder(cls: Any) -> msgspec.msgpack.Decoder[Any]:
    return msgspec.msgpack.Decoder(cls)
