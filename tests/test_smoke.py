from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mmcl.cli.main import main
from mmcl.export import ModelCardFacts, export_model
from mmcl.model import build_model
from mmcl.recipe import Recipe
from mmcl.recipe_files import ListedRecipe, list_recipes, load_recipe
from mmcl.recipe_model import ModelConfig
from mmcl.smoke import smoke_recipe
from mmcl.training.run import run_recipe
from tests.given import what_a_user_gives
from tests.tiny import save_tokenizer
from tests.towers.sentence_models import save
from tests.towers.tiny_configs import DINOV2, ROBERTA, STATIC, lone_image, lone_text, pair


@pytest.mark.parametrize("listed", list_recipes(), ids=lambda listed: listed.name)
def test_every_packaged_recipe_runs_offline_on_a_cpu(
    listed: ListedRecipe, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # What must be given for a run need not be given here, unless it names the family of a tower.
    given = [f"{key}={value}" for key, value in what_a_user_gives(listed, tmp_path).items() if key != "data"]
    run = tmp_path / "run"
    code = main(["train", listed.name, *given, "--smoke", "--output", str(run)])
    out, printed = capsys.readouterr()
    assert code == 0, printed
    recipe = load_recipe(run)
    rows = "digits" if listed.name.startswith("vision/") else "glyphs"
    assert recipe.data.train.path == rows
    assert printed.startswith(f"smoke: tiny random towers and a few {rows}, in place of")
    assert len(list(run.glob("results/*.json"))) == len(recipe.evaluate)
    assert (run / "report.html").is_file()
    hint = {"vision": "encode_images(", "text": "SentenceTransformer("}.get(listed.name.partition("/")[0], "retrieval")
    assert hint in out
    assert ("fine-tune" in out) == (listed.name != "text/skip_gram")


@pytest.mark.parametrize(
    ("name", "family"),
    [
        ("openai/clip-vit-base-patch16", "clip"),
        ("google/siglip-base-patch16-224", "siglip"),
        ("OFA-Sys/chinese-clip-vit-base-patch16", "chinese_clip"),
        ("somebody/a-model-of-no-known-family", "clip"),
    ],
)
def test_a_joint_model_keeps_its_family(name: str, family: str) -> None:
    tiny = smoke_recipe(Recipe.model_validate({"data": "x", "model": name})).model
    assert tiny.config is not None
    assert tiny.config["model_type"] == family
    assert sum(parameter.numel() for parameter in build_model(tiny).parameters()) < 500_000


@pytest.mark.parametrize(
    ("image", "text", "families"),
    [
        ("google/vit-base-patch16-224", "FacebookAI/xlm-roberta-base", ("vit", "xlm-roberta")),
        ("facebook/dinov2-base", "google-bert/bert-base-uncased", ("dinov2", "bert")),
        ("microsoft/swin-tiny-patch4-window7-224", "distilbert/distilbert-base-uncased", ("swin", "distilbert")),
        ("facebook/convnext-tiny-224", "answerdotai/ModernBERT-base", ("convnext", "modernbert")),
    ],
)
def test_a_pair_keeps_its_families(image: str, text: str, families: tuple[str, str]) -> None:
    config = ModelConfig.model_validate({"image": image, "text": text})
    tiny = smoke_recipe(Recipe(model=config, data={"train": "x"})).model
    assert (tiny.image.config["model_type"], tiny.text.config["model_type"]) == families
    assert sum(parameter.numel() for parameter in build_model(tiny).parameters()) < 500_000


@pytest.mark.parametrize(
    ("name", "family"),
    [
        ("ViT-B-32,openai", "clip"),
        ("convnext_base,laion400m_s13b_b51k", "clip"),
        ("ViT-B-16-SigLIP,webli", "siglip"),
        ("runs/vit-test", "clip"),
        ("facebook/flava-full", "clip"),
        ("microsoft/xclip-base-patch32", "clip"),
    ],
)
def test_a_joint_model_of_a_family_that_does_not_do_becomes_a_clip(name: str, family: str) -> None:
    tiny = smoke_recipe(Recipe.model_validate({"data": "x", "model": name})).model
    assert tiny.config is not None
    assert tiny.config["model_type"] == family
    assert tiny.embedding_dim == 32
    build_model(tiny)


@pytest.mark.parametrize(
    ("model", "modality", "family"),
    [
        ({"image": "facebook/dinov2-base"}, "image", "dinov2"),
        ({"image": "timm/resnet50.a1_in1k"}, "image", "timm_wrapper"),
        ({"image": "google/t5-v1_1-small"}, "image", "vit"),
        ({"image": {"config": {"model_type": "convnext"}}}, "image", "convnext"),
        ({"text": "FacebookAI/xlm-roberta-base"}, "text", "xlm-roberta"),
        ({"text": {"config": {"model_type": "bert"}, "tokenizer": "glyphs", "pooling": "cls"}}, "text", "bert"),
        (
            {"text": {"config": {"model_type": "static", "embedding_dim": 100}, "tokenizer": "glyphs"}},
            "text",
            "static",
        ),
    ],
)
def test_a_lone_tower_stays_alone(model: Any, modality: str, family: str) -> None:
    tiny = smoke_recipe(Recipe.model_validate({"data": "x", "model": model})).model
    other = {"image": "text", "text": "image"}[modality]
    assert getattr(tiny, other) is None
    tower = getattr(tiny, modality)
    assert tower.config["model_type"] == family
    assert isinstance(model[modality], str) or tower.pooling == model[modality].get("pooling", "auto")
    built = build_model(tiny)
    assert built.towers.modalities == (modality,)
    assert sum(parameter.numel() for parameter in built.parameters()) < 500_000


@pytest.mark.parametrize("name", ["image", "text", "static", "pair"])
def test_what_a_run_trained_keeps_its_family(name: str, tmp_path: Path) -> None:
    tokenizer = save_tokenizer(tmp_path / "tokenizer")
    config = {
        "image": lone_image(DINOV2),
        "text": lone_text(ROBERTA, tokenizer),
        "static": lone_text(STATIC, tokenizer),
        "pair": pair(DINOV2, ROBERTA, tokenizer),
    }[name]
    run = tmp_path / "run"
    export_model(build_model(config), run / "model", ModelCardFacts("x"))
    parts = {"pair": ["image", "text"], "static": ["text"]}.get(name, [name])
    families = {"image": "dinov2", "text": "static" if name == "static" else "roberta"}
    for model in [*({part: str(run)} for part in parts), *([{"name": str(run)}] if name != "pair" else [])]:
        tiny = smoke_recipe(Recipe.model_validate({"data": "x", "model": model})).model
        towers = {part: getattr(tiny, part) for part in ("image", "text") if getattr(tiny, part) is not None}
        assert list(towers) == (parts if "name" in model else list(model))
        assert all(tower.config["model_type"] == families[part] for part, tower in towers.items())


def test_a_sentence_model_stays_a_text_model_with_its_prompts(tmp_path: Path) -> None:
    name, prompts = str(tmp_path / "model"), {"query": "query: ", "document": ""}
    save(tmp_path, save_tokenizer(tmp_path / "tokenizer"), "max", prompts=prompts)
    for model in ({"name": name}, {"text": name}):
        tiny = smoke_recipe(Recipe.model_validate({"data": "x", "model": model})).model
        assert (tiny.image, tiny.text.config["model_type"], tiny.prompts) == (None, "bert", prompts)
        given = Recipe.model_validate({"data": "x", "model": {**model, "prompts": {"other": "o"}}})
        assert build_model(smoke_recipe(given).model).prompts.texts == {"other": "o"}


def test_a_fresh_joint_model_of_another_kind_becomes_a_clip() -> None:
    model = {"config": {"model_type": "flava"}, "tokenizer": "glyphs"}
    tiny = smoke_recipe(Recipe.model_validate({"data": "x", "model": model})).model
    assert tiny.config is not None
    assert tiny.config["model_type"] == "clip"


@pytest.mark.parametrize(
    ("image", "text", "families"),
    [
        (
            "openai/clip-vit-base-patch32",
            "openai/clip-vit-base-patch32",
            ("clip_vision_model", "clip_text_model"),
        ),
        (
            "google/siglip-base-patch16-224",
            "google/siglip-base-patch16-224",
            ("siglip_vision_model", "clip_text_model"),
        ),
        ("timm/resnet50.a1_in1k", "google-bert/bert-base-uncased", ("timm_wrapper", "bert")),
        ("google/t5-v1_1-small", "google-t5/t5-small", ("vit", "bert")),
    ],
)
def test_a_tower_that_a_pair_cannot_have_as_it_is(image: str, text: str, families: tuple[str, str]) -> None:
    recipe = Recipe.model_validate({"data": "x", "model": {"image": image, "text": text}})
    tiny = smoke_recipe(recipe).model
    assert tiny.image is not None
    assert tiny.image.config is not None
    assert tiny.text is not None
    assert tiny.text.config is not None
    assert (tiny.image.config["model_type"], tiny.text.config["model_type"]) == families
    assert sum(parameter.numel() for parameter in build_model(tiny).parameters()) < 500_000


def test_a_text_tower_keeps_its_dropout() -> None:
    config = {"model_type": "clip_text_model", "hidden_size": 512, "attention_dropout": 0.2}
    model = {"image": "facebook/dinov2-base", "text": {"config": config, "tokenizer": "glyphs"}}
    tiny = smoke_recipe(Recipe.model_validate({"data": "x", "model": model})).model
    assert tiny.text is not None
    assert tiny.text.config is not None
    assert tiny.text.config["attention_dropout"] == 0.2
    assert tiny.text.config["hidden_size"] == 32


def test_all_tokens_are_kept() -> None:
    fields = {"model": {"text": "x"}, "objectives": [{"type": "skip_gram", "window": 3}]}
    (objective,) = smoke_recipe(Recipe.model_validate({"data": "x", **fields})).objectives
    assert (objective.subsample, objective.window) == (0, 3)


def test_heads_queues_and_micro_batches_shrink() -> None:
    big = {"type": "moco", "queue_size": 65536, "head": {"hidden_dim": 4096, "output_dim": 256}}
    none = {"type": "simclr", "head": None}
    fields = {"model": {"image": "a/vit"}, "objectives": [big, none], "batch_size": 512, "micro_batch_size": 128}
    recipe = smoke_recipe(Recipe.model_validate({"data": "x", **fields}))
    moco, simclr = recipe.objectives
    assert (moco.queue_size, moco.head.hidden_dim, moco.head.output_dim) == (64, 64, 64)
    assert moco.temperature == 0.2
    assert simclr.head is None
    assert recipe.micro_batch_size == 8
    assert smoke_recipe(Recipe(data="x", micro_batch_size="auto")).micro_batch_size == "auto"


def test_nothing_is_compiled_for_a_few_steps() -> None:
    assert not smoke_recipe(Recipe(data="x", compile=True)).compile


def test_small_crops_stay_small() -> None:
    views = [{"count": 2}, {"count": 4, "size": 96}, {"size": 224}]
    fields = {"data": {"train": "x", "image_views": views}, "model": {"image": {"name": "a/vit", "image_size": 224}}}
    data = smoke_recipe(Recipe.model_validate({**fields, "objectives": ["simclr"]})).data
    assert [(view.count, view.size) for view in data.image_views] == [(2, None), (4, 16), (1, 32)]


def test_columns_play_the_roles_that_objectives_name() -> None:
    pictures = {"data": {"train": "x", "columns": {"text": False, "group": False}}, "objectives": ["simclr"]}
    columns = smoke_recipe(Recipe.model_validate(pictures)).data.columns
    assert (columns.image, columns.text, columns.group, columns.positive) == ("image", False, False, False)
    texts = {"data": "x", "model": {"text": "a/bert"}, "objectives": ["simcse_supervised"]}
    columns = smoke_recipe(Recipe.model_validate(texts)).data.columns
    assert (columns.positive, columns.negatives) == ("text", ("script",))


def test_embedded_data_stays_and_is_cut() -> None:
    columns = {"text": False, "group": False, "label": "label"}
    data = {"train": {"path": "digits", "split": "train"}, "validation": 0, "columns": columns}
    tasks = ["knn", {"task": "few_label", "train": "a.csv", "data": "b.csv"}]
    fields = {"model": {"image": "a/vit"}, "objectives": ["simclr"], "evaluate": tasks}
    recipe = smoke_recipe(Recipe.model_validate({"data": data, **fields}))
    assert (recipe.data.train.path, recipe.data.train.split, recipe.data.train.limit) == ("digits", "train", 256)
    assert recipe.data.columns.label == "label"
    for task in recipe.evaluate:
        assert [(one.path, one.split, one.limit) for one in (task.train, task.data)] == [
            ("digits", "train", 256),
            ("digits", "test", 256),
        ]


def test_several_sources_become_one_of_glyphs() -> None:
    data = smoke_recipe(Recipe.model_validate({"data": {"train": ["digits", {"path": "x", "weight": 2}]}})).data
    assert data.train.path == "glyphs"


@pytest.mark.parametrize(("num_processes", "batch_size"), [("1", 16), ("3", 18), ("24", 24)])
def test_the_batch_divides_over_the_processes(
    num_processes: str, batch_size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORLD_SIZE", num_processes)
    assert smoke_recipe(Recipe.model_validate({"data": "x"})).batch_size == batch_size


def test_tasks_of_texts_are_tried_on_names_of_glyphs_and_told_apart(tmp_path: Path) -> None:
    tasks = ["sts", "pair_classification", "text_retrieval", "bitext_mining", "triplet_accuracy"]
    configs = [{"task": task, "data": f"sets/{task}.csv"} for task in tasks]
    configs[2]["corpus"] = "more.csv"
    model = lone_text(ROBERTA, save_tokenizer(tmp_path / "words")).model_dump()
    fields = {"model": model, "data": "x.txt", "objectives": ["simcse"], "evaluate": configs}
    run = run_recipe(smoke_recipe(Recipe.model_validate({**fields, "output_dir": str(tmp_path / "runs")})))
    found = [(result.task, result.dataset) for result in run.results]
    assert found == [(task.replace("pair_classification", "sts"), f"{task}.csv") for task in tasks]


def test_tasks_that_judge_by_labels_are_tried_on_glyphs_of_what_the_model_reads(tmp_path: Path) -> None:
    tasks = ["multilabel_zeroshot_classification", {"task": "clustering", "data": "topics.csv", "name": "topics"}]
    fields = {"data": "x.csv", "evaluate": tasks, "output_dir": str(tmp_path / "runs")}
    both = smoke_recipe(Recipe.model_validate(fields)).evaluate
    assert [(task.columns.labels, task.columns.image, task.data.path) for task in both] == [
        ("script", "image", "glyphs"),
        ("script", "image", "glyphs"),
    ]
    texts = {**fields, "model": {"text": "a/bert"}, "objectives": ["simcse"], "evaluate": tasks[1:]}
    (alone,) = smoke_recipe(Recipe.model_validate(texts)).evaluate
    assert alone.columns.image is False
