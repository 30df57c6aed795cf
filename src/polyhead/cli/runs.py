"""Commands on one run: train it, score it, use it, show it, hand it on."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from polyhead.cli.shared import BestOption, JsonOption, Stop, app, check_json, left_of, tell
from polyhead.errors import PolyheadError
from polyhead.launch import launched


@app.command()
def train(
    recipe: Annotated[Path | None, typer.Argument(help="The recipe, a TOML file.")] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="The run's folder, new or empty; by default runs/ and the recipe's name."),
    ] = None,
    resume: Annotated[
        Path | None, typer.Option(metavar="RUN", help="Go on with a run that was ended before its end.")
    ] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Instead of the recipe's seed.")] = None,
    json_file: JsonOption = None,
) -> None:
    """Train a model from a recipe.

    Example: polyhead train recipe.toml --output runs/first
    """
    check_json(json_file)
    if resume is not None:
        if recipe is not None or output is not None or seed is not None:
            raise PolyheadError("--resume takes a run alone.", remedy=f"polyhead train --resume {resume}")
        folder = resume
    elif recipe is None:
        raise PolyheadError("No recipe is given.", remedy="polyhead train RECIPE --output RUN")
    else:
        folder = output or Path("runs") / recipe.stem
    if launched().world > 1:  # so that whatever is wrong is told by one of them
        from polyhead import ranks

        with ranks.joined():
            _train(recipe, folder, seed, json_file)
    else:
        _train(recipe, folder, seed, json_file)


def _train(recipe: Path | None, folder: Path, seed: int | None, json_file: Path | None) -> None:
    """Train, or without a recipe go on with a run, and show how it goes; of several processes the first one shows."""
    from polyhead.recipe import load_recipe
    from polyhead.training import resume as go_on
    from polyhead.training import train as start
    from polyhead.views import Watcher, write_figures

    here = launched()
    if here.restarts and recipe is not None and (folder / "recipe.toml").exists():
        recipe = None  # the launcher begins anew, with the same command, what was ended
        tell(f"started anew by the launcher: going on with {folder}")
    try:
        with Watcher(silent=not here.first) as watcher, Stop() as stop:
            if recipe is None:
                run = go_on(folder, watch=watcher, tell=watcher.tell, stop=stop)
            else:
                loaded = load_recipe(recipe)
                if seed is not None:
                    loaded = loaded.model_copy(update={"seed": seed})
                run = start(loaded, folder, watch=watcher, tell=watcher.tell, stop=stop)
    except KeyboardInterrupt as stopped:
        stopped.args = (left_of(folder),)
        raise
    if here.first:
        watcher.finish(run)
        write_figures(json_file, run.scores)


@app.command()
def evaluate(
    run: Annotated[
        Path,
        typer.Argument(help="A finished run; with FILE also a model folder or owner/name on the Hugging Face Hub."),
    ],
    other_run: Annotated[
        Path | None, typer.Argument(help="Compare this one with it on the same examples; may be left out before FILE.")
    ] = None,
    file: Annotated[Path | None, typer.Argument(help="Score on this file instead of a split.")] = None,
    split: Annotated[
        str | None, typer.Option(help="train, dev or test, as the recipe names them.", show_default="test")
    ] = None,
    data: Annotated[str | None, typer.Option(help="The dataset to score on, or that FILE is like.")] = None,
    best: BestOption = None,
    json_file: JsonOption = None,
) -> None:
    """Score a model on a split of its recipe's data, or on a file. With two, compare them on the same examples.

    Example: polyhead evaluate runs/first --split dev

    To compare two: polyhead evaluate runs/first runs/second
    """
    from polyhead.training.comparing import compare, other_and_file
    from polyhead.training.run import assess
    from polyhead.views import scores_table, show, show_comparison, show_signatures, write_figures

    check_json(json_file)
    other, file = other_and_file([path for path in (other_run, file) if path is not None])
    if file is not None and split is not None:
        raise PolyheadError("FILE is scored on instead of a split.", remedy="Give FILE or --split, not both.")
    split = split or "test"
    if split not in ("train", "dev", "test"):
        raise PolyheadError(f"--split {split} is no split.", remedy="Take train, dev or test.")
    if other is not None:
        compared = compare(run, other, split=split, file=file, data=data, best=best, tell=tell)
        show_comparison(compared, str(file or split))
        tasks = {name: one.to_dict() for name, one in compared.items()}
        write_figures(json_file, {"first": str(run), "second": str(other), "on": str(file or split), "tasks": tasks})
        return
    found = assess(run, split=split, file=file, data=data, best=best, tell=tell)
    show(scores_table(found.scores, str(file or split), found.intervals))
    show_signatures(found.signatures)
    write_figures(json_file, found.scores)


@app.command()
def predict(
    run: Annotated[Path, typer.Argument(help="A run, a model folder, or owner/name on the Hugging Face Hub.")],
    inputs: Annotated[
        list[Path] | None, typer.Argument(help="Files, or a folder of them; none or - is standard input.")
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Write here, not to the terminal; for a folder of files a folder."),
    ] = None,
    from_format: Annotated[
        str | None,
        typer.Option("--from", help="The input's format: text, conllu, columns, csv, tsv, jsonl, parquet, parallel."),
    ] = None,
    to_format: Annotated[
        str | None, typer.Option("--to", help="The output's format: conllu, columns, jsonl, csv, tsv, text, parquet.")
    ] = None,
    text: Annotated[str | None, typer.Option(help="The column or field that holds the text.")] = None,
    pair: Annotated[str | None, typer.Option(help="The column or field that holds the second text.")] = None,
    confidence: Annotated[bool, typer.Option(help="Write how sure each answer is.")] = False,
    best: BestOption = None,
    task: Annotated[str | None, typer.Option(metavar="TASK", help="Write the answers of this task alone.")] = None,
    beams: Annotated[int | None, typer.Option(help="Texts: how many hypotheses are kept as one is written.")] = None,
    best_texts: Annotated[
        int, typer.Option("--n-best", help="Texts: how many for each; those after the first in LAYER_others (JSONL).")
    ] = 1,
    temperature: Annotated[
        float | None, typer.Option(help="Texts: draw them, with logits divided by this, not the likeliest.")
    ] = None,
    workers: Annotated[int | None, typer.Option(help="Of a folder: how many processes share the work.")] = None,
    on: Annotated[str, typer.Option(help="Of a folder: where they are, local or ray (a Ray cluster).")] = "local",
) -> None:
    """Annotate texts. Plain text is one text a line; words and order come out as they came.

    Of a folder each file is answered in a file of its own; the same command goes on with what is missing.

    Example: polyhead predict runs/first texts.txt --output answers.conllu
    """
    from polyhead.annotate import annotate

    asked = {"beams": beams, "best": best_texts, "temperature": temperature}
    search = asked if asked != {"beams": None, "best": 1, "temperature": None} else None
    how: dict[str, Any] = {
        "text": text,
        "pair": pair,
        "confidence": confidence,
        "best": best,
        "task": task,
        "search": search,
    }
    formats: dict[str, Any] = {"from_format": from_format, "to_format": to_format}
    if inputs and len(inputs) == 1 and inputs[0].is_dir():
        _predict_folder(run, inputs[0], output, {**formats, "on": on, "workers": workers}, how)
        return
    if workers is not None or on != "local":
        what = "--workers and --on are for a folder of files."
        raise PolyheadError(what, remedy="Leave them out, or name the folder that the files are in, and it alone.")
    annotate(run, inputs or [Path("-")], output, tell=tell, **formats, **how)


def _predict_folder(run: Path, folder: Path, output: Path | None, where: dict[str, Any], how: dict[str, Any]) -> None:
    """Answer for the files of a folder."""
    from polyhead.bulk import How, failures, predict_folder
    from polyhead.bulk.view import Bar, summary_line

    if output is None:
        remedy = "Name a folder for the answers: --output FOLDER."
        raise PolyheadError("The answers for a folder of files go into a folder.", file=folder, remedy=remedy)
    try:
        with Bar() as bar:
            found = predict_folder(How(str(run), **how), folder, output, tell=tell, watch=bar, **where)
    except KeyboardInterrupt as stopped:
        stopped.args = ("What is answered is kept: the same command goes on.",)
        raise
    print(summary_line(found, str(output)), file=sys.stderr)
    if found.failed:
        raise failures(found)


@app.command()
def export(
    run: Annotated[
        Path,
        typer.Argument(help="A finished run; without --quantise also a model folder or owner/name on the Hub."),
    ],
    to: Annotated[str, typer.Option("--to", help="The format: onnx.")] = "onnx",
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="The folder, new or empty; by default onnx in the run.")
    ] = None,
    quantise: Annotated[
        str | None, typer.Option(help="int8: whole numbers of eight bits, calibrated on the run's training texts.")
    ] = None,
    at_most: Annotated[
        float, typer.Option(min=0, help="The points that int8 may cost a task on dev; what costs more stays in fp32.")
    ] = 0.3,
    best: BestOption = None,
) -> None:
    """Write a model as a folder that onnxruntime runs without torch; predict and evaluate open it like any model.

    Example: polyhead export runs/first --to onnx --quantise int8
    """
    from polyhead.exporting import export as write

    folder = write(run, output, to=to, quantise=quantise, at_most=at_most, best=best, tell=tell)
    print(f"Exported to {folder}. It predicts by: polyhead predict {folder} FILE")


@app.command()
def push(
    run: Annotated[Path, typer.Argument(help="A finished run, or a model folder.")],
    repo: Annotated[str, typer.Argument(metavar="OWNER/NAME", help="Where to, on the Hugging Face Hub.")],
    private: Annotated[bool, typer.Option("--private", help="Only its owner may see it.")] = False,
) -> None:
    """Push a model and its card to the Hugging Face Hub.

    Example: polyhead push runs/first owner/name --private
    """
    from polyhead.hub import push as send

    address = send(run, repo, private=private)
    print(f'Pushed to {address}. It loads by: polyhead.load("{repo}")')


@app.command()
def separate(
    run: Annotated[Path, typer.Argument(help="A finished run.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="A folder for the models, new or empty.")],
) -> None:
    """Save a model for each task, alone with the weights that were best for it.

    Example: polyhead separate runs/first --output models
    """
    from polyhead.training import separate as save

    for task, folder in save(run, output, tell=tell).items():
        print(f"{task}: {folder}")


@app.command()
def report(
    run: Annotated[Path, typer.Argument(help="A finished run, or a study.")],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="The file; by default report.html in it.")
    ] = None,
) -> None:
    """Write a page about a run: scores, what each stage gained and lost, curves, and how its tasks got on.

    Of a study the page with what its finished runs say so far.

    Example: polyhead report runs/first
    """
    from polyhead.reporting import report as write

    print(write(run, output))
