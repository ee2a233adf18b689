"""Docstrings name things as ``:class:`Name```; on the site they are links to them, where the site has them."""

from __future__ import annotations

import re
from typing import Any

import griffe

_ROLE = re.compile(r":(?:class|meth|func|data|attr|mod):`~?([\w.]+)`")


class Roles(griffe.Extension):
    """`Name` in place of the role."""

    def on_instance(self, *, obj: griffe.Object, **_: Any) -> None:
        if obj.docstring is not None:
            obj.docstring.value = _ROLE.sub(r"`\1`", obj.docstring.value)
