"""What becomes of parts without elements (a split of pruned channels): a concat without them is the same."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.fx import Graph, Node

from convfold.frontends.torch.free import is_free

aten = torch.ops.aten

_CONCATS = {aten.cat.default, aten.concat.default, aten.concatenate.default}


def drop_empty_parts(graph: Graph) -> None:
    """cat(…, nothing, …) = cat(…), in place; a part of another type may decide the type of all, and stays."""
    for node in graph.nodes:
        if node.target not in _CONCATS:
            continue
        parts, *rest = node.args
        kept = [part for part in parts if not _is_empty(part)]
        if kept and len(kept) < len(parts) and all(p.meta["val"].dtype == node.meta["val"].dtype for p in kept):
            node.args = (kept, *rest)


def _is_empty(part: Node) -> bool:
    t = part.meta.get("val")
    return isinstance(t, Tensor) and any(not is_free(n) and int(n) == 0 for n in t.shape)
