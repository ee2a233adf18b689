"""What is in a zip archive, byte for byte: nothing is inflated, nothing run, no pickle trusted."""

from __future__ import annotations

import zipfile
from collections import Counter
from dataclasses import dataclass
from io import BytesIO
from stat import S_ISLNK
from typing import IO, Any, Self

import torch
from torch import Tensor

from convfold.errors import InvalidInput
from convfold.frontends.torch.asked import asked
from convfold.frontends.torch.pickled import allowed, unpickled

_DEEPEST = 2  # a program holds what torch.save wrote, and that holds no archive
_CHUNK = 1 << 20

AGAIN = "save the program again with torch.export.save"
_SAFELY = (
    "loading it could run code, so it is not loaded. Export the program with plain inputs, or declare the class "
    "safe first: torch.export.register_dataclass, or torch.serialization.add_safe_globals"
)


@dataclass(frozen=True)
class Archive:
    """The members of a zip archive, by their names below the folder torch puts everything in.

    Only what torch writes is read: members stored as they are, each named once, together no larger than the file.
    """

    file: zipfile.ZipFile
    members: dict[str, zipfile.ZipInfo]
    at: str = ""  # where it lies in another archive: what its members' names begin with in messages

    @classmethod
    def of(cls, stream: IO[bytes], at: str = "") -> Self:
        """Raises `InvalidInput`, or ``zipfile.BadZipFile`` where there is no archive."""
        file = zipfile.ZipFile(stream)
        infos = [info for info in file.infolist() if not info.is_dir()]
        root = infos[0].filename.partition("/")[0] + "/" if infos else ""
        names = [info.filename.removeprefix(root) for info in infos]
        for name, info in zip(names, infos, strict=True):
            if what := _unusual(info):
                raise InvalidInput(f"member {at + name!r} {what}; {AGAIN}")
        for name, times in Counter(names).items():
            if times > 1:
                raise InvalidInput(f"member {at}{name} is there {times} times; {AGAIN}")
        if sum(info.file_size for info in infos) > stream.seek(0, 2):
            raise InvalidInput(f"the members of {at or 'the file'} are larger than itself; {AGAIN}")
        return cls(file, dict(zip(names, infos, strict=True)), at)

    def read(self, name: str) -> bytes:
        with self._open(name) as stream:
            return stream.read()

    def tensor(self, name: str) -> Tensor:
        """A member's bytes: (n,) uint8, never held twice."""
        with self._open(name) as stream:
            data = bytearray(self.members[name].file_size)
            rest = memoryview(data)
            while part := stream.read(_CHUNK):
                rest[: len(part)] = part
                rest = rest[len(part) :]
        if rest:
            raise InvalidInput(f"member {self.at}{name} breaks off; {AGAIN}")
        return torch.frombuffer(data, dtype=torch.uint8) if data else torch.empty(0, dtype=torch.uint8)

    def archive(self, name: str) -> Archive:
        """A member that is an archive itself."""
        try:
            return Archive.of(BytesIO(self.read(name)), f"{self.at}{name}/")
        except zipfile.BadZipFile as e:
            raise InvalidInput(f"member {self.at}{name} is not what torch.save writes; {AGAIN}") from e

    def unpickled(self) -> Any:
        """What ``torch.save`` put into this archive."""
        if "byteorder" in self.members and self.read("byteorder") != b"little":
            raise InvalidInput(f"{self.at.rstrip('/')} was written on a big-endian machine; save it on one like this")
        try:
            return unpickled(self.read("data.pkl"), lambda key: self.tensor(f"data/{key}"))
        except InvalidInput as e:
            raise InvalidInput(f"member {self.at}data.pkl {e}; {_SAFELY}") from e

    def refuse_code(self, deep: int = 1) -> None:
        """Raise if any member, whatever it is called, is a pickle that asks for more than it may have."""
        given = allowed()
        for name in self.members:
            with self._open(name) as stream:
                zipped = stream.read(4) == b"PK\x03\x04"
            if zipped and deep > _DEEPEST:
                raise InvalidInput(f"member {self.at}{name} is an archive in an archive in an archive; {AGAIN}")
            if zipped:
                self.archive(name).refuse_code(deep + 1)
                continue
            with self._open(name) as stream:
                what = asked(stream, given)
            if what:
                raise InvalidInput(f"member {self.at}{name} asks for {what}; {_SAFELY}")

    def _open(self, name: str) -> IO[bytes]:
        if name not in self.members:
            raise InvalidInput(f"has no member {self.at}{name}; {AGAIN}")
        return self.file.open(self.members[name])


def _unusual(info: zipfile.ZipInfo) -> str | None:
    """What torch never writes."""
    name = info.orig_filename
    if info.compress_type != zipfile.ZIP_STORED or info.compress_size != info.file_size or info.flag_bits & 1:
        return "is compressed or encrypted"
    if not name.isprintable() or name.startswith("/") or "\\" in name or ".." in name.split("/"):
        return "has a name no program gives"
    if S_ISLNK(info.external_attr >> 16):
        return "is a link"
    return None
