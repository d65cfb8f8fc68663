"""Zero-shot classification as a recipe asks for it: which classes there are, what they are called, in which prompts."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from evaluation import EvaluationError, ZeroShotClassificationTask, class_name_set
from mmcl.data.evaluation_rows import EvaluationRows
from mmcl.errors import UserError, did_you_mean
from mmcl.recipe_tasks import MultiLabelZeroShotConfig, ZeroShotClassificationConfig

DEFAULT_TEMPLATES = ("a photo of a {}.",)


def build_zeroshot_task(
    config: ZeroShotClassificationConfig,
    rows: EvaluationRows,
    labels: Sequence[str],
    name: str,
    groups: list[int] | None,
    key: str,
    tell: Callable[[str], None],
) -> ZeroShotClassificationTask:
    """Return the task on rows that have labels.

    Args:
        config: its part of a recipe.
        rows: to judge on.
        labels: of the rows.
        name: in results.
        groups: of rows that depend on each other, or None.
        key: of the recipe, for messages.
        tell: called with a line about names and templates that came with the data.

    Raises:
        UserError: names or templates that do not fit the rows, or a set that there is not.
    """
    try:
        return ZeroShotClassificationTask(
            images=rows.images,
            labels=labels,
            class_names=names_of_classes(config, rows, sorted(set(labels)), f"{key}.class_names"),
            templates=templates_for(config, rows, name, tell),
            dataset=name,
            split=rows.split,
            language=config.language,
            groups=groups,
            ids=list(map(str, rows.ids)),
        )
    except EvaluationError as error:
        raise UserError(f"{key}: {error}") from error


def templates_for(
    config: ZeroShotClassificationConfig | MultiLabelZeroShotConfig,
    rows: EvaluationRows,
    name: str,
    tell: Callable[[str], None],
) -> Sequence[str] | str:
    """Return the templates of a task: its own, else those that came with its rows, else the default.

    What came with the rows and is used, names of classes too, is told.
    """
    came = rows.class_prompts
    if came is not None:
        said = []
        if config.class_names is None:
            said.append(f"{len(came.class_names)} class names")
        if config.templates is None:
            without = f'no templates, "{DEFAULT_TEMPLATES[0]}" is used'
            said.append(f"{len(came.templates)} templates" if came.templates else without)
        if said:
            tell(f"{name}: with the data came {' and '.join(said)}")
    if config.templates is not None:
        return config.templates
    return (came and came.templates) or DEFAULT_TEMPLATES


def names_of_classes(
    config: ZeroShotClassificationConfig | MultiLabelZeroShotConfig,
    rows: EvaluationRows,
    classes: Sequence[str],
    key: str,
) -> dict[str, str]:
    """Return the names of a task's classes by label, in the order of the classes.

    Args:
        config: has the names, or its rows have.
        rows: to judge on.
        classes: the labels there are, sorted, which have their own names where nothing says else.
        key: of the recipe, for messages.

    Raises:
        UserError: names that do not fit the labels.
        EvaluationError: a published set that there is not.
    """
    given = config.class_names
    if given is None and rows.class_prompts is not None:
        given = rows.class_prompts.class_names
    if isinstance(given, str):
        given = class_name_set(given, config.language)
    if isinstance(given, tuple):
        return _in_order(given, rows, classes, key)
    names = given or {}
    unknown = sorted(set(names) - set(classes))
    if unknown:
        listed = f"{', '.join(classes[:20])}{', ...' if len(classes) > 20 else ''}"
        hint = did_you_mean(unknown[0], classes)
        raise UserError(f"{key} has {unknown[0]!r}, which is no label of {rows.name} ({listed}).{hint}")
    return {label: names.get(label, label) for label in classes}


def _in_order(names: tuple[str, ...], rows: EvaluationRows, classes: Sequence[str], key: str) -> dict[str, str]:
    numbered = rows.label_names
    if not numbered:
        if not all(label.isdecimal() for label in classes):
            raise UserError(
                f"{key}: a list of names goes by the numbers of the classes, and the labels of {rows.name} are "
                f"{', '.join(classes[:3])} ...; give a name for each label, as LABEL: NAME"
            )
        numbered = tuple(str(number) for number in range(max(len(names), 1 + max(map(int, classes)))))
    if len(names) != len(numbered):
        raise UserError(f"{key}: {rows.name} has {len(numbered)} classes, and {len(names)} names are given")
    return dict(zip(numbered, names, strict=True))
