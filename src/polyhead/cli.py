"""The command line: a thin layer over the public functions. Only this file and its views print or exit."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from typer.core import TyperCommand, TyperGroup

from polyhead.errors import PolyheadError, from_here, refused
from polyhead.files import check_place


class _Commands(TyperGroup):
    """All commands. Whichever Ctrl-C ends, a line says so, and what the interrupt carries of what is left."""

    def make_context(self, *args: Any, **kwargs: Any) -> Any:
        """Read the command line."""
        with _stoppable():
            return super().make_context(*args, **kwargs)

    def invoke(self, ctx: Any) -> Any:
        """Run the command that the command line names."""
        with _stoppable():
            return super().invoke(ctx)


@contextmanager
def _stoppable() -> Iterator[None]:
    try:
        yield
    except KeyboardInterrupt as stopped:
        print(f"\nStopped. {from_here(str(stopped))}".rstrip(), file=sys.stderr)
        raise typer.Exit(130) from stopped


app = typer.Typer(
    cls=_Commands,
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="One pretrained encoder, many heads: transfer learning and multi-task learning for NLP.",
)
data_app = typer.Typer(no_args_is_help=True, help="Look at data before anything is trained on it.")
app.add_typer(data_app, name="data")

JsonOption = Annotated[
    Path | None, typer.Option("--json", metavar="FILE", help="Write the figures to this file as JSON, too.")
]
BestOption = Annotated[
    str | None, typer.Option(metavar="TASK", help="Take the weights that were best for this task alone.")
]


def main() -> None:
    """Run the command line; faults that users can mend are told in one line each, without a traceback."""
    try:
        with suppress(FileNotFoundError):  # somebody deleted the current folder
            sys.path.append(str(Path.cwd()))  # for a user's own task types, as `python -m` has it
        _check_streams()
        try:
            app(standalone_mode=True)
        finally:
            sys.stdout.flush()
    except PolyheadError as error:
        _give_up(error)
    except OSError as error:
        if sys.stdout is not None and not _flushed():
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # else Python tries once more at its end
        _give_up(refused(error))


def _check_streams() -> None:
    """See that the three streams can be used, and that each sign can be shown somehow."""
    if sys.stderr is None:
        sys.stderr = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115
    if sys.stdout is None:
        raise PolyheadError("Standard output is closed.", remedy="Send it to a file, or to /dev/null.")
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="replace")


def _flushed() -> bool:
    try:
        sys.stdout.flush()
    except OSError:
        return False
    return True


def _give_up(error: PolyheadError) -> NoReturn:
    print(f"error: {from_here(str(error))}", file=sys.stderr)
    sys.exit(1)


def _tell(note: str) -> None:
    print(f"note: {from_here(note)}", file=sys.stderr)


def _check_json(path: Path | None) -> None:
    """See that the figures can be written, before the work for them is done."""
    if path is not None:
        check_place(path)


def _left_of(run: Path) -> str:
    """What is left of a run that Ctrl-C ended, and how to go on."""
    if (run / "scores.json").exists():
        return f"The run {run} is finished."
    if (run / "recipe.toml").exists():
        return f"Go on with: polyhead train --resume {run}"
    return "Nothing was trained yet."


@app.callback(invoke_without_command=True)
def _root(version: Annotated[bool, typer.Option("--version", help="Show the version and stop.")] = False) -> None:
    if version:
        from polyhead.version import __version__

        print(__version__)
        raise typer.Exit


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
    from polyhead.views import Watcher, write_figures

    _check_json(json_file)
    if resume is not None:
        if recipe is not None or output is not None or seed is not None:
            raise PolyheadError("--resume takes a run alone.", remedy=f"polyhead train --resume {resume}")
        folder = resume
    elif recipe is None:
        raise PolyheadError("No recipe is given.", remedy="polyhead train RECIPE --output RUN")
    else:
        folder = output or Path("runs") / recipe.stem
    from polyhead.recipe import load_recipe
    from polyhead.training import resume as go_on
    from polyhead.training import train as start

    try:
        with Watcher() as watcher:
            if resume is not None:
                run = go_on(folder, watch=watcher, tell=watcher.tell)
            else:
                assert recipe is not None
                loaded = load_recipe(recipe)
                if seed is not None:
                    loaded = loaded.model_copy(update={"seed": seed})
                run = start(loaded, folder, watch=watcher, tell=watcher.tell)
    except KeyboardInterrupt as stopped:
        stopped.args = (_left_of(folder),)
        raise
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

    _check_json(json_file)
    other, file = other_and_file([path for path in (other_run, file) if path is not None])
    if file is not None and split is not None:
        raise PolyheadError("FILE is scored on instead of a split.", remedy="Give FILE or --split, not both.")
    split = split or "test"
    if split not in ("train", "dev", "test"):
        raise PolyheadError(f"--split {split} is no split.", remedy="Take train, dev or test.")
    if other is not None:
        compared = compare(run, other, split=split, file=file, data=data, best=best, tell=_tell)
        show_comparison(compared, str(run), str(other), str(file or split))
        tasks = {name: one.to_dict() for name, one in compared.items()}
        write_figures(json_file, {"first": str(run), "second": str(other), "on": str(file or split), "tasks": tasks})
        return
    found = assess(run, split=split, file=file, data=data, best=best, tell=_tell)
    show(scores_table(found.scores, str(file or split), found.intervals))
    show_signatures(found.signatures)
    write_figures(json_file, found.scores)


@app.command()
def predict(
    run: Annotated[Path, typer.Argument(help="A run, a model folder, or owner/name on the Hugging Face Hub.")],
    inputs: Annotated[list[Path] | None, typer.Argument(help="Files; none or - is standard input.")] = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Write here, not to the terminal.")] = None,
    from_format: Annotated[
        str | None,
        typer.Option("--from", help="The input's format: text, conllu, columns, csv, tsv, jsonl, parquet, parallel."),
    ] = None,
    to_format: Annotated[
        str | None, typer.Option("--to", help="The output's format: conllu, columns, jsonl, csv, tsv, text.")
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
) -> None:
    """Annotate texts. Plain text is one text a line; words and order come out as they came.

    Example: polyhead predict runs/first texts.txt --output answers.conllu
    """
    from polyhead.annotate import annotate

    search = {"beams": beams, "best": best_texts, "temperature": temperature}
    annotate(
        run,
        inputs or [Path("-")],
        output,
        from_format=from_format,
        to_format=to_format,
        text=text,
        pair=pair,
        confidence=confidence,
        best=best,
        task=task,
        search=search if search != {"beams": None, "best": 1, "temperature": None} else None,
        tell=_tell,
    )


@app.command()
def study(
    recipe: Annotated[Path, typer.Argument(help="A recipe: the target, its data, and tasks to learn from before.")],
    target: Annotated[str, typer.Option(metavar="TASK", help="The task that the study is about.")],
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="The study's folder; by default studies/ and the recipe's name."),
    ] = None,
    ways: Annotated[
        str | None,
        typer.Option(help="scratch, frozen, fine-tuned, lora, joint, joint-fine-tuned, from:TASK, own; with commas."),
    ] = None,
    sizes: Annotated[str | None, typer.Option(help="Numbers of training examples, with commas; all for all.")] = None,
    seeds: Annotated[int, typer.Option(min=1, help="How many seeds.")] = 3,
    at_once: Annotated[
        int | None, typer.Option(min=1, help="Runs at a time; by default one for each processor.")
    ] = None,
    threads: Annotated[int, typer.Option(min=1, help="Threads of each run.")] = 1,
    on: Annotated[str, typer.Option(help="Where runs are computed: local or ray.")] = "local",
    keep: Annotated[
        str, typer.Option(help="Which models stay: all, or the best of each way. Scores always do.")
    ] = "all",
    pool: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Texts without labels, of which to choose those to label next.")
    ] = None,
    pool_size: Annotated[int, typer.Option(min=1, help="How many to choose.")] = 100,
    suspects: Annotated[
        bool, typer.Option(help="Look for label errors in the training data, which takes a few trainings.")
    ] = True,
) -> None:
    """Train a task in several ways, on several numbers of examples, and see what transfer bought.

    Example: polyhead study recipe.toml --target entities --sizes 100,500,all

    The same command goes on with a study that was ended; further ways, sizes and seeds are added to it.
    """
    from polyhead.reporting.study_page import LivePage
    from polyhead.studies import answers, look_at_best, run_study
    from polyhead.studies.best import choose_texts, see_pool
    from polyhead.studies.view import show_answers, show_best, show_choice

    if on not in ("local", "ray"):
        raise PolyheadError(f"--on {on} is no place for runs.", remedy="Take local or ray.")
    if pool is not None:
        see_pool(pool, pool_size)
    page = LivePage(_tell)
    best = None
    try:
        made = run_study(
            recipe,
            target,
            output or Path("studies") / recipe.stem,
            ways=None if ways is None else [way.strip() for way in ways.split(",")],
            sizes=None if sizes is None else [_size(size.strip()) for size in sizes.split(",")],
            seeds=range(1, seeds + 1),
            at_once=at_once,
            threads=threads,
            on=on,
            keep=keep,
            tell=_tell,
            see=page,
        )
        page.finish()
        found = answers(made)
        if found is not None:
            show_answers(found)
            best = look_at_best(made, suspects=suspects, on=on, at_once=at_once, tell=_tell)
        if best is not None:
            show_best(best)
        if best is not None and pool is not None:
            choice = choose_texts(made, best, pool, pool_size, _tell)
            best = replace(best, choice=choice)
            show_choice(choice)
    finally:
        written = page.finish(best)
    for point, error in made.failures:
        _tell(f"{point.way} with {point.size:,} examples, seed {point.seed}, could not be had: {error}")
    if written is not None:
        print(f"\nThe page with pictures: {written}")


class _Lists(TyperCommand):
    """A command some of whose options take several values one after the other: --encoders A B C."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Read the command line."""
        spread, option = [], ""
        for word in args:
            if word.startswith("-"):
                option = word if word in ("--encoders", "--sources") else ""
                spread += [] if option else [word]
            else:
                spread += [option, word] if option else [word]
        return super().parse_args(ctx, spread)


