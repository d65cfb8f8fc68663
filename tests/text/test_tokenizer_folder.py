from __future__ import annotations

import shlex
from pathlib import Path

import pytest
import yaml
from transformers import AutoTokenizer

from mmcl.errors import UserError
from mmcl.text.sentencepiece import SentencePieceConfig, build_tokenizer
from mmcl.text.tokenizer_folder import TrainingRecord, check_is_new, training_command, write_tokenizer
from tests.text.hard_lines import sentences

LINES = sentences(600, seed=1)
CONFIG = SentencePieceConfig(vocab_size=500, max_length=24, user_symbols=("C++",))


def _record(**fields) -> TrainingRecord:
    return TrainingRecord(
        **{**CONFIG.model_dump(), "sources": ("my lines.txt",), "num_read": 600, "num_texts": 600, **fields}
    )


def test_the_folder_holds_the_tokenizer_its_settings_and_its_figures(tmp_path: Path):
    tokenizer, figures = build_tokenizer(LINES, CONFIG)
    folder = tmp_path / "a" / "vocabulary"
    write_tokenizer(folder, tokenizer, _record(), figures)
    assert AutoTokenizer.from_pretrained(folder)(LINES[:9])["input_ids"] == tokenizer(LINES[:9])["input_ids"]
    settings = yaml.safe_load((folder / "training.yaml").read_text(encoding="utf-8"))
    assert TrainingRecord(**settings) == _record()
    readme = (folder / "README.md").read_text(encoding="utf-8")
    assert readme.startswith("# vocabulary\n")
    assert "600 texts of `my lines.txt`" in readme
    measured = f"| trained on | 600 | {figures.tokens_per_text:.2f} | {figures.fertility:.2f} |"
    assert measured in readme


def test_the_command_trains_it_again_and_leaves_defaults_out():
    record = _record(columns=("zh",), reading={"split": "dev"}, num_read=9000, seed=3)
    assert shlex.split(training_command(Path("x/vocabulary"), record)) == [
        *("mmcl", "tokenizer", "train", "my lines.txt", "--output", "vocabulary", "--vocab-size", "500"),
        *("--user-symbol", "C++", "--max-length", "24", "--column", "zh", "--split", "dev"),
        *("--sample", "600", "--seed", "3"),
    ]


def test_what_is_there_is_left_as_it_is(tmp_path: Path):
    check_is_new(tmp_path / "new")
    check_is_new(tmp_path)
    (tmp_path / "thesis.txt").write_text("mine")
    for place in (tmp_path, tmp_path / "thesis.txt"):
        with pytest.raises(UserError, match="is there and not empty, and is left as it is"):
            check_is_new(place)
