from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from huggingface_hub import ModelCard

from evaluation import Change, Interval
from evaluation.statistics import PairedComparison
from mmcl.export.card import ModelCardFacts, Score, hub_ids, write_card
from mmcl.export.verify import FormCheck
from mmcl.model import TwoTower, build_model
from mmcl.text.prompts import Prompts
from tests.towers import tiny_configs as tiny
from tests.towers.tiny_configs import joint, lone_image, lone_text, pair

FACTS = ModelCardFacts(
    "tiny pair",
    training_data="Forty pictures of nothing.",
    recipe="data: nothing\n",
    scores=(
        Score("retrieval", "nothing", "image_retrieval_recall@1", 0.359, 0.333, 0.38, "test"),
        Score("retrieval", "nothing", "text_retrieval_recall@1", 0.4),
        Score("zeroshot_classification", "digits", "acc1", 0.5, split="test"),
        Score("zeroshot_classification", "digits", "acc5", None),
    ),
    limitations=("It has seen nothing.",),
    license="apache-2.0",
    languages=("en",),
    base_models=("someone/base",),
    datasets=("someone/data",),
)
CHANGES = (
    Change("nothing", "retrieval", "image_retrieval_recall@1", 0.3, 0.359, None),
    Change(
        "digits",
        "zeroshot_classification",
        "acc1",
        0.6,
        0.5,
        PairedComparison(-0.1, Interval(-0.15, -0.05, 0.95, 100), 0.01),
        is_guard=True,
    ),
)
CHECKS = (
    FormCheck("mmcl", 1.0),
    FormCheck("towers", 0.5),
    FormCheck("sentence_transformers", None, "ImportError: no such thing"),
)


@pytest.fixture(scope="module")
def model(tokenizer: str) -> TwoTower:
    return build_model(pair(tiny.VIT, tiny.BERT, tokenizer))


def test_prompts_are_told_with_the_code_that_uses_them(model: TwoTower, tmp_path: Path) -> None:
    assert "prompt" not in card(model, tmp_path)
    model.tokenizer.prompts = Prompts({"query": "query: ", "document": 'the "text": '})
    try:
        text = card(model, tmp_path)
    finally:
        model.tokenizer.prompts = Prompts()
    assert 'by name: `query` is "query: ", `document` is "the \\"text\\": "; without a name, none.' in text
    assert 'model.encode(["a photo of a cat"], prompt_name="query")' in text


def card(
    model: TwoTower, folder: Path, checks: Any = CHECKS, facts: ModelCardFacts = FACTS, form: Any = "router"
) -> str:
    write_card(folder / "README.md", model, form, checks, facts)
    return (folder / "README.md").read_text()


def test_metadata_is_what_the_hub_reads(model: TwoTower, tmp_path: Path) -> None:
    read = ModelCard(card(model, tmp_path)).data
    assert read.model_name == "tiny pair"
    assert read.base_model == ["someone/base"]
    assert read.datasets == ["someone/data"]
    found = [
        (one.task_type, one.dataset_name, one.dataset_split, one.metric_type, one.metric_value)
        for one in read.eval_results
    ]
    assert found == [
        ("retrieval", "nothing", "test", "image_retrieval_recall@1", 0.359),
        ("retrieval", "nothing", None, "text_retrieval_recall@1", 0.4),
        ("zero-shot-image-classification", "digits", "test", "acc1", 0.5),
    ], "a number that does not exist is left out"


def test_metadata_has_what_is_known(model: TwoTower, tmp_path: Path) -> None:
    metadata = yaml.safe_load(card(model, tmp_path).split("---\n")[1])
    assert metadata["pipeline_tag"] == "sentence-similarity"
    assert metadata["library_name"] == "sentence-transformers"
    assert metadata["license"] == "apache-2.0"
    assert metadata["language"] == ["en"]
    assert "sentence-transformers" in metadata["tags"]


def test_scores_are_times_100_with_their_interval(model: TwoTower, tmp_path: Path) -> None:
    text = card(model, tmp_path)
    assert "| retrieval | nothing | image_retrieval_recall@1 | 35.9 [33.3, 38.0] |" in text
    assert "| zeroshot_classification | digits | acc5 | none |" in text


def test_only_ways_that_hold_are_shown_how(model: TwoTower, tmp_path: Path) -> None:
    text = card(model, tmp_path)
    assert "| mmcl | yes (cosine 1.0000000) |" in text
    assert "| transformers, each tower alone | no (cosine 0.5000000) |" in text
    assert "| sentence-transformers (6 or later) | no: ImportError: no such thing |" in text
    assert "mmcl.load(" in text
    assert "AutoImageProcessor.from_pretrained" not in text
    assert "SentenceTransformer(" not in text


