"""What does a pickle ask for? Read off its steps, none of which is taken."""

from __future__ import annotations

import pickletools
import re
from collections.abc import Mapping
from typing import IO, Any

from convfold.frontends.torch.pickled import full_name

_NAME = re.compile(r"[^\W\d][\w.-]*", re.ASCII)


def asked(stream: IO[bytes], given: Mapping[str, Any]) -> str | None:
    """The first thing the pickles at the start of ``stream`` ask for and may not have; None if there are none.

    Their steps are followed on a stack of the strings they know; nothing is looked up, called or made.
    """
    try:
        while True:
            if what := _asked_by_one(stream, given):
                return what
    except (ValueError, IndexError):  # no pickle, or one that breaks off: bytes that mean another thing may begin so
        return None


def _asked_by_one(stream: IO[bytes], given: Mapping[str, Any]) -> str | None:
    stack: list[str | None] = []
    marks: list[int] = []
    memo: dict[int, str | None] = {}
    pickled, unsure = False, None
    for i, (op, arg, _) in enumerate(pickletools.genops(stream)):
        pickled = op.name == "PROTO" if i == 0 else pickled
        taken = op.stack_before
        if pickletools.markobject in taken:
            del stack[marks.pop() :]
            taken = taken[: taken.index(pickletools.markobject)]
        elif op.name == "POP" and marks and marks[-1] == len(stack):
            marks.pop()
            continue
        operands = [stack.pop() for _ in taken]
        match op.name:
            case "GLOBAL" | "INST" | "STACK_GLOBAL":
                name, module = operands if op.name == "STACK_GLOBAL" else str(arg).split(" ", 1)[::-1]
                if module is None or name is None or not (_NAME.fullmatch(module) and _NAME.fullmatch(name)):
                    unsure = unsure or "a name it computes"
                elif (full := full_name(module, name)) not in given:
                    return full
            case "EXT1" | "EXT2" | "EXT4":
                unsure = unsure or f"extension code {arg}"
            case "MARK":
                marks.append(len(stack))
            case "MEMOIZE":
                memo[len(memo)] = operands[0]
            case "PUT" | "BINPUT" | "LONG_BINPUT":
                memo[int(arg or 0)] = stack[-1]
        if op.name.endswith(("UNICODE", "UNICODE8", "STRING")):
            operands = [str(arg)]
        elif op.name.endswith("GET"):
            operands = [memo.get(int(arg or 0))]
        elif op.name not in ("DUP", "MEMOIZE"):
            operands = [None]
        stack += (operands * 2)[: sum(kind is not pickletools.markobject for kind in op.stack_after)]
    return unsure if pickled else None
