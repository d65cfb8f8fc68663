from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from mmcl.cli.launch import launch
from mmcl.recipe_files import dump_recipe
from tests.tiny import tiny_recipe
from tests.training.runs import wait_for


def test_a_mistake_on_every_process_exits_with_2(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "tiny.yaml"
    path.write_text(dump_recipe(tiny_recipe(tmp_path, batch_size=5)))
    assert launch(["train", str(path)], 2) == 2
    assert "batch_size must be a multiple of the number of processes, got 5 over 2" in capfd.readouterr().err


def test_sigterm_reaches_every_process_and_a_checkpoint_is_saved(tmp_path: Path) -> None:
    path, run = tmp_path / "tiny.yaml", tmp_path / "run"
    path.write_text(dump_recipe(tiny_recipe(tmp_path, max_steps=100_000, batch_size=4, evaluate=[])))
    command = [sys.executable, "-m", "mmcl", "train", str(path), "--num-processes", "2", "--output", str(run)]
    with subprocess.Popen(
        command, stderr=subprocess.PIPE, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"}
    ) as job:
        assert wait_for(lambda: (run / "metrics.jsonl").exists() or job.poll() is not None, 120)
        job.send_signal(signal.SIGTERM)
        _, errors = job.communicate(timeout=120)
    assert job.returncode == 143, errors
    assert "go on with --resume" in errors
    assert len(list((run / "checkpoints").glob("step-*"))) == 1
