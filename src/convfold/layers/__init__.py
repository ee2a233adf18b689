"""How each affine layer becomes a value of the algebra: one file a layer, all its spellings inside."""

from importlib import import_module
from pkgutil import iter_modules

from convfold.layers.spelling import ATEN, ONNX, Call, Convolved, Held, Reading, Scaled, Step, Value

__all__ = ["ATEN", "ONNX", "Call", "Convolved", "Held", "Reading", "Scaled", "Step", "Value"]

for _file in iter_modules(__path__):  # each registers what it reads: a new layer is a new file
    import_module(f"{__name__}.{_file.name}")
