from __future__ import annotations

import re
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from mmcl.cli import embed as module
from mmcl.cli.main import main
from mmcl.embedder import ModelEmbedder
from mmcl.export import ModelCardFacts, export_model
from mmcl.model import build_model
from tests.tiny import resnet_pair, save_pairs, save_tokenizer
from tests.towers.tiny_configs import scramble


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("model")
    built = build_model(resnet_pair(save_tokenizer(folder / "tokenizer")))
    scramble(built)
    export_model(built, folder / "model", ModelCardFacts("x"))
    return str(folder / "model")


def test_it_says_what_it_wrote_and_what_it_cost(model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pairs = save_pairs(tmp_path / "data")
    (pairs.parent / "4.png").unlink()
    output = tmp_path / "v.parquet"
    command = ["embed", model, str(pairs), "-o", str(output), "--what", "image", "--id", "image"]
    assert main([*command, "--dim", "6", "--dtype", "int8", "--batch-size", "7"]) == 0
    lines = capsys.readouterr().out.splitlines()
    counted = r"recall@10 [01]\.\d{4} \(59 queries among 59 vectors\)"
    assert re.fullmatch(f"fewer dimensions: {counted} against all of them", lines[0])
    assert re.fullmatch(f"int8: {counted} against float32", lines[1])
    assert lines[2] == f"1 of 60 rows cannot be embedded: {tmp_path / 'v.quarantine.jsonl'}"
    assert lines[3] == f"{output}: 59 vectors of 60 rows"
    assert pq.read_table(output).column_names == ["id", "vector", "scale"]


def test_a_second_call_goes_on(
    model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    pairs = save_pairs(tmp_path / "data")
    command = ["embed", model, str(pairs), "-o", str(tmp_path / "v.parquet"), "--what", "text"]
    monkeypatch.setattr("mmcl.vectors.embed.ROWS_PER_PART", 20)
    monkeypatch.setattr(module, "INTERVAL_S", 0.0)
    real, calls = ModelEmbedder.encode_texts, []

    def interrupted(self: ModelEmbedder, texts: list[str], prompt: str | None) -> object:
        calls.append(len(texts))
        if len(calls) == 2:
            raise KeyboardInterrupt
        return real(self, texts, prompt)

    monkeypatch.setattr(ModelEmbedder, "encode_texts", interrupted)
    assert main(command) == 130
    assert "stopped; the same command goes on" in capsys.readouterr().err
    assert main(command) == 0
    shown = capsys.readouterr()
    assert "going on: 20 of 60 rows were done" in shown.err
    assert "40 of 60 rows" in shown.err
    assert "60 vectors of 60 rows" in shown.out
    assert main(command) == 0
    assert "was there already, 60 vectors of 60 rows" in capsys.readouterr().out
    assert calls == [20, 20, 20, 20]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "error: --what: the model embeds pictures and texts, and pairs.csv has both"),
        (["--what", "text", "--text", "txt"], '--text: no column "txt" .* Did you mean "text"'),
        (["--what", "image", "--image-root", "/nowhere"], "DATA: none of the 60 pictures .* set --image-root to"),
        (["--what", "text", "--split", "test"], "--split: .* has no splits"),
        (["--what", "text", "--delimiter", ";"], "--delimiter"),
        (["--what", "text", "--column-names", "a,a"], "--column-names: must be names, one for each column"),
        (["--what", "text", "--dtype", "half"], "--dtype must be fp32, fp16 or int8, got half"),
    ],
)
def test_a_mistake_is_one_message(
    model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    pairs = save_pairs(tmp_path / "data")
    assert main(["embed", model, str(pairs), "-o", str(tmp_path / "v.parquet"), *arguments]) == 2
    captured = capsys.readouterr().err
    assert "Traceback" not in captured
    assert re.search(message, captured), captured


def test_data_that_is_not_there_is_one_message(model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["embed", model, "no/such.csv", "-o", str(tmp_path / "v.parquet")]) == 2
    assert capsys.readouterr().err.startswith("error: DATA: there is no no/such.csv")
