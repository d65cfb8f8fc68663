from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import yaml

from mmcl.cli.main import main
from mmcl.text.tokenizer import load_tokenizer
from tests.text.hard_lines import sentences
from tests.tiny import save_tokenizer


@pytest.fixture
def lines(tmp_path: Path) -> Path:
    path = tmp_path / "lines.txt"
    path.write_text("\n".join(sentences(600, seed=1)), encoding="utf-8")
    return path


def _train(lines: Path | str, output: Path, *options: str) -> int:
    return main(["tokenizer", "train", str(lines), "--output", str(output), "--vocab-size", "500", *options])


def test_it_trains_writes_and_says_how_well_it_fits(lines: Path, tmp_path: Path, capsys) -> None:
    output = tmp_path / "vocabulary"
    assert _train(lines, output, "--user-symbol", "C++", "--user-symbol", "[x]") == 0
    said = capsys.readouterr().out.splitlines()
    assert said[0] == "texts        600, all that were read"
    assert said[1] == "vocabulary   500 pieces: 238 learnt, 256 bytes, 4 special, 2 symbols of yours"
    for line, pattern in zip(
        said[2:],
        [
            r"tokens       \d+\.\d\d a text, the longest has \d+",
            r"fertility    \d\.\d\d tokens per word; \d\.\d\d per character where words have no spaces between them",
            r"bytes        \d+\.\d\d% of tokens spell a single byte",
            r"round trip   100\.00% of texts come back as normalised, \d+\.\d\d% letter for letter",
            r"mismatch     0\.00% of texts are cut otherwise by SentencePiece itself",
            rf"wrote {re.escape(str(output))}",
            r"next: .*",
        ],
        strict=True,
    ):
        assert re.fullmatch(pattern, line), line
    assert load_tokenizer(str(output)).convert_tokens_to_ids("[x]") not in (None, 1)
    assert {path.name for path in output.iterdir()} == {
        *("README.md", "tokenizer.json", "tokenizer_config.json", "training.yaml")
    }


def test_a_sample_is_said_and_written_down(lines: Path, tmp_path: Path, capsys) -> None:
    assert _train(lines, tmp_path / "out", "--sample", "400", "--seed", "5") == 0
    assert "texts        400, drawn evenly from 600, seed 5" in capsys.readouterr().out
    settings = yaml.safe_load((tmp_path / "out/training.yaml").read_text())
    assert (settings["num_read"], settings["num_texts"], settings["seed"]) == (600, 400, 5)


def test_a_folder_with_something_in_it_is_left_alone(lines: Path, tmp_path: Path, capsys) -> None:
    assert _train(lines, tmp_path) == 2
    assert "is there and not empty, and is left as it is" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--vocab-size", "100"], "--vocab-size: should be greater than 260, got 100."),
        (
            ["--model-type", "unigramm"],
            "--model-type: should be 'unigram' or 'bpe', got unigramm. Did you mean \"unigram\"?",
        ),
        (["--character-coverage", "2"], "--character-coverage: should be less than or equal to 1, got 2.0."),
        (["--user-symbol", " "], "--user-symbol: a user symbol must hold more than spaces"),
        (["--user-symbol", "</s>"], "--user-symbol: </s> is a special token or a byte, and cannot be a user symbol"),
        (["--vocab-size", "90000"], "SentencePiece cannot train 90,000 pieces on 600 texts; set --vocab-size to "),
        (["--vocab-size", "261"], "pieces on 600 texts, whose characters alone take 418; raise --vocab-size, or"),
        (["--column-names", "a,a"], "--column-names: must be names, one for each column, all different, got a,a"),
        (["--column-names", "a"], "--column-names: only csv files take them"),
        (["--column", "titel"], 'SOURCE: no column "titel" in lines.txt (text).'),
        (["--split", "dev"], "--split: "),
        (["--format", "cvs"], '--format: unknown format "cvs"'),
    ],
)
def test_a_mistake_is_one_message_with_its_option(lines: Path, tmp_path: Path, capsys, options, message) -> None:
    assert _train(lines, tmp_path / "out", *options) == 2
    said = capsys.readouterr().err
    assert message in said
    assert "Traceback" not in said
    assert not (tmp_path / "out").exists()


def test_a_source_that_is_not_there_is_named(tmp_path: Path, capsys) -> None:
    assert _train(tmp_path / "nothing.txt", tmp_path / "out") == 2
    assert f"SOURCE: there is no {tmp_path / 'nothing.txt'}" in capsys.readouterr().err


def test_inspect_shows_what_a_tokenizer_is_and_how_it_cuts(capsys) -> None:
    assert main(["tokenizer", "inspect", "glyphs", "Black knight </s>"]) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[0] == "tokenizer    glyphs: BPE, 1,000 tokens, what it lacks is spelt in bytes"
    assert said[1] == "special      <pad> 0, <unk> 1, <s> 2, </s> 3"
    assert said[2].startswith("normalises   case is folded; compatibility characters")
    assert said[3] == "max length   32 tokens"
    assert re.fullmatch(r'"Black knight </s>": \d+ tokens', said[4])
    assert re.match(r"  <s> 2  ▁black \d+  ", said[5])
    assert said[5].count("</s>") == 1


def test_inspect_measures_on_data(lines: Path, tmp_path: Path, capsys) -> None:
    words = save_tokenizer(tmp_path / "words")
    lines.write_text("black knight\nblack elephant\n")
    assert main(["tokenizer", "inspect", words, "--data", str(lines), "--max-length", "3"]) == 0
    said = capsys.readouterr().out
    assert f"texts        2 of {lines}" in said
    assert "unknown      25.00% of tokens" in said
    assert "too long     100.00% of texts have more than 3 tokens" in said
    assert 'lost: "black elephant" comes back as' in said


def test_inspect_prints_json(lines: Path, capsys) -> None:
    assert main(["tokenizer", "inspect", "glyphs", "a", "--data", str(lines), "--limit", "9", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["tokenizer"], found["vocab_size"], found["data"]["num_texts"]) == ("glyphs", 1000, 9)
    assert found["texts"][0]["tokens"][0] == "<s>"
    assert len(found["texts"][0]["ids"]) == len(found["texts"][0]["tokens"])


def test_inspect_of_what_is_no_tokenizer_or_no_data_is_one_message(tmp_path: Path, capsys) -> None:
    assert main(["tokenizer", "inspect", "glyps"]) == 2
    assert 'Did you mean "glyphs"?' in capsys.readouterr().err
    assert main(["tokenizer", "inspect", "glyphs", "--data", str(tmp_path / "no.txt")]) == 2
    assert "error: --data: there is no " in capsys.readouterr().err
