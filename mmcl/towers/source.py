"""Where the name of a tower leads: a hub id, a folder of another library, or what a run trained."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from transformers import PreTrainedTokenizerBase

from mmcl.errors import UserError, did_you_mean
from mmcl.text.prompts import NO_PROMPTS, Prompts
from mmcl.text.tokenizer import load_tokenizer
from mmcl.towers.description import IMAGE_FOLDER, TEXT_FOLDER, Description, is_saved
from mmcl.towers.preprocessing import ImagePreprocessing
from mmcl.towers.sentence_model import SentenceModel, dense_folders, find_sentence_model
from mmcl.towers.towers import Modality


@dataclass(frozen=True)
class TowerSource:
    """One tower by its name.

    Attributes:
        place: the hub id or folder that transformers opens.
        pooling: that it was trained with; None where nobody says.
        preprocessing: that it was trained with; None where only the place's own files say.
        head: folders of the layers of a kept head, in order.
        is_static: it is a table of token vectors, no transformers model.
        sentence: what sentence-transformers' files say of it; None where there are none.
        prompts: of a text tower.
    """

    place: str
    pooling: str | None = None
    preprocessing: ImagePreprocessing | None = None
    head: tuple[Path, ...] = ()
    is_static: bool = False
    sentence: SentenceModel | None = None
    prompts: Prompts = NO_PROMPTS

    def load_tokenizer(self, name: str | None) -> PreTrainedTokenizerBase:
        """Return the tower's tokenizer, or that of another name, cutting where the tower's does.

        Raises:
            UserError: there is none.
        """
        backend = load_tokenizer(name or self.place)
        if self.sentence is not None:
            self.sentence.settle(backend)
        return backend


def locate_tower(name: str, modality: Modality) -> TowerSource:
    """Return where a tower's files are, and what a folder that `mmcl.export` wrote says of it.

    Args:
        name: the recipe's; a hub id, a folder, or a run.
        modality: of the tower.

    Raises:
        UserError: the folder has no such tower, or none that can be taken by itself.
    """
    place = resolve_folder(name)
    if not is_saved(place):
        return _of_others(place, modality)
    description = Description.read(Path(place))
    if description.form == "open_clip":
        raise UserError(
            f"{name} is an open_clip model, whose towers cannot be taken one by one; give all of it as model: {name}"
        )
    if description.form == "static":
        _require(name, "text", modality)
        return TowerSource(place, is_static=True, prompts=description.prompts)
    if description.form == "single":
        single = description.single
        assert single is not None
        _require(name, single["modality"], modality)
        head = dense_folders(Path(place)) if single["has_head"] else ()
        return TowerSource(
            place, _asked(single["pooling"]), description.preprocessing, head, prompts=description.prompts
        )
    preprocessing = description.preprocessing if modality == "image" else None
    if description.form == "router":
        assert description.pair is not None
        part = IMAGE_FOLDER if modality == "image" else TEXT_FOLDER
        return TowerSource(
            str(Path(place) / part),
            _asked(description.pair[part]["pooling"]),
            preprocessing,
            prompts=description.prompts,
        )
    return TowerSource(place, preprocessing=preprocessing, prompts=description.prompts)


def _of_others(place: str, modality: Modality) -> TowerSource:
    sentence = find_sentence_model(place) if modality == "text" else None
    if sentence is None:
        return TowerSource(place)
    return TowerSource(
        sentence.place, sentence.pooling, head=sentence.dense, sentence=sentence, prompts=sentence.prompts
    )


def _require(name: str, found: Modality, wanted: Modality) -> None:
    if found != wanted:
        raise UserError(f"{name} is a model of {found}s alone: it has no {wanted} tower; give it as model.{found}")


def _asked(pooling: str) -> str:
    """Return what a recipe calls a pooling."""
    return "pooler" if pooling == "flattened_pooler" else pooling


def resolve_folder(name: str) -> str:
    """Return the folder of the model when ``name`` is that of a run, else ``name``.

    Raises:
        UserError: a path in a folder that is there, to nothing that is there.
    """
    path = Path(name)
    inside = path / "model"
    if inside.is_dir() and not (path / "config.json").is_file():
        return str(inside)
    if not path.exists() and path.parent != Path() and path.parent.is_dir():
        hint = did_you_mean(name, [str(entry) for entry in path.parent.iterdir() if entry.is_dir()])
        # The hub is not asked for what is plainly meant to be here; its own names have one slash.
        if hint or len(path.parts) > 2:
            raise UserError(f"there is no folder {name}.{hint}")
    return name
