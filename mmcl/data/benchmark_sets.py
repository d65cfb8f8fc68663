"""The data sets of CLIP_benchmark that its authors keep on the Hugging Face hub, by the names they have there.

Names are those of ``benchmark/webdatasets.txt`` of github.com/LAION-AI/CLIP_benchmark, without ``wds/``. A set's
classes, templates and kind come with it, as text files beside its shards.
"""

from __future__ import annotations

from pathlib import Path

from mmcl.errors import UserError, did_you_mean

CLASSIFICATION = (
    "imagenet1k",
    "imagenetv2",
    "imagenet_sketch",
    "imagenet-a",
    "imagenet-r",
    "imagenet-o",
    "objectnet",
    "fer2013",
    "voc2007",
    "sun397",
    "cars",
    "fgvc_aircraft",
    "mnist",
    "stl10",
    "gtsrb",
    "country211",
    "renderedsst2",
    "vtab/caltech101",
    "vtab/cifar10",
    "vtab/cifar100",
    "vtab/clevr_count_all",
    "vtab/clevr_closest_object_distance",
    "vtab/diabetic_retinopathy",
    "vtab/dmlab",
    "vtab/dsprites_label_orientation",
    "vtab/dsprites_label_x_position",
    "vtab/dsprites_label_y_position",
    "vtab/dtd",
    "vtab/eurosat",
    "vtab/kitti_closest_vehicle_distance",
    "vtab/flowers",
    "vtab/pets",
    "vtab/pcam",
    "vtab/resisc45",
    "vtab/smallnorb_label_azimuth",
    "vtab/smallnorb_label_elevation",
    "vtab/svhn",
)
MULTI_LABEL = ("voc2007_multilabel",)
RETRIEVAL = ("mscoco_captions", "flickr8k", "flickr30k")

SAME_ROWS = {"cifar10": "vtab/cifar10", "cifar100": "vtab/cifar100"}
"""Names that CLIP_benchmark has for the same test rows from elsewhere."""

_PREFIX = "wds/"


def set_name(name: str) -> str | None:
    """Return what a data set of CLIP_benchmark is called in results; None for a name that is none of its own.

    Args:
        name: ``vtab/cifar10``, or ``wds/vtab/cifar10`` as its command line has it.

    Raises:
        UserError: a name that begins with ``wds/`` and is unknown; the nearest is named.
    """
    short = name.removeprefix(_PREFIX)
    found = SAME_ROWS.get(short, short)
    if found in known_names():
        return found
    if name.startswith(_PREFIX):
        hint = did_you_mean(name, [f"{_PREFIX}{known}" for known in known_names()])
        raise UserError(f'CLIP_benchmark has no data set "{name}" on the hub.{hint}')
    return None


def copy_in(root: str, name: str) -> Path:
    """Return where a copy of a set is.

    Args:
        root: a folder of copies, called as on the hub, or a path with ``{dataset}`` or ``{dataset_cleaned}`` in it, as
            CLIP_benchmark's ``--dataset_root`` has them.
        name: from `set_name`.
    """
    if "{" not in root:
        return Path(root).expanduser() / repository_of(name).rpartition("/")[2]
    path = root.replace("{dataset_cleaned}", name.replace("/", "-")).replace("{dataset}", name)
    return Path(path).expanduser()


def known_names() -> tuple[str, ...]:
    """Return the names of all sets."""
    return CLASSIFICATION + MULTI_LABEL + RETRIEVAL


def repository_of(name: str) -> str:
    """Return the hub id of a set, and with it what a local copy is called: ``clip-benchmark/wds_vtab-cifar10``."""
    return f"clip-benchmark/wds_{name.replace('/', '-')}"
