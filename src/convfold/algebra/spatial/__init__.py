"""Maps of the space axes that treat all channels alike: one kind a file, values that are compared by value."""

from convfold.algebra.spatial.base import Spatial
from convfold.algebra.spatial.pad import Pad
from convfold.algebra.spatial.pool import AdaptivePool, AveragePool, Reduce
from convfold.algebra.spatial.reorder import Flip, Roll
from convfold.algebra.spatial.resize import Expand, Resize
from convfold.algebra.spatial.spread import Resample, Spread, always_inside

__all__ = [
    "AdaptivePool",
    "AveragePool",
    "Expand",
    "Flip",
    "Pad",
    "Reduce",
    "Resample",
    "Resize",
    "Roll",
    "Spatial",
    "Spread",
    "always_inside",
]
