"""Whatever is wrong: one line that says what, the right exit code, nothing written."""

from __future__ import annotations

import os
import zipfile
from pathlib import Path

import pytest
import torch

from tests.traps.files import Call

from .conftest import Run, messages

G = "factories:given"
NET = "factories:net"
OUT = ["-o", "out.pt2"]

#: What is wrong, the words, the exit code, and what the line must say.
TABLE = [
    ("missing file", ["fold", "none.pt2", *OUT], 1, "none.pt2: no such file"),
    ("missing ONNX file", ["explain", "none.onnx"], 1, "none.onnx: no such file"),
    ("neither file nor factory", ["fold", "resnet18", *OUT], 1, "give a .pt2 or .onnx file, or package.module:factory"),
    ("half a factory", ["explain", "factories:"], 1, "factories:: no such file"),
    ("random bytes", ["fold", "random.pt2", *OUT], 1, "random.pt2: not a .pt2 file"),
    ("empty file", ["explain", "empty.pt2"], 1, "empty.pt2: not a .pt2 file"),
    ("a folder", ["fold", "folder.pt2", *OUT], 1, "folder.pt2: no .onnx or .pt2 file in this folder"),
    ("a folder without suffix", ["verify", "folder", "folder"], 1, "folder: is a directory"),
    ("a zip of something", ["fold", "text.pt2", *OUT], 1, "text.pt2: not a .pt2 file torch can load"),
    ("a state dict", ["bench", "state.pt2"], 1, "state.pt2: not a .pt2 file torch can load"),
    ("truncated file", ["explain", "short.pt2"], 1, "short.pt2: not a .pt2 file"),
    (
        "a pickle that calls",
        ["fold", "calls.pt2", *OUT],
        1,
        "member data/sample_inputs/model.pt/data.pkl asks for posix.",
    ),
    ("a damaged file", ["bench", "damaged.pt2"], 1, "damaged.pt2: not a .pt2 file torch can load: Bad CRC-32"),
    ("ONNX", ["explain", "model.onnx"], 1, "model.onnx"),
    ("training mode", ["fold", "factories:training", *OUT], 1, "batch norm '0.1' is in training mode"),
    ("training mode, compared", ["verify", "factories:training", G], 1, "batch norm '0.1' is in training mode"),
    ("NaN weights", ["fold", "factories:nan", *OUT], 1, "weight '0.0.weight' contains NaN"),
    ("no such module", ["explain", "nowhere.models:net"], 1, "no module 'nowhere'"),
    ("no such factory", ["explain", "factories:nett"], 1, "factories has no 'nett'"),
    ("module that raises", ["explain", "broken:net"], 1, "importing broken raised ZeroDivisionError: division by zero"),
    ("factory that raises", ["fold", "factories:raises", *OUT], 1, "raised ValueError: no such weights"),
    ("factory that exits", ["fold", "factories:leaves", *OUT], 1, "raised SystemExit: 7"),
    ("factory of a number", ["fold", "factories:number", *OUT], 1, "gives int, not an nn.Module"),
    ("a number", ["fold", "factories:number_itself", *OUT], 1, "gives int, not an nn.Module"),
    ("factory of words", ["fold", "factories:words", *OUT], 1, "args str, not a tuple"),
    ("unknown option", ["fold", G, *OUT, "--exclud", "x"], 2, "--exclude"),
    ("unknown option of all", ["--verison"], 2, "--version"),
    ("unknown command", ["flod", G, *OUT], 2, "flod"),
    ("no output", ["fold", G], 2, "--output"),
    ("no IN", ["explain"], 2, "IN"),
    ("unknown objective", ["explain", G, "--objective", "beauty"], 2, "beauty"),
    ("missing folder", ["fold", G, "-o", "no/such/out.pt2"], 1, "the folder no/such does not exist"),
    ("output is a folder", ["fold", G, "-o", "folder.pt2"], 1, "folder.pt2: is a directory"),
    ("output is a pipe", ["fold", G, "-o", "pipe.pt2"], 1, "pipe.pt2: is there and no regular file"),
    ("output is protected", ["fold", G, "-o", "kept.pt2"], 1, "kept.pt2: is write-protected"),
    ("output of no known kind", ["fold", G, "-o", "out.pth"], 1, "ends in .pt2 or .onnx"),
    ("no inputs", ["fold", NET, *OUT], 2, f"{NET} comes without example inputs: give --input"),
    ("no inputs to measure with", ["bench", NET], 2, "give --input"),
    ("too few inputs", ["explain", "factories:two", "--input", "x:1,3,8,8"], 1, "mask"),
    ("wrong channels", ["fold", NET, *OUT, "--input", "input:1,4,7,6"], 1, "cannot be exported with these inputs"),
    ("wrong channels, compared", ["verify", NET, NET, "--input", "input:1,4,7,6"], 1, "does not run on its example"),
    ("wrong channels, measured", ["bench", NET, "--input", "input:1,4,7,6"], 1, "does not run on these inputs"),
    (
        "budget of no time",
        ["fold", G, *OUT, "--budget", "soon"],
        2,
        "'soon' is no time; give one such as 90s, 5m or 1h",
    ),
    ("negative budget", ["explain", G, "--budget", "-1s"], 2, "'-1s' is no time"),
    ("wrong input name", ["fold", NET, *OUT, "--input", "image:1,3,7,6"], 2, "no input 'image'; it has input"),
    ("too many inputs", ["fold", NET, *OUT, "--input", "1,3,7,6", "--input", "1,3"], 2, "no input 2; it has input"),
    ("input twice", ["explain", NET, *["--input", "input:1,3,7,6"] * 2], 2, "input is given twice"),
    ("input without sizes", ["explain", NET, "--input", "input"], 2, "'input': write name:1,3,224,224"),
    ("input of letters", ["explain", NET, "--input", "input:1,b"], 2, "'input:1,b': write name:1,3,224,224"),
    ("input of size 0", ["explain", NET, "--input", "input:0,3,7,6"], 2, "sizes from 1"),
    ("input of no type", ["explain", NET, "--input", "input:1,3,7,6:float33"], 2, "'float33' is no torch type"),
    ("input of the wrong type", ["explain", NET, "--input", "input:1,3,7,6:int64"], 1, "cannot be exported"),
    ("input beyond memory", ["explain", NET, "--input", "input:1,3,9999999,9999999"], 1, "takes 1,117,586.9 GiB where"),
    ("bad --dynamic", ["explain", G, "--dynamic", "height"], 2, "'height': write batch, all, none, or name:0,2,3"),
    ("--dynamic of no input", ["explain", G, "--dynamic", "x:0"], 2, "no input is called 'x'; the inputs are input"),
    ("--dynamic of no dimension", ["explain", G, "--dynamic", "input:4"], 2, "'input' has 4 dimensions"),
    ("--dynamic beyond", ["explain", G, "--dynamic", "input:99"], 2, "'input' has 4 dimensions"),
    ("--dynamic of a number", ["explain", "factories:scaled", "--dynamic", "scale:0"], 2, "'scale' is no tensor"),
    ("--dynamic of one input twice", ["explain", G, *["--dynamic", "input:2"] * 2], 2, "input is given twice"),
    ("--dynamic twice", ["explain", G, "--dynamic", "all", "--dynamic", "input:2"], 2, "stand alone"),
    (
        "a number of 23 digits",
        ["explain", NET, "--input", f"x:1,3,{'9' * 23},5"],
        2,
        "of 23 digits; a tensor's sizes have",
    ),
    ("a number of 5000 digits", ["explain", NET, "--input", f"x:1,3,{'9' * 5000},5"], 2, "a number of 5000 digits"),
    ("a dimension of 23 digits", ["explain", G, "--dynamic", f"input:{'9' * 23}"], 2, "a number of 23 digits"),
    (
        "more elements than can be counted",
        ["explain", NET, "--input", "9999999999,9999999999"],
        2,
        "more elements than",
    ),
    (
        "10,000 dimensions",
        ["explain", NET, "--input", "x:" + ",".join("1" * 10_000)],
        2,
        "10000 dimensions; a tensor has",
    ),
    ("a negative size", ["explain", NET, "--input", "input:1,-3,7,6"], 2, "write name:1,3,224,224"),
    ("no input at all", ["explain", NET, "--input", ""], 2, "'': write name:1,3,224,224"),
    ("a type of letters", ["explain", NET, "--input", f"1:{'x' * 5000}"], 2, "is no torch type"),
    ("an exclude of nothing", ["explain", G, "--exclude", ""], 2, "an empty pattern matches no module"),
    ("IN of nothing", ["explain", ""], 1, "'' names no model"),
    ("IN with a NUL", ["explain", "out\0.pt2"], 1, "'out\\x00.pt2' names no model"),
    ("IN of 5000 letters", ["explain", "x" * 5000], 1, "xxx…: no such file; give a .pt2 or .onnx file"),
    ("a name too long", ["explain", "n" * 300 + ".pt2"], 1, "cannot be read: File name too long"),
    ("IN of another alphabet", ["explain", "модель"], 1, "модель: no such file"),
    ("IN with colours", ["explain", "\33[31mred\33[0m:\a"], 1, "red:\\x07: no module '"),
    ("a pipe", ["fold", "pipe.pt2", *OUT], 1, "pipe.pt2: is no regular file; copy what it gives"),
    ("a device", ["explain", os.devnull], 1, "is no regular file"),
    ("output of nothing", ["fold", G, "-o", ""], 1, "'': not the name of a file"),
    ("output with a NUL", ["fold", G, "-o", "out\0.pt2"], 1, "not the name of a file"),
    ("output of 5000 letters", ["fold", G, "-o", f"{'x' * 5000}.pt2"], 1, "File name too long"),
    ("module that exits", ["explain", "exits:net"], 1, "importing exits raised SystemExit"),
    ("module of dots", ["explain", "a..b:c"], 1, "no module 'a'"),
    ("relative module", ["explain", ".a:c"], 1, "importing .a raised TypeError"),
    ("module with a NUL", ["explain", "a\0b:c"], 1, "names no model"),
    ("factory that raises no Exception", ["explain", "factories:weird"], 1, "raised Weird: no Exception"),
    ("factory that wants arguments", ["explain", "factories:Weird.__str__"], 1, "raised TypeError"),
    ("factory of a generator", ["explain", "factories:later"], 1, "gives generator, not an nn.Module"),
    ("factory of four things", ["explain", "factories:four"], 1, "gives tuple, not an nn.Module or (module, args)"),
    ("factory of nothing", ["explain", "factories:empty"], 1, "gives tuple, not an nn.Module or (module, args)"),
    ("factory of no keywords", ["explain", "factories:keywords"], 1, "args tuple and kwargs list, not a tuple"),
    ("model that exits", ["explain", "factories:leaving"], 1, "the model's own code called for an exit (0)"),
    ("seconds of no number", ["bench", G, "--seconds", "nan"], 2, "'nan' is no number"),
    ("seconds without end", ["bench", G, "--seconds", "inf"], 2, "--seconds"),
    ("seconds of years", ["bench", G, "--seconds", "1e9"], 2, "--seconds"),
    ("seconds below 0", ["bench", G, "--seconds", "-1"], 2, "--seconds"),
    ("threads beyond reason", ["bench", G, "--threads", "9" * 23], 2, "--threads"),
    ("threads of letters", ["bench", G, "--threads", "many"], 2, "--threads"),
    ("models of other shapes", ["verify", G, "factories:nothing"], 1, "the models return different outputs"),
    ("a value decides", ["fold", "factories:branching", *OUT], 1, "it branches on a value that is only known when it"),
    ("an object is returned", ["fold", "factories:opaque", *OUT], 1, "returns Object objects, which torch.export does"),
    ("weights without numbers", ["fold", "factories:bare", *OUT], 1, "weight '0.0.weight' is on the meta device"),
    ("a link to itself", ["fold", "loop.pt2", *OUT], 1, "loop.pt2: cannot be read: Too many levels of symbolic links"),
    ("no threads", ["bench", G, "--threads", "0"], 2, "--threads"),
    ("threads twice", ["bench", G, "--threads", "1,2,1"], 2, "'--threads': 1 is given twice"),
    ("threads of nothing", ["bench", G, "--threads", "1,"], 2, "'--threads': '' is not a valid"),
    ("no samples", ["bench", G, "--batch", "1,0"], 2, "'--batch': 0 is not in the range"),
    ("a batch twice", ["bench", G, "--batch", "4,4"], 2, "'--batch': 4 is given twice"),
    (
        "a batch beyond memory",
        ["bench", G, "--batch", "9" * 11],
        1,
        "--batch 99999999999: inputs of 46,",
    ),
    ("a batch of nothing", ["bench", "factories:leaving", "--batch", "2", "--input", "x:1"], 1, "called for an exit"),
    ("unknown runtime", ["bench", G, "--runtime", "eager,tvm"], 2, "'tvm' is not one of 'eager', 'inductor', 'onnxr"),
    ("a runtime twice", ["bench", G, "--runtime", "eager,eager"], 2, "'--runtime': eager is given twice"),
    ("no runtime", ["bench", G, "--runtime", ""], 2, "'--runtime': '' is not one of"),
    ("a third that is not there", ["bench", G, G, "none.onnx"], 1, "none.onnx: no such file"),
    (
        "a batch it does not run at",
        ["bench", "factories:two", *["--input", "x:2,3,8,9", "--input", "mask:3,1,6,7", "--batch", "2"]],
        1,
        "factories:two does not run on these inputs at batch 2: ",
    ),
    (
        "what cannot be exported, measured",
        ["bench", "factories:opaque", "--runtime", "openvino"],
        1,
        "factories:opaque does not run on these inputs in openvino: torch.onnx.export takes no Opaque like this: ",
    ),
]
if Path("/proc").is_dir():
    TABLE.append(("folder of the kernel", ["fold", G, "-o", "/proc/out.pt2"], 1, "cannot write in /proc"))


