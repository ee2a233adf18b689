"""A graph whose weights will change: nothing in it may hang on what they are now."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from convfold.frontends.torch.exported import Graph
from convfold.frontends.torch.operators import NewParameter
from convfold.lift import Stretches
from convfold.region import Region


class Live(Graph):
    """One that remembers which new weights each stretch was given."""

    live = True

    def write(self, stretches: Stretches, changes: Iterable[tuple[Region, Region]]) -> None:
        super().write(stretches, self._watched(changes))

    def _watched(self, changes: Iterable[tuple[Region, Region]]) -> Iterator[tuple[Region, Region]]:
        self.new: dict[str, list[NewParameter]] = getattr(self, "new", {})
        parameters = self.program.written.parameters
        for before, after in changes:
            count = len(parameters)
            yield before, after
            self.new[before.outputs[-1]] = parameters[count:]

    def made(self, stretch: str) -> list[str]:
        """The names of the weights that a stretch was given, by the name of its last value."""
        return [str(p.node.target) for p in self.new.get(stretch, ())]
