from __future__ import annotations

import csv

import pytest
import yaml

from mmcl.packaged import packaged_folder
from mmcl.text.figures import measure
from mmcl.text.tokenizer import load_tokenizer
from mmcl.text.tokenizer_folder import TrainingRecord, figures_table
from tests.text.hard_lines import hard_lines
from tests.text.test_fast_tokenizer import SHARED

FOLDER = packaged_folder("tokenizers") / "zh-en"


def test_the_chinese_english_tokenizer_is_what_its_settings_say():
    record = TrainingRecord(**yaml.safe_load((FOLDER / "training.yaml").read_text(encoding="utf-8")))
    tokenizer = load_tokenizer("zh-en")
    assert len(tokenizer) == record.vocab_size == 16000
    assert tokenizer.model_max_length == record.max_length
    assert tokenizer.tokenize("Good 电视") == ["▁good", "▁", "电视"]


def test_no_text_is_unknown_to_it_or_comes_back_as_another():
    figures = measure(load_tokenizer("zh-en"), hard_lines(3000, seed=5))
    assert (figures.unknown_share, figures.round_trip) == (0, 1)


@pytest.mark.parametrize(
    ("name", "file", "columns", "has_names"),
    [
        ("Tatoeba, Chinese", "text/sentences/tatoeba-zh-en.csv", [0], True),
        ("STS-B dev, Chinese", "text/sts/stsb-zh-dev.csv", [0, 1], False),
        ("STS-B dev, English", "text/sts/stsb-en-dev.csv", [0, 1], False),
    ],
)
def test_its_figures_on_texts_it_has_not_seen_are_those_of_its_card(name, file, columns, has_names):
    path = SHARED / file
    if not path.is_file():
        pytest.skip(f"needs shared/data/{file}")
    with path.open(encoding="utf-8", newline="") as lines:
        rows = list(csv.reader(lines))[has_names:]
    figures = measure(load_tokenizer("zh-en"), [row[column] for row in rows for column in columns])
    # The model to compare with is not kept.
    expected = figures_table([(name, figures)]).splitlines()[-1].removesuffix("  |")
    assert expected in (FOLDER / "README.md").read_text(encoding="utf-8")


def test_every_packaged_tokenizer_says_how_it_was_made():
    for folder in packaged_folder("tokenizers").iterdir():
        files = {path.name for path in folder.iterdir()}
        assert files == {"README.md", "tokenizer.json", "tokenizer_config.json", "training.yaml"}
        readme = (folder / "README.md").read_text(encoding="utf-8")
        assert all(f"**{part}" in readme for part in ("Corpus.", "Settings.", "Figures.", "Made by"))
