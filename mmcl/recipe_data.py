"""What a recipe may say of the data."""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal

from pydantic import Field, StrictBool, ValidationInfo, field_validator

from mmcl.recipe_fields import Fraction, NotNegative
from mmcl.section import Section

DEFAULT_MAX_PIXELS = 178_956_970
"""Where Pillow too begins to suspect a decompression bomb."""


Format = Literal[
    "auto", "csv", "jsonl", "parquet", "text", "imagefolder", "pairs", "webdataset", "clip_benchmark", "saved", "hub"
]


class SourceConfig(Section):
    """Where rows come from. Short form: the path."""

    path: str
    """``glyphs`` or ``digits`` (embedded), a file, a folder, a glob, a hub id, or a name of CLIP_benchmark such as
    ``wds/vtab/cifar10``."""
    format: Format = "auto"
    """How to read it; ``auto`` goes by the suffix or what the folder holds. ``text`` (.txt) is one text per line, blank
    lines skipped, as column ``text``; ``pairs`` is a folder of pictures, each with its caption in a .txt file of the
    same name; ``clip_benchmark`` a folder of shards with nshards.txt beside them, and classnames.txt above."""
    delimiter: str | None = None
    """What separates csv columns; by default a tab for .tsv, else a comma."""
    column_names: tuple[str, ...] | None = None
    """Names of the columns, in order, of a csv file that has no line of names; by default its first line has them."""
    config: str | None = None
    """Configuration name of a hub data set."""
    revision: str | None = None
    """Commit, tag or branch of a hub data set; by default the newest commit."""
    split: str | None = None
    """Split: of a hub data set or folder ``train`` by default; in CLIP_benchmark's layout ``test`` unless it is learnt
    from; of ``glyphs``: train, unseen_characters or unseen_face;
    of ``digits``: train or test, by default all of them."""
    image_root: str | None = None
    """Folder that relative image paths start from; by default the folder of the file that names them."""
    streaming: bool = False
    """Read rows as they come instead of indexing them first; the order is then shuffled within a buffer."""
    limit: int | None = Field(default=None, gt=0)
    """Use only the first so many rows."""

    @field_validator("column_names")
    @classmethod
    def _names_differ(cls, value: tuple[str, ...] | None) -> tuple[str, ...] | None:
        if value is not None and (not value or not all(value) or len(set(value)) < len(value)):
            raise ValueError(f"must be names, one for each column, all different, got {list(value)}")
        return value


EqualTexts = Literal["normalised", "templated", "never"]

ColumnName = str | StrictBool | None
"""A column; None for one of the role's own name, False for none even so."""
ColumnNames = ColumnName | tuple[str, ...]
"""The same, or several columns."""

_OF_SEVERAL = ("text", "anchor", "negatives")


