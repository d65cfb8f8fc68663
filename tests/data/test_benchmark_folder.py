from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from mmcl.data.benchmark_folder import ClassPrompts, labels_of
from mmcl.data.evaluation_rows import EvaluationRows, open_evaluation_rows
from mmcl.data.images import decode_image
from mmcl.data.sources import Source, open_source
from mmcl.errors import UserError
from mmcl.recipe_data import ColumnsConfig, SourceConfig
from tests.data.builders import class_samples, encoded, npy, picture, write_benchmark, write_shard

pytestmark = pytest.mark.usefixtures("empty_cache")

CAPTIONED = [
    {"jpg": encoded(picture(0), "JPEG"), "txt": b"one\ntwo\n\nthree"},
    {"png": encoded(picture(1)), "txt": "für alle".encode()},
]


def _open(folder: Path, key: str = "evaluate.0.data", **options: Any) -> Source:
    return open_source(SourceConfig(path=str(folder), **options), key)


def _rows(folder: Path, **options: Any) -> EvaluationRows:
    return open_evaluation_rows(SourceConfig(path=str(folder), **options), ColumnsConfig(), key="evaluate.0.data")


def test_classes_names_templates_and_split_come_with_the_folder(tmp_path: Path) -> None:
    shards = [class_samples(1, 0, suffix="png"), class_samples(1, suffix="jpg")]
    rows = _rows(write_benchmark(tmp_path / "wds_pets", shards))
    assert (rows.name, rows.split) == ("wds_pets", "test")
    assert rows.labels == ["black dog", "cat", "black dog"]
    assert rows.class_prompts == ClassPrompts(("cat", "black dog"), ("a photo of a {c}.", "a {c}"))
    assert rows.images[1].tobytes() == picture(1).tobytes()


def test_captions_are_the_lines_of_a_text(tmp_path: Path) -> None:
    folder = write_benchmark(tmp_path, [CAPTIONED])
    (folder / "dataset_type.txt").write_text("retrieval\n")
    (folder / "classnames.txt").unlink()
    rows = _rows(folder)
    assert rows.texts == [["one", "two", "three"], ["für alle"]]
    assert (rows.labels, rows.class_prompts) == (None, None)


def test_several_labels_of_a_picture_are_the_classes_above_zero(tmp_path: Path) -> None:
    samples = [{"png": encoded(picture(i)), "npy": npy(targets)} for i, targets in enumerate([[0, 1], [1, 1], [-1, 0]])]
    folder = write_benchmark(tmp_path, [samples])
    (folder / "dataset_type.txt").write_text("multilabel")
    source = _open(folder)
    assert source.dataset["labels"][:] == [[1], [0, 1], []]
    assert source.dataset.features["labels"].feature.names == ["cat", "black dog"]


@pytest.mark.filterwarnings("ignore")  # within webdataset
def test_the_rows_are_those_that_clip_benchmark_reads(tmp_path: Path) -> None:
    build = pytest.importorskip("clip_benchmark.datasets.builder").build_wds_dataset
    folder = write_benchmark(tmp_path, [class_samples(1, 0, 1), class_samples(0)])
    theirs = build("wds/x", transform=lambda image: image.convert("RGB").tobytes(), data_dir=str(folder))
    rows = _rows(folder)
    assert rows.class_prompts == ClassPrompts(tuple(theirs.classes), tuple(theirs.templates))
    number_of = {"cat": 0, "black dog": 1}
    ours = [(rows.images[row].tobytes(), number_of[label]) for row, label in enumerate(rows.labels or ())]
    assert ours == list(theirs)


def test_a_split_is_test_unless_it_is_learnt_from(tmp_path: Path) -> None:
    write_benchmark(tmp_path, [class_samples(0, 0)], "train")
    write_benchmark(tmp_path, [class_samples(1)], "test")
    for key, split in (("evaluate.0.data", "test"), ("evaluate.0.train", "train"), ("data.train.0", "train")):
        assert _open(tmp_path, key).split == split
        assert len(_open(tmp_path, key).dataset) == {"test": 1, "train": 2}[split]
    assert _open(tmp_path, split="train").split == "train"
    with pytest.raises(UserError, match=re.escape("evaluate.0.data.split: no tset in") + '.*Did you mean "test"'):
        _open(tmp_path, split="tset")


def test_a_limit_reads_no_further_than_it_must(tmp_path: Path) -> None:
    folder = write_benchmark(tmp_path, [class_samples(0, 1), class_samples(1)])
    (folder / "test/1.tar").write_bytes(b"broken")
    assert len(_rows(folder, limit=2)) == 2


def test_a_changed_shard_is_read_again(tmp_path: Path) -> None:
    folder = write_benchmark(tmp_path, [class_samples(0, 1)])
    assert _rows(folder).labels == ["cat", "black dog"]
    write_shard(folder / "test/0.tar", class_samples(1, 1, 1))
    assert _rows(folder).labels == ["black dog"] * 3


