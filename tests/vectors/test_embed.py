from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pyarrow.parquet as pq
import pytest

from mmcl.embedder import ModelEmbedder
from mmcl.errors import UserError
from mmcl.model import build_model
from mmcl.recipe_data import ColumnsConfig, SourceConfig
from mmcl.vectors import embed as module
from mmcl.vectors.embed import embed_rows
from tests.tiny import resnet_pair, save_pairs, save_tokenizer
from tests.towers.tiny_configs import VIT, lone_image, scramble

NUM_ROWS = 60


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
    return save_pairs(tmp_path / "data", NUM_ROWS)


def vectors_of(path: Path) -> np.ndarray:
    """As someone without mmcl reads them."""
    table = pq.read_table(path)
    rows = np.array(table["vector"].to_pylist(), dtype=np.float32)
    return rows * table["scale"].to_numpy()[:, None] if "scale" in table.column_names else rows


def embedded(embedder: ModelEmbedder, source: Path, output: Path, **options: Any) -> module.EmbedReport:
    return embed_rows(embedder, SourceConfig(path=str(source)), output, **options)


def test_every_row_has_its_vector_and_its_id(embedder: ModelEmbedder, pairs: Path, tmp_path: Path) -> None:
    report = embedded(embedder, pairs, tmp_path / "v.parquet", what="image")
    expected = embedder.encode_images([pairs.parent / f"{row}.png" for row in range(NUM_ROWS)])
    np.testing.assert_allclose(vectors_of(report.output), expected, atol=1e-6)
    assert pq.read_table(report.output)["id"].to_pylist() == list(range(NUM_ROWS))
    assert (report.num_rows, report.num_vectors, report.num_left_out, report.quarantine) == (60, 60, 0, None)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data", "v.parquet"], "nothing is left beside it"


def test_texts_are_embedded_and_named_by_a_column(embedder: ModelEmbedder, pairs: Path, tmp_path: Path) -> None:
    report = embedded(embedder, pairs, tmp_path / "v.parquet", what="text", id_column="image")
    table = pq.read_table(report.output)
    texts = [line.split(",")[1] for line in pairs.read_text().splitlines()[1:]]
    np.testing.assert_allclose(vectors_of(report.output), embedder.encode_texts(texts), atol=1e-6)
    assert table["id"].to_pylist() == [f"{row}.png" for row in range(NUM_ROWS)]


def test_texts_are_embedded_behind_a_prompt(tokenizer: str, pairs: Path, tmp_path: Path) -> None:
    model = build_model(resnet_pair(tokenizer, prompts={"query": "black "}))
    scramble(model)
    embedder = ModelEmbedder(model, "tiny")
    report = embedded(embedder, pairs, tmp_path / "v.parquet", what="text", prompt="query")
    texts = [line.split(",")[1] for line in pairs.read_text().splitlines()[1:]]
    np.testing.assert_allclose(vectors_of(report.output), embedder.encode_texts(texts, "query"), atol=1e-6)
    with pytest.raises(UserError, match="is another embedding: prompt was query, now None"):
        embedded(embedder, pairs, tmp_path / "v.parquet", what="text")
    with pytest.raises(UserError, match=r'--prompt: the model has no prompt "document" \(query\)'):
        embedded(embedder, pairs, tmp_path / "w.parquet", what="text", prompt="document")
    with pytest.raises(UserError, match="--prompt: a prompt goes before texts, and pictures are embedded"):
        embedded(embedder, pairs, tmp_path / "w.parquet", what="image", prompt="query")


