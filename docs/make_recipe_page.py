"""Writes docs/recipe.md from the code: the recipe's field descriptions and the docstrings of the task types.

    python docs/make_recipe_page.py

A sentence about a key is written once, beside the key; this page, error messages and the recipe's own check share it.
"""

from __future__ import annotations

import dataclasses
import inspect
import re
import types
import typing
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from polyhead.data import DataSpec
from polyhead.encoder_spec import EncoderSpec, StartSpec
from polyhead.recipe import Recipe
from polyhead.stage import AdapterSpec, DistilSpec, Stage
from polyhead.tasks import TYPES, Task

PAGE = Path(__file__).with_name("recipe.md")

TOP = """\
<!-- Written by docs/make_recipe_page.py from the code. Change the code, then run it: make docs -->
# Every key of a recipe

A recipe is a [TOML](https://toml.io) file. It names an encoder, datasets, tasks and stages:

```toml
encoder = "minilm"

[data.reviews]                # a dataset: files, and what they hold
train = "train.conllu"
dev = "dev.conllu"

[tasks.pos]                   # a task: what is learnt from one layer of one dataset
type = "tagging"
data = "reviews"
layer = "upos"

[tasks.syntax]
type = "parsing"
data = "reviews"

[[stages]]                    # a stage: which tasks learn together, and how; stages run in order
name = "joint"
epochs = 5
```

- A recipe is strict: an unknown key, or a value of the wrong kind, is an error that names the line and the nearest key.
- Paths start from the recipe's own folder.
- Names of datasets, tasks and stages are yours; those of tasks and stages are made of letters, digits, `-` and `_`.
- Nothing but a dataset and a task is needed: without `encoder` it is `minilm`, without stages there is one, with all
  tasks, five epochs long.
- A run keeps its recipe with every default written out, in `recipe.toml` of its folder. Training from that file again
  gives the same model on the same machine.

What the files themselves look like is in [formats.md](formats.md); what each task type does, in
[task-types.md](task-types.md). Whole recipes with comments are in [examples](../examples).
"""


def page() -> str:
    """The text of the page."""
    parts = [
        TOP,
        "## At the top\n\nThese come first, before any table.\n",
        _table(_pydantic_rows(Recipe, leave=("base", "start", "data", "tasks", "stages"))),
        '## `[encoder]`\n\n`encoder = "NAME"` is short for a table with `name` alone. A table without a name builds an '
        "encoder from scratch. [transfer.md](transfer.md) says which start is for what.\n",
        _table(_pydantic_rows(EncoderSpec)),
        "## `[start]`\n\nA previous run to go on from, in place of `encoder`.\n",
        _table(_pydantic_rows(StartSpec)),
        "## `[data.NAME]`\n\nThe files of one dataset. Nothing is required; training needs `train`.\n",
        _table(_pydantic_rows(DataSpec)),
        "## `[tasks.NAME]`\n\nThese keys every task has:\n",
        _table([("`type`", "string", "required", f"{_types_in_words()}."), *_task_rows(Task)]),
        *(_type_section(name, cls) for name, cls in TYPES.items()),
        "## `[[stages]]`\n\nA stage each time the heading is written. "
        "A stage goes on from the weights that the one before it handed on.\n",
        _table(_pydantic_rows(Stage)),
        '### `adapter`\n\nA table in a stage, such as `adapter = { kind = "lora", rank = 8 }`.\n',
        _table(_pydantic_rows(AdapterSpec)),
        '### `distil`\n\nA table in a stage, such as `distil = { teachers = ["../runs/pos", "../runs/ner"] }`. '
        "How it works is in [design.md](design.md#distillation).\n",
        _table(_pydantic_rows(DistilSpec)),
    ]
    return "\n".join(part.rstrip("\n") + "\n" for part in parts)


def _types_in_words() -> str:
    return f"The task type: {', '.join(f'`{name}`' for name in TYPES)}, or the dotted path of your own"


def _type_section(name: str, cls: type[Task]) -> str:
    own = {field.name for field in dataclasses.fields(Task)}
    rows = [row for row in _task_rows(cls) if row[0].strip("`") not in own]
    what = (inspect.getdoc(cls) or "").partition("\n\n")[0].replace("\n", " ").replace("``", "`")
    default = f" Its layer is `{cls.default_layer}` unless `layer` says otherwise." if cls.default_layer else ""
    text = f'### `type = "{name}"`\n\n{what}{default}\n'
    return f"{text}\n{_table(rows)}" if rows else f"{text}\nIt has no keys of its own.\n"


def _table(rows: list[tuple[str, str, str, str]]) -> str:
    lines = ["| key | value | default | what it says |", "|---|---|---|---|"]
    lines += ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows]
    return "\n".join(lines) + "\n"


def _pydantic_rows(model: type[BaseModel], leave: tuple[str, ...] = ()) -> list[tuple[str, str, str, str]]:
    rows = []
    for name, field in model.model_fields.items():
        if name in leave:
            continue
        default = field.get_default(call_default_factory=True)
        shown = "required" if default is PydanticUndefined else _value(default)
        rows.append((f"`{name}`", _kind(field.annotation), shown, _sentence(field.description or "")))
    return rows


def _task_rows(cls: type[Task]) -> list[tuple[str, str, str, str]]:
    """The keys that a task type takes, each with the sentence that its docstring has about it."""
    said = _attributes(cls)
    hints = typing.get_type_hints(cls)
    rows = []
    for field in dataclasses.fields(cls):
        if field.name == "name" or field.metadata.get("learnt"):
            continue
        required = field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
        default = field.default if field.default is not dataclasses.MISSING else None
        if field.name == "layer":
            shown = "required"
            for name, other in TYPES.items():
                shown += f"; `{other.default_layer}` for {name}" if other.default_layer else ""
                shown += "" if other.annotates else f"; none for {name}"
        else:
            shown = "required" if required else _value(default)
            if cls is Task and not required:
                others = {name: other.__dataclass_fields__[field.name].default for name, other in TYPES.items()}
                shown += "".join(f"; {_value(own)} for {name}" for name, own in others.items() if own != default)
        rows.append((f"`{field.name}`", _kind(hints[field.name]), shown, _sentence(said.get(field.name, ""))))
    return rows


def _attributes(cls: type[Task]) -> dict[str, str]:
    """The ``Attributes:`` of the docstrings of a class and of those that it is made from."""
    said = {}
    for one in reversed(cls.__mro__):
        _, _, section = inspect.cleandoc(one.__doc__ or "").partition("Attributes:\n")
        found = re.findall(r"^    (\w+): (.*(?:\n {5,}.*)*)", section, re.MULTILINE)
        said |= {name: " ".join(text.split()) for name, text in found}
    return said


def _sentence(text: str) -> str:
    return text.replace("``", "`")


def _value(value: Any) -> str:
    if value is None:
        return "none"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if value in ([], {}, ""):
        return "none"
    return f'`"{value}"`' if isinstance(value, str) else f"`{value}`"


def _kind(annotation: Any) -> str:
    """The kind of a value in words that TOML knows."""
    origin, args = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Annotated:
        return _kind(args[0])
    if origin is Literal:
        return ", ".join(f'`"{one}"`' for one in args)
    if origin in (types.UnionType, typing.Union):
        return " or ".join(_kind(one) for one in args if one is not type(None))
    if origin is list:
        return f"list of {_kind(args[0])}s"
    if origin is dict:
        return f"table of {_kind(args[1])}s"
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return "table"
    return {str: "string", int: "whole number", float: "number", bool: "`true` or `false`"}[annotation]


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