def test_what_was_not_compared_is_shown_and_said(model: TwoTower, tmp_path: Path) -> None:
    skipped = FormCheck("sentence_transformers", None, "not compared: sentence-transformers is not installed")
    text = card(model, tmp_path, [skipped])
    assert "| not compared: sentence-transformers is not installed |" in text
    assert "SentenceTransformer(" in text


def test_the_facts_are_in_it(model: TwoTower, tmp_path: Path) -> None:
    text = card(model, tmp_path)
    for expected in (
        "# tiny pair",
        "Forty pictures of nothing.",
        "```yaml\ndata: nothing\n```",
        "- It has seen nothing.",
        "- Texts are cut after 12 tokens.",
        "| temperature | 0.07 (logit scale 14.29) |",
        "The temperature is in `mmcl.json`",
    ):
        assert expected in " ".join(text.split(" ")), expected


def test_without_facts_it_says_so(model: TwoTower, tmp_path: Path) -> None:
    text = card(model, tmp_path, facts=ModelCardFacts("x"))
    assert "What it was trained on was not stated." in text
    assert "## Evaluation" not in text
    assert set(yaml.safe_load(text.split("---\n")[1])) == {"library_name", "pipeline_tag", "tags"}
    assert "## Licence\n\nNone was stated. The licences of what" in text
    assert "Before and after" not in text


def test_what_was_gained_and_forgotten_is_shown(model: TwoTower, tmp_path: Path) -> None:
    text = card(model, tmp_path, facts=replace(FACTS, changes=CHANGES))
    assert "| nothing image_retrieval_recall@1 | 30.0 | 35.9 | +5.9 |  |" in text
    assert "| guard digits acc1 | 60.0 | 50.0 | -10.0 | [-15.0, -5.0] |" in text
    assert "WiSE-FT" not in text
    text = card(model, tmp_path, facts=replace(FACTS, changes=CHANGES, alpha=0.6))
    assert "Its weights are 0.4 times those before plus 0.6 times the fine-tuned ones" in text


def test_licences_are_for_the_user_to_check(model: TwoTower, tmp_path: Path) -> None:
    text = card(model, tmp_path)
    assert (
        "## Licence\n\n`apache-2.0`. It was made from `someone/base`. The licences of what it was made from and" in text
    )


def test_a_conversion_is_shown_for_what_does_not_open_it_as_it_is(model: TwoTower, tmp_path: Path) -> None:
    text = card(model, tmp_path)
    assert "--to onnx -o onnx" in text
    assert "--to open_clip" not in text
    assert "--to open_clip -o open_clip" in card(model, tmp_path, form="joint")
    assert "mmcl export" not in card(model, tmp_path, form="open_clip")


def test_only_what_is_of_the_hub_is_named_to_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs" / "first").mkdir(parents=True)
    names = ["someone/base", "runs/first", "ViT-B-32,openai", None, "/a/b", "products.csv", "someone/base"]
    assert hub_ids(names) == ["someone/base"]


def test_siglip_is_shown_with_its_padding(tokenizer: str, tmp_path: Path) -> None:
    siglip = build_model(joint("siglip", tokenizer))
    text = card(siglip, tmp_path, [FormCheck("transformers", 1.0)], form="joint")
    assert 'padding="max_length"' in text
    assert "logit bias -10" in text
    clip = build_model(joint("clip", tokenizer))
    assert "padding=True" in card(clip, tmp_path, [FormCheck("transformers", 1.0)], form="joint")


@pytest.mark.parametrize(
    ("name", "form", "library", "tags"),
    [
        ("image", "single", "transformers", "image"),
        ("text", "single", "sentence-transformers", "text"),
        ("static", "static", "sentence-transformers", "text"),
    ],
)
def test_a_lone_tower_is_shown_without_the_other(
    tokenizer: str, tmp_path: Path, name: str, form: str, library: str, tags: str
) -> None:
    config = {
        "image": lone_image(tiny.VIT),
        "text": lone_text(tiny.BERT, tokenizer),
        "static": lone_text(tiny.STATIC, tokenizer),
    }[name]
    ways = ["mmcl", "sentence_transformers", *(["backbone"] if form == "single" else [])]
    text = card(build_model(config), tmp_path, [FormCheck(way, 1.0) for way in ways], form=form)
    metadata = yaml.safe_load(text.split("---\n")[1])
    assert metadata["library_name"] == library
    assert tags in metadata["tags"]
    assert "image-text" not in metadata["tags"]
    assert ("images = model.encode" in text) == (name == "image")
    assert ("texts = model.encode" in text) == (name != "image")
    assert ("AutoImageProcessor" in text) == (name == "image")
    assert ("| picture |" in text) == (name == "image")
    assert ("Texts are cut" in text) == (name != "image")
    assert "temperature" not in text
    assert name != "static" or "| parameters | 108 |" in text, "18 tokens of 6 numbers, and no temperature"
