from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from mmcl.data.loader import build_train_data
from mmcl.embedder import ModelEmbedder
from mmcl.errors import UserError
from mmcl.model import build_model
from mmcl.recipe import Recipe
from mmcl.recipe_data import ColumnsConfig, SourceConfig
from mmcl.vectors.mine import MineReport, mine_rows
from mmcl.vectors.nearest_others import Choice
from tests.tiny import WORDS, bert_alone, resnet_pair, save_pairs, save_tokenizer
from tests.towers.tiny_configs import scramble

ALL = Choice(5, None, None)


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> str:
    return save_tokenizer(tmp_path_factory.mktemp("tokenizer"))


@pytest.fixture(scope="module")
def embedder(tokenizer: str) -> ModelEmbedder:
    model = build_model(resnet_pair(tokenizer))
    scramble(model)
    return ModelEmbedder(model, "tiny", batch_size=8)


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    return save_pairs(tmp_path / "data", 30, 20)


def mined(embedder: ModelEmbedder, source: Path, output: Path, **options: Any) -> MineReport:
    return mine_rows(embedder, SourceConfig(path=str(source)), output, **options)


def test_rows_come_with_the_nearest_captions_of_other_groups(
    embedder: ModelEmbedder, pairs: Path, tmp_path: Path
) -> None:
    report = mined(embedder, pairs, tmp_path / "m.parquet", choice=ALL)
    lines = [line.split(",") for line in pairs.read_text().splitlines()[1:]]
    rows = pq.read_table(report.output).to_pylist()
    assert [[row[name] for name in ("image", "text", "group", "label")] for row in rows] == lines
    images = embedder.encode_images([pairs.parent / f"{row}.png" for row in range(30)])
    texts = list(dict.fromkeys(line[1] for line in lines))
    scores = images @ embedder.encode_texts(texts).T
    for row, line, own in zip(rows, lines, scores, strict=True):
        of_group = {other[1] for other in lines if other[2] == line[2]}
        expected = [texts[place] for place in np.argsort(-own) if texts[place] not in of_group][:5]
        assert row["negatives"] == expected
    assert (report.num_rows, report.num_left_out, dict(report.num_with)) == (30, 0, {5: 30})
    assert (report.num_too_near, report.replaces, report.image_root) == (0, False, pairs.parent)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data", "m.parquet"], "nothing is left beside it"


def test_what_is_nearly_as_near_as_the_own_caption_is_dropped(
    embedder: ModelEmbedder, pairs: Path, tmp_path: Path
) -> None:
    everything = mined(embedder, pairs, tmp_path / "a.parquet", choice=Choice(50, None, None))
    report = mined(embedder, pairs, tmp_path / "b.parquet", choice=Choice(50, 0.02, None))
    images = embedder.encode_images([pairs.parent / f"{row}.png" for row in range(30)])
    num_dropped = 0
    for row, every, left in zip(
        images, pq.read_table(everything.output).to_pylist(), pq.read_table(report.output).to_pylist(), strict=True
    ):
        highest = float(row @ embedder.encode_texts([every["text"]])[0]) - 0.02
        scores = embedder.encode_texts(every["negatives"]) @ row
        kept = [text for text, score in zip(every["negatives"], scores, strict=True) if score <= highest]
        assert left["negatives"] == kept
        num_dropped += len(scores) - len(kept)
    assert report.num_too_near == num_dropped > 0


def test_a_recipe_takes_the_file_as_it_is(embedder: ModelEmbedder, pairs: Path) -> None:
    report = mined(embedder, pairs, pairs.parent / "m.parquet")
    assert report.image_root is None
    recipe = Recipe.model_validate(
        {
            "data": {"train": str(report.output), "validation": 0},
            "objectives": [{"clip": {"hard_negatives": 1}}],
            "batch_size": 10,
        }
    )
    data = build_train_data(recipe, embedder.model.preprocessing, embedder.model.tokenizer)
    batch = next(data.batches())
    assert len(batch.images[0]) == len(batch.texts[0]) == 10
    assert 0 < len(batch.texts[2]) <= 10


