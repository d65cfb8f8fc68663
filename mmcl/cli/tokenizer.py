"""``mmcl tokenizer``: train a vocabulary, and look at any."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_args

import typer

from mmcl.cli import source_options as options

if TYPE_CHECKING:
    from mmcl.text.figures import TokenizerFigures
    from mmcl.text.inspection import CutText, TokenizerFacts
    from mmcl.text.sentencepiece import SentencePieceConfig

app = typer.Typer(no_args_is_help=True, help="Train a tokenizer, and look at any.")

Column = Annotated[
    list[str] | None, typer.Option("--column", help="Column of the texts, where there are several; may be repeated.")
]


@app.callback()
def tokenizer() -> None:
    """Train a tokenizer for your language, and see how one cuts texts."""


@app.command()
def train(
    sources: Annotated[
        list[str],
        typer.Argument(
            metavar="SOURCE...", help="Files (.txt, .csv, .jsonl, .parquet), globs, hub ids, or - for standard input."
        ),
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder to write; it must be new or empty.")],
    vocab_size: Annotated[int, typer.Option(help="Pieces, 4 special ones and 256 of bytes included.")] = 8000,
    model_type: Annotated[
        str, typer.Option(help="unigram: the likeliest pieces; bpe: merge the most frequent neighbours.")
    ] = "unigram",
    character_coverage: Annotated[
        float, typer.Option(help="Share of the characters with a piece of their own; 0.9995 for Chinese and Japanese.")
    ] = 1.0,
    normalization: Annotated[
        str, typer.Option(help="nmt_nfkc, nmt_nfkc_cf (case folded), nfkc, nfkc_cf, or identity (nothing is changed).")
    ] = "nmt_nfkc",
    user_symbol: Annotated[
        list[str] | None, typer.Option("--user-symbol", help="A string that is always one piece; may be repeated.")
    ] = None,
    column: Column = None,
    sample: Annotated[
        int | None, typer.Option(min=1, help="Train on so many texts, drawn evenly in one pass; no others are held.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the sample.")] = 0,
    max_length: Annotated[int, typer.Option(help="Longest text in tokens, begin and end included.")] = 77,
    max_mismatch: Annotated[
        float, typer.Option(help="Share of texts that may be cut otherwise than by SentencePiece; above it, an error.")
    ] = 0.001,
    split: options.Split = None,
    config: options.Config = None,
    file_format: options.Format = None,
    delimiter: options.Delimiter = None,
    column_names: options.ColumnNames = None,
) -> None:
    """Train a SentencePiece vocabulary, and write it as a tokenizer that AutoTokenizer loads without SentencePiece."""
    from mmcl.data.texts import draw_texts, read_texts
    from mmcl.text.sentencepiece import build_tokenizer
    from mmcl.text.tokenizer_folder import TrainingRecord, check_is_new, write_tokenizer

    settings = _settings(
        vocab_size=vocab_size,
        model_type=model_type,
        character_coverage=character_coverage,
        normalization=normalization,
        user_symbols=user_symbol or [],
        max_length=max_length,
        max_mismatch=max_mismatch,
    )
    check_is_new(output)
    reading = {
        "split": split,
        "config": config,
        "format": file_format,
        "delimiter": delimiter,
        "column-names": column_names,
    }
    # What is drawn from is read as a stream, so that no copy of it is made on the way.
    opened = [
        options.source_given(path, split, config, file_format, delimiter, column_names=column_names).model_copy(
            update={"streaming": sample is not None}
        )
        for path in sources
    ]
    with _own_words("SOURCE"):
        texts, num_read = draw_texts(read_texts(opened, column or (), "SOURCE"), sample, seed)
    drawn = f"drawn evenly from {num_read:,}, seed {seed}" if len(texts) < num_read else "all that were read"
    typer.echo(f"texts        {len(texts):,}, {drawn}")
    with _own_words("SOURCE"):
        trained, figures = build_tokenizer(texts, settings)
    record = TrainingRecord(
        **settings.model_dump(),
        sources=tuple(sources),
        columns=tuple(column or ()),
        reading={name: value for name, value in reading.items() if value is not None},
        num_read=num_read,
        num_texts=len(texts),
        seed=seed,
    )
    write_tokenizer(output, trained, record, figures)
    for line in (_vocabulary_line(settings), *_figure_lines(figures)):
        typer.echo(line)
    typer.echo(f"wrote {output}\nnext: mmcl tokenizer inspect {output} 'a text'   # or model.text.tokenizer={output}")


@app.command()
def inspect(
    name: Annotated[
        str, typer.Argument(metavar="TOKENIZER", help="A packaged name, a folder, a run, or a Hugging Face id.")
    ],
    texts: Annotated[list[str] | None, typer.Argument(metavar="[TEXT]...", help="Texts to cut.")] = None,
    data: Annotated[
        str | None, typer.Option("--data", "-d", help="Texts to measure it on: a file, a glob, a hub id, or -.")
    ] = None,
    column: Column = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Use only the first so many rows.")] = None,
    max_length: Annotated[
        int | None, typer.Option(min=1, help="Count texts of more tokens; by default the tokenizer's own limit.")
    ] = None,
    split: options.Split = None,
    config: options.Config = None,
    file_format: options.Format = None,
    delimiter: options.Delimiter = None,
    column_names: options.ColumnNames = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show what a tokenizer is, how it cuts texts, and how well it fits data."""
    from mmcl.data.texts import read_texts
    from mmcl.text.figures import measure
    from mmcl.text.inspection import cut, facts_of
    from mmcl.text.tokenizer import load_tokenizer
    from mmcl.towers.source import resolve_folder

    loaded = load_tokenizer(resolve_folder(name))
    facts, shown = facts_of(loaded), cut(loaded, texts or [])
    figures, longest = None, max_length or facts.max_length
    if data is not None:
        source = options.source_given(
            data, split, config, file_format, delimiter, limit=limit, column_names=column_names
        )
        with _own_words("--data"):
            figures = measure(loaded, read_texts([source], column or (), "--data"), max_length=longest)
    if as_json:
        found = {"tokenizer": name, **asdict(facts), "texts": [asdict(text) for text in shown]}
        typer.echo(json.dumps({**found, "data": figures and asdict(figures)}, indent=2, ensure_ascii=False))
        return
    for line in (*_fact_lines(name, facts), *_cut_lines(shown)):
        typer.echo(line)
    if figures is not None:
        typer.echo(f"texts        {figures.num_texts:,} of {data}")
        for line in (*_figure_lines(figures), *_doubt_lines(figures, longest)):
            typer.echo(line)


