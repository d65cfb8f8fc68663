"""``compile: true`` changes how a step is computed, and nothing of what comes out."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch._dynamo.utils import counters

from mmcl.errors import UserError
from mmcl.export import ModelCardFacts, export_model
from mmcl.model import build_model
from mmcl.recipe_model import ModelConfig
from mmcl.training.compiling import blocks_to_compile
from mmcl.training.trainer import Trainer
from tests.processes import ROOT, run_processes
from tests.tiny import random_batch, save_tokenizer
from tests.training.test_micro_batch import fit, recipe_with, state_of
from tests.training.test_trainer import make_trainer

pytestmark = [
    pytest.mark.xdist_group("processes"),
    pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf"),  # of torch.compile itself
]

NUM_TOWERS = 2


def num_graphs() -> int:
    return int(counters["stats"]["unique_graphs"])


def assert_near(expected: Trainer, found: dict[str, torch.Tensor]) -> None:
    state = state_of(expected)
    assert state.keys() == found.keys()
    for name, tensor in state.items():
        torch.testing.assert_close(found[name], tensor, rtol=1e-3, atol=1e-4, msg=name)


def test_it_gives_the_weights_of_a_run_without_it_with_dropout_caching_and_resume(tmp_path: Path) -> None:
    fields: dict[str, Any] = {"max_steps": 4, "save_every": 2, "keep_checkpoints": 2}
    expected, _ = fit(recipe_with(tmp_path, 4, **fields), tmp_path / "without")
    recipe = recipe_with(tmp_path, 4, **fields, compile=True)
    before = num_graphs()
    whole, _ = fit(recipe, tmp_path / "compiled")
    assert num_graphs() > before
    assert_near(expected, state_of(whole))
    newest = tmp_path / "compiled" / "checkpoints" / "step-00000004"
    newest.rename(tmp_path / "later")
    resumed = make_trainer(recipe, tmp_path / "compiled")
    resumed.resume()
    assert resumed.step == 2
    resumed.fit(lambda step: {})
    for name, tensor in state_of(whole).items():
        assert torch.equal(state_of(resumed)[name], tensor), name
    export_model(resumed.model, tmp_path / "model", ModelCardFacts("x"))
    assert_same_embeddings(resumed, tmp_path / "model")


def assert_same_embeddings(trainer: Trainer, folder: Path) -> None:
    again = build_model(ModelConfig(name=str(folder))).eval()
    batch = random_batch(4, 16)
    with torch.no_grad():
        expected = trainer.model.eval().encode_text(batch.texts[0]).embeddings
        torch.testing.assert_close(again.encode_text(batch.texts[0]).embeddings, expected, rtol=1e-4, atol=1e-5)


def test_text_lengths_and_numbers_of_rows_share_their_code(tmp_path: Path) -> None:
    trainer = make_trainer(recipe_with(tmp_path, None, compile=True, dropout=0.0), tmp_path / "run")
    assert not trainer.model.towers.skips_padding, "texts would go through in parts"
    torch.compiler.reset()
    before = num_graphs()
    for num_rows, length in [(8, 5), (8, 8), (7, 6), (5, 8), (6, 7)]:
        batch = random_batch(num_rows, 16, image_views=2, seed=length)
        tokens = batch.texts[0].part(0, num_rows)
        short = type(tokens)(tokens.input_ids[:, :length], tokens.attention_mask[:, :length])
        trainer.module(type(batch)(batch.images, (short,), batch.group_ids, batch.sample_ids)).loss.backward()
    assert num_graphs() - before == NUM_TOWERS


def test_two_processes_compile_too(tmp_path: Path) -> None:
    recipe = recipe_with(tmp_path, None, compile=True, dropout=0.0, max_steps=2)
    recipe = recipe.model_copy(update={"objectives": recipe.chosen_objectives[:1]})
    expected, _ = fit(recipe.model_copy(update={"compile": False}), tmp_path / "without")
    for result in run_processes("fitted", 2, tmp_path / "two", recipe=recipe, most_rows=[8, 8], from_call=0):
        assert_near(expected, result["state"])


def test_without_a_compiler_a_run_does_not_begin(tmp_path: Path) -> None:
    program = (
        "import torch\nfrom mmcl.errors import UserError\nfrom mmcl.training.compiling import _check_compiles\n"
        "try:\n    _check_compiles(torch.device('cpu'))\nexcept UserError as error:\n    print(error)\n"
    )
    environment = {**os.environ, "CXX": "no-such-compiler", "TORCHINDUCTOR_CACHE_DIR": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith("compile: torch.compile needs a C++ compiler, such as g++: ")
    assert done.stdout.endswith("; leave compile out\n")
    assert done.stdout.count("\n") == 1


def test_a_tower_without_blocks_is_refused(tmp_path: Path) -> None:
    text = {"config": {"model_type": "static", "embedding_dim": 4}, "tokenizer": save_tokenizer(tmp_path)}
    model = build_model(ModelConfig.model_validate({"text": text}))
    with pytest.raises(UserError, match=r"compile: the text tower has no blocks to compile; leave compile out"):
        blocks_to_compile(model, torch.device("cpu"))