class ColumnsConfig(Section):
    """Which column plays which role. By default a column of the role's own name, where there is one; ``false`` lets no
    column play it."""

    image: ColumnName = None
    """Pictures: bytes, paths, or decoded."""
    text: ColumnNames = None
    """Captions or anchors: a string, or a list of strings of which one, or ``num_captions``, are drawn per epoch. Of
    several columns all texts are captions of the row. By default the column ``text``, else ``anchor``."""
    anchor: ColumnNames = None
    """Another name of ``text``, for pairs of texts; only one of the two can be given."""
    positive: ColumnName = None
    """Texts that belong to those of ``text``, for objectives that compare them."""
    negatives: ColumnNames = None
    """Hard negatives of ``text``: one column or several."""
    score: ColumnName = None
    """How alike the texts of ``text`` and ``positive`` are, a number on any scale, for objectives that learn from
    graded pairs."""
    group: ColumnName = None
    """Rows of equal group are never negatives of each other, and for some objectives positives; by default rows with
    the same text are one group. With ``false`` every row is a group of its own; rows that share a text are no negatives
    of each other even so (``data.equal_texts``)."""
    label: ColumnName = None
    """Class of the row."""
    labels: ColumnName = None
    """All labels of a row that may have several, for tasks that ask for them: a list, or one text."""

    @property
    def num_negatives(self) -> int | None:
        """Columns of hard negatives that are named; None where that is left to the data."""
        if self.negatives is None:
            return None
        return len(self.negatives) if isinstance(self.negatives, tuple) else int(self.negatives is not False)

    @field_validator("*", mode="before")
    @classmethod
    def _is_a_column_or_false(cls, value: Any, info: ValidationInfo) -> Any:
        if value is None or value is False or (isinstance(value, str) and value):
            return value
        if info.field_name not in _OF_SEVERAL:
            raise ValueError(f"must be the name of a column, or false for none, got {json.dumps(value, default=repr)}")
        is_list = isinstance(value, (list, tuple)) and len(value) > 0
        if not is_list or not all(isinstance(name, str) and name for name in value):
            raise ValueError(
                f"must be the name of a column, several, or false for none, got {json.dumps(value, default=repr)}"
            )
        return value

    @field_validator("anchor")
    @classmethod
    def _is_no_second_text(cls, value: Any, info: ValidationInfo) -> Any:
        return _refuse_second_text(value, info)

    def given(self, role: str) -> tuple[str, Any]:
        """Return under which name a role is given, and what: of captions that are called so, ``anchor``."""
        name = "anchor" if role == "text" and self.text is None and self.anchor is not None else role
        return name, getattr(self, name)


def _refuse_second_text(value: Any, info: ValidationInfo) -> Any:
    if value is not None and info.data.get("text") is not None:
        raise ValueError("is another name of text, which is given too; give one of the two")
    return value


class PromptsConfig(Section):
    """Which of the model's prompts (``model.prompts``) goes before the texts of a role, by its name. By default the
    model's default one, which most models do not have."""

    text: str | None = None
    """Before captions or anchors, such as ``query``."""
    anchor: str | None = None
    """Another name of ``text``; only one of the two can be given."""
    positive: str | None = None
    """Before their positives, such as ``document``."""
    negatives: str | None = None
    """Before hard negatives, such as ``document``."""

    def of_view(self, number: int) -> str | None:
        """Return the name of the prompt before text view ``number``: the captions, the positives, hard negatives."""
        return (self.text or self.anchor, self.positive)[number] if number < 2 else self.negatives

    @field_validator("anchor")
    @classmethod
    def _is_no_second_text(cls, value: str | None, info: ValidationInfo) -> str | None:
        return _refuse_second_text(value, info)


class MixedSourceConfig(SourceConfig):
    """One of several training sources. Short form: the path."""

    columns: ColumnsConfig | None = None
    """Which column plays which role in this source; null: as ``data.columns`` says."""
    weight: float | None = Field(default=None, gt=0)
    """Share of every batch, relative to the weights of the others. The sources without a weight are read as one, of
    weight 1, in which each counts by its rows."""
    replay: bool = False
    """The source is there so that the model does not forget what it knew: its rows are learnt from, and neither held
    out nor judged by; nor do they decide how long an epoch is. Needs a weight."""

    @field_validator("streaming")
    @classmethod
    def _is_indexed(cls, value: bool) -> bool:
        if value:
            raise ValueError("one of several sources cannot be a stream; set it to false, or give a stream alone")
        return value

    @field_validator("replay")
    @classmethod
    def _replay_is_weighted(cls, value: bool, info: ValidationInfo) -> bool:
        if value and info.data.get("weight", 0) is None:
            raise ValueError("needs a weight beside it: how much of every batch the replay takes, such as weight: 0.25")
        return value


class AffineConfig(Section):
    """Random affine distortion of a view, by torchvision's RandomAffine."""

    degrees: float = Field(default=0.0, ge=0)
    """Rotation from -degrees to +degrees."""
    translate: Fraction = 0.0
    """Largest shift, as a fraction of the side, in both directions."""
    scale: tuple[float, float] = (1.0, 1.0)
    """Smallest and largest zoom."""
    shear: float = Field(default=0.0, ge=0)
    """Shear from -shear to +shear degrees."""
    fill: int = Field(default=255, ge=0, le=255)
    """Grey level (0 to 255) of what comes in from outside."""

    @field_validator("scale")
    @classmethod
    def _scale_is_a_range(cls, value: tuple[float, float]) -> tuple[float, float]:
        if not 0 < value[0] <= value[1]:
            raise ValueError(f"must be 0 < smallest <= largest, got {list(value)}")
        return value


