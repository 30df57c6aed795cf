"""What all commands share: how they are begun and ended, and how they tell what users can mend."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from typer.core import TyperGroup

from polyhead.errors import PolyheadError, from_here, refused
from polyhead.files import check_place
from polyhead.launch import launched, see_alone, several


class _Commands(TyperGroup):
    """All commands. Whichever Ctrl-C ends, a line says so, and what the interrupt carries of what is left."""

    def make_context(self, *args: Any, **kwargs: Any) -> Any:
        """Read the command line."""
        with _stoppable():
            return super().make_context(*args, **kwargs)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """The command that the command line names: of several processes all train, and no command is for them else.

        Raises:
            PolyheadError: A launcher has started several processes for another one.
        """
        found = super().resolve_command(ctx, args)
        if found[0] != "train":
            see_alone(f"polyhead {found[0]}", "Start it without the launcher.")
        return found

    def invoke(self, ctx: Any) -> Any:
        """Run the command that the command line names."""
        with _stoppable():
            return super().invoke(ctx)


@contextmanager
def _stoppable() -> Iterator[None]:
    try:
        yield
    except KeyboardInterrupt as stopped:
        if launched().first:
            print(f"\nStopped. {from_here(str(stopped))}".rstrip(), file=sys.stderr)
        raise typer.Exit(130) from stopped


class Stop:
    """Ctrl-C, and the signal by which clusters and ``kill`` end a process, as a wish to stop after the next step.

    Only once a run asks for the wish: before that, and at the second time, it is heard at once. Use it as a context
    manager, around what asks.
    """

    def __init__(self) -> None:
        self.wanted = False
        self.asked = False
        self.before: dict[int, Any] = {}

    def __call__(self) -> bool:
        """Whether somebody wants to stop."""
        self.asked = True
        return self.wanted

    def _heard(self, _number: int, _frame: object) -> None:
        if self.wanted or not self.asked:
            raise KeyboardInterrupt
        self.wanted = True
        if launched().first:
            print("\nStopping after this step. Once more stops at once.", file=sys.stderr)

    def __enter__(self) -> Stop:
        with suppress(ValueError):  # only the main thread hears signals
            for number in (signal.SIGINT, signal.SIGTERM):
                if signal.getsignal(number) is not signal.SIG_IGN:
                    self.before[number] = signal.signal(number, self._heard)
        return self

    def __exit__(self, *_error: object) -> None:
        for number, handler in self.before.items():
            signal.signal(number, handler)


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
    if several():
        from polyhead.ranks import speaks

        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # by which a launcher ends all, before one of them has spoken
        if not speaks(error):
            sys.exit(1)
    print(f"error: {from_here(str(error))}", file=sys.stderr)
    sys.exit(1)


def tell(note: str) -> None:
    """Show a note, beside what the command is for."""
    if not launched().first:
        return
    print(f"note: {from_here(note)}", file=sys.stderr)


def check_json(path: Path | None) -> None:
    """See that the figures can be written, before the work for them is done."""
    if path is not None:
        check_place(path)


def left_of(run: Path) -> str:
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
