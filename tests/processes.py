"""Runs functions of `tests.workers` in several gloo processes on loopback.

The processes of a world size are started once and kept for the tests that follow, because importing torch is most of
their time.
"""

from __future__ import annotations

import atexit
import os
import selectors
import socket
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch

ROOT = Path(__file__).resolve().parents[1]
TIMEOUT_S = 180.0


class ProcessPool:
    """Several processes that wait for work on their standard input."""

    def __init__(self, world_size: int) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self.log = Path(tempfile.mkstemp(prefix="mmcl-test-processes-")[1])
        environment = {**os.environ, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "OMP_NUM_THREADS": "1"}
        with self.log.open("w") as log:
            self.processes = [
                subprocess.Popen(
                    [sys.executable, "-m", "tests.workers"],
                    cwd=ROOT,
                    env={**environment, "WORLD_SIZE": str(world_size), "RANK": str(rank), "LOCAL_RANK": str(rank)},
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=log,
                    text=True,
                )
                for rank in range(world_size)
            ]
        atexit.register(self.close)

    def run(self, function: str, folder: Path) -> bool:
        """Let every process call the function; false when one failed or took too long."""
        for process in self.processes:
            process.stdin.write(f"{function} {folder}\n")
            process.stdin.flush()
        return all(_answer(process) == "done" for process in self.processes)

    def close(self) -> None:
        for process in self.processes:
            process.kill()
            process.wait()
            process.stdin.close()
            process.stdout.close()
        self.log.unlink(missing_ok=True)


def _answer(process: subprocess.Popen[str]) -> str:
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        return process.stdout.readline().strip() if selector.select(TIMEOUT_S) else "too late"


_pools: dict[int, ProcessPool] = {}


def run_processes(function: str, world_size: int, folder: Path, **arguments: Any) -> list[Any]:
    """Call ``tests.workers.<function>(**arguments)`` on each process; return what each returned, in rank order."""
    folder.mkdir(parents=True, exist_ok=True)
    torch.save(arguments, folder / "arguments.pt")
    if world_size not in _pools:
        _pools[world_size] = ProcessPool(world_size)
    pool = _pools[world_size]
    if not pool.run(function, folder):
        message = pool.log.read_text()
        _pools.pop(world_size).close()
        raise AssertionError(message)
    return [torch.load(folder / f"rank-{rank}.pt", weights_only=False) for rank in range(world_size)]
