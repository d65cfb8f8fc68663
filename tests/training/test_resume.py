"""A run that was interrupted ends bit-identical to one that was not."""

from __future__ import annotations

import os
import random
import shutil
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from safetensors.torch import load_file

from mmcl.export import ModelCardFacts, export_model
from mmcl.model import build_model
from mmcl.recipe import Recipe
from mmcl.recipe_model import ModelConfig
from mmcl.training.checkpoint import ASIDE, find_fault
from tests.tiny import save_pairs, save_tokenizer, tiny_recipe, vit_bert_pair
from tests.training.runs import finish, kill, last_sums, start, wait_for

pytestmark = pytest.mark.xdist_group("resume")

NUM_STEPS = 30
NUM_KILLS = int(os.environ.get("MMCL_TEST_KILLS", "6"))


def resumable_recipe(folder: Path, **data: object) -> Recipe:
    """30 steps of 15 per epoch, every one of them saved."""
    recipe = tiny_recipe(folder, max_steps=NUM_STEPS, save_every=1, keep_checkpoints=NUM_STEPS, batch_size=3)
    return recipe.model_copy(update={"data": recipe.data.model_copy(update=data)})


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Recipe, Path]]:
    folder = tmp_path_factory.mktemp("resume")
    recipe = resumable_recipe(folder)
    finish(recipe, folder / "whole")
    yield recipe, folder
    shutil.rmtree(folder)


def copy_up_to(whole: Path, step: int, target: Path) -> Path:
    """The run's folder as it was after ``step``."""
    (target / "checkpoints").mkdir(parents=True)
    shutil.copytree(checkpoint_of(whole, step), checkpoint_of(target, step))
    return target


def checkpoint_of(run: Path, step: int) -> Path:
    return run / "checkpoints" / f"step-{step:08d}"


def test_the_run_has_two_epochs(uninterrupted: tuple[Recipe, Path]) -> None:
    _, folder = uninterrupted
    assert '"epoch": 2.0' in (folder / "whole" / "metrics.jsonl").read_text().splitlines()[-1]
    assert set(last_sums(folder / "whole")) == {
        "average.safetensors",
        "model.safetensors",
        "optimizer.safetensors",
        "state.json",
    }


def test_resumed_after_any_step_it_ends_the_same(uninterrupted: tuple[Recipe, Path]) -> None:
    recipe, folder = uninterrupted
    expected = last_sums(folder / "whole")
    for step in range(1, NUM_STEPS):
        resumed = copy_up_to(folder / "whole", step, folder / f"resumed-{step}")
        assert finish(recipe, resumed, resume=True) == expected, f"resumed after step {step}"


@pytest.mark.parametrize("step", [7, 15, 16])
def test_with_two_workers_it_ends_the_same(uninterrupted: tuple[Recipe, Path], step: int) -> None:
    recipe, folder = uninterrupted
    with_workers = recipe.model_copy(update={"data": recipe.data.model_copy(update={"num_workers": 2})})
    resumed = copy_up_to(folder / "whole", step, folder / f"workers-{step}")
    assert finish(with_workers, resumed, resume=True) == last_sums(folder / "whole")


def test_a_mixture_resumed_within_an_epoch_ends_the_same(tmp_path: Path) -> None:
    recipe = resumable_recipe(tmp_path)
    few, old = (save_pairs(tmp_path / name, num_rows, num_rows) for name, num_rows in (("few", 5), ("old", 30)))
    train = [
        str(tmp_path / "data" / "pairs.csv"),
        {"path": str(few), "weight": 0.5},
        {"path": str(old), "weight": 0.5, "replay": True},
    ]
    fields = recipe.model_dump()
    fields |= {"data": fields["data"] | {"train": train}, "batch_size": 4, "max_steps": 40}
    recipe = Recipe.model_validate(fields)
    expected = finish(recipe, tmp_path / "whole")
    for step in (11, 29):  # of about 24 in an epoch
        resumed = copy_up_to(tmp_path / "whole", step, tmp_path / f"resumed-{step}")
        assert finish(recipe, resumed, resume=True) == expected, f"resumed after step {step}"


@pytest.mark.parametrize("is_named", [True, False])
def test_with_a_teacher_it_ends_the_same(is_named: bool, tmp_path: Path) -> None:
    teacher = None
    if is_named:
        # Three tokens are all that it reads of a text, so that the loader's strings are what it is given.
        config = vit_bert_pair(save_tokenizer(tmp_path / "words")).model_dump()
        config["text"]["max_length"] = 3
        teacher = str(tmp_path / "teacher")
        export_model(build_model(ModelConfig.model_validate(config), 1), tmp_path / "teacher", ModelCardFacts("x"))
    objectives = ["clip", {"type": "distillation", "teacher": teacher, "weight": 2}]
    recipe = tiny_recipe(tmp_path, objectives=objectives, max_steps=4, save_every=1, keep_checkpoints=4)
    expected = finish(recipe, tmp_path / "whole")
    assert not any("teacher" in name for name in load_file(checkpoint_of(tmp_path / "whole", 4) / "model.safetensors"))
    resumed = copy_up_to(tmp_path / "whole", 2, tmp_path / "resumed")
    assert finish(recipe, resumed, resume=True) == expected


def test_another_seed_ends_otherwise(uninterrupted: tuple[Recipe, Path]) -> None:
    recipe, folder = uninterrupted
    other = finish(recipe.model_copy(update={"seed": 1}), folder / "other-seed")
    assert all(other[name] != digest for name, digest in last_sums(folder / "whole").items())


def test_killed_at_any_moment_it_resumes_and_ends_the_same(uninterrupted: tuple[Recipe, Path]) -> None:
    """Half of the kills come while a checkpoint is being written."""
    recipe, folder = uninterrupted
    recipe = recipe.model_copy(update={"keep_checkpoints": 2})
    chance = random.Random(0)
    num_inside_save = 0
    for number in range(NUM_KILLS):
        run = folder / f"killed-{number}"
        process = start(recipe, run)
        first = run / "checkpoints" / f"step-{chance.randint(1, 25):08d}"
        assert wait_for(first.exists)
        if number % 2:
            assert wait_for(lambda run=run: list((run / "checkpoints").glob(f"{ASIDE}*")))
        else:
            time.sleep(chance.uniform(0, 0.05))
        kill(process)
        num_inside_save += bool(list((run / "checkpoints").glob(f"{ASIDE}*")))
        assert process.exitcode == -signal.SIGKILL
        assert finish(recipe, run, resume=True) == last_sums(folder / "whole"), f"kill {number}"
        assert all(find_fault(path) is None for path in (run / "checkpoints").iterdir())
    assert num_inside_save >= NUM_KILLS // 2


def test_sigterm_saves_and_exits_with_143(uninterrupted: tuple[Recipe, Path]) -> None:
    recipe, folder = uninterrupted
    recipe = recipe.model_copy(update={"save_every": None, "keep_checkpoints": 1})
    run = folder / "stopped"
    process = start(recipe, run)
    assert wait_for(lambda: (run / "metrics.jsonl").exists())
    process.terminate()
    process.join(60)
    assert process.exitcode == 143
    assert len(list((run / "checkpoints").iterdir())) == 1
    assert finish(recipe, run, resume=True) == last_sums(folder / "whole")
    steps = [line.split(",")[0] for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert steps == [f'{{"step": {step}' for step in range(1, NUM_STEPS + 1)]