class ImageViewConfig(Section):
    """One random view of a picture; applied in the order of the fields. All off: the plain resize of evaluation."""

    count: int = Field(default=1, gt=0)
    """So many views are drawn like this, each by itself: two large crops and six small ones are two entries."""
    size: int | None = Field(default=None, gt=0)
    """Side in pixels; by default the model's. Another one needs an image tower that takes it."""
    random_resized_crop: tuple[float, float] | None = None
    """Smallest and largest area of the crop, as fractions of the picture."""
    affine: AffineConfig | None = None
    """Random rotation, shift, zoom and shear."""
    horizontal_flip: Fraction = 0.0
    """Probability of a mirror image."""
    color_jitter: tuple[NotNegative, NotNegative, NotNegative, Annotated[float, Field(ge=0, le=0.5)]] | None = None
    """Strength of brightness, contrast, saturation and hue changes; of hue at most 0.5."""
    grayscale: Fraction = 0.0
    """Probability of dropping the colours."""
    gaussian_blur: Fraction = 0.0
    """Probability of a blur of sigma 0.1 to 2."""
    solarize: Fraction = 0.0
    """Probability of inverting what is brighter than half, values of 128 and more."""

    @field_validator("random_resized_crop")
    @classmethod
    def _crop_is_a_range(cls, value: tuple[float, float] | None) -> tuple[float, float] | None:
        if value is not None and not 0 < value[0] <= value[1] <= 1:
            raise ValueError(f"must be 0 < smallest <= largest <= 1, got {list(value)}")
        return value


