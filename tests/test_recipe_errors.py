"""Mistakes in a recipe, in a recipe's own words."""

from __future__ import annotations

from typing import Annotated, Literal

import pytest
from pydantic import Field, ValidationError

from mmcl.recipe import Recipe
from mmcl.recipe_errors import misplaced_booleans, problems_in, show
from mmcl.recipe_sections import expand
from mmcl.recipe_yaml import read_yaml
from mmcl.section import Section


def mistakes(text: str, recipe: type[Section] = Recipe) -> list[str]:
    root = expand(read_yaml(text, "f.yaml")[0], (recipe,))
    with pytest.raises(ValidationError) as caught:
        recipe.model_validate(root.plain())
    return [str(problem) for problem in problems_in(caught.value, root)]


@pytest.mark.parametrize(
    ("text", "mistake"),
    [
        ("lr: -1", "lr: must be > 0, got -1"),
        ("lr: fast", 'lr: must be a number, got "fast"'),
        ("lr:", "lr: must be a number, got null"),
        ("lr: .inf", "lr: must be a finite number, got Infinity"),
        ("warmup_ratio: 2", "warmup_ratio: must be <= 1, got 2"),
        ("batch_size: 1.5", "batch_size: must be a whole number, got 1.5"),
        ("name: 5", "name: must be text, got 5 (in quotes it is text)"),
        ("name: [5]", "name: must be text, got [5]"),
        ("betas: [0.9]", "betas: must have 2 entries, got 1: [0.9]"),
        ("betas: []", "betas: must have 2 entries, got 0: []"),
        ("betas: [1, 2, 3]", "betas: must have 2 entries, got 3: [1, 2, 3]"),
        ("betas: [a, 0.9]", 'betas.0: must be a number, got "a"'),
        ("objectives: []", "objectives: must have at least one entry"),
        ("objectives: clip", 'objectives: must be a list, got "clip"'),
        ("objectives: [{clip: -1}]", "objectives.0.weight: must be > 0, got -1"),
        (
            "evaluate: [retreival]",
            'evaluate.0: unknown name "retreival" (retrieval, zeroshot_classification, knn, '
            "linear_probe, few_label, sts, pair_classification, text_retrieval, bitext_mining, triplet_accuracy, "
            "multilabel_zeroshot_classification, "
            "image_retrieval, representation_health, image_caption_selection, robustness, clustering)."
            ' Did you mean "retrieval"?',
        ),
        (
            "evaluate: [{name: x}]",
            "evaluate.0: needs task, one of retrieval, zeroshot_classification, knn, linear_probe, few_label, "
            "sts, pair_classification, text_retrieval, bitext_mining, triplet_accuracy, "
            "multilabel_zeroshot_classification, image_retrieval, "
            "representation_health, image_caption_selection, robustness, clustering",
        ),
        ("evaluate: [3]", "evaluate.0: must be text or a mapping, got 3"),
        (
            "evaluate: [{task: retrieval, data: {path: x, splt: y}}]",
            'evaluate.0.data.splt: unknown key. Did you mean "split"?',
        ),
        (
            "evaluate: [{task: retrieval, templates: [x]}]",
            "evaluate.0.templates: unknown key (task, name, data, columns, language).",
        ),
        (
            "schedule: cosin",
            'schedule: unknown name "cosin" (cosine, linear, constant). Did you mean "cosine"?',
        ),
        ("schedule: 3", "schedule: must be one of cosine, linear, constant, got 3"),
        (
            "model: {name: a, image: b, text: c}",
            "model: give exactly one of: name (a joint model), config (a fresh joint model), image and text (a pair, or"
            " one of them alone)",
        ),
        ("model: 3", "model: must be text or a mapping, got 3"),
        (
            "model: {image: {config: {}}, text: b}",
            "model.image: config needs a model_type, for example model_type: bert",
        ),
        ("learning_rat: 1", "learning_rat: unknown key."),
        ("batchsize: 1", 'batchsize: unknown key. Did you mean "batch_size"?'),
        ("columns: {}", 'columns: unknown key. Did you mean "data.columns"?'),
    ],
)
def test_a_mistake_is_one_line_in_plain_words(text, mistake):
    assert mistakes(f"data: x\n{text}") == [f"f.yaml:2 {mistake}"]


