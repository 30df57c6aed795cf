"""From files to a recipe: looks at what they hold and writes down what one could learn from them.

The rules are simple and their guesses are meant to be read and corrected: each line that is a guess says on what it
stands.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from polyhead.data.dataset import SPLITS
from polyhead.data.guess_files import known_format
from polyhead.data.guess_layers import DataGuess, TaskGuess, layers_of
from polyhead.data.guess_parallel import expanded, formats, paired, sides_of
from polyhead.data.readers import format_of
from polyhead.data.spec import PARALLEL
from polyhead.errors import PolyheadError

_SPLIT_WORDS = {
    "train": r"train(ing)?(set)?|trn",
    "dev": r"dev(el|elopment)?(set)?|val(id|idation)?|testa",
    "test": r"test(ing)?(set)?|tst|testb|heldout",
    "eval": r"eval(uation)?",
}
_SHARE = 0.1
_FORMAT_NAMES = {"conllu": "CoNLL-U", "columns": "Columns", "jsonl": "JSONL", "parquet": "Parquet"}


@dataclass(slots=True)
class _Files:
    """The files of one dataset, by split."""

    name: str
    format: str
    splits: dict[str, list[Path]] = field(default_factory=dict)


def guess(files: Sequence[Path]) -> str:
    """The text of a recipe (TOML) for some files, with comments that say what was seen.

    Files of one format in one folder whose names differ only by train, dev, valid, test and their kin are the splits
    of one dataset; without a development file a tenth of training is held out. Files of plain text whose names differ
    in a part, and that have as many lines each, are the sides of parallel texts. Paths are written as given.

    Args:
        files: Data files of any format, at least one.

    Raises:
        PolyheadError: A file is missing, unreadable or of no known format, holds nothing to learn, or a dataset has
            no training file.
    """
    if not files:
        raise PolyheadError("no file was given", remedy="Name the files with your data: polyhead new train.csv dev.csv")
    datasets = [(group, _look_into(group.splits["train"][0], group.format)) for group in _groups(files)]
    parts = [_head(files)]
    names: list[str] = []
    for group, found in datasets:
        parts.append("\n".join(_data_table(group, found)))
        for task in found.tasks:
            name = task.name if _is_free(task.name, datasets) else f"{group.name}_{task.name}"
            names.append(name)
            parts.append("\n".join(_task_table(name, task, group.name)))
    parts.append("\n".join(_stages(names)))
    return "\n\n".join(parts) + "\n"


def _look_into(path: Path, format_: str) -> DataGuess:
    return sides_of(path, format_) if format_ == PARALLEL else layers_of(path, format_)


# --- splits ---


def _groups(files: Sequence[Path]) -> list[_Files]:
    """The datasets that files make up.

    Raises:
        PolyheadError: A dataset has no training file.
    """
    groups: dict[tuple[str, str, str], _Files] = {}
    single = expanded(files)
    paths = formats(paired(single, lambda word: _split_word(word)[0] != ""), single, known_format)
    for path, format_ in paths.items():
        split, folder, rest = _split_of(path)
        group = groups.setdefault((format_, folder, rest), _Files(rest or Path(folder).name, format_))
        group.splits.setdefault(split, []).append(path)
    found = _merged(groups)
    for number, group in enumerate(found):
        _settle(group, alone=len(paths) == 1)
        plain = re.sub(r"[^a-z0-9]+", "_", group.name.casefold()).strip("_") or "data"
        taken = {other.name for other in found[:number]}
        group.name = next(one for one in (plain, *(f"{plain}{i}" for i in range(2, 1000))) if one not in taken)
    return found


def _split_of(path: Path) -> tuple[str, str, str]:
    """The split that a file's name tells ("" if none), the folder of its dataset, and the rest of its name.

    Where the name tells none, that of its folder may: ``train/data.csv``.
    """
    name = path.name.removesuffix(".gz")
    if not _split_word(Path(name).suffix)[0]:  # eng.testa has no suffix.
        name = Path(name).stem
    split, rest = _split_word(name)
    folder = path.absolute().parent
    if not split and (found := _split_word(folder.name))[0] and not found[1]:
        return found[0], str(folder.parent), rest
    return split, str(folder), rest


def _split_word(name: str) -> tuple[str, str]:
    """The first word of a name that tells a split, and the others; numbers of parts (00000-of-00004) are dropped."""
    words = [word for word in re.split(r"[^A-Za-z0-9]+", name) if word]
    for at, word in enumerate(words):
        for split, pattern in _SPLIT_WORDS.items():
            if re.fullmatch(rf"(?:{pattern})\d*", word, re.IGNORECASE):
                others = [one for one in words[:at] + words[at + 1 :] if not re.fullmatch(r"\d+|of", one)]
                return split, "_".join(others)
    return "", "_".join(words)


def _merged(groups: Mapping[tuple[str, str, str], _Files]) -> list[_Files]:
    """Groups without a training file joined to the only one in their folder that has one (dev_matched, for example)."""
    found: list[_Files] = []
    for (format_, folder, _), group in groups.items():
        with_train = [
            other
            for (other_format, other_folder, _), other in groups.items()
            if (other_format, other_folder) == (format_, folder) and "train" in other.splits
        ]
        if "train" not in group.splits and "" not in group.splits and len(with_train) == 1:
            for split, paths in group.splits.items():
                with_train[0].splits.setdefault(split, []).extend(paths)
        else:
            found.append(group)
    return found


def _settle(group: _Files, alone: bool) -> None:
    """Gives each file one of the three splits.

    Raises:
        PolyheadError: None is for training.
    """
    splits = group.splits
    if "eval" in splits:
        splits.setdefault("dev" if "dev" not in splits else "test", []).extend(splits.pop("eval"))
    if alone:
        (only,) = splits.values()
        group.splits = {"train": only}
    elif "" in splits:
        splits.setdefault("train", []).extend(splits.pop(""))
    if "train" not in group.splits:
        first = next(iter(group.splits.values()))[0]
        raise PolyheadError(
            f"this file is for {' and '.join(group.splits)}, and no file beside it for training",
            remedy="Name the training file too, with train in its name.",
            file=first,
        )


def _is_free(name: str, datasets: Sequence[tuple[_Files, DataGuess]]) -> bool:
    return sum(task.name == name for _, found in datasets for task in found.tasks) == 1


# --- the text ---


def _head(files: Sequence[Path]) -> str:
    counted = "1 file" if len(files) == 1 else f"{len(files)} files"
    return (
        f"# A recipe guessed from {counted}. Look it over, correct it where the guess is wrong, then train it.\n"
        "# Paths start from the folder of this recipe. Labels named are those of a sample of the training files.\n\n"
        'encoder = "minilm"  # a bundled name, a folder, or an id on the Hub'
    )


def _data_table(group: _Files, found: DataGuess) -> Iterator[str]:
    yield from (f"# {_one_line(remark[0].upper() + remark[1:])}." for remark in found.remarks)
    yield f"[data.{group.name}]"
    first = group.splits["train"][0]
    try:
        said = format_of(first)
    except PolyheadError:
        said = ""
    if said != group.format:
        yield f'format = "{group.format}"'
    for split in SPLITS:
        paths = [path.as_posix() for path in group.splits.get(split, [])]
        if paths:
            yield f"{split} = {_toml(paths if len(paths) > 1 else paths[0])}"
        elif split == "dev":
            yield f"dev = {_SHARE}  # no file for it was given: a tenth of train is held out"
    for key, value in found.keys.items():
        yield f"{key} = {_toml(value)}{_KEY_COMMENTS.get(key, '')}"


_KEY_COMMENTS = {
    "header": "  # the first row is data already",
    "separator": "  # stands between several labels in a cell",
    "misc": "  # layer = key in the MISC column",
    "comments": "  # layer = key of the comment",
}


def _task_table(name: str, task: TaskGuess, dataset: str) -> Iterator[str]:
    yield f"[tasks.{name}]"
    yield f'type = "{task.type}"  # {_one_line(task.about)}'
    yield f'data = "{dataset}"'
    yield f"layer = {_toml(task.layer)}"
    if task.several:
        yield "several = true  # a text has any number of these labels"


def _stages(names: Sequence[str]) -> Iterator[str]:
    yield "[[stages]]"
    if len(names) == 1:
        yield f'name = "train"\ntasks = {_toml(list(names))}\nepochs = 5'
        return
    yield f'name = "joint"\ntasks = {_toml(list(names))}\nepochs = 5'
    yield "\n# After learning together, a task can go on alone:"
    yield f'# [[stages]]\n# name = "specialise"\n# tasks = {_toml([names[0]])}\n# epochs = 3'


def _toml(value: Any) -> str:
    """A value of TOML on one line."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list):
        return f"[{', '.join(map(_toml, value))}]"
    if isinstance(value, dict):
        pairs = (
            f"{key if re.fullmatch(r'[A-Za-z0-9_-]+', key) else _toml(key)} = {_toml(one)}"
            for key, one in value.items()
        )
        return f"{{ {', '.join(pairs)} }}"
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def _one_line(text: str) -> str:
    """A text that can stand in a comment: TOML allows no control characters there."""
    plain = re.sub(r"[\x00-\x1f\x7f]+", " ", text)
    return plain if len(plain) <= 100 else plain[:97] + "..."
