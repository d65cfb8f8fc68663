"""``micro_batch_size: auto`` on a machine whose towers run out of memory above a size."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch

from mmcl.errors import RunError, UserError
from mmcl.recipe import Recipe
from mmcl.training.checkpoint import load_checkpoint
from mmcl.training.micro_batch import FittingGradCache, next_smaller
from mmcl.training.trainer import Trainer
from tests.processes import run_processes
from tests.tiny import save_tokenizer, tiny_recipe, vit_bert_pair
from tests.training.test_trainer import Recorder, make_trainer

pytestmark = pytest.mark.xdist_group("processes")

# Batch norm in a head, a queue, a memory, dropout in the towers: what a step that is done again must not touch twice.
OBJECTIVES: list[Any] = [
    {"type": "clip", "memory": 6},
    {"type": "simclr", "head": {"hidden_dim": 8, "output_dim": 4, "last_batch_norm": True}},
    {"type": "moco", "queue_size": 16, "head": {"hidden_dim": 8, "output_dim": 4, "batch_norm": True}},
]


def recipe_with(folder: Path, micro_batch_size: int | str | None, **fields: Any) -> Recipe:
    """Six steps of eight rows of a ViT with a BERT."""
    model = vit_bert_pair(save_tokenizer(folder / "words"), dropout=fields.pop("dropout", 0.2))
    recipe = tiny_recipe(folder, batch_size=8, objectives=OBJECTIVES, micro_batch_size=micro_batch_size, **fields)
    data = recipe.data.model_dump() | {"image_views": [{"count": 2}]}
    return Recipe.model_validate(recipe.model_dump() | {"model": model.model_dump(), "data": data})


@contextmanager
def little_memory(trainer: Trainer, most_rows: int, from_call: int = 0) -> Iterator[list[int]]:
    """Let the image tower run out of memory above so many rows, from the n-th time on that it is called."""
    sizes: list[int] = []

    def refuse(_: torch.nn.Module, args: Any, kwargs: Any) -> None:
        sizes.append(len(kwargs["pixel_values"]))
        if len(sizes) > from_call and sizes[-1] > most_rows:
            raise torch.OutOfMemoryError(f"no memory for {sizes[-1]} rows")

    handle = trainer.model.towers.image_model.register_forward_pre_hook(refuse, with_kwargs=True)
    yield sizes
    handle.remove()


def state_of(trainer: Trainer) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in trainer.module.state_dict().items()}


def fit(recipe: Recipe, folder: Path, most_rows: int | None = None, from_call: int = 0) -> tuple[Trainer, Recorder]:
    recorder = Recorder()
    trainer = make_trainer(recipe, folder, recorder)
    if most_rows is None:
        trainer.fit(lambda step: {})
    else:
        with little_memory(trainer, most_rows, from_call):
            trainer.fit(lambda step: {})
    return trainer, recorder


def assert_equal(one: Trainer, other: Trainer) -> None:
    expected, found = state_of(one), state_of(other)
    for name, tensor in expected.items():
        assert torch.equal(found[name], tensor), name


@pytest.mark.parametrize(("most_rows", "size"), [(5, 4), (2, 2), (1, 1)])
def test_memory_that_runs_out_gives_the_weights_of_the_size_that_fits_bit_for_bit(
    tmp_path: Path, most_rows: int, size: int
) -> None:
    expected, _ = fit(recipe_with(tmp_path, size), tmp_path / "by-hand")
    found, recorder = fit(recipe_with(tmp_path, "auto"), tmp_path / "auto", most_rows)
    assert_equal(expected, found)
    assert {record["micro_batch_size"] for record in recorder.records} == {size}
    assert f"auto takes {size} rows of a process at a time, as step 1 ran out of memory" in " ".join(recorder.messages)


@pytest.mark.parametrize("call", range(2, 6))
def test_whichever_forward_of_a_step_runs_out_it_is_as_if_it_had_not(tmp_path: Path, call: int) -> None:
    """Two views, encoded in two parts and then once more: the loss, its heads and queues come between."""
    recipe = recipe_with(tmp_path, 4, max_steps=2)
    expected, _ = fit(recipe_with(tmp_path, 2, max_steps=2), tmp_path / "by-hand")
    trainer = make_trainer(recipe.model_copy(update={"micro_batch_size": "auto"}), tmp_path / "auto")
    assert trainer.fitting is not None
    trainer.fitting.settle_on(4, "for this test")
    with little_memory(trainer, 2, from_call=call) as sizes:
        trainer.fit(lambda step: {})
    assert sizes[call] == 4
    assert_equal(expected, trainer)


def test_rows_that_all_fit_are_not_cached_and_give_the_weights_of_no_micro_batch(tmp_path: Path) -> None:
    expected, _ = fit(recipe_with(tmp_path, None), tmp_path / "without")
    trainer = make_trainer(recipe_with(tmp_path, "auto"), tmp_path / "auto")
    with little_memory(trainer, 8) as sizes:
        trainer.fit(lambda step: {})
    assert len(sizes) == 2 * trainer.num_steps
    for name, tensor in state_of(expected).items():
        torch.testing.assert_close(state_of(trainer)[name], tensor, rtol=1e-4, atol=1e-5, msg=name)


def test_on_a_cpu_all_rows_are_taken_at_once_and_a_line_says_so(tmp_path: Path) -> None:
    _, recorder = fit(recipe_with(tmp_path, "auto", max_steps=1), tmp_path / "auto")
    (line,) = (message for message in recorder.messages if "micro_batch_size" in message)
    assert line == (
        "micro_batch_size: auto takes 8 rows of a process at a time, all of them, as a CPU does not say what fits"
    )


@pytest.mark.parametrize(("most_rows", "size"), [(8, 8), (7, 4), (4, 4), (3, 2), (0, 0)])
def test_the_trial_finds_what_fits_and_changes_nothing(tmp_path: Path, most_rows: int, size: int) -> None:
    trainer = make_trainer(recipe_with(tmp_path, "auto"), tmp_path / "run")
    batch = next(trainer.data.batches())
    trainer.train_step(batch)  # so that the optimiser, the queue and the memory hold something
    assert trainer.fitting is not None
    before, generator = state_of(trainer), torch.get_rng_state()
    moments = {id(p): {k: v.clone() for k, v in state.items()} for p, state in trainer.optimizer.state.items()}
    with little_memory(trainer, most_rows):
        assert trainer.fitting.largest_that_fits(batch, reserve=1000) == size
    assert torch.equal(torch.get_rng_state(), generator)
    assert all(parameter.grad is None for parameter in trainer.module.parameters())
    assert all(torch.equal(tensor, before[name]) for name, tensor in state_of(trainer).items())
    for parameter, state in trainer.optimizer.state.items():
        assert all(torch.equal(value, moments[id(parameter)][key]) for key, value in state.items())


def test_the_trial_goes_forward_and_backward(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trainer = make_trainer(recipe_with(tmp_path, "auto"), tmp_path / "run")
    assert trainer.fitting is not None
    seen: list[int] = []

    def refuse(module: Any, args: Any, output: Any) -> None:
        output.register_hook(grow)

    def grow(gradient: torch.Tensor) -> None:
        seen.append(len(gradient))
        if len(gradient) > 2:
            raise torch.OutOfMemoryError("in the backward")

    trainer.model.towers.image_projection.register_forward_hook(refuse)
    assert trainer.fitting.largest_that_fits(next(trainer.data.batches()), reserve=0) == 2
    assert seen[-1] == 2


def test_not_one_row_is_an_error_with_the_ways_out(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"not one row fits; ways out: tuning.gradient_checkpointing=true, low-rank"):
        fit(recipe_with(tmp_path, "auto"), tmp_path / "run", 0)


@pytest.mark.parametrize("size", [None, 4])
def test_a_size_that_was_given_is_kept_and_the_error_names_auto(tmp_path: Path, size: int | None) -> None:
    with pytest.raises(RunError, match=rf"step 1: out of memory with {size or 8} rows .*: micro_batch_size=auto"):
        fit(recipe_with(tmp_path, size), tmp_path / "run", 2)


def test_a_run_goes_on_with_the_size_of_its_checkpoint_bit_for_bit(tmp_path: Path) -> None:
    recipe = recipe_with(tmp_path, "auto", save_every=3)
    whole, _ = fit(recipe, tmp_path / "whole", 4)
    fit(recipe.model_copy(update={"save_every": 3, "keep_checkpoints": 2}), tmp_path / "run", 4)
    for path in (tmp_path / "run" / "checkpoints").glob("step-00000006*"):
        path.rename(tmp_path / "later")
    recorder = Recorder()
    trainer = make_trainer(recipe, tmp_path / "run", recorder)
    trainer.resume()
    assert trainer.step == 3
    with little_memory(trainer, 4) as sizes:
        trainer.fit(lambda step: {})
    assert set(sizes) == {4}  # it was not tried again
    assert_equal(whole, trainer)
    assert "micro_batch_size: auto takes 4 rows of a process at a time, as the checkpoint says" in recorder.messages
    newest = load_checkpoint(tmp_path / "run" / "checkpoints" / "step-00000006")
    assert newest.state["micro_batch_size"] == 4


def test_batch_norm_in_a_tower_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"micro_batch_size: auto would give batch norm, which is inside the towers"):
        make_trainer(tiny_recipe(tmp_path, micro_batch_size="auto"), tmp_path / "run")


def test_where_one_of_two_processes_runs_out_both_take_less(tmp_path: Path) -> None:
    # Without dropout, of which each process has its own.
    recipe = recipe_with(tmp_path, "auto", dropout=0.0)
    expected, _ = fit(recipe.model_copy(update={"micro_batch_size": 2}), tmp_path / "by-hand")
    results = run_processes("fitted", 2, tmp_path / "two", recipe=recipe, most_rows=[2, 4], from_call=1)
    assert [result["size"] for result in results] == [2, 2]
    for result in results:
        for name, tensor in state_of(expected).items():
            # Six steps of 0.01 each, in which AdamW makes more of the rounding of a gradient near 0.
            torch.testing.assert_close(result["state"][name], tensor, rtol=1e-3, atol=2e-4, msg=name)


def test_sizes_are_powers_of_two_below_all_rows() -> None:
    assert [next_smaller(size) for size in (1000, 512, 3, 2, 1)] == [512, 256, 2, 1, 0]


def test_a_locked_pair_of_towers_is_tried_too(tmp_path: Path) -> None:
    recipe = recipe_with(tmp_path, "auto", tuning={"image": "locked"})
    trainer = make_trainer(recipe, tmp_path / "run")
    assert isinstance(trainer.fitting, FittingGradCache)
    with little_memory(trainer, 4):
        assert trainer.fitting.largest_that_fits(next(trainer.data.batches()), reserve=0) == 4
