"""What was timed before, on this machine, in this runtime: kept on disk."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import astuple, dataclass
from hashlib import sha256
from pathlib import Path

from platformdirs import user_cache_path

from convfold.atomic import replacing
from convfold.bench import Interval, Machine
from convfold.runtimes import Runtime
from convfold.targets import Target

log = logging.getLogger(__name__)


def digest(what: object) -> str:
    """Of a value that is written as it is: without memory addresses."""
    return sha256(repr(what).encode()).hexdigest()[:24]


@dataclass(frozen=True)
class Known:
    """A folder of files, one a stretch and the ways in which it was timed."""

    folder: Path

    @classmethod
    def here(cls, target: Target, run: Runtime) -> Known:
        """
        Raises:
            InvalidInput: the runtime is not installed.
        """
        where = (run.name, run.device, run.versions(), target.threads, Machine.here().cpu)
        return cls(user_cache_path("convfold") / "measured" / digest(where))

    def recall(self, shapes: Mapping[int, str]) -> dict[int, Interval] | None:
        """How many times as fast as the first each of the other ways was; None where that is not known."""
        try:
            found = json.loads(self._file(shapes).read_text(encoding="utf-8"))
            return {number: Interval(*found[shape]) for number, shape in list(shapes.items())[1:] if shape in found}
        except FileNotFoundError:
            return None
        except (OSError, ValueError, TypeError) as e:
            log.warning("%s cannot be read; timed anew: %s", self._file(shapes), e)
            return None

    def keep(self, shapes: Mapping[int, str], ratios: Mapping[int, Interval]) -> None:
        said = {shapes[number]: astuple(ratio) for number, ratio in ratios.items()}
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with replacing(self._file(shapes)) as new:
                new.write_text(json.dumps(said), encoding="utf-8")
        except OSError as e:
            log.warning("what was timed cannot be kept: %s", e)

    def _file(self, shapes: Mapping[int, str]) -> Path:
        return self.folder / f"{digest(list(shapes.values()))}.json"
