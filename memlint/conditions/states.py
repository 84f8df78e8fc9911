"""States that are carried from one step to the next."""

from __future__ import annotations

from msgspec import Struct

from memlint.facts.summary import FunctionId
from memlint.linking import closure
from memlint.project import REFUTED, Project, holds, unknown
from memlint.rule import Answer, Reason


class KeepsStateGraph(Struct, frozen=True):
    """What the state goes through does not detach it by itself. callee: see `memlint.facts.recurrence.callee_of`."""

    callee: str

    def settle(self, project: Project) -> Answer:
        """Refuted where the forward of the class, or anything that it calls, detaches."""
        if self.callee == "torch":
            return holds()
        if self.callee.endswith("()"):
            path = self.callee.removesuffix("()").split(".")
            ids = [(".".join(path[:end]), ".".join(path[end:])) for end in range(1, len(path))]
            forwards = [function for function in ids if function in project.functions]
        elif self.callee.startswith("."):
            forwards = project.named(self.callee[1:])
        else:
            name = self.callee.rpartition(".")[2]
            forwards = project.methods(name, "forward") if name else []
        if not forwards:
            return unknown("whether the module detaches the state by itself")

        def own(function: FunctionId) -> list[FunctionId]:
            return [target for target, caller in project.callees.get(function, ()) if caller.sure]

        if any(project.functions[function].detaches for function in closure(forwards, own)):
            return REFUTED
        if self.callee.startswith("."):
            return unknown("which object's method this is, and whether it detaches the state")
        return holds(Reason(project.functions[forwards[0]].spot, "this hands the state back with its graph"))


class NothingResets(Struct, frozen=True):
    """No other code gives the attribute a new value."""

    attribute: str
    function: FunctionId

    def settle(self, project: Project) -> Answer:
        """Refuted where somebody calls what renews it, or it belongs to a base that is not in the checked files."""
        idle = []
        for function, bound in project.bounds(self.attribute):
            if bound.how == "init" or function == self.function or function[1].endswith(".__init__"):
                continue
            summary = project.functions[function]
            if project.is_called(function) or not summary.owner:
                return REFUTED
            idle.append((summary, bound))
        if idle:
            summary, bound = idle[0]
            return unknown(f"whether anything calls `{summary.name}`, which renews it",
                           Reason(bound.spot, "renewed here, but no checked file calls this"))  # fmt: skip
        return holds()


class CutsGraphs(Struct, frozen=True):
    """What the function yields comes without the graph that it was given."""

    function: FunctionId

    def settle(self, project: Project) -> Answer:
        """Refuted unless it, or what it calls, detaches something; what exactly that is stays open."""

        def own(function: FunctionId) -> list[FunctionId]:
            return [target for target, caller in project.callees.get(function, ()) if caller.sure]

        if any(project.functions[f].detaches for f in closure([self.function], own) if f in project.functions):
            return unknown(f"whether `{self.function[1]}` detaches all that it yields")
        return REFUTED
