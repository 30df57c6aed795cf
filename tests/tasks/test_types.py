"""Finding a task type by its name or its dotted path."""

import math

import pytest
from own_task import Loudness

from polyhead.errors import PolyheadError
from polyhead.tasks import TYPES, Task, make_task, type_named
from polyhead.tasks.parsing import Parsing
from polyhead.tasks.tagging import Tagging


def test_names_and_dotted_paths() -> None:
    assert all(type_named(name) is cls for name, cls in TYPES.items())
    assert type_named("own_task.Loudness") is Loudness


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("taging", "no task type 'taging'.*\n.*Did you mean 'tagging'"),
        ("no_such_module.Own", "cannot be imported.*\n.*PYTHONPATH"),
        ("own_task.Lowdness", "cannot be imported"),
        ("pathlib.Path", "no subclass of polyhead.tasks.Task"),
        ("os.getcwd", "no subclass of polyhead.tasks.Task"),
        (".Own", "cannot be imported"),
        ("..own.Own", "cannot be imported"),
    ],
)
def test_what_is_no_type_is_refused(name: str, message: str) -> None:
    with pytest.raises(PolyheadError, match=message):
        type_named(name)


@pytest.mark.parametrize(
    ("cls", "setting", "value"),
    [
        (Tagging, "weight", -1.0),
        (Tagging, "weight", math.nan),
        (Tagging, "weight", math.inf),
        (Tagging, "weight", "1"),
        (Tagging, "dropout", 1.0),
        (Tagging, "dropout", -0.1),
        (Tagging, "layer", 3),
        (Tagging, "data", ["d"]),
        (Tagging, "unseen", "eror"),
        (Tagging, "more_labels", "X"),
        (Parsing, "dropout", 1.0),
        (Parsing, "arc_size", 0),
        (Parsing, "relation_size", 10**9),
        (Loudness, "dropout", 2),
    ],
)
def test_a_wrong_setting_is_refused_in_python_as_in_a_recipe(cls: type[Task], setting: str, value: object) -> None:
    given = {"data": "d", "layer": "x", setting: value}
    with pytest.raises(PolyheadError, match=rf"tasks\.it\.{setting} = .* is not right: ") as caught:
        cls(name="it", **given)  # type: ignore[arg-type]
    name = next((name for name, known in TYPES.items() if known is cls), "own_task.Loudness")
    with pytest.raises(PolyheadError) as again:
        make_task("it", {"type": name, **given})
    assert str(again.value) == str(caught.value)


def test_a_table_without_a_type_is_refused() -> None:
    with pytest.raises(PolyheadError, match=r"tasks\.it has no type"):
        make_task("it", {"data": "d", "layer": "x"})
