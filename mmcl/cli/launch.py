"""Starts the processes of ``--num-processes``: the same command, once for each."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from types import FrameType

GRACE_S = 30.0


def launch(arguments: Sequence[str], num_processes: int) -> int:
    """Run ``python -m mmcl <arguments>`` in several processes on this machine and wait for them.

    Signals are passed on. When one process fails the others get ``GRACE_S`` seconds to end by themselves.

    Args:
        arguments: the command line of each process.
        num_processes: how many.

    Returns:
        The exit code of the first process that ended with one other than 0, else 0.
    """
    port = _free_port()
    processes = [_start(arguments, rank, num_processes, port) for rank in range(num_processes)]

    def pass_on(signum: int, frame: FrameType | None) -> None:
        for process in processes:
            process.send_signal(signum)

    previous = {signum: signal.signal(signum, pass_on) for signum in (signal.SIGTERM, signal.SIGINT)}
    try:
        return _wait(processes)
    finally:
        for process in processes:
            process.kill()
        for signum, handler in previous.items():
            signal.signal(signum, handler)


def _start(arguments: Sequence[str], rank: int, num_processes: int, port: int) -> subprocess.Popen[bytes]:
    threads = max(1, (os.cpu_count() or 1) // num_processes)
    environment = {
        "OMP_NUM_THREADS": str(threads),
        **os.environ,
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "WORLD_SIZE": str(num_processes),
        "LOCAL_WORLD_SIZE": str(num_processes),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
    }
    # A session of its own, so that the terminal's Ctrl-C arrives once, through us.
    return subprocess.Popen([sys.executable, "-m", "mmcl", *arguments], env=environment, start_new_session=True)


def _wait(processes: Sequence[subprocess.Popen[bytes]]) -> int:
    first_failure = 0
    deadline = float("inf")
    while any(process.poll() is None for process in processes):
        failed = [process.returncode for process in processes if process.returncode not in (None, 0)]
        if failed and not first_failure:
            first_failure = failed[0]
            deadline = time.monotonic() + GRACE_S
        if time.monotonic() > deadline:
            return _exit_code(first_failure)
        time.sleep(0.05)
    codes = [process.returncode for process in processes if process.returncode]
    return _exit_code(first_failure or (codes[0] if codes else 0))


def _exit_code(returncode: int) -> int:
    """A process killed by signal n has returncode -n; a shell calls that 128 + n."""
    return 128 - returncode if returncode < 0 else returncode


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
    return port