def test_rows_that_cannot_be_compared_stay_without_negatives(
    embedder: ModelEmbedder, pairs: Path, tmp_path: Path
) -> None:
    (pairs.parent / "4.png").write_bytes(b"no picture")
    lines = pairs.read_text().splitlines()
    lines[7] = "6.png,,6,a"
    pairs.write_text("\n".join(lines) + "\n")
    report = mined(embedder, pairs, tmp_path / "m.parquet", choice=ALL)
    negatives = pq.read_table(report.output)["negatives"].to_pylist()
    assert [row for row, texts in enumerate(negatives) if not texts] == [4, 6]
    assert (report.num_left_out, dict(report.num_with)) == (2, {5: 28})


def test_pairs_of_texts_look_among_positives(tokenizer: str, tmp_path: Path) -> None:
    model = build_model(bert_alone(tokenizer))
    scramble(model)
    embedder = ModelEmbedder(model, "bert")
    rows = [
        {"text": word, "positive": [f"{word} {WORDS[(n + 3) % 9]}", f"{word} a"], "negatives": "old"}
        for n, word in enumerate(WORDS[:9])
    ]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    report = mined(embedder, tmp_path / "a.jsonl", tmp_path / "m.parquet", choice=Choice(16, None, None))
    assert report.replaces
    candidates = list(dict.fromkeys(text for row in rows for text in row["positive"]))
    scores = embedder.encode_texts([str(row["text"]) for row in rows]) @ embedder.encode_texts(candidates).T
    for row, own, made in zip(rows, scores, pq.read_table(report.output).to_pylist(), strict=True):
        assert made["positive"] == row["positive"]
        nearest = [candidates[place] for place in np.argsort(-own)]
        assert made["negatives"] == [text for text in nearest if text not in row["positive"]]


def test_pairs_of_texts_are_compared_behind_the_prompts_of_query_and_document(tokenizer: str, tmp_path: Path) -> None:
    prompts = {"query": "black ", "passage": "two small "}
    embedder = ModelEmbedder(build_model(bert_alone(tokenizer).model_copy(update={"prompts": prompts})), "bert")
    scramble(embedder.model)
    rows = [{"text": word, "positive": f"{WORDS[(n + 3) % 9]} {word}"} for n, word in enumerate(WORDS[:9])]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    report = mined(embedder, tmp_path / "a.jsonl", tmp_path / "m.parquet", choice=Choice(8, None, None))
    anchors = embedder.encode_texts([row["text"] for row in rows], "query")
    scores = anchors @ embedder.encode_texts([row["positive"] for row in rows], "passage").T
    found = pq.read_table(report.output)["negatives"].to_pylist()
    for number, (own, made) in enumerate(zip(scores, found, strict=True)):
        assert made == [rows[place]["positive"] for place in np.argsort(-own) if place != number]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"anchor": "picture"}, "--anchor must be image or text, got picture."),
        ({"anchor": "text"}, r'pairs of texts are compared, and pairs.csv has no column "positive"'),
        ({"columns": ColumnsConfig(text="title")}, r'data.columns.text: no column "title"'),
        ({"choice": Choice(3, 5.0, None)}, "has a hard negative: .* candidates are too near to be wrong"),
    ],
)
def test_what_cannot_be_mined_is_one_clear_error(
    embedder: ModelEmbedder, pairs: Path, tmp_path: Path, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        mined(embedder, pairs, tmp_path / "m.parquet", **options)
    assert not (tmp_path / "m.parquet").exists()


def test_no_file_is_overwritten(embedder: ModelEmbedder, pairs: Path, tmp_path: Path) -> None:
    (tmp_path / "m.parquet").write_text("mine")
    with pytest.raises(UserError, match="is there already"):
        mined(embedder, pairs, tmp_path / "m.parquet")
    with pytest.raises(UserError, match=r"--output must end in \.parquet"):
        mined(embedder, pairs, tmp_path / "m.csv")