@pytest.mark.parametrize(("words", "code", "said"), [row[1:] for row in TABLE], ids=[row[0] for row in TABLE])
def test_one_line(words: list[str], code: int, said: str, run: Run, folder: Path) -> None:
    _strew(folder)
    before = _listing(folder)
    result = run(*words)
    lines = messages(result.stderr)
    assert len(lines) == 1, result.stderr
    assert lines[0].startswith("convfold: error: ")
    assert said in lines[0]
    assert result.exit_code == code
    assert result.stdout == ""
    assert _listing(folder) == before


def _strew(folder: Path) -> None:
    """Files that are not models."""
    (folder / "random.pt2").write_bytes(bytes(torch.randint(256, (500,), dtype=torch.uint8).tolist()))
    (folder / "empty.pt2").touch()
    (folder / "model.onnx").write_bytes(b"\x08\x07")
    (folder / "folder.pt2").mkdir()
    (folder / "folder").mkdir()
    with zipfile.ZipFile(folder / "text.pt2", "w") as z:
        z.writestr("words.txt", "not a model")
    os.mkfifo(folder / "pipe.pt2")
    (folder / "loop.pt2").symlink_to("loop.pt2")
    torch.save({"weight": torch.ones(3)}, folder / "state.pt2")
    program = torch.export.export(torch.nn.Linear(3, 3), (torch.ones(2, 3),))
    torch.export.save(program, folder / "short.pt2")
    whole = (folder / "short.pt2").read_bytes()
    (folder / "short.pt2").write_bytes(whole[: len(whole) // 2])
    (folder / "damaged.pt2").write_bytes(whole.replace(b'"graph_module"', b'"graph_modulo"'))
    program.example_inputs = ((Call(os.rmdir, "folder"),), {})
    torch.export.save(program, folder / "calls.pt2")
    (folder / "kept.pt2").touch(0o444)


def _listing(folder: Path) -> list[tuple[str, int]]:
    return sorted((os.path.join(at, name), os.lstat(os.path.join(at, name)).st_size)
                  for at, folders, files in os.walk(folder) for name in folders + files)  # fmt: skip