def test_each_caption_of_a_row_has_a_vector(embedder: ModelEmbedder, tmp_path: Path) -> None:
    rows = [{"text": ["one", "two"]}, {"text": ["black"]}, {"text": []}, {"text": ["white", "", "arrow"]}]
    (tmp_path / "x.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    report = embedded(embedder, tmp_path / "x.jsonl", tmp_path / "v.parquet")
    assert pq.read_table(report.output)["id"].to_pylist() == [0, 0, 1, 3, 3]
    expected = embedder.encode_texts(["one", "two", "black", "white", "arrow"])
    np.testing.assert_allclose(vectors_of(report.output), expected, atol=1e-6)
    assert (report.num_vectors, report.num_left_out) == (5, 1)


def test_rows_that_cannot_be_read_are_told_and_have_no_vector(
    embedder: ModelEmbedder, pairs: Path, tmp_path: Path
) -> None:
    (pairs.parent / "3.png").write_bytes(b"no picture")
    (pairs.parent / "17.png").unlink()
    lines = pairs.read_text().splitlines()
    pairs.write_text("\n".join([*lines[:31], "," + lines[31].split(",", 1)[1], *lines[32:]]) + "\n")
    report = embedded(embedder, pairs, tmp_path / "v.parquet", what="image")
    assert pq.read_table(report.output)["id"].to_pylist() == [i for i in range(NUM_ROWS) if i not in (3, 17, 30)]
    assert (report.num_vectors, report.num_left_out) == (57, 3)
    assert report.quarantine == tmp_path / "v.quarantine.jsonl"
    records = [json.loads(line) for line in report.quarantine.read_text().splitlines()]
    assert [record["sample_id"] for record in records] == [3, 17, 30]
    assert [record.get("path") for record in records][:2] == [str(pairs.parent / f"{row}.png") for row in (3, 17)]
    assert "no such file" in records[1]["reason"]
    assert records[2]["reason"] == "the picture is missing"
    expected = embedder.encode_images([pairs.parent / "4.png"])[0]
    np.testing.assert_allclose(vectors_of(report.output)[3], expected, atol=1e-6)


def test_a_vector_without_a_direction_is_told(
    embedder: ModelEmbedder, pairs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = ModelEmbedder.encode_texts

    def with_a_zero(self: ModelEmbedder, texts: list[str], prompt: str | None) -> np.ndarray:
        rows = real(self, texts, prompt)
        rows[5] = 0
        return rows

    monkeypatch.setattr(ModelEmbedder, "encode_texts", with_a_zero)
    report = embedded(embedder, pairs, tmp_path / "v.parquet", what="text")
    assert 5 not in pq.read_table(report.output)["id"].to_pylist()
    assert "without a direction" in (tmp_path / "v.quarantine.jsonl").read_text()


def test_nothing_that_can_be_embedded_is_an_error(embedder: ModelEmbedder, tmp_path: Path) -> None:
    (tmp_path / "x.jsonl").write_text('{"text": ""}\n{"text": ""}\n')
    with pytest.raises(UserError, match=r"no row of .*x.jsonl can be embedded: the caption is missing or empty"):
        embedded(embedder, tmp_path / "x.jsonl", tmp_path / "v.parquet", what="text")
    assert [path.name for path in tmp_path.iterdir()] == ["x.jsonl"], "the mended data begin anew"


class Killed(BaseException):
    pass


@pytest.fixture
def killed_after(monkeypatch: pytest.MonkeyPatch, embedder: ModelEmbedder) -> Any:
    """Parts of 16 rows, and a model that dies after some pictures; tells how many were encoded."""
    monkeypatch.setattr(module, "ROWS_PER_PART", 16)
    real, counts = ModelEmbedder.encode_pixels, {"left": 10**9, "encoded": 0, "most": 0}

    def encode(self: ModelEmbedder, pixels: list[Any]) -> np.ndarray:
        if counts["left"] < len(pixels):
            raise Killed
        counts["left"] -= len(pixels)
        counts["encoded"] += len(pixels)
        counts["most"] = max(counts["most"], len(pixels))
        return real(self, pixels)

    monkeypatch.setattr(ModelEmbedder, "encode_pixels", encode)
    return counts


def test_a_killed_call_goes_on_and_ends_as_if_it_had_not_been(
    embedder: ModelEmbedder, pairs: Path, tmp_path: Path, killed_after: Any
) -> None:
    (pairs.parent / "2.png").write_bytes(b"no picture")
    killed_after["left"] = 40
    told: list[tuple[int, int]] = []
    with pytest.raises(Killed):
        embedded(embedder, pairs, tmp_path / "v.parquet", what="image")
    assert not (tmp_path / "v.parquet").exists()
    killed_after.update(left=10**9, encoded=0)
    report = embedded(embedder, pairs, tmp_path / "v.parquet", what="image", progress=lambda *now: told.append(now))
    assert told[0] == (32, 60), "two whole parts were done"
    assert told[-1] == (60, 60)
    assert killed_after["encoded"] == 60 - 32
    assert killed_after["most"] <= embedder.batch_size
    assert report.num_left_out == 1, "those of the first call are not forgotten"
    embedded(embedder, pairs, tmp_path / "whole.parquet", what="image")
    assert pq.read_table(tmp_path / "v.parquet").equals(pq.read_table(tmp_path / "whole.parquet"))
    assert (tmp_path / "v.quarantine.jsonl").read_text() == (tmp_path / "whole.quarantine.jsonl").read_text()


def test_a_finished_file_is_left_alone(embedder: ModelEmbedder, pairs: Path, tmp_path: Path, killed_after: Any) -> None:
    first = embedded(embedder, pairs, tmp_path / "v.parquet", what="image", dtype="int8", dim=4)
    before, killed_after["left"] = (tmp_path / "v.parquet").stat().st_mtime_ns, 0
    again = embedded(embedder, pairs, tmp_path / "v.parquet", what="image", dtype="int8", dim=4)
    assert (tmp_path / "v.parquet").stat().st_mtime_ns == before
    assert again.was_there
    assert not first.was_there
    assert (again.dim_recall, again.dtype_recall) == (first.dim_recall, first.dtype_recall)
    assert again.dim_recall is not None


@pytest.mark.parametrize("is_finished", [True, False])
@pytest.mark.parametrize("changed", ["model", "what", "rows", "limit", "id column"])
def test_another_call_never_mixes_in(
    embedder: ModelEmbedder, pairs: Path, tmp_path: Path, killed_after: Any, changed: str, is_finished: bool
) -> None:
    killed_after["left"] = 10**9 if is_finished else 20
    try:
        embedded(embedder, pairs, tmp_path / "v.parquet", what="image")
    except Killed:
        assert not is_finished
    killed_after["left"] = 10**9
    model, source, options = embedder, SourceConfig(path=str(pairs)), {"what": "image", "id_column": None}
    if changed == "model":
        model = ModelEmbedder(build_model(lone_image(VIT)), "other")
    elif changed == "what":
        options["what"] = "text"
    elif changed == "rows":
        pairs.write_text(pairs.read_text().replace("\n7.png,", "\n8.png,"))
    elif changed == "limit":
        source = SourceConfig(path=str(pairs), limit=50)
    else:
        options["id_column"] = "label"
    files = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.parquet")}
    with pytest.raises(UserError, match=rf"--output: .*: {changed} was .*, now .*; give another --output"):
        embed_rows(model, source, tmp_path / "v.parquet", **options)  # type: ignore[arg-type]
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.parquet")} == files


def test_the_same_rows_by_another_path_go_on(
    embedder: ModelEmbedder, pairs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    embedded(embedder, pairs, tmp_path / "v.parquet", what="image")
    monkeypatch.chdir(pairs.parent)
    assert embedded(embedder, Path("pairs.csv"), tmp_path / "v.parquet", what="image").was_there


def test_a_stopped_call_may_go_on_with_other_numbers_for_its_parts_are_whole(
    embedder: ModelEmbedder, pairs: Path, tmp_path: Path, killed_after: Any
) -> None:
    killed_after["left"] = 40
    with pytest.raises(Killed):
        embedded(embedder, pairs, tmp_path / "v.parquet", what="image", dtype="int8", dim=3)
    killed_after.update(left=10**9, encoded=0)
    embedded(embedder, pairs, tmp_path / "v.parquet", what="image")
    assert killed_after["encoded"] == 60 - 32
    expected = embedder.encode_images([pairs.parent / f"{row}.png" for row in range(NUM_ROWS)])
    np.testing.assert_allclose(vectors_of(tmp_path / "v.parquet"), expected, atol=1e-6)
    with pytest.raises(UserError, match="dim was 8, now 3"):
        embedded(embedder, pairs, tmp_path / "v.parquet", what="image", dim=3)
    with pytest.raises(UserError, match="dtype was fp32, now fp16"):
        embedded(embedder, pairs, tmp_path / "v.parquet", what="image", dtype="fp16")


@pytest.mark.parametrize("dtype", ["fp32", "fp16", "int8"])
def test_smaller_vectors_and_what_they_cost(
    embedder: ModelEmbedder, pairs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dtype: Any
) -> None:
    monkeypatch.setattr(module, "ROWS_PER_PART", 25)
    report = embedded(embedder, pairs, tmp_path / "v.parquet", what="text", dim=3, dtype=dtype)
    texts = [line.split(",")[1] for line in pairs.read_text().splitlines()[1:]]
    exact = embedder.encode_texts(texts)
    kept = exact[:, :3] / np.linalg.norm(exact[:, :3], axis=1, keepdims=True)
    stored = vectors_of(report.output)
    np.testing.assert_allclose(stored, kept, atol={"fp32": 1e-6, "fp16": 1e-3, "int8": 5e-3}[dtype])
    assert (np.abs(stored - kept).max() > 1e-5) == (dtype != "fp32")
    assert report.dim_recall is not None
    assert report.dim_recall.value == pytest.approx(recall(exact, kept, kept), abs=0.02)
    assert report.dim_recall.num_queries == 60
    if dtype == "fp32":
        assert report.dtype_recall is None
    else:
        assert report.dtype_recall is not None
        assert report.dtype_recall.value == pytest.approx(recall(kept, stored, kept), abs=0.02)


def recall(exact: np.ndarray, stored: np.ndarray, queries: np.ndarray) -> float:
    """By sorting: how many of the ten nearest stored rows are as near as the tenth nearest exact one."""
    kept = []
    for place, query in enumerate(queries):
        truth = exact @ exact[place]
        others = np.arange(len(exact)) != place
        tenth = np.sort(truth[others])[-10]
        nearest = [index for index in np.argsort(-(stored @ query), kind="stable") if index != place][:10]
        kept.append((truth[nearest] >= tenth - 1e-7).mean())
    return float(np.mean(kept))


def test_datasets_read_it_back(embedder: ModelEmbedder, pairs: Path, tmp_path: Path) -> None:
    for dtype in ("fp32", "fp16", "int8"):
        output = tmp_path / f"{dtype}.parquet"
        embedded(embedder, pairs, output, what="text", dtype=dtype)
        rows = datasets.Dataset.from_parquet(str(output), cache_dir=str(tmp_path / "cache"))
        assert len(rows) == NUM_ROWS
        vectors = np.array(rows["vector"], dtype=np.float32)
        assert vectors.shape == (NUM_ROWS, 8)
        norms = np.linalg.norm(vectors, axis=1) * (np.array(rows["scale"]) if dtype == "int8" else 1)
        np.testing.assert_allclose(norms, 1, atol={"fp32": 1e-6, "fp16": 1e-3, "int8": 1e-2}[dtype])


def test_only_what_both_have_needs_no_word(embedder: ModelEmbedder, pairs: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"--what: the model embeds pictures and texts, and pairs.csv has both"):
        embedded(embedder, pairs, tmp_path / "v.parquet")
    alone = ModelEmbedder(build_model(lone_image(VIT)), "alone")
    assert embedded(alone, pairs, tmp_path / "a.parquet").num_vectors == NUM_ROWS
    with pytest.raises(UserError, match="has no text tower"):
        embedded(alone, pairs, tmp_path / "b.parquet", what="text")
    report = embed_rows(
        embedder,
        SourceConfig(path=str(pairs)),
        tmp_path / "c.parquet",
        columns=ColumnsConfig(image=False, text="label"),
    )
    assert vectors_of(report.output).shape == (NUM_ROWS, 8)


@pytest.mark.parametrize(
    ("output", "options", "message"),
    [
        ("v.csv", {}, "--output must end in .parquet, got .*v.csv"),
        ("v.parquet", {"what": "imag"}, 'must be image or text, got imag. Did you mean "image"'),
        ("v.parquet", {"what": "image", "id_column": "lable"}, 'no column "lable" .* Did you mean "label"'),
        ("v.parquet", {"what": "image", "dim": 9}, "--dim must be from 1 to 8"),
        ("v.parquet", {"what": "image", "dtype": "int4"}, "--dtype must be"),
        ("data/pairs.parquet", {"what": "image"}, "holds something that is no embedding"),
    ],
)
def test_mistakes_are_told_before_anything_is_written(
    embedder: ModelEmbedder, pairs: Path, tmp_path: Path, output: str, options: dict[str, Any], message: str
) -> None:
    (pairs.parent / "pairs.parquet").write_bytes(b"thesis")
    with pytest.raises(UserError, match=message):
        embedded(embedder, pairs, tmp_path / output, **options)
    assert [path.name for path in tmp_path.iterdir()] == ["data"]
    assert (pairs.parent / "pairs.parquet").read_bytes() == b"thesis"
