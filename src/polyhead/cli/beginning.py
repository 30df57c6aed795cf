"""Commands to begin with: look at data, write a recipe, see a demo."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from polyhead.cli.shared import JsonOption, app, check_json, data_app, left_of
from polyhead.errors import PolyheadError
from polyhead.files import check_place


@data_app.command("check")
def check(
    recipe: Annotated[Path, typer.Argument(help="The recipe, a TOML file.")], json_file: JsonOption = None
) -> None:
    """Print what each dataset of a recipe holds, and what about it may mislead.

    Example: polyhead data check recipe.toml
    """
    from polyhead.recipe import load_recipe
    from polyhead.training.look import look
    from polyhead.views import show, write_figures

    check_json(json_file)
    reports: dict[str, Any] = {}
    for report in look(load_recipe(recipe)):
        if reports:
            show("")
        show(report)
        reports[report.name] = report.to_dict()
    write_figures(json_file, reports)


@app.command()
def new(
    files: Annotated[list[Path], typer.Argument(help="Your data: train, dev and test files of one or more datasets.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Where to write the recipe.")] = Path("recipe.toml"),
) -> None:
    """Look at files and write a commented recipe for them.

    Example: polyhead new train.csv dev.csv
    """
    from polyhead.data.guess import guess
    from polyhead.files import write_text

    check_place(output)
    if output.exists():
        raise PolyheadError("There is such a file already.", file=output, remedy="Choose another --output.")
    here = output.resolve().parent == Path.cwd()  # paths in a recipe start from its folder
    write_text(output, guess(files if here else [file.resolve() for file in files]))
    print(f"Wrote {output}. Look it over, then: polyhead data check {output}")


@app.command()
def demo(
    output: Annotated[Path, typer.Option("--output", "-o", help="The demo's run.")] = Path("runs/demo"),
    json_file: JsonOption = None,
) -> None:
    """Train on the small corpus that polyhead carries, and annotate a sentence.

    Example: polyhead demo
    """
    try:
        from polyhead.demo import run_demo
        from polyhead.views import write_figures

        check_json(json_file)
        write_figures(json_file, run_demo(output))
    except KeyboardInterrupt as stopped:
        stopped.args = (left_of(output),)
        raise
