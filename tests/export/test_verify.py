from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from mmcl.export import verify
from mmcl.export.forms import form_of, write_form
from mmcl.export.verify import FormCheck, sample_pictures, verify_export
from mmcl.model import TwoTower, build_model
from tests.towers import tiny_configs as tiny
from tests.towers.tiny_configs import pair, scramble


@pytest.fixture
def model(tokenizer: str) -> TwoTower:
    built = build_model(pair(tiny.VIT, tiny.BERT, tokenizer))
    scramble(built)
    return built


def written(model: TwoTower, folder: Path) -> Path:
    write_form(model, folder, form_of(model)).write(folder, "test")
    return folder


def test_pictures_are_of_odd_sizes_and_always_the_same() -> None:
    first, second = sample_pictures(), sample_pictures()
    assert [one.tobytes() for one in first] == [two.tobytes() for two in second]
    assert len({picture.size for picture in first}) == len(first)
    assert all(side % 2 for picture in first for side in picture.size)


def test_a_whole_export_holds(model: TwoTower, tmp_path: Path) -> None:
    assert all(check.holds for check in verify_export(written(model, tmp_path), model, "router"))


@pytest.mark.parametrize(
    ("damage", "cosine_is_known"), [("weights", True), ("tokenizer", True), ("pixels", True), ("file", False)]
)
def test_damage_is_seen_in_every_way_to_open_it(
    model: TwoTower, tmp_path: Path, damage: str, cosine_is_known: bool
) -> None:
    folder = written(model, tmp_path)
    if damage == "weights":
        path = folder / "text_projection" / "model.safetensors"
        save_file({name: tensor + 0.1 * torch.randn_like(tensor) for name, tensor in load_file(path).items()}, path)
    elif damage == "tokenizer":
        path = folder / "text" / "tokenizer.json"
        path.write_text(path.read_text().replace('"a": 4', '"a": 5').replace('"greek": 5', '"greek": 4'))
    elif damage == "pixels":
        path = folder / "image" / "preprocessor_config.json"
        path.write_text(path.read_text().replace("0.5", "0.4"))
    else:
        (folder / "image" / "model.safetensors").unlink()
    checks = verify_export(folder, model, "router")
    # mmcl takes its preprocessing from its own file, which is whole.
    affected = [check for check in checks if not (damage == "pixels" and check.name == "mmcl")]
    assert not any(check.holds for check in affected)
    assert all((check.cosine is not None) == cosine_is_known for check in affected)
    assert all((check.problem is None) == cosine_is_known for check in affected)


def test_without_sentence_transformers_it_is_skipped(
    model: TwoTower, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verify, "find_spec", lambda name: None)
    checks = {check.name: check for check in verify_export(written(model, tmp_path), model, "router")}
    assert checks["sentence_transformers"].was_skipped
    assert not checks["sentence_transformers"].holds
    assert checks["mmcl"].holds


def test_a_check_reads_as_one_line() -> None:
    assert str(FormCheck("towers", 0.5)) == "opened by towers: smallest cosine 0.5000000, at least 0.99999 wanted"
    assert str(FormCheck("towers", None, "no such file")) == "opened by towers: no such file"


def test_a_check_holds_from_the_threshold_on() -> None:
    assert FormCheck("x", 0.99999).holds
    assert not FormCheck("x", 0.99998).holds
    assert not FormCheck("x", None, "reason").holds
    assert not FormCheck("x", None, "reason").was_skipped
    assert not FormCheck("x", float("nan")).holds
