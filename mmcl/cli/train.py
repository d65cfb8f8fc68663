"""``mmcl train``."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from evaluation import TaskResult
    from mmcl.recipe import Recipe
    from mmcl.training.plan import Plan
    from mmcl.training.run import Run


def train(
    recipe: Annotated[
        str, typer.Argument(help="A packaged recipe (mmcl recipes list), a .yaml file, or a run folder.")
    ],
    overrides: Annotated[
        list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="For example lr=1e-4 data.train=x.csv.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Build everything, try one batch, write nothing.")] = False,
    smoke: Annotated[
        bool, typer.Option("--smoke", help="Shrink the recipe to a few offline CPU steps on glyphs or digits.")
    ] = False,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with a run from its newest checkpoint, as if it never stopped.")
    ] = False,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="The run's folder; by default the next free runs/NAME.")
    ] = None,
    num_processes: Annotated[
        int, typer.Option("--num-processes", "-n", min=1, help="Processes on this machine, one per GPU.")
    ] = 1,
    as_json: Annotated[bool, typer.Option("--json", help="Print the plan or the results as JSON.")] = False,
) -> None:
    """Train a model by a recipe, judge it, export it, and write a report.

    Exit codes: 0 done, 1 failed, 2 a mistake in what was given, 130 stopped by Ctrl-C and 143 by SIGTERM, both after
    saving: go on with --resume.
    """
    from mmcl.recipe_files import locate_recipe, needs_of

    overrides = overrides or []
    if smoke and "data" in needs_of(recipe):
        # Data of its own the recipe need not have; where it has, it says which columns its objectives name.
        overrides = ["data=glyphs", *overrides]
    is_run = (Path(recipe) / "recipe.yaml").is_file()
    if resume and is_run and output is None:
        output = Path(recipe)
    located = locate_recipe(recipe, overrides)
    loaded = located.recipe
    if num_processes > 1 and "RANK" not in os.environ:
        from mmcl.cli.launch import launch

        flags = {"--dry-run": dry_run, "--smoke": smoke, "--resume": resume, "--json": as_json}
        given = [flag for flag, is_given in flags.items() if is_given]
        if output is not None:
            given += ["--output", str(output)]
        raise typer.Exit(launch(["train", *given, "--", recipe, *overrides], num_processes))
    if smoke:
        from mmcl.smoke import smoke_recipe

        loaded = smoke_recipe(loaded)
        if is_main_process():
            rows = loaded.data.train
            assert not isinstance(rows, tuple)
            typer.echo(
                f"smoke: tiny random towers and a few {rows.path}, in place of the recipe's model and data", err=True
            )
    with located.locating():
        if dry_run:
            if output is not None and not resume:
                from mmcl.training.run_folder import check_is_free

                check_is_free(output)
            _dry_run(loaded, as_json)
        else:
            _run(loaded, resume, output, as_json)


def _dry_run(recipe: Recipe, as_json: bool) -> None:
    from pydantic import TypeAdapter

    from mmcl.training.plan import Plan, plan_recipe

    plan = plan_recipe(recipe)
    if is_main_process():
        typer.echo(TypeAdapter(Plan).dump_json(plan, indent=2).decode() if as_json else format_plan(plan))


def _run(recipe: Recipe, resume: bool, output: Path | None, as_json: bool) -> None:
    from rich.console import Console

    from mmcl.cli.progress import TerminalObserver
    from mmcl.training.run import run_recipe

    # Progress goes to stderr, so that stdout holds the results and nothing else.
    observer = TerminalObserver(Console(stderr=True), is_quiet=not is_main_process())
    run = run_recipe(recipe, resume=resume, output=output, observer=observer)
    if not is_main_process():
        return
    if as_json:
        results = [json.loads(result.to_json()) for result in run.results]
        typer.echo(json.dumps({"run": str(run.path), "results": results}, indent=2))
    else:
        typer.echo(format_run(run))


def is_main_process() -> bool:
    """True on the process that speaks for all."""
    return os.environ.get("RANK", "0") == "0"


def format_plan(plan: Plan) -> str:
    """Say a plan in lines."""
    rows = "a stream" if plan.num_rows is None else f"{plan.num_rows:,} rows in {plan.num_groups:,} groups"
    epoch = "" if plan.steps_per_epoch is None else f", {plan.steps_per_epoch:,} per epoch"
    chance = "" if plan.chance is None else f" (chance {plan.chance:.3f})"
    minutes = plan.num_steps * plan.seconds_per_step / 60
    pace = f"{minutes:.0f} min" if 2 <= minutes < 120 else f"{minutes / 60:.1f} h"
    pace = f"{60 * minutes:.0f} s" if minutes < 2 else pace
    dropped = (
        f"objectives  {plan.num_training_parameters:,} parameters, {plan.num_training_trained:,} trained, for training"
        " alone"
    )
    lines = [
        f"model       {plan.num_parameters:,} parameters, {plan.num_trained:,} trained",
        *([dropped] if plan.num_training_parameters else []),
        *(
            f"            {group.name}: {group.num_parameters:,}, lr {group.lr:g}, weight decay {group.weight_decay:g}"
            for group in plan.groups
        ),
        *(f"data        {line}" for line in plan.remarks),
        f"learns from {rows}",
        f"minimises   {' + '.join(plan.objectives)}" + (f" ({plan.chosen.partition(': ')[2]})" if plan.chosen else ""),
        f"steps       {plan.num_steps:,}{epoch}",
        f"optimizer   {plan.optimizer}",
        f"batch       {plan.batch}, {_say_negatives(plan.num_negatives)}",
        *([f"            {plan.fitting}"] if plan.fitting else []),
        f"first loss  {plan.first_loss:.3f}{chance}",
        f"device      {plan.device}, {plan.precision}, {plan.peak_memory_gib:.2f} GiB at the most",
        *([f"attention   {_say_attention(plan.attention)}"] if plan.attention else []),
        f"time        {plan.seconds_per_step:.2f} s for the first step, the slowest; at that pace {pace} in all",
        *(f"judged by   {task}" for task in plan.tasks),
        *(f"guarded by  {task}" for task in plan.guard),
        *(f"warning: {line}" for line in plan.warnings),
        "dry run: nothing was written",
    ]
    return "\n".join(lines)


def _say_attention(attention: Mapping[str, str]) -> str:
    """Say ``sdpa``, and which model of transformers has no more than ``eager``."""
    eager = [name for name, used in attention.items() if used == "eager"]
    others = sorted(set(attention.values()) - {"eager"})
    return ", ".join([*others, *(f"eager in {name}, for which transformers has no faster one" for name in eager)])


def _say_negatives(num_negatives: Mapping[str, int | None]) -> str:
    """Say ``up to 7 negatives per anchor``, by name where there are several objectives."""
    counts = {name: count for name, count in num_negatives.items() if count is not None}
    if not counts:
        return "no negatives"
    if len(num_negatives) == 1:
        return f"up to {counts.popitem()[1]:,} negatives per anchor"
    without = [name for name in num_negatives if name not in counts]
    said = ", ".join(f"{count:,} ({name})" for name, count in counts.items())
    return f"up to {said} negatives per anchor" + (f", none ({', '.join(without)})" if without else "")


def _notes_of(results: Sequence[TaskResult]) -> list[str]:
    return [f"{result.dataset} {result.task}: {note}" for result in results for note in result.notes]


def format_run(run: Run) -> str:
    """Say what a run reached, where it is, and what to do next."""
    from evaluation import format_changes, format_table
    from mmcl.cli.hints import next_steps

    lines = [] if run.sweep is None else [f"what is exported, alpha = {run.sweep.alpha:g}"]
    lines += [] if not run.results else [format_table(run.results), *_notes_of(run.results), ""]
    lines += [format_changes(run.changes), ""] if run.changes else []
    if run.sweep is not None:
        label = f"alpha = {run.sweep.alpha:g}"
        lines += [
            f"recommended and exported: {label}, chosen by one half of the examples; by the other half",
            format_changes(run.sweep.changes, last=label),
            "",
        ]
    lines += [
        f"model    {run.model}",
        f"report   {run.report}",
        *([f"warning: {run.data_wait}"] if run.data_wait else []),
        "",
        "next",
        *(f"  {line}" for line in next_steps(run)),
    ]
    return "\n".join(lines)
