"""Maps of the space axes that treat all channels alike: one kind a file, values that are compared by value."""

from convfold.algebra.spatial.base import Spatial
from convfold.algebra.spatial.cumulate import Cumulate
from convfold.algebra.spatial.interpolate import Interpolate
from convfold.algebra.spatial.pad import Pad
from convfold.algebra.spatial.pool import AdaptivePool, AveragePool, Reduce, WindowMean
from convfold.algebra.spatial.positions import Take, Weigh
from convfold.algebra.spatial.reorder import Flip, Repeat, Roll, Stride, Tile
from convfold.algebra.spatial.resize import Expand, Resize
from convfold.algebra.spatial.spread import Resample, Shifts, Spread, Tapped, always_inside

__all__ = [
    "AdaptivePool",
    "AveragePool",
    "Cumulate",
    "Expand",
    "Flip",
    "Interpolate",
    "Pad",
    "Reduce",
    "Repeat",
    "Resample",
    "Resize",
    "Roll",
    "Shifts",
    "Spatial",
    "Spread",
    "Stride",
    "Take",
    "Tapped",
    "Tile",
    "Weigh",
    "WindowMean",
    "always_inside",
]
