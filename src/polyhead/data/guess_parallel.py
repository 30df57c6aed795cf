"""Which files are the sides of one parallel corpus, and the recipe's task for them."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from statistics import correlation

from polyhead.data.braces import checked_parts, is_braced, part_names
from polyhead.data.example import Text
from polyhead.data.guess_files import known_format, sample
from polyhead.data.guess_layers import DataGuess, layer_name
from polyhead.data.parallel import TARGET
from polyhead.data.readers import read, suffix_format
from polyhead.data.spec import TEXT, DataSpec
from polyhead.data.text import counted, lines
from polyhead.errors import PolyheadError
from polyhead.files import is_utf8

_TELLING, _RELATED = 20, 0.2  # From so many lines on, lengths of texts that belong together correlate so much.
_WORD = re.compile(r"[^\W_]+")


def expanded(files: Iterable[Path]) -> list[Path]:
    """The files, those with braces in their names as the files that the braces name, each once.

    Raises:
        PolyheadError: The braces of a name are wrong.
    """
    found = (part for path in files for part in (checked_parts(path) if _names_parts(path) else [path]))
    return list(dict.fromkeys(found))


def _names_parts(path: Path) -> bool:
    return is_braced(path) and not path.exists()


def paired(files: Sequence[Path], is_split: Callable[[str], bool]) -> dict[Path, list[Path]]:
    """Paths with braces for files of plain text whose paths differ in one word and that have as many lines each.

    A shell makes two paths of ``train.{en,fr}``; here they become one again. The order is that of the files.

    Args:
        files: Files, some perhaps of other formats.
        is_split: Whether a word tells a split: ``train.en`` and ``dev.en`` are no pair.

    Raises:
        PolyheadError: Files whose suffixes tell nothing but that they belong together have not as many lines each.
    """
    alike: dict[tuple[str, str], dict[str, Path]] = defaultdict(dict)
    for path in files:
        if _may_be_text(path):
            whole = path.as_posix()
            for word in _WORD.finditer(whole):
                if not word[0].isdigit() and not is_split(word[0]):
                    alike[whole[: word.start()], whole[word.end() :]][word[0]] = path
    counts = {
        path: sum(1 for _ in lines(path)) for parts in alike.values() if len(parts) > 1 for path in parts.values()
    }
    pairs: dict[Path, list[Path]] = {}
    left = set(counts)
    for (before, after), parts in sorted(alike.items(), key=lambda one: -len(one[0][0])):
        for count in dict.fromkeys(counts[path] for path in parts.values() if path in left):
            sides = {part: path for part, path in parts.items() if path in left and counts[path] == count}
            if len(sides) > 1 and count:
                left.difference_update(sides.values())
                pairs[Path(f"{before}{{{','.join(sides)}}}{after}")] = list(sides.values())
    for parts in alike.values():
        _check_lines({path: counts[path] for path in parts.values() if path in left})
    return {path: pairs[path] for path in sorted(pairs, key=lambda path: files.index(pairs[path][0]))}


def _may_be_text(path: Path) -> bool:
    """Whether a file may hold a text on each line: neither its suffix nor its content says something else."""
    if suffix_format(path) not in (None, "text") or not path.is_file() or not is_utf8(path):
        return False
    with suppress(PolyheadError):  # what is wrong with a file is told when it is read, and some text is no format
        return known_format(path) in ("text", "csv")  # a few lines with a comma in each look like CSV, too
    return True


def _check_lines(counts: Mapping[Path, int]) -> None:
    """Refuses files of unequal length whose names differ in a part, if nothing says what they are."""
    if len(counts) < 2 or not all(map(_is_unknown, counts)):
        return
    having = ", ".join(f"{path} has {counted(count, 'line')}" for path, count in counts.items())
    raise PolyheadError(
        f"these files differ in a part of their names, as parallel ones do, but not in that alone: {having}",
        remedy="Line n of one is line n of the other: find where they come apart, or say what the files are by another "
        "ending.",
        file=max(counts, key=lambda path: counts[path]),
        line=min(counts.values()) + 1,
    )


def _is_unknown(path: Path) -> bool:
    """Whether neither suffix nor content says what a file is."""
    try:
        known_format(path)
    except PolyheadError:
        return True
    return False


def sides_of(path: Path, _format: str) -> DataGuess:
    """What parallel files hold, which one path with braces names: a task for each part but the first."""
    parts = part_names(path)
    layers = [TARGET] if len(parts) == 2 else [layer_name(part) for part in parts[1:]]
    spec = DataSpec.model_validate({"layers": [TEXT, *layers]})
    examples = sample(read(path, spec, dict.fromkeys(layers, Text)))
    guess = DataGuess()
    if len(parts) > 2:
        guess.keys["layers"] = [TEXT, *layers]
    for part, layer in zip(parts[1:], layers, strict=True):
        pairs = [(example.text or "", str(example.layers[layer])) for example in examples if layer in example.layers]
        if pairs:
            first, second = (
                sum(len(side.split()) for side in sides) / len(pairs) for sides in zip(*pairs, strict=True)
            )
            if not _look_alike(pairs):
                guess.remarks.append(
                    f"lines of {parts[0]} and {part} do not look like the same texts: see that they are"
                )
            guess.add(*text_task(parts[0], part, f"{first:.0f} words to {second:.0f} on average"), layer)
    if not guess.tasks:
        raise PolyheadError(
            "no line has a text on each side", remedy="Give files with lines that go together.", file=path
        )
    return guess


def _look_alike(pairs: Sequence[tuple[str, str]]) -> bool:
    """Whether long lines stand beside long ones, as those of translations do; a few lines may be as they are."""
    if len(pairs) < _TELLING:
        return True
    first, second = ([float(len(side)) for side in sides] for sides in zip(*pairs, strict=True))
    return len({*first}) == 1 or len({*second}) == 1 or correlation(first, second) > _RELATED


def text_task(source: str, target: str, about: str) -> tuple[str, str, str]:
    """The name and type of a task that makes texts of texts, and a few words on it."""
    return layer_name(f"{source}_{target}"), "seq2seq", f"{source} to {target}, {about}"


def formats(
    pairs: Mapping[Path, Sequence[Path]], files: Sequence[Path], known: Callable[[Path], str]
) -> dict[Path, str]:
    """Each path of a recipe with its format: pairs in the place of their parts."""
    of = {part: path for path, parts in pairs.items() for part in parts}
    return {of.get(file, file): "parallel" if file in of else known(file) for file in files}
