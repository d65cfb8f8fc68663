from __future__ import annotations

import re
from importlib.util import find_spec
from pathlib import Path

import pytest

from mmcl.cli.main import main
from mmcl.export import ModelCardFacts, export_model
from mmcl.model import build_model
from tests.tiny import save_tokenizer
from tests.towers.tiny_configs import BERT, joint, lone_text, scramble

ONNX = ("onnx", "onnxscript", "onnxruntime")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of a CLIP, and a text model."""
    folder = tmp_path_factory.mktemp("models")
    tokenizer = save_tokenizer(folder / "tokenizer")
    for name, config in (("run/model", joint("clip", tokenizer)), ("text", lone_text(BERT, tokenizer))):
        model = build_model(config)
        scramble(model)
        export_model(model, folder / name, ModelCardFacts(name))
    return folder


def test_a_run_becomes_an_open_clip_folder(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = tmp_path / "oc"
    assert main(["export", str(folder / "run"), "--to", "open_clip", "-o", str(output)]) == 0
    shown = capsys.readouterr().out
    assert re.search(r"opened by open_clip: smallest cosine (1\.0000000|0\.99999\d\d)", shown)
    assert "one pixel further where the margin is odd" in shown
    assert shown.splitlines()[-1] == f"{output}: open_clip"
    names = {path.name for path in output.iterdir()}
    assert {"open_clip_config.json", "open_clip_model.safetensors", "tokenizer.json", "README.md"} <= names
    assert f"Converted from `{folder / 'run'}`" in (output / "README.md").read_text()


@pytest.mark.skipif(any(find_spec(name) is None for name in ONNX), reason='needs "mmcl[onnx]"')
def test_a_text_model_becomes_an_onnx_folder(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = tmp_path / "onnx"
    assert main(["export", str(folder / "text"), "--to", "onnx", "-o", str(output)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert re.match(r"opened by onnxruntime: smallest cosine (1\.0|0\.99999)", lines[0])
    assert lines[1] == f"{output}: onnx"
    assert {path.name for path in output.iterdir()} == {"text.onnx", "tokenizer.json", "embed.py", "README.md"}


def test_without_onnx_the_line_that_installs_it_is_printed(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mmcl.export.to_onnx.find_spec", lambda name: None)
    assert main(["export", str(folder / "text"), "--to", "onnx", "-o", str(tmp_path / "x")]) == 2
    assert 'pip install "mmcl[onnx]"' in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run", "--to", "openclip"], 'got openclip. Did you mean "open_clip"'),
        (["text", "--to", "open_clip"], "error: the model has no open_clip form: it embeds texts alone"),
        (["run", "--to", "onxx"], 'got onxx. Did you mean "onnx"'),
        (["rum", "--to", "open_clip"], "there is no folder"),
        (["run"], "Missing option '--to'"),
    ],
)
def test_a_mistake_is_one_message_and_nothing_is_written(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    assert main(["export", str(folder / arguments[0]), *arguments[1:], "-o", str(tmp_path / "x")]) == 2
    captured = capsys.readouterr().err
    assert "Traceback" not in captured
    assert message in captured
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_replaced(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["export", str(folder / "run"), "--to", "open_clip", "-o", str(folder / "text")]) == 2
    assert "already holds something; give a new folder" in capsys.readouterr().err