@pytest.mark.parametrize(
    ("text", "mistake"),
    [
        ("optimizer: lasr", 'optimizer: unknown name "lasr" (adamw, lars, sgd). Did you mean "lars"?'),
        ("optimizer: lars\neps: 1e-8", "eps: is for optimizer adamw, not lars: leave it out, or write null"),
        (
            "betas: [0.9, 0.98]\noptimizer: sgd",
            "betas: is for optimizer adamw, not sgd: leave it out, or write null",
        ),
        ("momentum: 0.9", "momentum: is for optimizer lars and sgd, not adamw: leave it out, or write null"),
        (
            "optimizer: sgd\ntrust_coefficient: 0.01",
            "trust_coefficient: is for optimizer lars, not sgd: leave it out, or write null",
        ),
        ("optimizer: sgd\nmomentum: 1", "momentum: must be < 1, got 1"),
        ("optimizer: lars\ntrust_coefficient: 0", "trust_coefficient: must be > 0, got 0"),
        ("lr_scaling: liner", 'lr_scaling: unknown name "liner" (none, linear, sqrt). Did you mean "linear"?'),
        ("lr_batch_size: 0", "lr_batch_size: must be > 0, got 0"),
        ("micro_batch_size: 0", "micro_batch_size: must be > 0, got 0"),
        ("micro_batch_size: aut", 'micro_batch_size: unknown name "aut" (auto). Did you mean "auto"?'),
        ("micro_batch_size: 257", "micro_batch_size: must be <= batch_size, which is 256, got 257"),
        ("batch_size: 8\nmicro_batch_size: 9", "micro_batch_size: must be <= batch_size, which is 8, got 9"),
    ],
)
def test_a_mistake_about_the_optimiser_or_the_batch_names_its_field(text, mistake):
    assert [line.split(" ", 1)[1] for line in mistakes(f"data: x\n{text}")] == [mistake]


def test_an_unknown_objective_is_told_the_nearest_name():
    (line,) = mistakes("data: x\nobjectives: [clpi]")
    assert line.startswith('f.yaml:2 objectives.0: unknown name "clpi" (')
    assert line.endswith('Did you mean "clip"?')


@pytest.mark.parametrize(
    ("data", "mistake"),
    [
        ("{train: x, columns: {txt: a}}", 'data.columns.txt: unknown key. Did you mean "text"?'),
        ("{train: x, text: a}", 'data.text: unknown key. Did you mean "data.columns.text"?'),
        ("{train: x, validation: 1.5}", "data.validation: must be <= 1, got 1.5"),
        ("{train: x, validation: 150%}", 'data.validation: must be <= 1, got "150%"'),
        ("{train: x, validation: much%}", 'data.validation: a share is a number before the %, got "much%"'),
        ("{train: x, validation: [1]}", "data.validation: must be text or a mapping or a number, got [1]"),
        (
            "{train: x, validation: {path: y, split: 3}}",
            "data.validation.split: must be text, got 3 (in quotes it is text)",
        ),
        ("{train: {split: y}}", "data.train.path: is required"),
        ("{train: 3}", "data.train: must be text or a mapping or a list, got 3"),
        ("{train: []}", "data.train: must have a source"),
        ("{train: [x, 3]}", "data.train.1: must be text or a mapping, got 3"),
        ("{train: [x, {path: y, weigth: 2}]}", 'data.train.1.weigth: unknown key. Did you mean "weight"?'),
        ("{train: [x, {path: y, weight: 0}]}", "data.train.1.weight: must be > 0, got 0"),
        ("{train: [x, {path: y, columns: {txt: a}}]}", 'data.train.1.columns.txt: unknown key. Did you mean "text"?'),
        (
            "{train: [x, {path: y, streaming: true}]}",
            "data.train.1.streaming: one of several sources cannot be a stream; set it to false, or give a stream"
            " alone",
        ),
        (
            "{train: [x, {path: y, replay: true}]}",
            "data.train.1.replay: needs a weight beside it: how much of every batch the replay takes, such as"
            " weight: 0.25",
        ),
        (
            "{train: [{path: y, replay: true, weight: 1}]}",
            "data.train: must have at least one source that is no replay",
        ),
        (
            "{train: {path: y, weight: 1}}",
            "data.train: weight is for one of several sources, which are a list: train: [...]",
        ),
        (
            "{train: {path: y, columns: {text: a}}}",
            "data.train: columns is for one of several sources, which are a list: train: [...]; columns stand beside"
            " train, as data.columns",
        ),
        (
            "{train: x, image_views: [{affine: {scale: [1]}}]}",
            "data.image_views.0.affine.scale: must have 2 entries, got 1: [1]",
        ),
        ("{columns: {text: t}}", "data.train: is required"),
    ],
)
def test_a_mistake_below_data(data, mistake):
    assert mistakes(f"data: {data}") == [f"f.yaml:1 {mistake}"]


