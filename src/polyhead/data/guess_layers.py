"""Which layers the files of each format hold, and which tasks would learn them."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from polyhead.data.conllu import MISC
from polyhead.data.example import WORDS, Example, Tree, WordLabels
from polyhead.data.guess_fields import MANY, Look, are_words, is_span_tags, look, named, tags
from polyhead.data.guess_files import records, sample, sentences, table
from polyhead.data.readers import read
from polyhead.data.spec import CONLLU_LAYERS, PAIR, RESERVED, TEXT, UNUSED, DataSpec
from polyhead.errors import PolyheadError

_TEXTS = ("text", "sentence", "review", "content", "body", "tweet", "utterance", "document", "comment", "query")
_PAIRS = (
    ("sentence1", "sentence2"), ("premise", "hypothesis"), ("question1", "question2"), ("text1", "text2"),
    ("text_a", "text_b"), ("text", "pair"), ("question", "sentence"), ("question", "passage"), ("question", "context"),
    ("query", "passage"), ("s1", "s2"),
)  # fmt: skip
_WORDS = ("words", "tokens", "forms")
_CHUNKS = {"NP", "VP", "PP", "ADVP", "ADJP", "SBAR", "PRT"}
_LABELS = ("label", "labels", "id", "class", "category", "score", "rating", "topic", "intent")
_HEADER_WORDS = {*_TEXTS, *_WORDS, *_LABELS, *(name for pair in _PAIRS for name in pair)}
_TASK_TYPES = {
    "label": ("classification", "label"),
    "labels": ("classification", "labels"),
    "number": ("regression", "score"),
    "tags": ("tagging", "tags"),
    "spans": ("ner", "entities"),
}
"""What a column is: the type of its task, and what the layer is called if the column has no name."""
_NO_LABEL = re.compile(r"(?i)sent_id|text.*|new(doc|par).*|.*_id|id|source|url|global\..*|date|speaker|addressee")


@dataclass(frozen=True, slots=True)
class TaskGuess:
    """A task: its name and type, the layer it learns, a few words on that, and whether it has several labels."""

    name: str
    type: str
    layer: str
    about: str
    several: bool = False


@dataclass(slots=True)
class DataGuess:
    """What a recipe says about a dataset: keys of its table, remarks for people, and its tasks."""

    keys: dict[str, Any] = field(default_factory=dict)
    remarks: list[str] = field(default_factory=list)
    tasks: list[TaskGuess] = field(default_factory=list)

    def add(self, name: str, type_: str, about: str, layer: str | None = None, several: bool = False) -> str:
        """Adds a task, for the layer of its name if none is given; returns its name, made one of its own."""
        taken = {task.name for task in self.tasks}
        own = next(one for one in (name, *(f"{name}{i}" for i in range(2, 1000))) if one not in taken)
        self.tasks.append(TaskGuess(own, type_, layer or own, about, several))
        return own


def layers_of(path: Path, format_: str) -> DataGuess:
    """What a file of some format holds.

    Raises:
        PolyheadError: The file is broken, or holds nothing that a task could learn.
    """
    guessed = _GUESSERS[format_](path, format_) if format_ in _GUESSERS else DataGuess()
    if not guessed.tasks:
        seen = f" ({'; '.join(guessed.remarks)})" if guessed.remarks else ""
        raise PolyheadError(
            f"nothing in this file looks like labels that a task could learn{seen}",
            remedy="Put a label beside each text (CSV, TSV, JSONL), or labels beside each word (CoNLL-U, columns).",
            file=path,
        )
    return guessed


# --- CoNLL-U ---


def _conllu(path: Path, format_: str) -> DataGuess:
    examples = sample(read(path, DataSpec.model_validate({"format": format_})))
    guess = DataGuess()
    tags_ = "upos" if _counts(examples, "upos") else "xpos"
    for name, layer in (("pos", tags_), ("morphology", "feats")):
        counts = _counts(examples, layer)
        if len(counts) > 1:
            guess.add(name, "tagging", named(counts), layer)
    if lemmas := _lemmas(examples):
        guess.add("lemma", "lemmatization", f"as {lemmas}", "lemma")
    relations = _counts(examples, "tree")
    if relations:
        guess.add("syntax", "parsing", named(relations, "relation"), "tree")
    _misc(examples, guess)
    _comments(examples, guess)
    return guess


def _counts(examples: Sequence[Example], layer: str) -> Counter[str]:
    """How often each label of a layer of words, or each relation of its trees, occurs."""
    counts: Counter[str] = Counter()
    for example in examples:
        value = example.layers.get(layer)
        if isinstance(value, Tree):
            counts.update(value.relations)
        elif isinstance(value, WordLabels):
            counts.update(label for label in value if label is not None)
    return counts


def _lemmas(examples: Sequence[Example]) -> str:
    """The lemmas that most often differ from their words."""
    changed: Counter[str] = Counter()
    for example in examples:
        lemmas = example.layers.get("lemma")
        if isinstance(lemmas, WordLabels):
            for word, lemma in zip(example.words, lemmas, strict=True):
                if lemma is not None and word.casefold() != lemma.casefold():
                    changed[f"{word} to {lemma}"] += 1
    return ", ".join(pair for pair, _ in changed.most_common(3))


def _misc(examples: Sequence[Example], guess: DataGuess) -> None:
    """Keys of the MISC column that hold span tags."""
    found: dict[str, list[list[str]]] = defaultdict(list)
    for example in examples:
        here: dict[str, list[str]] = defaultdict(list)
        for row in example.frame.rows if example.frame else ():
            for part in row[MISC].split("|"):
                key, equals, value = part.partition("=")
                if equals:
                    here[key].append(value)
        for key, values in here.items():
            found[key].append(values)
    keys: dict[str, str] = {}
    for key, sequences in found.items():
        if is_span_tags(sequences):
            keys[guess.add(layer_name(key), "ner", tags(sequences).about)] = key
    if keys:
        guess.keys["misc"] = keys


def _comments(examples: Sequence[Example], guess: DataGuess) -> None:
    """Comments ``# key = value`` that hold one of a few labels, or a number, for most sentences."""
    found: dict[str, list[str]] = defaultdict(list)
    for example in examples:
        for comment in example.frame.comments if example.frame else ():
            key, equals, value = comment.removeprefix("#").partition("=")
            if equals:
                found[key.strip()].append(value.strip())
    keys: dict[str, str] = {}
    for key, values in found.items():
        if _NO_LABEL.fullmatch(key) or 2 * len(values) < len(examples):
            continue
        seen = look(key, values)
        if seen.what in ("label", "labels", "number") and seen.separator in (None, "|"):
            type_ = "regression" if seen.what == "number" else "classification"
            keys[guess.add(layer_name(key), type_, seen.about, several=seen.what == "labels")] = key
    if keys:
        guess.keys["comments"] = keys


