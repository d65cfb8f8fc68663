from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from PIL import Image

from mmcl.batch import PairBatch
from mmcl.data.finish import finished
from mmcl.data.loader import build_train_data
from mmcl.errors import RunError, UserError
from mmcl.model import build_model
from mmcl.recipe import Recipe
from mmcl.training.accelerator import build_accelerator
from mmcl.training.checkpoint import newest_checkpoint
from mmcl.training.observer import Observer
from mmcl.training.run_folder import RunFolder
from mmcl.training.trainer import Trainer, count_steps
from tests.tiny import tiny_recipe

HEALTH = ("spread", "uniformity", "effective_rank")


class Recorder(Observer):
    def __init__(self) -> None:
        self.records: list[dict[str, Any]] = []
        self.messages: list[str] = []

    def stepped(self, record: dict[str, Any]) -> None:
        self.records.append(record)

    def message(self, text: str) -> None:
        self.messages.append(text)


def make_trainer(recipe: Recipe, folder: Path, observer: Observer | None = None) -> Trainer:
    model = build_model(recipe.model, recipe.seed)
    data = build_train_data(recipe, model.preprocessing, model.tokenizer)
    folder.mkdir(exist_ok=True)
    data.quarantine.write_to(folder)
    return Trainer(recipe, model, data, RunFolder(folder), build_accelerator(recipe), observer or Recorder())


def weights_of(trainer: Trainer) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in trainer.module.state_dict().items()}


def test_the_loss_falls(tmp_path: Path) -> None:
    recorder = Recorder()
    recipe = tiny_recipe(tmp_path, max_steps=60, batch_size=16, lr=3e-3)
    make_trainer(recipe, tmp_path / "run", recorder).fit(lambda step: {})
    losses = [record["loss"] for record in recorder.records]
    assert len(losses) == 60
    assert sum(losses[-10:]) < 0.7 * sum(losses[:10])


def test_a_record_says_what_a_step_did(tmp_path: Path) -> None:
    trainer = make_trainer(tiny_recipe(tmp_path, max_steps=2), tmp_path / "run")
    trainer.fit(lambda step: {})
    assert trainer.folder is not None
    first, second = trainer.folder.read_metrics()
    expected = {"step", "loss", "chance", "lr", "grad_norm", "logit_scale", "batch_size", "epoch"}
    health = {f"health/{modality}/{what}" for modality in ("image", "text") for what in HEALTH}
    health |= {"health/modality_gap", "health/clip/alignment"}
    assert set(first) == expected | health | {"samples_per_second", "data_wait"}
    assert (first["step"], second["step"]) == (1, 2)
    assert first["chance"] == pytest.approx(1.3863, abs=1e-4)
    assert 0 <= first["data_wait"] <= 1


def test_pictures_are_finished_on_a_device_that_is_no_cpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trainer = make_trainer(tiny_recipe(tmp_path), tmp_path / "run")  # its pictures are flipped
    made: list[tuple[torch.Tensor | None, ...]] = []

    def see(batch: PairBatch) -> PairBatch:
        made.append(batch.finishes)
        return finished(batch)

    monkeypatch.setattr("mmcl.training.trainer.finished", see)
    here = next(trainer.batches())
    monkeypatch.setattr(trainer, "accelerator", SimpleNamespace(device=torch.device("meta")))
    there = next(trainer.batches())
    assert (here.images[0].device.type, there.images[0].device.type) == ("cpu", "meta")
    assert made[0] == here.finishes == there.finishes == ()
    assert len(made[1]) == 1


def test_a_non_finite_loss_stops_before_the_update_and_names_the_rows(tmp_path: Path) -> None:
    recipe = tiny_recipe(tmp_path, max_steps=5)
    trainer = make_trainer(recipe, tmp_path / "run")
    with torch.no_grad():
        trainer.model.towers.image_projection.weight.fill_(float("nan"))
    before = weights_of(trainer)
    batch = next(trainer.data.batches())
    ids = ", ".join(str(row) for row in batch.sample_ids.tolist())
    with pytest.raises(RunError, match=rf"step 1: the loss is nan; .*non-finite embeddings \(sample ids\): {ids}\."):
        trainer.fit(lambda step: {})
    after = weights_of(trainer)
    parameters = [name for name, _ in trainer.module.named_parameters()]
    assert all(torch.equal(before[name], after[name]) for name in parameters if "image_projection" not in name)
    assert trainer.step == 0
    assert not (tmp_path / "run" / "checkpoints").exists()


