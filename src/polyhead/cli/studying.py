"""Commands on many runs: a study, and advice before one."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperCommand

from polyhead.cli.shared import JsonOption, app, check_json, tell
from polyhead.errors import PolyheadError

if TYPE_CHECKING:
    from polyhead.reporting.study_page import LivePage
    from polyhead.studies import Best, Studies, Study


FolderOption = Annotated[
    Path | None, typer.Option("--output", "-o", help="The study's folder; by default studies/ and the recipe's name.")
]
WaysOption = Annotated[
    str | None,
    typer.Option(
        help="scratch, frozen, fine-tuned, lora, joint, joint-fine-tuned, from:TASK, with:ENCODER, own; with commas."
    ),
]
PoolOption = Annotated[
    Path | None, typer.Option(metavar="FILE", help="Texts without labels, of which to choose those to label next.")
]
SuspectsOption = Annotated[
    bool, typer.Option(help="Look for label errors in the training data, which takes a few trainings.")
]


class _Commas(TyperCommand):
    """A command whose options take several values with commas between them: --sizes 100,500,all."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Read the command line.

        Raises:
            BadParameter: There are words that belong to no option.
        """
        try:
            return super().parse_args(ctx, args)
        except Exception as error:  # releases of typer differ in its type
            if "extra argument" not in str(error):
                raise
            raise typer.BadParameter(f"{error}. Values of an option go with commas: --sizes 100,500,all", ctx) from None


@app.command(cls=_Commas)
def study(
    recipe: Annotated[Path, typer.Argument(help="A recipe: the target, its data, and tasks to learn from before.")],
    target: Annotated[
        str, typer.Option(metavar="TASK", help="The task that the study is about; of several, with commas, one each.")
    ],
    output: FolderOption = None,
    ways: WaysOption = None,
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
    pool: PoolOption = None,
    pool_size: Annotated[int, typer.Option(min=1, help="How many to choose.")] = 100,
    suspects: SuspectsOption = True,
) -> None:
    """Train a task in several ways, on several numbers of examples, and see what transfer bought.

    Example: polyhead study recipe.toml --target entities --sizes 100,500,all

    The same command goes on with a study that was ended; further ways, sizes and seeds are added to it. With several
    targets it says, too, which task helps which.
    """
    from polyhead.studies import run_study, study_each

    if on not in ("local", "ray"):
        raise PolyheadError(f"--on {on} is no place for runs.", remedy="Take local or ray.")
    folder, targets = output or Path("studies") / recipe.stem, _listed(target)
    wish: dict[str, Any] = {
        "ways": None if ways is None else _listed(ways),
        "sizes": None if sizes is None else [_size(size) for size in _listed(sizes)],
        "seeds": range(1, seeds + 1),
        "threads": threads,
        "keep": keep,
    }
    place: dict[str, Any] = {"on": on, "at_once": at_once, "tell": tell}
    look = Look(pool, pool_size, suspects, place)
    look.check(targets)
    if len(targets) == 1:
        with _page() as page:
            look.at(run_study(recipe, targets[0], folder, see=page, **wish, **place), page)
        return
    pages: dict[str, LivePage] = {}
    try:
        made = study_each(recipe, targets, folder, see=lambda known: _follow(known, pages), **wish, **place)
    except KeyboardInterrupt as stopped:
        lasts = [page for page in pages.values() if page.finish()][-1:]
        stopped.args = (_left_of(lasts[0].study if lasts else None),)
        raise
    _show_each(made, pages, look)


@dataclass(frozen=True)
class Look:
    """What to see of a finished study.

    Attributes:
        pool: Texts without labels.
        pool_size: How many of them to choose.
        suspects: Whether to look for label errors.
        place: Where trainings that this takes are computed, and who is told.
    """

    pool: Path | None
    pool_size: int
    suspects: bool
    place: dict[str, Any]

    def check(self, targets: Sequence[str]) -> None:
        """See before hours of training that the pool can be read, and is for one target.

        Raises:
            PolyheadError: It cannot, or is not.
        """
        from polyhead.studies.best import see_pool

        if self.pool is None:
            return
        if len(targets) > 1:
            raise PolyheadError("--pool is for a study of one target.", remedy="Study the one to label for alone.")
        see_pool(self.pool, self.pool_size)

    def at(self, made: Study, page: LivePage) -> None:
        """Show the answers, then a closer look at the best run."""
        from polyhead.studies import look_at_best

        page.finish()
        _show_answers(made)
        page.best = look_at_best(made, suspects=self.suspects, **self.place)
        page.best = _show_best(made, page.best, self.pool, self.pool_size)


@contextmanager
def _page() -> Iterator[LivePage]:
    """The page of a study, which is written in the end, however that comes."""
    from polyhead.reporting.study_page import LivePage

    page = LivePage(tell)
    try:
        yield page
    except KeyboardInterrupt as stopped:
        stopped.args = (_left_of(page.study),)
        raise
    finally:
        written = page.finish()
    if written is not None:
        print(f"\nThe page with pictures: {written}")


def _follow(known: Study, pages: dict[str, LivePage]) -> None:
    """Keep the page of each target up to date; that of the one before is finished when the next begins."""
    from polyhead.reporting.study_page import LivePage

    target = known.question.target
    if target not in pages:
        for page in pages.values():
            page.finish()
        pages[target] = LivePage(tell)
    pages[target](known)


def _show_each(made: Studies, pages: dict[str, LivePage], look: Look) -> None:
    """Show each target's answers, then what they say together."""
    from polyhead.reporting.matrix_page import matrix_report
    from polyhead.studies.view import show_matrix
    from polyhead.views import show

    for known in made.studies:
        page = pages.get(known.question.target)
        if page is not None:
            show(f"\n{known.question.target}\n")
            look.at(known, page)
            page.finish()
    found = made.matrix()
    if found is not None:
        show("")
        show_matrix(found)
        print(f"\nThe page with pictures: {matrix_report(made)}")