# --- column files ---


def _columns(path: Path, _format: str) -> DataGuess:
    blocks = sentences(path)
    width = Counter(len(row) for block in blocks for row in block).most_common(1)[0][0]
    blocks = [block for block in blocks if all(len(row) == width for row in block)]
    columns = [[[row[at] for row in block] for block in blocks] for at in range(width)]
    counted = all(cells == [str(i) for i in range(1, len(cells) + 1)] for cells in columns[0])
    guess = DataGuess()
    layers = [UNUSED, WORDS] if counted and width > 2 else [WORDS]
    words = columns[len(layers) - 1]
    for at in range(len(layers), width):
        seen = tags(columns[at])
        if seen.what == "spans":
            labels = {tag[2:] for cells in columns[at] for tag in cells if tag[2:]}
            layers.append(guess.add("chunks" if labels <= _CHUNKS else "entities", "ner", seen.about))
        elif seen.what == "tags":
            layers.append(guess.add("pos" if UNUSED not in layers[1:] else "tags", "tagging", seen.about))
        elif _are_lemmas(columns[at], words):
            layers.append(guess.add("lemma", "lemmatization", "lemmas"))
        else:
            layers.append(UNUSED)
            guess.remarks.append(f"column {at + 1} is not used: {seen.about}")
    guess.keys["layers"] = layers
    return guess


def _are_lemmas(column: Sequence[Sequence[str]], words: Sequence[Sequence[str]]) -> bool:
    """Whether a column of many different cells often repeats the word."""
    pairs = [pair for cells in zip(column, words, strict=True) for pair in zip(*cells, strict=True)]
    same = sum(cell.casefold() == word.casefold() for cell, word in pairs)
    return len({cell for cell, _ in pairs}) > MANY and same > 0.3 * len(pairs)


# --- tables and records ---


def _table(path: Path, format_: str) -> DataGuess:
    rows, delimiter = table(path, format_)
    header = has_header(rows)
    names = [cell.strip() for cell in rows[0]] if header else [str(at) for at in range(1, len(rows[0]) + 1)]
    turned = zip(*(rows[1:] if header else rows), strict=True)
    columns = [[cell if cell.strip() else None for cell in column] for column in turned]
    guess, roles = _fields(dict(zip(names, columns, strict=True)), path)
    if header:
        guess.keys |= _named_fields(roles)
    else:
        guess.keys |= {"header": False, "layers": list(roles.values())}
    if format_ == "csv" and delimiter != ",":
        guess.keys["delimiter"] = delimiter
    return guess


def _records(path: Path, format_: str) -> DataGuess:
    found = records(path, format_)
    names = dict.fromkeys(name for record in found for name in record)
    guess, roles = _fields({name: [record.get(name) for record in found] for name in names}, path)
    guess.keys |= _named_fields(roles)
    return guess


