"""From a wheel, in a fresh environment and an empty folder, the README's first screen works as printed."""

from __future__ import annotations

import email
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
import venv
import zipfile
from email.message import Message
from pathlib import Path

import pytest
import yaml

import convfold
from tests.docs.pages import ROOT, blocks, calm, commands, pattern

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
#: What the repository holds besides, or anything a build leaves behind.
_NOT_THERE = (".git", ".venv", ".compat", "site", "dist", "build", "__pycache__", "*.egg-info", ".*_cache")


def called(*words: str | Path, cwd: Path, env: dict[str, str] | None = None) -> str:
    done = subprocess.run(list(map(str, words)), cwd=cwd, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{words}\n{done.stdout}\n{done.stderr}"
    return done.stdout + "".join(f"{s}\n" for s in done.stderr.splitlines() if not s.startswith("convfold: "))


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of both: the sdist from a copy of the repository, the wheel from the sdist, as `build` does."""
    copy, out = tmp_path_factory.mktemp("copy") / "convfold", tmp_path_factory.mktemp("dist")
    shutil.copytree(ROOT, copy, ignore=shutil.ignore_patterns(*_NOT_THERE))
    called(sys.executable, "-m", "build", "--no-isolation", "--outdir", out, copy, cwd=copy)
    return out


@pytest.fixture(scope="module")
def wheel(built: Path) -> Path:
    (found,) = built.glob("*.whl")
    return found


def metadata(wheel: Path) -> Message:
    with zipfile.ZipFile(wheel) as z:
        (name,) = (n for n in z.namelist() if n.endswith(".dist-info/METADATA"))
        return email.message_from_bytes(z.read(name))


def test_what_is_built(built: Path, wheel: Path) -> None:
    assert wheel.name == f"convfold-{convfold.__version__}-py3-none-any.whl"
    (sdist,) = built.glob("*.tar.gz")
    with tarfile.open(sdist) as t:
        inside = {name.partition("/")[2] for name in t.getnames()}
    for name in ("src/convfold/__init__.py", "docs/index.md", "mkdocs.yml", "CITATION.cff", "LICENSE"):
        assert name in inside, name
    with zipfile.ZipFile(wheel) as z:
        files = z.namelist()
    assert {name.partition("/")[0].partition("-")[0] for name in files} == {"convfold"}
    assert "convfold/py.typed" in files
    for data in (ROOT / "src" / "convfold").rglob("*"):
        if data.is_file() and "__pycache__" not in data.parts:
            assert str(data.relative_to(ROOT / "src")) in files, data
    called(sys.executable, "-m", "twine", "check", "--strict", sdist, wheel, cwd=built)


def test_the_metadata_are_true(wheel: Path) -> None:
    found = metadata(wheel)
    assert found["Name"] == "convfold" and found["Version"] == PROJECT["version"] == convfold.__version__
    assert found["License-Expression"] == "Apache-2.0" and found.get_all("License-File") == ["LICENSE"]
    assert found["Requires-Python"] == PROJECT["requires-python"]
    assert found["Description-Content-Type"] == "text/markdown"
    assert set(found.get_all("Provides-Extra") or ()) == set(PROJECT["optional-dependencies"])
    python = f"Programming Language :: Python :: {sys.version_info.major}.{sys.version_info.minor}"
    assert python in (found.get_all("Classifier") or ()), "the tests run on a Python that is not claimed"


def test_versions_agree() -> None:
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert {"cff-version", "message", "title", "authors"} <= cited.keys()
    assert cited["version"] == PROJECT["version"] == convfold.__version__
    assert cited["license"] == PROJECT["license"] and cited["keywords"] == PROJECT["keywords"]
    log = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    released = re.findall(r"^## \[(\d+\.\d+\.\d+)\] - \d{4}-\d\d-\d\d$", log, re.M)
    assert log.count("\n## [Unreleased]\n") == 1 and len(set(released)) == len(released)
    assert set(re.findall(r"^### (.*)$", log, re.M)) <= {
        "Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"
    }  # fmt: skip


def test_the_first_screen_works_as_printed(wheel: Path, tmp_path: Path) -> None:
    """Of the environment that runs the tests only the dependencies; convfold from the wheel, nothing from here."""
    fresh, empty = tmp_path / "fresh", tmp_path / "empty"
    empty.mkdir()
    venv.create(fresh, with_pip=False)
    python = fresh / ("Scripts" if os.name == "nt" else "bin") / "python"
    (site,) = (p for p in fresh.rglob("site-packages") if p.is_dir())
    env = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "CONVFOLD"))}
    env["PATH"] = f"{python.parent}{os.pathsep}{env['PATH']}"
    pip = [sys.executable, "-m", "pip", "--python", python, "install", "--quiet", "--no-deps", "--no-index"]
    called(*pip, "--disable-pip-version-check", wheel, cwd=empty, env=env)
    (site / "dependencies.pth").write_text("\n".join(p for p in sys.path if p.endswith("site-packages")) + "\n")
    where = called(python, "-c", "import convfold; print(convfold.__file__)", cwd=empty, env=env)
    assert Path(where.strip()).is_relative_to(fresh)
    screen = next(block for block in blocks(ROOT / "README.md") if block.language == "console")
    ((install, _), *typed) = commands(screen.text)
    assert install == [["pip", "install", "convfold"]] and len(typed) == 1
    for lines, shown in typed:
        for words in lines:
            said = called(*words, cwd=empty, env=env)
            assert re.fullmatch(pattern(shown), calm(said)), said
    assert (empty / "small.pt2").is_file()