def test_all_mistakes_are_told_in_the_order_of_the_file():
    text = (
        "lr: -1\nfoo: 1\ndata:\n  train: x\n  columns:\n    txt: a\nbatch_size: 0\nevaluate:\n- retrieval\n- rtrieval"
    )
    assert [line.split(" ")[0] for line in mistakes(text)] == [f"f.yaml:{line}" for line in (1, 2, 6, 7, 10)]


class Alpha(Section):
    type: Literal["alpha"] = "alpha"
    weight: float = Field(default=1.0, gt=0)


class Beta(Section):
    type: Literal["beta"] = "beta"
    weight: float = 1.0
    queue_size: int = 8


class Several(Recipe):
    objectives: tuple[Annotated[Alpha | Beta, Field(discriminator="type")], ...] = ()


@pytest.mark.parametrize(
    ("text", "mistake"),
    [
        ("[{beta: {queue_sise: 3}}]", 'objectives.0.queue_sise: unknown key. Did you mean "queue_size"?'),
        ("[alpha, {alpha: 0}]", "objectives.1.weight: must be > 0, got 0"),
        ("[betta]", 'objectives.0: unknown name "betta" (alpha, beta). Did you mean "beta"?'),
        ("[{alpha: {queue_size: 3}}]", "objectives.0.queue_size: unknown key (type, weight)."),
        ("[{weight: 1, queue_size: 2}]", "objectives.0: needs type, one of alpha, beta"),
    ],
)
def test_unions_of_several_objectives_show_no_tags(text, mistake, monkeypatch):
    monkeypatch.setattr("mmcl.recipe_sections.Recipe", Several)
    assert mistakes(f"data: x\nobjectives: {text}", Several) == [f"f.yaml:2 {mistake}"]


@pytest.mark.parametrize(
    ("text", "mistake"),
    [
        ("warmup_ratio: true", "warmup_ratio: must be a number, got true"),
        ("max_grad_norm: no", "max_grad_norm: must be a number, got false"),
        ("data: {train: x, validation: true}", "data.validation: must be a number, got true"),
        (
            "data: {train: x, image_views: [{}, {grayscale: yes}]}",
            "data.image_views.1.grayscale: must be a number, got true",
        ),
    ],
)
def test_true_is_no_number(text, mistake):
    root = expand(read_yaml(text, "f.yaml")[0])
    assert [str(problem) for problem in misplaced_booleans(root)] == [f"f.yaml:1 {mistake}"]


def test_true_and_false_stand_where_they_are_meant():
    text = "model: {learn_temperature: no, config: {a: yes}}\ndata: {train: {streaming: true}, unique_groups: yes}"
    assert not list(misplaced_booleans(expand(read_yaml(text, "f.yaml")[0])))


def test_values_are_shown_short_and_as_yaml_has_them():
    assert [show(value) for value in (None, True, "é", 1.5)] == ["null", "true", '"é"', "1.5"]
    assert len(show("x" * 1000)) < 70
    assert show({1, 2}) == "{1, 2}"
