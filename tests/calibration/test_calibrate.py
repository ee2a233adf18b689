"""`convfold calibrate` writes a target, and goes on where it was interrupted."""

from __future__ import annotations

import json
from pathlib import Path
from unittest.mock import patch

import pytest

import convfold
from convfold import calibration
from convfold.calibration import calibrate
from convfold.calibration.samples import KINDS, Sample
from convfold.targets import target


@pytest.fixture(autouse=True)
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calibration, "KINDS", {kind: KINDS[kind] for kind in ("dense", "product", "copy", "view")})
    monkeypatch.setattr(calibration, "COUNT", 5)
    monkeypatch.setattr(calibration, "MORE", {})


@pytest.mark.parametrize("name", ["eager", "onnxruntime", "openvino"])
def test_a_target_is_made(name: str, tmp_path: Path) -> None:
    path, stages = tmp_path / "mine.json", list[str]()
    with patch("convfold.calibration.timed.SECONDS", 0.0):
        found = calibrate(name, path, progress=stages.append)
    assert target(str(path)) == found
    assert set(found.prices) - {"bias"} == set(calibration.KINDS) == set(found.errors)
    assert found.runtime == name
    assert len(stages) == 5
    assert [p.name for p in tmp_path.iterdir()] == ["mine.json"]


def test_what_was_timed_is_not_timed_again(tmp_path: Path) -> None:
    path, timed = tmp_path / "mine.json", list[str]()

    def seconds(sample: Sample, *_: object) -> float:
        timed.append(str(sample))
        if len(timed) == 12:
            raise KeyboardInterrupt
        return 1e-5

    with patch("convfold.calibration.timed_alone", seconds):
        with pytest.raises(KeyboardInterrupt):
            calibrate("eager", path)
        assert not path.exists()
        first = timed[:11]
        calibrate("eager", path)
    assert len(timed) == 12 + 5 * 4 - 11
    assert not set(first) & set(timed[12:])
    assert path.exists()


def test_after_its_time_there_are_five_of_each_kind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calibration, "COUNT", 9)
    timed = list[Sample]()

    def seconds(sample: Sample, *_: object) -> float:
        timed.append(sample)
        return 1e-5

    with patch("convfold.calibration.timed_alone", seconds):
        calibrate("eager", tmp_path / "few.json", seconds=0.0)
        assert len(timed) == 5 * 4
        calibrate("eager", tmp_path / "all.json", seconds=60.0)
    assert len(timed) == 5 * 4 + 9 * 4


def test_times_of_another_runtime_are_not_used(tmp_path: Path) -> None:
    path = tmp_path / "mine.json"
    part = path.with_name("mine.json.part")
    part.write_text(json.dumps({"runtime": "abacus"}) + "\n" + json.dumps(["view(1)", 1.0]) + "\n", encoding="utf-8")
    with patch("convfold.calibration.timed_alone", lambda *_: 1e-5):
        calibrate("eager", path)
    assert path.exists() and not part.exists()


def test_bad_input(tmp_path: Path) -> None:
    with (
        patch("convfold.calibration.find_spec", lambda package: None),
        pytest.raises(convfold.InvalidInput, match=r"pip install 'convfold\[calibrate\]'"),
    ):
        calibrate("eager", tmp_path / "x.json")
    with pytest.raises(convfold.InvalidInput, match="unknown runtime 'abacus'; known: eager"):
        calibrate("abacus", tmp_path / "x.json")
    with pytest.raises(convfold.InvalidInput, match=r"a target is a \.json file"):
        calibrate("eager", tmp_path / "x.txt")
    with pytest.raises(convfold.InvalidInput, match="does not exist"):
        calibrate("eager", tmp_path / "none" / "x.json")
    (tmp_path / "x.json.part").write_text("{", encoding="utf-8")
    with pytest.raises(convfold.InvalidInput, match="cannot be read; remove it"):
        calibrate("eager", tmp_path / "x.json")
