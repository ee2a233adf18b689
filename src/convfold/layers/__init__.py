"""How each affine layer becomes a value of the algebra: one file a layer, all its spellings inside.

Packages of others add theirs by an entry point of the group `convfold.layers` that names a module like the ones here.
"""

from importlib import import_module
from importlib.metadata import entry_points
from pkgutil import iter_modules
from warnings import warn

from convfold.layers.spelling import (
    ATEN,
    ONNX,
    Call,
    Convolved,
    Held,
    Reading,
    Scaled,
    Step,
    Value,
    aten,
    convolved,
    onnx,
    operator,
)

__all__ = [
    "ATEN",
    "ONNX",
    "Call",
    "Convolved",
    "Held",
    "Reading",
    "Scaled",
    "Step",
    "Value",
    "aten",
    "convolved",
    "onnx",
    "operator",
]

for _file in iter_modules(__path__):  # each registers what it reads: a new layer is a new file
    import_module(f"{__name__}.{_file.name}")

for _point in entry_points(group=__name__):
    try:
        _point.load()
    except Exception as e:  # whatever is wrong with another's package, models without its layers are folded
        warn(f"layers of {_point.value!r} are not read: {type(e).__name__}: {e}", stacklevel=1)