def _left_of(made: Study | None) -> str:
    """What is left of a study that Ctrl-C ended, and how to go on."""
    if made is None:
        return "Nothing was trained yet."
    return f"{len(made.results):,} of {len(made.points):,} runs are finished. The same command goes on."


def _show_answers(made: Study) -> None:
    from polyhead.studies.view import show_answers

    found = made.answers()
    if found is not None:
        show_answers(found)
    for point, error in made.failures:
        tell(f"{point.way} with {point.size:,} examples, seed {point.seed}, could not be had: {error}")


def _show_best(made: Study, best: Best | None, pool: Path | None, size: int) -> Best | None:
    """Show what was found about the best run, then choose the texts to label next."""
    from polyhead.studies.best import choose_texts
    from polyhead.studies.view import show_best, show_choice

    if best is None:
        return None
    show_best(best)
    if pool is not None:
        best = replace(best, choice=choose_texts(made, best, pool, size, tell))
    show_choice(best.choice)
    return best


LISTS = ("--encoders", "--sources")
"""Options that take several values."""


class _Lists(TyperCommand):
    """A command some of whose options take several values one after the other: --encoders A B C."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Read the command line.

        Raises:
            BadParameter: Nothing follows an option of several values.
        """
        spread, option = [], ""
        for word, following in zip(args, [*args[1:], "-"], strict=True):
            if word in LISTS and following.startswith("-"):
                raise typer.BadParameter(f"{word} is followed by no name.", ctx)
            if word.startswith("-"):
                name, equals, _ = word.partition("=")
                option = name if name in LISTS else ""
                spread += [] if option and not equals else [word]
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
    output: FolderOption = None,
    json_file: JsonOption = None,
) -> None:
    """Rank encoders and source tasks for a target before any training, and say how sure that is.

    Example: polyhead advise recipe.toml --target entities --encoders minilm runs/first --sources pos syntax
    """
    if then not in (None, "study"):
        raise PolyheadError(f"--then {then} is nothing to go on with.", remedy="Take --then study, or leave it out.")
    if output is not None and then is None:
        raise PolyheadError("--output is the folder of a study.", remedy="Add --then study, or leave it out.")
    from polyhead.advice.ranking import advise as ask
    from polyhead.advice.view import advice_lines
    from polyhead.views import show, write_figures

    check_json(json_file)
    found = ask(
        recipe, target, encoders=encoders, sources=sources, groups=groups, examples=examples, seed=seed, tell=tell
    )
    for line in advice_lines(found):
        show(line)
    write_figures(json_file, found.to_dict())
    if then == "study":
        ways = ",".join(found.ways())
        again = ["polyhead", "study", str(recipe), "--target", target, "--ways", ways]
        again += [] if output is None else ["--output", str(output)]
        show(f"\nNow the study; to add to it later: {shlex.join(again)}")
        study(recipe, target, output, ways=ways)


def _listed(text: str) -> list[str]:
    """What stands between commas."""
    return [one.strip() for one in text.split(",")]


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