def test_classes_of_one_name_have_labels_of_their_own() -> None:
    assert labels_of(["missile", "cat", "missile"]) == ["missile (0)", "cat", "missile (2)"]


def test_a_folder_without_templates_has_none(tmp_path: Path) -> None:
    folder = write_benchmark(tmp_path, [class_samples(0)])
    (folder / "zeroshot_classification_templates.txt").unlink()
    assert _open(folder).class_prompts == ClassPrompts(("cat", "black dog"), ())


@pytest.mark.parametrize(
    ("file", "text", "message"),
    [
        ("classnames.txt", None, r"evaluate.0.data.path: .*classnames.txt must name the classes.*it is missing"),
        ("classnames.txt", "", r"it is missing or empty"),
        ("classnames.txt", "cat\n\ndog", r"line 2 of it is empty"),
        ("dataset_type.txt", "captions", r'must say one of classification, retrieval, multilabel, got "captions"'),
        ("dataset_type.txt", "retrieval", r"sample s0000000 of a retrieval set must have txt, got cls, webp"),
        ("test/nshards.txt", "many", r'must hold the number of shards, got "many"'),
        ("test/nshards.txt", "3", r"nshards.txt counts 3 shards, and 2 of them are missing, first 1.tar"),
        ("test/0.tar", "no tar", r"cannot read .* as clip_benchmark: test/0.tar: "),
        ("classnames.txt", "cat", r'test/0.tar: s0000001.cls: must be the number of one of the 1 classes .*, got "1"'),
    ],
)
def test_what_is_wrong_with_a_folder_is_one_message(tmp_path: Path, file: str, text: str | None, message: str) -> None:
    folder = write_benchmark(tmp_path, [class_samples(0, 1)])
    if text is None:
        (folder / file).unlink()
    else:
        (folder / file).write_text(text)
    with pytest.raises(UserError, match=message):
        _open(folder)


@pytest.mark.parametrize(
    ("sample", "message"),
    [
        ({"cls": b"0"}, r"s0000000 of a classification set must have webp or jpg or jpeg or png, got cls"),
        ({"webp": b"x", "cls": b"-1"}, r'0 to 1, got "-1"'),
        ({"webp": b"x", "cls": b"cat"}, r'0 to 1, got "cat"'),
    ],
)
def test_a_sample_that_is_not_as_it_must_be_is_one_message(
    tmp_path: Path, sample: dict[str, bytes], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        _open(write_benchmark(tmp_path, [[sample]]))


def test_numbers_for_other_classes_are_one_message(tmp_path: Path) -> None:
    folder = write_benchmark(tmp_path, [[{"png": encoded(picture()), "npy": npy([0, 1, 1])}]])
    (folder / "dataset_type.txt").write_text("multilabel")
    with pytest.raises(UserError, match=r"s0000000.npy: must hold a number for each of the 2 classes .*shape \(3,\)"):
        _open(folder)


@pytest.mark.parametrize(
    ("kind", "sample", "message"),
    [
        ("multilabel", {"npy": b""}, r"test/0.tar: s0000000.npy: No data left in file"),
        ("multilabel", {"npy": b"many"}, r"test/0.tar: s0000000.npy: .*pickle"),
        ("retrieval", {"txt": "für".encode("latin-1")}, r"test/0.tar: s0000000.txt: 'utf-8' codec can't decode"),
    ],
)
def test_what_cannot_be_read_in_a_sample_has_its_place(
    tmp_path: Path, kind: str, sample: dict[str, bytes], message: str
) -> None:
    folder = write_benchmark(tmp_path, [[{"png": encoded(picture()), **sample}]])
    (folder / "dataset_type.txt").write_text(kind)
    with pytest.raises(UserError, match=message):
        _open(folder)


def test_a_shard_that_was_cut_off_is_one_message(tmp_path: Path) -> None:
    folder = write_benchmark(tmp_path, [class_samples(0, 1, 0, suffix="png")])
    whole = (folder / "test/0.tar").read_bytes()
    (folder / "test/0.tar").write_bytes(whole[:2000])
    with pytest.raises(UserError, match=r"test/0.tar: unexpected end of data"):
        _open(folder)


def test_one_unreadable_picture_is_left_out_with_its_reason(tmp_path: Path) -> None:
    folder = write_benchmark(tmp_path, [[*class_samples(*[0] * 100), {"webp": b"x", "cls": b"1"}]])
    rows = _rows(folder)
    assert len(rows) == 100
    assert [record.sample_id for record in rows.left_out] == [100]


def test_rows_to_learn_from_may_be_a_stream(tmp_path: Path) -> None:
    folder = write_benchmark(tmp_path, [class_samples(1)], "train")
    (row,) = _open(folder, "data.train", streaming=True).dataset
    assert row["label"] == 1
    assert decode_image(row["image"]).tobytes()
