"""Published templates and class names, by name, from the packages that publish them.

open_clip has those of ImageNet, as OpenAI published them; CLIP_benchmark has some for each of its data sets, and of
ImageNet in other languages.
"""

from __future__ import annotations

import difflib
import importlib.util
import json
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

from evaluation.errors import EvaluationError

_IMAGENET = ("imagenet", "imagenet1k")
_OPEN_CLIP_TEMPLATES = {
    "imagenet": "OPENAI_IMAGENET_TEMPLATES",
    "imagenet1k": "OPENAI_IMAGENET_TEMPLATES",
    "simple": "SIMPLE_IMAGENET_TEMPLATES",
}
_LANGUAGES = {"ja": "jp", "zh": "cn"}
"""Codes of CLIP_benchmark that are not those of ISO 639-1."""


def template_set(name: str, language: str = "en") -> tuple[str, ...]:
    """Return prompts with a place for the class name.

    Args:
        name: ``imagenet``, OpenAI's 80; ``simple``, the seven that do best together; a data set of CLIP_benchmark,
            where that is installed; or a text file (.txt) with a template per line.
        language: of the templates, ISO 639-1. Of other languages CLIP_benchmark has ``imagenet`` in it, ja, zh and ar.

    Raises:
        EvaluationError: there is no such set; the nearest is named.
    """
    if name.endswith(".txt"):
        return _lines(name)
    if language == "en" and name in _OPEN_CLIP_TEMPLATES:
        return tuple(template("{}") for template in getattr(_open_clip(), _OPEN_CLIP_TEMPLATES[name]))
    return _of_clip_benchmark("templates", "zeroshot_classification_templates", name, language, [*_OPEN_CLIP_TEMPLATES])


def class_name_set(name: str, language: str = "en") -> tuple[str, ...]:
    """Return names of classes, in the order of their numbers.

    Args:
        name: ``imagenet``, as OpenAI published them; a data set of CLIP_benchmark, where that is installed; or a text
            file (.txt) with a name per line.
        language: of the names, ISO 639-1, as of `template_set`.

    Raises:
        EvaluationError: there is no such set; the nearest is named.
    """
    if name.endswith(".txt"):
        return _lines(name)
    if language == "en" and name in _IMAGENET:
        return tuple(_open_clip().IMAGENET_CLASSNAMES)
    return _of_clip_benchmark("class names", "classnames", name, language, [*_IMAGENET])


def _lines(file: str) -> tuple[str, ...]:
    try:
        lines = Path(file).expanduser().read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise EvaluationError(f"cannot read {file}: {error}") from None
    found = tuple(line.strip() for line in lines if line.strip())
    if not found:
        raise EvaluationError(f"{file} holds no line of text")
    return found


def _open_clip() -> Any:
    try:  # here, because torch comes with it
        import open_clip
    except ImportError as error:
        raise EvaluationError(f"ImageNet's templates and class names come with open_clip ({error})") from error
    return open_clip


def _of_clip_benchmark(what: str, kind: str, name: str, language: str, others: Sequence[str]) -> tuple[str, ...]:
    folder = _clip_benchmark_folder()
    sets = _sets_in(folder / f"{_LANGUAGES.get(language, language)}_{kind}.json") if folder else {}
    short = name.removeprefix("wds/").removeprefix("vtab/")
    found = sets.get("imagenet1k" if short == "imagenet" else short)
    if found is not None:
        return found
    known = sorted({*sets, *(others if language == "en" else ())})
    nearest = difflib.get_close_matches(name, known, n=1)
    hint = f' Did you mean "{nearest[0]}"?' if nearest else ""
    more = "" if folder else "; further ones come with CLIP_benchmark: pip install clip-benchmark"
    listed = ", ".join(known) or "none"
    raise EvaluationError(
        f'no {what} are called "{name}" in {language} (known: {listed}{more}; or the path of a .txt file).{hint}'
    )


def _clip_benchmark_folder() -> Path | None:
    """Return where CLIP_benchmark keeps its lists; None where it is not installed. Nothing of it is imported."""
    package = importlib.util.find_spec("clip_benchmark")
    if package is None or not package.submodule_search_locations:
        return None
    return Path(package.submodule_search_locations[0]) / "datasets"


@cache
def _sets_in(file: Path) -> dict[str, tuple[str, ...]]:
    """Return the lists in a file; some give a prompt for each single class, which are no templates."""
    if not file.is_file():
        return {}
    sets = json.loads(file.read_text(encoding="utf-8"))
    return {name: tuple(lines) for name, lines in sets.items() if isinstance(lines, list)}
