"""The errors that are shown as a message, not as a traceback."""

from __future__ import annotations

import difflib
import os
import signal
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path


class UserError(ValueError):
    """A mistake in what the user gave: a recipe, a file, a name. The command line shows it and exits with code 2."""


class UnreachableError(UserError):
    """Something on the Hugging Face hub that cannot be had now: no network, or offline and not in the cache."""


class RunError(RuntimeError):
    """A run that cannot go on, for example because its loss is not finite. The command line exits with code 1."""


class RunStopped(Exception):  # noqa: N818 - it is no error: the run did as it was told
    """A run that was told to stop, and saved first.

    Args:
        signum: the signal that stopped it; the command line exits with 128 + ``signum`` (SIGTERM: 143, Ctrl-C: 130).
        checkpoint: from where ``--resume`` goes on.
    """

    def __init__(self, signum: int, checkpoint: Path) -> None:
        super().__init__(f"stopped by {signal.Signals(signum).name}; saved {checkpoint}; go on with --resume")
        self.exit_code = 128 + signum
        self.checkpoint = checkpoint


@contextmanager
def writing(path: str | os.PathLike[str]) -> Iterator[None]:
    """Turn a failure to write ``path`` or something in it into one message."""
    try:
        yield
    except OSError as error:
        raise UserError(f"cannot write {os.fspath(path)}: {error.strerror or error}") from error


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return ``' Did you mean "x"?'`` for the known name nearest to ``name``, or an empty string when none is near."""
    nearest = difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)
    return f' Did you mean "{nearest[0]}"?' if nearest else ""