@app.command(cls=_Lists)
def advise(
    recipe: Annotated[Path, typer.Argument(help="A recipe: the target, its data, and tasks to learn from before.")],
    target: Annotated[str, typer.Option(metavar="TASK", help="The task that is to be good.")],
    encoders: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME...", help="Encoders to rank: as a recipe names them, folders, or finished runs."),
    ] = None,
    sources: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME...", help="Sources to rank: tasks of the recipe, or finished runs."),
    ] = None,
    groups: Annotated[
        bool, typer.Option("--groups", help="Find, too, which tasks to train together: takes a short joint run.")
    ] = False,
    examples: Annotated[int, typer.Option(help="How many of the target's training examples to look at.")] = 500,
    seed: Annotated[int, typer.Option(min=0, help="Of their draw, and of brief lessons.")] = 1,
    then: Annotated[str | None, typer.Option(help="study: go on with a study of the best few.")] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="The study's folder; by default studies/ and the recipe's name."),
    ] = None,
    json_file: JsonOption = None,
) -> None:
    """Rank encoders and source tasks for a target before any training, and say how sure that is.

    Example: polyhead advise recipe.toml --target entities --encoders minilm runs/first --sources pos syntax
    """
    if then not in (None, "study"):
        raise PolyheadError(f"--then {then} is nothing to go on with.", remedy="Take --then study, or leave it out.")
    if output is not None and then is None:
        raise PolyheadError("--output is the folder of a study.", remedy="Add --then study, or leave it out.")
    from polyhead.studies.advice import advise as ask
    from polyhead.studies.advice_view import advice_lines
    from polyhead.views import show, write_figures

    _check_json(json_file)
    found = ask(
        recipe, target, encoders=encoders, sources=sources, groups=groups, examples=examples, seed=seed, tell=_tell
    )
    for line in advice_lines(found):
        show(line)
    write_figures(json_file, found.to_dict())
    if then == "study":
        ways = ",".join(found.ways())
        show(f"\nNow the study; to add to it later: polyhead study {recipe} --target {target} --ways {ways}")
        study(recipe, target, output, ways=ways)


def _size(text: str) -> int:
    """A number of examples from the command line.

    Raises:
        PolyheadError: It is none.
    """
    if text == "all":
        return sys.maxsize
    try:
        return int(text)
    except ValueError:
        raise PolyheadError(f"--sizes: {text!r} is no number of examples.", remedy="As in 100,500,all") from None


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

    for task, folder in save(run, output, tell=_tell).items():
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

    _check_json(json_file)
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

        _check_json(json_file)
        write_figures(json_file, run_demo(output))
    except KeyboardInterrupt as stopped:
        stopped.args = (_left_of(output),)
        raise