def _fields(fields: Mapping[str, Sequence[Any]], path: Path) -> tuple[DataGuess, dict[str, str]]:
    """What named columns hold, and the role of each: text, pair, words, a layer, or ``_``.

    Raises:
        PolyheadError: No column holds a text or words.
    """
    words = next((name for name in _WORDS if name in fields and are_words(fields[name])), "")
    lengths = [len(value or ()) for value in fields[words]] if words else ()
    looks = {name: look("" if name.isdigit() else name, values, lengths) for name, values in fields.items()}
    text, pair = ("text" if "text" in fields else "", "") if words else _texts(looks)
    if not words and not text:
        what = "; ".join(f"{name}: {one.about}" for name, one in looks.items())
        remedy = "Put the text into a column called text, with a header that names the columns."
        raise PolyheadError(f"no column looks like a text ({what})", remedy=remedy, file=path)
    guess = DataGuess()
    roles = {name: role for name, role in ((words, WORDS), (text, TEXT), (pair, PAIR)) if name}
    for name, seen in looks.items():
        if name not in roles:
            roles[name] = _add_field(guess, name, seen)
            if roles[name] == UNUSED:
                guess.remarks.append(f"column {name} is not used: {seen.about}")
    return guess, {name: roles[name] for name in fields}


def _add_field(guess: DataGuess, name: str, seen: Look) -> str:
    """Adds the task that a column gives, if any; returns the column's role."""
    if seen.what not in _TASK_TYPES:
        return UNUSED
    if seen.separator not in (None, guess.keys.get("separator", seen.separator)):
        return UNUSED  # A dataset has one separator.
    if seen.separator not in (None, "|"):
        guess.keys["separator"] = seen.separator
    type_, plain = _TASK_TYPES[seen.what]
    return guess.add(plain if name.isdigit() else layer_name(name), type_, seen.about, several=seen.what == "labels")


def _texts(looks: Mapping[str, Look]) -> tuple[str, str]:
    """The columns of the text and of its pair; "" where there is none."""
    lower = {name.casefold(): name for name in looks}
    for first, second in _PAIRS:
        if first in lower and second in lower and looks[lower[second]].what == "text":
            return lower[first], lower[second]
    strings = {name: one.length for name, one in looks.items() if one.length}
    ranked = sorted((name for name in strings if looks[name].what == "text"), key=lambda name: -strings[name])
    named_so = [lower[name] for name in _TEXTS if lower.get(name) in strings]
    last = sorted((name for name in strings if looks[name].what == "unused"), key=lambda name: -strings[name])
    text = next(iter([*named_so, *ranked, *last]), "")
    others = [name for name in ranked if name != text]
    # Of two texts that are about as long neither is more likely the only one.
    near = [name for name in others if not named_so and strings[name] > 0.5 * strings[text]]
    first_second = sorted([text, near[0]], key=list(looks).index) if near else [text, ""]
    return first_second[0], first_second[1]


def _named_fields(roles: Mapping[str, str]) -> dict[str, Any]:
    """The keys that say which column or field has which role, where its name does not."""
    keys: dict[str, Any] = {
        role: name for name, role in roles.items() if role == PAIR or (role == TEXT and name != TEXT)
    }
    renamed = {role: name for name, role in roles.items() if role not in (TEXT, PAIR, UNUSED, name)}
    return keys | ({"layers": renamed} if renamed else {})


def has_header(rows: Sequence[Sequence[str]]) -> bool:
    """Whether the first row of a table names its columns."""
    first = [cell.strip() for cell in rows[0]]
    if len(set(first)) < len(first) or any(not cell or len(cell.split()) > 4 or _numeric(cell) for cell in first):
        return False
    if any(cell.casefold() in _HEADER_WORDS for cell in first):
        return True
    for cell, column in zip(first, zip(*rows[1:], strict=True), strict=True):
        if column and all(_numeric(value) for value in column if value.strip()):
            return True
        if len(column) >= 10 and len(set(column)) <= len(column) / 5 and cell not in column:
            return True
    return False


def _numeric(cell: str) -> bool:
    return re.fullmatch(r"\s*[-+]?[\d.,]*\d[\d.,]*(e[-+]?\d+)?\s*", cell, re.IGNORECASE) is not None


def layer_name(name: str) -> str:
    """A name for a layer and its task after that of a column or key."""
    plain = re.sub(r"[^a-z0-9]+", "_", name.casefold()).strip("_") or "label"
    return plain + "_label" if plain in RESERVED or plain in CONLLU_LAYERS else plain


_GUESSERS: Mapping[str, Callable[[Path, str], DataGuess]] = {
    "conllu": _conllu,
    "columns": _columns,
    "csv": _table,
    "tsv": _table,
    "jsonl": _records,
    "parquet": _records,
}
