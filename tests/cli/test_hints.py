"""What a run suggests next must fit the model, and can be typed as it stands."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import typer

from mmcl.cli.hints import next_steps
from mmcl.cli.main import app
from mmcl.cli.train import format_run
from mmcl.recipe_files import load_recipe
from mmcl.training.run import Run

IMAGE = Run(Path("runs/mine"), (), ("image",))
TEXT = Run(Path("runs/mine"), (), ("text",))
STATIC = Run(Path("runs/mine"), (), ("text",), is_static=True)
JOINT = Run(Path("runs/mine"), (), ("image", "text"))
APART = Run(Path("my runs/mine"), (), ("image", "text"))


def test_the_end_of_a_run_says_that_it_waited_for_data() -> None:
    assert "waiting for data" not in format_run(JOINT)
    run = Run(Path("runs/mine"), (), data_wait="40% of training is waiting for data: set data.num_workers=8, now 0")
    assert "\nwarning: 40% of training is waiting for data: set data.num_workers=8, now 0\n" in format_run(run)


@pytest.mark.parametrize(
    ("run", "has", "has_not"),
    [
        (IMAGE, ["--task knn", "encode_images", "vision/transfer"], ["text", "retrieval", "clip/"]),
        (TEXT, ["--task sts", "encode_texts", "SentenceTransformer('runs/mine/model')", "text/pairs"], ["image"]),
        (STATIC, ["--task sts", "encode_texts", "SentenceTransformer('runs/mine/model')"], ["image", "mmcl train"]),
        (JOINT, ["--task retrieval", "encode_texts", "mmcl embed", "--model runs/mine"], ["vision/", "knn"]),
    ],
    ids=["image", "text", "static", "joint"],
)
def test_hints_fit_what_the_model_embeds(run: Run, has: list[str], has_not: list[str]) -> None:
    hints = "\n".join(next_steps(run))
    assert [part for part in has if part not in hints] == []
    assert [part for part in has_not if part in hints] == []
    assert all(f"  {line}\n" in f"{format_run(run)}\n" for line in next_steps(run))


@pytest.mark.parametrize("run", [IMAGE, TEXT, STATIC, JOINT, APART], ids=["image", "text", "static", "joint", "space"])
def test_commands_can_be_typed_as_they_stand(run: Run) -> None:
    for line in next_steps(run):
        _, command = re.split(r" {3,}", line, maxsplit=1)
        if not command.startswith("mmcl "):
            compile(command, "hint", "eval")
            continue
        name, *arguments = shlex.split(command, comments=True)[1:]
        group: Any = typer.main.get_command(app)
        inner = group.commands[name]
        if hasattr(inner, "commands"):
            inner, arguments = inner.commands[arguments[0]], arguments[1:]
        given = inner.make_context("mmcl", list(arguments)).params
        if name == "train":
            load_recipe(given["recipe"], given["overrides"])
