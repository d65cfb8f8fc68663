from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from mmcl.cli.launch import launch
from mmcl.cli.main import main
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
    assert "Warning" not in errors, "what libraries say to their callers is not for users"
    assert len(list((run / "checkpoints").glob("step-*"))) == 1


def test_ctrl_c_reaches_the_workers_too_and_the_run_is_saved(tmp_path: Path) -> None:
    path, run = tmp_path / "tiny.yaml", tmp_path / "run"
    recipe = tiny_recipe(tmp_path, max_steps=100_000, evaluate=[])
    recipe = recipe.model_copy(update={"data": recipe.data.model_copy(update={"num_workers": 1})})
    path.write_text(dump_recipe(recipe))
    command = [sys.executable, "-m", "mmcl", "train", str(path), "--output", str(run)]
    # A process group of its own, all of which gets the signal, as from a terminal.
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True) as job:
        assert wait_for(lambda: (run / "metrics.jsonl").exists() or job.poll() is not None, 120)
        os.killpg(job.pid, signal.SIGINT)
        _, errors = job.communicate(timeout=120)
    assert job.returncode == 130, errors
    assert "go on with --resume" in errors
    assert "Traceback" not in errors
    assert len(list((run / "checkpoints").glob("step-*"))) == 1


def test_when_one_process_has_no_rows_all_stop_with_its_message(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    recipe = tiny_recipe(tmp_path, max_steps=200, batch_size=4, evaluate=[])
    for row in range(0, 60, 2):
        (tmp_path / "data" / f"{row}.png").write_bytes(b"no picture")
    recipe = recipe.model_copy(update={"data": recipe.data.model_copy(update={"validation": 0.0})})
    path = tmp_path / "tiny.yaml"
    path.write_text(dump_recipe(recipe))
    assert launch(["train", str(path), "--output", str(tmp_path / "run")], 2) in (1, 2)
    errors = capfd.readouterr().err
    assert "Traceback" not in errors
    assert "data.max_unreadable" in errors


def test_a_script_without_a_main_guard_is_told_so(tmp_path: Path) -> None:
    recipe = tiny_recipe(tmp_path, max_steps=2, evaluate=[])
    recipe = recipe.model_copy(update={"data": recipe.data.model_copy(update={"num_workers": 1})})
    (tmp_path / "tiny.yaml").write_text(dump_recipe(recipe))
    (tmp_path / "script.py").write_text("import mmcl\nmmcl.train('tiny.yaml', output='run')\n")
    done = subprocess.run(
        [sys.executable, "script.py"], cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode != 0
    assert 'call mmcl.train under if __name__ == "__main__"' in done.stderr


@pytest.mark.parametrize("option", ["output_dir={}/file/runs", "--output={}/file/run"])
def test_an_output_that_cannot_be_written_is_one_message(
    tmp_path: Path, option: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    path = tmp_path / "tiny.yaml"
    path.write_text(dump_recipe(tiny_recipe(tmp_path)))
    assert main(["train", str(path), option.format(tmp_path)]) == 2
    assert "cannot write" in capsys.readouterr().err