class DataConfig(Section):
    """Training and validation rows, and how they are drawn. Short form: the training path."""

    train: SourceConfig | tuple[MixedSourceConfig, ...]
    """Rows to learn from: a source, or a list of several that are mixed."""
    validation: SourceConfig | Fraction = 0.05
    """Held-out rows: a source, or a share of the groups of ``train``, chosen by hash; 0 holds nothing out."""
    columns: ColumnsConfig = ColumnsConfig()
    """Which column plays which role."""
    prompts: PromptsConfig = PromptsConfig()
    """Which of the model's prompts goes before the texts of which role."""
    caption_templates: tuple[str, ...] = ()
    """Prompts such as ``a photo of a {}.``, which filled with a row's class are its captions in training, one drawn per
    epoch (FLYP, arXiv:2212.00638). They need a label column, and the text column is not read. Rows of a class are one
    group unless a group column says else. By default captions are those of the text column."""
    class_names: dict[str, str] | None = None
    """What to call each label in ``caption_templates``; by default the label itself."""
    equal_texts: EqualTexts = "normalised"
    """When two texts are the same. Rows that share one, as anchor or positive, are never negatives of each other, nor
    is a hard negative one of a row whose text it is; rows of one caption are a group where no column gives groups.
    ``normalised``: but for case, white space and Unicode's compatible forms. ``templated``: also but for numbers,
    dates, addresses and names, as far as rules for English tell them. ``never``: no two texts are the same."""
    num_captions: int = Field(default=1, gt=0)
    """Of a row with several captions, so many different ones are drawn per epoch, all positives of its picture in one
    step; of fewer, all. ``clip`` takes them, other objectives the first."""
    image_views: tuple[ImageViewConfig, ...] = Field(
        default=(ImageViewConfig(random_resized_crop=(0.9, 1.0)),), min_length=1
    )
    """The random views drawn of every picture: image.0, image.1 ... in order, an entry as often as its ``count``. All
    are drawn up to the last that an objective names, and none after it. By default one view, a light crop."""
    unique_groups: bool = False
    """Draw batches in which no group occurs twice."""
    paired_per_batch: int | None = Field(default=None, gt=0)
    """Of every batch, so many rows are drawn from those that have all that any objective needs, as often as it takes;
    the rest from the others. Null: as chance has it."""
    num_workers: int = Field(default=0, ge=0)
    """Processes that load data beside each training process; the result does not depend on it."""
    shuffle_buffer: int = Field(default=10_000, gt=0)
    """Rows held for shuffling a stream."""
    max_pixels: int = Field(default=DEFAULT_MAX_PIXELS, gt=0)
    """Pictures with more pixels than this are refused from their header."""
    max_unreadable: Fraction = 0.01
    """Share of quarantined rows above which the run stops."""

    @property
    def expanded_views(self) -> tuple[ImageViewConfig, ...]:
        """The views in order, each as often as its ``count`` says: number N is what objectives call image.N."""
        return tuple(view for view in self.image_views for _ in range(view.count))

    @property
    def num_negatives(self) -> int | None:
        """Most columns of hard negatives that are named for a source; None where that is left to the data."""
        sources = self.train if isinstance(self.train, tuple) else ()
        columns = [source.columns or self.columns for source in sources] or [self.columns]
        return max((each.num_negatives for each in columns if each.num_negatives is not None), default=None)

    @field_validator("caption_templates")
    @classmethod
    def _templates_have_a_place(cls, value: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        for template in value:
            if template.count("{}") != 1:
                raise ValueError(f'a template has one place {{}} for the class name, got "{template}"')
        columns = info.data.get("columns")
        if value and columns is not None and (given := columns.given("text"))[1]:
            raise ValueError(
                f"captions are made of the class, or those of columns.{given[0]}, {json.dumps(given[1])}; "
                "give one of the two"
            )
        return value

    @field_validator("class_names")
    @classmethod
    def _names_go_into_templates(cls, value: dict[str, str] | None, info: ValidationInfo) -> dict[str, str] | None:
        if value and not info.data.get("caption_templates", True):
            raise ValueError("is for caption_templates; give those too, or leave class_names out")
        empty = next((label for label, name in (value or {}).items() if not name.strip()), None)
        if empty is not None:
            raise ValueError(f'every class needs a name, got an empty one for "{empty}"')
        return value

    @field_validator("paired_per_batch")
    @classmethod
    def _batches_are_drawn_in_one_way(cls, value: int | None, info: ValidationInfo) -> int | None:
        if value is not None and info.data.get("unique_groups"):
            raise ValueError("unique_groups, which is true, draws batches in a way of its own; give one of the two")
        return value

    @field_validator("unique_groups", "paired_per_batch")
    @classmethod
    def _weights_draw_alone(cls, value: bool | int | None, info: ValidationInfo) -> bool | int | None:
        sources = info.data.get("train")
        if value and isinstance(sources, tuple) and any(source.weight is not None for source in sources):
            raise ValueError("the weights of data.train draw batches in a way of their own; give one of the two")
        return value

    @field_validator("train", mode="before")
    @classmethod
    def _sources_from_paths(cls, value: Any) -> Any:
        if isinstance(value, (list, tuple)):
            return [{"path": item} if isinstance(item, str) else item for item in value]
        if isinstance(value, dict) and (given := [key for key in ("columns", "weight", "replay") if key in value]):
            where = "; columns stand beside train, as data.columns" if "columns" in given else ""
            raise ValueError(f"{given[0]} is for one of several sources, which are a list: train: [...]{where}")
        return {"path": value} if isinstance(value, str) else value

    @field_validator("train")
    @classmethod
    def _something_is_learnt(cls, value: Any) -> Any:
        if isinstance(value, tuple) and all(source.replay for source in value):
            raise ValueError("must have at least one source that is no replay" if value else "must have a source")
        return value

    @field_validator("validation", mode="before")
    @classmethod
    def _share_or_source(cls, value: Any) -> Any:
        if isinstance(value, str):
            if value.endswith("%"):
                return _share_from_percent(value)
            return {"path": value}
        return value


def _share_from_percent(value: str) -> float:
    try:
        return float(value[:-1]) / 100
    except ValueError:
        raise ValueError(f'a share is a number before the %, got "{value}"') from None
