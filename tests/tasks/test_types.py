"""Finding a task type by its name or its dotted path."""

import pytest
from own_task import Loudness

from polyhead.errors import PolyheadError
from polyhead.tasks import TYPES, type_named


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
