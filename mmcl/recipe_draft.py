"""Write a short recipe for data that has just been looked at."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass
from typing import Any

from mmcl.recipe import Recipe
from mmcl.recipe_data import ColumnsConfig, SourceConfig
from mmcl.recipe_yaml import write_yaml

_PHOTO_VIEW = {
    "random_resized_crop": [0.2, 1.0],
    "horizontal_flip": 0.5,
    "color_jitter": [0.4, 0.4, 0.4, 0.1],
    "grayscale": 0.2,
}
_RESNET_18 = {
    "model_type": "resnet",
    "layer_type": "basic",
    "depths": [2, 2, 2, 2],
    "hidden_sizes": [64, 128, 256, 512],
}
_HEAD = {"num_layers": 2, "hidden_dim": 512, "output_dim": 128}
_SUPCON = {"type": "supcon", "temperature": 0.1, "head": {**_HEAD, "batch_norm": False, "last_bias": True}}
_SIMCLR = {"type": "simclr", "temperature": 0.1, "head": _HEAD}


@dataclass(frozen=True)
class Draft:
    """What a new recipe is to say.

    Attributes:
        base: the packaged recipe to start from.
        recipe: that recipe, whole, for its defaults.
        source: the data.
        columns: which column plays which role.
        has_columns: all that there are.
        model: the user's; None for the base's, or for random weights where that is for small drawings.
        facts: of the data, in one line for the head of the file.
        share: of the groups, held out.
        held_out: what that comes to, in words.
        num_rows: to learn from.
        max_unreadable: where it is not the default.
    """

    base: str
    recipe: Recipe
    source: SourceConfig
    columns: ColumnsConfig
    has_columns: tuple[str, ...]
    model: str | None
    facts: str
    share: float
    held_out: str
    num_rows: int
    max_unreadable: float | None = None

    @property
    def family(self) -> str:
        """``clip``, ``siglip``, ``vision`` or ``text``."""
        return self.base.partition("/")[0]

    @property
    def is_from_random_weights(self) -> bool:
        """Whether it is pictures alone, and no encoder is given that has seen others."""
        return self.base == "vision/simclr" and self.model is None

    @property
    def batch_size(self) -> int:
        """That of the base, or the largest power of two that the rows can fill."""
        return min(self.recipe.batch_size, 2 ** (self.num_rows.bit_length() - 1))


def write_draft(draft: Draft, file_name: str) -> str:
    """Return a commented recipe that `mmcl.recipe_files.load_recipe` takes, based on ``draft.base``.

    Args:
        draft: what to say.
        file_name: of the recipe, for its first comment.
    """
    parts = [
        f"# {draft.facts}, as mmcl init found it.\n#\n"
        f"#   mmcl train {file_name} --dry-run    # tries one batch, writes nothing\n"
        f"#   mmcl train {file_name}\n",
        f"# Whatever is not said here is as in the packaged recipe: mmcl recipes show {draft.base}\n"
        f"{_lines(base=draft.base)}{_MODELS[draft.family](draft)}",
        _data(draft),
        _training(draft),
    ]
    return "\n".join(parts)


def _clip_model(draft: Draft) -> str:
    comment = '# Any joint model does: a hub id, a folder, a run, open_clip\'s "ARCH,TAG".\n'
    return comment + _lines(model=draft.model or draft.recipe.model.name)


def _vision_model(draft: Draft) -> str:
    if draft.model is not None:
        image: dict[str, Any] = {"name": draft.model}
        if draft.base == "vision/simclr":  # whose pictures are small
            image |= {"image_size": None, "resize_to": None}
        return "# Size and preprocessing are the model's own.\n" + _lines(model={"image": image})
    return (
        "# A ResNet-18 with random weights. Few pictures teach more to an encoder that has seen many:\n"
        "# mmcl init --model facebook/dinov2-small, for example.\n"
        + _lines(model={"image": {"config": _RESNET_18, "image_size": 128, "resize_to": 144}})
    )


def _text_model(draft: Draft) -> str:
    text = draft.recipe.model.text
    assert text is not None
    comment = "# Longer texts are cut.\n"
    return comment + _lines(model={"text": {"name": text.name, "max_length": text.max_length}})


_MODELS = {"clip": _clip_model, "siglip": _clip_model, "vision": _vision_model, "text": _text_model}


def _data(draft: Draft) -> str:
    source = {
        key: getattr(draft.source, key) for key in SourceConfig.model_fields if key in draft.source.model_fields_set
    }
    source = {key: value for key, value in source.items() if value is not None}
    lines = _lines(train=source["path"] if set(source) == {"path"} else source)
    if draft.family != "text":
        lines += f"# {draft.held_out}\n" + _lines(validation=f"{draft.share:.0%}" if draft.share else 0)
    lines += _lines(columns=_columns(draft))
    if draft.family == "vision":
        lines += "# No flips where left and right differ, no change of colours where they tell classes apart.\n"
        count = {} if draft.base == "vision/transfer" else {"count": 2}
        lines += _lines(image_views=[{**count, **_PHOTO_VIEW}], num_workers=2)
    if draft.max_unreadable is not None:
        lines += _lines(max_unreadable=draft.max_unreadable)
    return "data:\n" + textwrap.indent(lines, "  ")


def _columns(draft: Draft) -> dict[str, Any]:
    """Return the roles that are played, and of the others those that the base or a column's name would fill."""
    named = {role: getattr(draft.columns, role) for role in ("image", "text", "group", "label")}
    if draft.family == "vision":  # whose base has columns of its own
        return {**named, "text": False, "group": named["group"] or False}
    return {
        role: column
        for role, column in named.items()
        if column is not None and (column is not False or role == "group" or role in draft.has_columns)
    }


def _training(draft: Draft) -> str:
    recipe = draft.recipe
    comment, lr, judged = "", recipe.lr, []
    if draft.family in ("clip", "siglip"):
        comment = "# What a picture is told from is the other captions of its batch: the larger, the better.\n"
        judged = ["retrieval"] if draft.share else []
    if draft.family == "vision":
        lr = 1.0e-3 if draft.is_from_random_weights else 5.0e-5
        judged = ["knn"] if draft.share else []
    if draft.base == "vision/simclr":
        comment = _lines(objectives=[_SUPCON if draft.columns.label else _SIMCLR])
    lines = comment + _lines(batch_size=draft.batch_size, epochs=int(recipe.epochs))
    if isinstance(recipe.micro_batch_size, int) and recipe.micro_batch_size > draft.batch_size:
        lines += _lines(micro_batch_size=None)
    lines += f"lr: {lr:.1e}\n".replace("e-0", "e-")
    if draft.family == "vision":
        lines += _lines(precision="auto")
    return lines if draft.family == "text" else lines + _lines(evaluate=judged)


def _lines(**entries: Any) -> str:
    """Return keys and values in a line each, where YAML's writer would put scalars alone into one."""
    end: dict[str, Any] = {"": {}}
    return write_yaml({**entries, **end}).removesuffix(write_yaml(end))