def _settings(**given: Any) -> SentencePieceConfig:
    """Return the settings; a mistake names its option."""
    from pydantic import ValidationError

    from mmcl.errors import UserError, did_you_mean
    from mmcl.text.sentencepiece import SentencePieceConfig

    try:
        return SentencePieceConfig(**given)
    except ValidationError as error:
        (first, *_) = error.errors()
        name = str((*first["loc"], "user_symbols")[0])
        known = [
            value for value in get_args(SentencePieceConfig.model_fields[name].annotation) if isinstance(value, str)
        ]
        option = "--" + name.removesuffix("s").replace("_", "-")
        message = first["msg"].removeprefix("Value error, ").removeprefix("Input ")
        got = "" if first["type"] == "value_error" else f", got {given[name]}"
        raise UserError(f"{option}: {message}{got}.{did_you_mean(str(given[name]), known)}") from error


@contextmanager
def _own_words(place: str) -> Iterator[None]:
    """Name options where a mistake names keys of a source."""
    from mmcl.errors import UserError

    try:
        yield
    except UserError as error:
        message = re.sub(rf"{place}\.(split|config|format|delimiter)\b", r"--\1", str(error))
        message = message.replace(f"{place}.column_names", "--column-names")
        message = message.replace(f"{place}.path:", f"{place}:").replace("name those of the texts", "give --column")
        message = message.replace("max_mismatch allows", "--max-mismatch allows")
        message = re.sub(r"(?<=; )(set|raise) vocab_size\b", r"\1 --vocab-size", message)
        raise UserError(message.replace("lower character_coverage", "lower --character-coverage")) from error


def _vocabulary_line(settings: SentencePieceConfig) -> str:
    from mmcl.text.sentencepiece import NUM_SPECIAL_AND_BYTES

    symbols = len(settings.user_symbols)
    learnt = settings.vocab_size - NUM_SPECIAL_AND_BYTES - symbols
    of_yours = f", {symbols} symbols of yours" if symbols else ""
    return f"vocabulary   {settings.vocab_size:,} pieces: {learnt:,} learnt, 256 bytes, 4 special{of_yours}"


def _fact_lines(name: str, facts: TokenizerFacts) -> Iterator[str]:
    in_bytes = ", what it lacks is spelt in bytes" if facts.spells_in_bytes else ""
    yield f"tokenizer    {name}: {facts.kind}, {facts.vocab_size:,} tokens{in_bytes}"
    yield "special      " + (", ".join(f"{token} {number}" for token, number in facts.special_tokens.items()) or "none")
    if facts.normalisation is not None:
        yield "normalises   " + ("; ".join(facts.normalisation) or "nothing")
    yield f"max length   {'not set' if facts.max_length is None else f'{facts.max_length:,} tokens'}"


def _cut_lines(shown: list[CutText]) -> Iterator[str]:
    for text in shown:
        yield f"{json.dumps(text.text, ensure_ascii=False)}: {len(text.ids)} tokens"
        yield "  " + "  ".join(f"{token} {number}" for token, number in zip(text.tokens, text.ids, strict=True))


def _figure_lines(figures: TokenizerFigures) -> Iterator[str]:
    yield f"tokens       {figures.tokens_per_text:.2f} a text, the longest has {figures.longest:,}"
    of_words = None if figures.fertility is None else f"{figures.fertility:.2f} tokens per word"
    of_characters = None
    if figures.tokens_per_character is not None:
        of_characters = f"{figures.tokens_per_character:.2f} per character where words have no spaces between them"
    yield "fertility    " + ("; ".join(part for part in (of_words, of_characters) if part) or "no words")
    if figures.byte_share is not None:
        yield f"bytes        {figures.byte_share:.2%} of tokens spell a single byte"
    yield (
        f"round trip   {figures.round_trip:.2%} of texts come back as normalised,"
        f" {figures.exact_round_trip:.2%} letter for letter"
    )
    if figures.mismatch is not None:
        yield f"mismatch     {figures.mismatch:.2%} of texts are cut otherwise by SentencePiece itself"


def _doubt_lines(figures: TokenizerFigures, longest: int | None) -> Iterator[str]:
    yield f"unknown      {figures.unknown_share:.2%} of tokens"
    if figures.too_long_share is not None:
        yield f"too long     {figures.too_long_share:.2%} of texts have more than {longest:,} tokens"
    for text, back in figures.lost:
        yield f"  lost: {json.dumps(text, ensure_ascii=False)} comes back as {json.dumps(back, ensure_ascii=False)}"
