"""What can be known without torch is said without it: in a tenth of a second, not in two."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import convfold

#: Runs the command, as a process does, and says on a line of its own what it imported.
SCRIPT = """
import sys
from convfold.cli import main
try:
    main(sys.argv[1:], prog_name="convfold")
finally:
    heavy = {name.partition(".")[0] for name in sys.modules} & {"torch", "numpy", "sympy", "onnx", "transformers"}
    print("imported:", *sorted(heavy), file=sys.stderr)
"""

OUT = ["-o", "out.pt2"]
G = "nowhere:factory"  # never looked for


def alone(*words: str, folder: Path, script: str = SCRIPT) -> subprocess.CompletedProcess[str]:
    path = str(Path(convfold.__file__).parents[1])
    return subprocess.run(
        [sys.executable, "-c", script, *words],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["--version"], 0, ""),
        (["--help"], 0, ""),
        *(([command, "--help"], 0, "") for command in ("fold", "explain", "verify", "bench", "demo")),
        ([], 2, "Commands:"),
        (["explian"], 2, "explian"),
        (["explain", "--exlude", "x"], 2, "--exclude"),
        (["fold", G], 2, "--output"),
        (["fold", "none.pt2", *OUT], 1, "none.pt2: no such file"),
        (["verify", G, "none.pt2"], 1, "none.pt2: no such file"),
        (["bench", "resnet18"], 1, "resnet18: no such file; give"),
        (["explain", "folder"], 1, "folder: is a directory"),
        (["fold", G, "-o", "out.pth"], 1, "out.pth: unknown kind of file"),
        (["fold", G, "-o", "no/such/out.pt2"], 1, "the folder no/such does not exist"),
        (["fold", G, "-o", "folder.pt2"], 1, "folder.pt2: is a directory"),
        (["explain", G, "--objective", "beauty"], 2, "beauty"),
        (["explain", G, "--input", "x:1,b"], 2, "write name:1,3,224,224"),
        (["explain", G, "--input", "x:1:float33"], 2, "'float33' is no torch type"),
        (["explain", G, "--input", "x:1", "--input", "x:2"], 2, "x is given twice"),
        (["explain", G, "--input", f"x:{'9' * 23}"], 2, "23 digits"),
        (["explain", G, "--dynamic", "height"], 2, "write batch, all, none"),
        (["explain", G, "--dynamic", "all", "--dynamic", "x:2"], 2, "stand alone"),
        (["bench", G, "--seconds", "nan"], 2, "'nan' is no number"),
        (["bench", G, "--runtime", "tvm"], 2, "'tvm' is not one of"),
        (["bench", G, "--threads", "2,2"], 2, "2 is given twice"),
        (["bench", G, G, "none.pt2", "--batch", "0"], 2, "--batch"),
    ],
    ids=lambda value: " ".join(value)[:40] if isinstance(value, list) else "",
)
def test_not_imported(words: list[str], code: int, said: str, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder.pt2").mkdir()
    done = alone(*words, folder=tmp_path)
    *lines, imported = done.stderr.splitlines()
    assert (done.returncode, imported) == (code, "imported:"), done.stderr
    assert said in "\n".join(lines)
    assert not lines if code == 0 else lines
    assert bool(done.stdout) == (code == 0)


def test_asking_for_a_name_imports_it(tmp_path: Path) -> None:
    script = """
import sys, convfold
convfold.InvalidInput, convfold.FoldConfig(), dir(convfold)
assert "torch" not in sys.modules
convfold.fold
assert "torch" in sys.modules
"""
    done = alone(folder=tmp_path, script=script)
    assert done.returncode == 0, done.stderr
