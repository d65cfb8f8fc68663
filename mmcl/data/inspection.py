"""Look at data that nobody has described yet: find out its columns, what it is good for, and what is wrong with it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

from mmcl.data.cells import names_in
from mmcl.data.check import DataCheck, Overlap, TextLengths, check_rows, measure_lengths, overlap_with
from mmcl.data.column_facts import is_private, look_at_columns
from mmcl.data.columns import ROLES, Roles, hint_at_names, resolve_roles
from mmcl.data.guesses import GUESSED_ROLES, Guess, columns_of, guess_columns
from mmcl.data.look import Look, look_at_rows
from mmcl.data.mixture import open_train_sources
from mmcl.data.needs import RowNeeds
from mmcl.data.sources import Source, open_source
from mmcl.errors import UserError
from mmcl.recipe import Recipe
from mmcl.recipe_data import DEFAULT_MAX_PIXELS, ColumnsConfig, SourceConfig
from mmcl.recipe_files import load_recipe
from mmcl.text.tokenizer import TextTokenizer
from mmcl.towers.bias_of import has_siglip_bias
from mmcl.towers.tokenizer_of import tokenizer_of

_MODEL_KEYS = {"clip": "model", "siglip": "model", "vision": "model.image.name", "text": "model.text.name"}
"""Where the packaged recipes of a family name their model."""

_TAKEN_BY_NAME = {"text/cosent": ("positive", "score"), "text/pairs": ("positive",)}
"""What the recipes for pairs of texts take of a source beside its texts, where columns are called so."""


@dataclass(frozen=True)
class Inspection:
    """Data, with what was found out about it.

    Attributes:
        source: opened.
        guesses: which column plays which role, by role.
        columns: the same as a recipe has it.
        base: the packaged recipe for such data.
        recipe: that recipe, whole, on the data.
        look: at its rows.
        lengths: of its captions; None without a text column.
    """

    source: Source
    guesses: dict[str, Guess]
    columns: ColumnsConfig
    base: str
    recipe: Recipe
    look: Look
    lengths: TextLengths | None

    @property
    def unused_columns(self) -> tuple[str, ...]:
        """Columns that play no role."""
        played = {guess.column for guess in self.guesses.values()}
        return tuple(name for name in self.source.columns if name not in played and not is_private(name))

    def check(self, max_unreadable: float, overlap: Overlap | None = None) -> DataCheck:
        """Draw up what was found, as `check_rows` does."""
        return check_rows(self.look, tuple(self.guesses.values()), max_unreadable, self.lengths, overlap)


def inspect_data(
    data: SourceConfig,
    given: ColumnsConfig,
    model: str | None = None,
    tell: Callable[[str], None] = lambda line: None,
    progress: Callable[[int, int], None] = lambda num_read, num_rows: None,
) -> Inspection:
    """Open a source, guess its columns, and read all of its rows.

    Args:
        data: where the rows are.
        given: columns that need no guess; ``false`` for a role that none plays.
        model: whose tokenizer counts the captions; by default that of the packaged recipe for such data.
        tell: given a line for each guess, before the rows are read.
        progress: called now and then with the number of pictures read, and of rows.

    Raises:
        UserError: the source cannot be read, a column is not there or its guess is ambiguous, none of the pictures is
            there, or it holds neither pictures nor texts.
    """
    source = open_source(data)
    try:
        guesses = guess_columns(look_at_columns(source), given)
    except UserError as error:
        hint = hint_at_names(source)
        raise UserError(f"{str(error).removesuffix('.')}.{hint}" if hint else str(error)) from error
    for guess in guesses.values():
        tell(str(guess))
    columns = columns_of(guesses)
    roles = resolve_roles(source, columns)
    base = base_for(roles, source, model)
    for role in _TAKEN_BY_NAME.get(base, ()):
        guesses[role] = Guess(role, role, "as it is called")
        tell(str(guesses[role]))
    recipe = load_recipe(base, {"data.train": data.path, **({_model_key(base): model} if model is not None else {})})
    needs = None
    if base in _TAKEN_BY_NAME:
        needs = RowNeeds.of(recipe.chosen_objectives, 0)
        roles = resolve_roles(source, columns, needs.reasons)
    name, tokenizer, reason = _tokenizer(recipe) if roles.text is not None else ("", None, "")
    look = look_at_rows(
        source,
        roles,
        "data.columns",
        recipe.data.max_pixels,
        tokenizer,
        lambda num_read: progress(num_read, len(source.dataset)),
        needs,
    )
    return Inspection(source, guesses, columns, base, recipe, look, _lengths(look, tokenizer, name, reason))


def with_guessed_columns(recipe: Recipe) -> Recipe:
    """Return a recipe of one source with its columns guessed; as it is where it names some, or nothing can be told."""
    data = recipe.data
    is_left_open = data.columns == ColumnsConfig() and not data.caption_templates
    if not is_left_open or not isinstance(data.train, SourceConfig) or data.train.streaming:
        return recipe
    source = open_source(data.train)
    try:
        guesses = guess_columns(look_at_columns(source), data.columns)
    except UserError:  # which columns are needed is said in a recipe's words where the rows are read
        return recipe
    columns = ColumnsConfig.model_validate({role: guess.column for role, guess in guesses.items() if guess.column})
    return recipe.model_copy(update={"data": data.model_copy(update={"columns": columns})})


def check_recipe(
    recipe: Recipe, progress: Callable[[int, int], None] = lambda num_read, num_rows: None
) -> tuple[DataCheck, ...]:
    """Look at all rows that a recipe learns from, by its own columns: a check for each of its sources.

    Args:
        recipe: which.
        progress: called now and then with the number of pictures read, and of rows.

    Raises:
        UserError: for whatever is wrong with a source or its columns, or one is a stream.
    """
    data = recipe.data
    needs = RowNeeds.of(recipe.chosen_objectives, len(data.expanded_views))
    name, tokenizer, reason = _tokenizer(recipe)
    checks = []
    for each in open_train_sources(data, needs, needs.parts):
        if each.source.is_stream:
            raise UserError(f"{each.source.key}.streaming: the rows of a stream are met in training; set it to false")
        parts, tell = each.reader.columns, partial(_tell, progress, each.reader.num_rows)
        # Prompts repeat as often as their class does, which says nothing of the data.
        has_texts = "text.0" in parts and not each.roles.caption_templates
        roles = replace(
            each.roles,
            image=each.roles.image if "image" in parts else None,
            text=each.roles.text if has_texts else None,
        )
        look = look_at_rows(each.source, roles, each.columns_key, data.max_pixels, tokenizer, tell, needs)
        named = {role: ", ".join(names_in(getattr(roles, role))) or None for role in ROLES}
        guesses = [Guess(role, columns, "as the recipe says", is_given=True) for role, columns in named.items()]
        checks.append(check_rows(look, guesses, data.max_unreadable, _lengths(look, tokenizer, name, reason)))
    return tuple(checks)


def compare_to(inspection: Inspection, held_out: SourceConfig) -> Overlap:
    """Return what the rows of another source have in common with those that were inspected.

    They are compared by the columns that both have.

    Raises:
        UserError: for whatever is wrong with the other source; and it has neither pictures nor texts in such columns.
    """
    source = open_source(held_out, "--held-out")
    named = {role: getattr(inspection.columns, role) for role in GUESSED_ROLES}
    shared = {role: column if column in source.columns else False for role, column in named.items()}
    if not shared["image"] and not shared["text"]:
        wanted = " nor ".join(f'"{named[role]}"' for role in ("image", "text") if named[role])
        raise UserError(f"--held-out: {source.name} has no column {wanted} ({', '.join(source.columns)})")
    roles = resolve_roles(source, ColumnsConfig.model_validate(shared), key="--held-out: columns")
    return overlap_with(inspection.look, look_at_rows(source, roles, "--held-out: columns", DEFAULT_MAX_PIXELS))


def base_for(roles: Roles, source: Source, model: str | None = None) -> str:
    """Return the packaged recipe for rows that have these columns.

    Args:
        roles: the columns.
        source: for the message.
        model: to start from; labelled pictures go on training one that has seen others, and a SigLIP has a recipe of
            its own.

    Raises:
        UserError: they have neither pictures nor texts.
    """
    if roles.image is not None:
        if roles.text is not None:
            return "siglip/finetune" if model is not None and _is_siglip(model) else "clip/finetune"
        return "vision/simclr" if roles.label is None or model is None else "vision/transfer"
    if roles.text is not None:
        return _base_for_texts(roles, source)
    raise UserError(
        f"{source.name} holds neither pictures nor texts that can be told by looking at it "
        f"({', '.join(source.columns)}); name a column with --image or --text"
    )


def _base_for_texts(roles: Roles, source: Source) -> str:
    """Return the recipe that learns from most of the columns, of those that bear the names of their roles."""
    others = set(source.columns) - set(names_in(roles.text, roles.group, roles.label))
    return next((base for base, taken in _TAKEN_BY_NAME.items() if others.issuperset(taken)), "text/simcse")


def _tell(progress: Callable[[int, int], None], num_rows: int, num_read: int) -> None:
    progress(num_read, num_rows)


def _lengths(look: Look, tokenizer: TextTokenizer | None, name: str, reason: str) -> TextLengths | None:
    if look.roles.text is None:
        return None
    return TextLengths(name, not_counted=reason) if tokenizer is None else measure_lengths(look, tokenizer, name)


def _is_siglip(model: str) -> bool:
    try:
        return has_siglip_bias(model)
    except UserError:
        return False  # why it cannot be had is said where its tokenizer is loaded


def _model_key(base: str) -> str:
    return _MODEL_KEYS[base.partition("/")[0]]


def _tokenizer(recipe: Recipe) -> tuple[str, TextTokenizer | None, str]:
    """Return the model's name, its tokenizer, and why there is none."""
    text = recipe.model.text
    name = recipe.model.name or (text.name if text is not None else None) or "the model"
    try:
        return name, tokenizer_of(recipe.model), ""
    except UserError as error:
        return name, None, str(error)