def test_evaluates_between_steps_and_logs_it(tmp_path: Path) -> None:
    trainer = make_trainer(tiny_recipe(tmp_path, max_steps=5, eval_every=2), tmp_path / "run")
    asked: list[int] = []

    def evaluate(step: int) -> dict[str, float]:
        asked.append(step)
        return {"held out/acc1": 0.5}

    trainer.fit(evaluate)
    assert asked == [2, 4]
    assert trainer.folder is not None
    assert [r["step"] for r in trainer.folder.read_metrics() if "held out/acc1" in r] == [2, 4]


def test_an_unreadable_picture_is_quarantined_and_the_run_goes_on(tmp_path: Path) -> None:
    recipe = tiny_recipe(tmp_path, epochs=1, max_steps=None)
    recipe = recipe.model_copy(update={"data": recipe.data.model_copy(update={"max_unreadable": 0.1})})
    (tmp_path / "data" / "5.png").write_bytes(b"not a picture")
    trainer = make_trainer(recipe, tmp_path / "run")
    trainer.fit(lambda step: {})
    assert trainer.step == trainer.num_steps
    assert trainer.data.quarantine.num_quarantined == 1
    assert "5.png" in (tmp_path / "run" / "quarantine.jsonl").read_text()


def test_too_many_unreadable_pictures_stop_the_run(tmp_path: Path) -> None:
    recipe = tiny_recipe(tmp_path, epochs=3, max_steps=None)
    for row in range(0, 60, 3):
        Image.new("RGB", (8, 8)).save(tmp_path / "data" / f"{row}.png")
        content = (tmp_path / "data" / f"{row}.png").read_bytes()
        (tmp_path / "data" / f"{row}.png").write_bytes(content[: len(content) // 2])
    with pytest.raises(UserError, match=r"data.max_unreadable: .* more than the 1.00% allowed"):
        make_trainer(recipe, tmp_path / "run").fit(lambda step: {})


def test_steps_come_from_epochs_unless_given(tmp_path: Path) -> None:
    recipe = Recipe.model_validate({"data": "x", "epochs": 1.5})
    assert count_steps(recipe, 10) == 15
    assert count_steps(recipe.model_copy(update={"max_steps": 7}), 10) == 7
    with pytest.raises(UserError, match="max_steps"):
        count_steps(recipe, None)


def test_a_run_is_not_resumed_on_changed_data(tmp_path: Path) -> None:
    recipe = tiny_recipe(tmp_path, max_steps=4)
    make_trainer(recipe, tmp_path / "run").fit(lambda step: {})
    with (tmp_path / "data" / "pairs.csv").open("a") as table:
        table.write("3.png,white arrow,99,a\n")
    with pytest.raises(UserError, match=r"cannot resume: pairs.csv has changed since the run began"):
        make_trainer(recipe, tmp_path / "run").resume()


def test_a_full_disk_keeps_the_earlier_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trainer = make_trainer(tiny_recipe(tmp_path, max_steps=4), tmp_path / "run")
    trainer.fit(lambda step: {})
    trainer.step += 1

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("mmcl.training.checkpoint.save_file", fail)
    with pytest.raises(RunError, match="No space left on device; earlier ones are kept"):
        trainer.save()
    monkeypatch.undo()
    assert newest_checkpoint(tmp_path / "run" / "checkpoints")[0] == tmp_path / "run" / "checkpoints" / "step-00000004"


def test_an_overflow_under_loss_scaling_is_logged_and_moves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a GPU with fp16: the scaler skips the step, and the norm of its gradient is infinite."""
    trainer = make_trainer(tiny_recipe(tmp_path, max_steps=1), tmp_path / "run")
    before = {name: tensor.clone() for name, tensor in trainer.average.tensors.items()}
    monkeypatch.setattr(trainer.accelerator, "scaler", object())
    monkeypatch.setattr(trainer, "_clip", lambda: float("inf"))
    monkeypatch.setattr(trainer.accelerator, "backward", lambda loss: loss.backward())
    monkeypatch.setattr(trainer, "_stepper", SkippingStepper())
    record, _ = trainer.train_step(next(trainer.data.batches()))
    assert record["grad_norm"] is None
    assert all(torch.equal(trainer.average.tensors[name], tensor) for name, tensor in before.items())
    trainer._num_skipped = 10_000
    with pytest.raises(RunError, match="updates in a row were skipped"):
        trainer.train_step(next(trainer.data.batches()))


class SkippingStepper:
    """Accelerate's optimiser after an overflow."""

    step_was_skipped = True

    def step(self) -> None: ...

    def zero_grad(self) -> None: ...
