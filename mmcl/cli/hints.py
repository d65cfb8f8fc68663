"""What to do with a model next, in commands that fit what it embeds."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mmcl.training.run import Run


def next_steps(run: Run) -> list[str]:
    """Return lines of a purpose and a command each."""
    loaded, path = f"mmcl.load({str(run.path)!r})", shlex.quote(str(run.path))
    steps: list[tuple[str, str]] = []
    if run.modalities == ("image",):
        steps = [
            (
                "judge it on pictures of your own",
                f"mmcl evaluate {path} --task knn --train train.csv --data test.csv --image IMAGE --label LABEL",
            ),
            ("embed with it in Python", f"{loaded}.encode_images(['picture.png'])"),
            ("fine-tune it by labels", f"mmcl recipes copy vision/transfer   # model.image.name: {run.path}"),
        ]
    elif run.modalities == ("text",):
        steps = [
            (
                "judge it on graded pairs of your own",
                f"mmcl evaluate {path} --task sts --data pairs.csv --text A --positive B --score SCORE",
            ),
            ("embed with it in Python", f"{loaded}.encode_texts(['a text'])"),
            ("open it without mmcl", f"sentence_transformers.SentenceTransformer({str(run.model)!r})"),
        ]
        if not run.is_static:
            on_pairs = f"mmcl train text/pairs model.text.name={path} data=pairs.csv --dry-run"
            steps.append(("fine-tune it on pairs of texts", on_pairs))
    else:
        steps = [
            (
                "judge it on pairs of your own",
                f"mmcl evaluate {path} --task retrieval --data pairs.csv --image IMAGE --text TEXT",
            ),
            ("embed with it in Python", f"{loaded}.encode_texts(['a text'])"),
            ("embed a whole data set", f"mmcl embed {path} pairs.csv -o vectors.parquet --what image --image IMAGE"),
            ("fine-tune it on pairs of your own", f"mmcl init pairs.csv --model {path}"),
        ]
    width = max(len(purpose) for purpose, _ in steps)
    return [f"{purpose:{width}}   {command}" for purpose, command in steps]
