from __future__ import annotations

import re
from pathlib import Path

import pytest

import mmcl
from mmcl.cli.main import main
from mmcl.export import ModelCardFacts, export_model
from mmcl.model import build_model
from tests.tiny import resnet_pair, save_tokenizer
from tests.towers.tiny_configs import VIT, lone_image, scramble


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pretrained model, a run that fine-tuned it, and a model of another architecture."""
    folder = tmp_path_factory.mktemp("models")
    tokenizer = save_tokenizer(folder / "tokenizer")
    for name, config in (
        ("pretrained", resnet_pair(tokenizer)),
        ("run/model", resnet_pair(tokenizer)),
        ("other", lone_image(VIT)),
    ):
        model = build_model(config)
        scramble(model, seed=len(name))
        export_model(model, folder / name, ModelCardFacts(name))
    return folder


def test_a_run_is_merged_with_what_it_started_from(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    a, b, output = str(folder / "pretrained"), str(folder / "run"), tmp_path / "merged"
    assert main(["merge", a, b, "--alpha", "0.25", "-o", str(output)]) == 0
    shown = capsys.readouterr().out
    assert f"{output}: 0.75 x {a} + 0.25 x {b}" in shown
    assert "batch norm" in shown
    assert "export:" not in shown, "every way to open it held"
    card = (output / "README.md").read_text()
    assert f"every weight is 0.75 times that of `{a}` plus 0.25 times that of `{b}`" in card
    assert "yes (cosine 1.0000000)" in card
    scales = [mmcl.load(name, "cpu").model.logit_scale.log_scale.item() for name in (a, b, str(output))]
    assert scales[2] == pytest.approx(0.75 * scales[0] + 0.25 * scales[1])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["pretrained", "other"], "cannot be merged: architecture is JointTowers"),
        (["pretrained", "rum"], 'there is no folder .*rum. Did you mean ".*run"'),
        (["pretrained", "run", "--alpha", "1.5"], "alpha must be from 0 to 1, got 1.5"),
        (["pretrained"], "Missing argument 'B'"),
    ],
)
def test_a_mistake_is_one_message_and_nothing_is_written(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    given = [str(folder / name) if index < 2 else name for index, name in enumerate(arguments)]
    assert main(["merge", *given, "-o", str(tmp_path / "merged")]) == 2
    captured = capsys.readouterr().err
    assert "Traceback" not in captured
    assert re.search(message, captured)
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_replaced(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = [str(folder / "pretrained"), str(folder / "run")]
    assert main(["merge", *given, "-o", str(folder / "other")]) == 2
    assert "already holds something; give a new folder" in capsys.readouterr().err
