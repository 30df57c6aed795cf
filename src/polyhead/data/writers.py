"""Examples and predictions to text: CoNLL-U, column files, JSON records.

Words and their order stay as they came. What an example's file held beside them is put back as it was, and a predicted
layer takes the place of the gold one. The readers of this package read the same values back.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import TypeAlias

from polyhead.data.align import Offsets, align
from polyhead.data.bio import to_tags
from polyhead.data.columns import DOCSTART, is_comment
from polyhead.data.escapes import escape
from polyhead.data.example import WORDS, Confidence, Example, Frame, Labels, Prediction, Spans, Tree, Value, WordLabels
from polyhead.data.spec import RESERVED
from polyhead.errors import PolyheadError

Predictions: TypeAlias = Mapping[str, Prediction]
"""What the heads answered, by layer."""

CONFIDENCE = "_confidence"
"""What the key of a layer's confidence ends with: ``sentiment_confidence``."""

_COLUMNS = {"lemma": 2, "upos": 3, "xpos": 4, "feats": 5}
_HEAD, _DEPREL, _MISC = 6, 7, 9
_NOTHING = "_"
OTHERS = "_others"
"""What the key of a layer's further answers ends with."""

_DIGITS = 4  # Of a confidence.
_ONE_LINE = str.maketrans("\t\r\n", "   ")


# --- names ---


def set_apart(wishes: Mapping[str, str]) -> dict[str, str]:
    """The name that each owner wishes for its answers, or the owner's own where others wish for the same."""
    names = dict(wishes)
    while twice := {name for name, count in Counter(names.values()).items() if count > 1}:
        names = {owner: _own(owner) if name in twice else name for owner, name in names.items()}
    return names


def _own(owner: str) -> str:
    return f"{owner}_" if owner in RESERVED else owner


def taken_for_confidence(names: Mapping[str, str]) -> tuple[str, str] | None:
    """Two owners of names, the second of whose names is that of the first one's confidence; None if there are none."""
    owners = {name: owner for owner, name in names.items()}
    found = ((owner, owners.get(name + CONFIDENCE)) for owner, name in names.items())
    return next(((owner, other) for owner, other in found if other is not None), None)


# --- CoNLL-U ---


def write_conllu(
    example: Example,
    predictions: Predictions,
    keys: Mapping[str, str] | None = None,
    *,
    separator: str = "|",
    confidence: bool = False,
) -> str:
    """One sentence of a CoNLL-U file (https://universaldependencies.org/format.html), with the empty line after it.

    The layers lemma, upos, xpos, feats and tree have their columns. Any other layer of labels per word or spans
    (as IOB2 tags) goes to the MISC column, and one of the whole text (a label, labels, a number) to a comment.

    Args:
        example: Words with what their file held; one that came from CoNLL-U keeps its comments, multiword tokens,
            empty nodes, DEPS and MISC.
        predictions: The answers, by layer.
        keys: The MISC or comment key of a layer, where that is not the layer's own name.
        separator: What stands between several labels in a comment.
        confidence: Whether to write how sure each answer is too, as ``KEY_confidence``.

    Raises:
        PolyheadError: The example has no words, or a key or label holds a sign that would be read as another.
    """
    if not example.words:
        raise PolyheadError(
            f"CoNLL-U holds words, and this text is not split into any: {(example.text or '')[:60]!r}.",
            remedy="Split it into words first, or write JSONL.",
            file=example.file,
            line=example.line,
        )
    frame = example.frame if _is_conllu(example) else None
    rows = [list(row) for row in frame.rows] if frame else _rows(example)
    comments = list(example.frame.comments) if example.frame else []
    if not any(comment.startswith("# text = ") for comment in comments):
        text, _ = _own_text(example)
        comments.append(f"# text = {(text or ' '.join(example.words)).translate(_ONE_LINE).strip()}")
    for layer, prediction in predictions.items():
        key = _key((keys or {}).get(layer, layer))
        sure = prediction.confidence if confidence else None
        if isinstance(prediction.value, str | float | Labels):
            _put_comment(comments, key, _cell_of(prediction.value, separator))
            if sure is not None:
                _put_comment(comments, key + CONFIDENCE, _shown(sure))
        else:
            _put_words(rows, layer, key, prediction.value)
            if sure is not None:
                _put_misc(rows, key + CONFIDENCE, _spread(prediction.value, sure, len(rows)))
    return "\n".join([*comments, *_with_between(rows, frame), "", ""])


def _is_conllu(example: Example) -> bool:
    """Whether the frame of an example holds the rows of a CoNLL-U file."""
    rows = example.frame.rows if example.frame else ()
    return bool(rows) and all(
        len(row) == 10 and row[:2] == (str(number), word)
        for number, (row, word) in enumerate(zip(rows, example.words, strict=True), start=1)
    )


def _rows(example: Example) -> list[list[str]]:
    """Rows for words that did not come from CoNLL-U."""
    rows = [[str(number), _cell(word), *[_NOTHING] * 8] for number, word in enumerate(example.words, start=1)]
    offsets = example.offsets or ()
    text = example.text or ""
    for row, (_, end) in zip(rows, offsets, strict=False):
        if text[end : end + 1].strip():  # A character that is no space follows.
            row[_MISC] = "SpaceAfter=No"
    return rows


def _with_between(rows: Iterable[Sequence[str]], frame: Frame | None) -> list[str]:
    """The lines of the rows, with those that are no words where they stood."""
    lines: list[str] = []
    between = list(frame.between) if frame else []
    for before, row in enumerate(rows):
        while between and between[0][0] <= before:
            lines.append(between.pop(0)[1])
        lines.append("\t".join(row))
    return lines + [line for _, line in between]


def _put_words(rows: list[list[str]], layer: str, key: str, value: WordLabels | Spans | Tree) -> None:
    """Puts a value of words into its column, or into MISC if it has none."""
    if isinstance(value, Tree) and layer == "tree":
        for row, head, relation in zip(rows, value.heads, value.relations, strict=True):
            row[_HEAD], row[_DEPREL] = str(head), _cell(relation)
    elif isinstance(value, WordLabels) and layer in _COLUMNS:
        for row, label in zip(rows, value, strict=True):
            row[_COLUMNS[layer]] = _cell(label)
    else:
        _put_misc(rows, key, _per_word(value, len(rows)))


def _put_misc(rows: list[list[str]], key: str, values: Iterable[str | None]) -> None:
    """Sets a key of MISC, at the place where it stood or else last; None removes it."""
    for row, value in zip(rows, values, strict=True):
        parts = [] if row[_MISC] == _NOTHING else row[_MISC].split("|")
        at = next((i for i, part in enumerate(parts) if part.partition("=")[0] == key), len(parts))
        parts[at : at + 1] = [] if value is None else [f"{key}={escape(value)}"]
        row[_MISC] = "|".join(parts) or _NOTHING


def _put_comment(comments: list[str], key: str, value: str) -> None:
    """Sets a comment ``# key = value``, at the place where it stood or else last."""
    pattern = re.compile(rf"#\s*{re.escape(key)}\s*=")
    at = next((i for i, comment in enumerate(comments) if pattern.match(comment)), len(comments))
    comments[at : at + 1] = [f"# {key} = {value}"]


def is_key(name: str) -> bool:
    """Whether a name can be a key of MISC or of a comment, which end at ``=`` and ``|``."""
    return bool(name.strip()) and re.search(r"[=|\t\r\n]", name) is None


def _key(key: str) -> str:
    if not is_key(key):
        raise PolyheadError(
            f"{key!r} cannot be a key of CoNLL-U, which ends keys at '=' and '|'",
            remedy="Give the layer another key, in `misc` or `comments` of the dataset.",
        )
    return key


# --- column files ---


def write_columns(
    example: Example,
    predictions: Predictions,
    layers: Sequence[str] = (WORDS,),
    *,
    delimiter: str = "\t",
) -> str:
    """One sentence of a column file, with the empty line after it.

    Args:
        example: Words with what their file held.
        predictions: The answers, by layer. Spans are IOB2 tags, a tree is two columns (head and relation), and what
            is of the whole text is a comment before the words.
        layers: The columns, in order; predicted layers that are not among them follow as further columns.
        delimiter: What stands between columns; white space inside a cell becomes ``_`` where that is a space.

    Raises:
        PolyheadError: The example has no words, or a row would be read as a comment.
    """
    if not example.words:
        raise PolyheadError(
            f"A column file holds words, and this text is not split into any: {(example.text or '')[:60]!r}.",
            remedy="Split it into words first, or write JSONL.",
            file=example.file,
            line=example.line,
        )
    n = len(example.words)
    comments = list(example.frame.comments) if example.frame else []
    columns = [_column(example, predictions, layers, at) for at in range(len(layers))]
    for layer, prediction in predictions.items():
        value = prediction.value
        if isinstance(value, str | float | Labels):
            _put_comment(comments, _key(layer), _cell_of(value, "|"))
        elif isinstance(value, Tree):
            columns += [[str(head) for head in value.heads], list(value.relations)]
        elif layer not in layers:
            columns.append(_per_word(value, n))
    rows = [delimiter.join(_cell(cell, delimiter) for cell in row) for row in zip(*columns, strict=True)]
    # The reader takes a delimiter for one of white space where there is one column only, or spaces divide them.
    _check_rows(rows, delimiter if delimiter != " " and len(columns) > 1 else None, len(columns), example)
    return "\n".join([*comments, *rows, "", ""])


def _check_rows(rows: Sequence[str], delimiter: str | None, width: int, example: Example) -> None:
    """Refuses a row that would be read back as a comment, or as the beginning of a document."""
    wrong = [row for row in rows if row.startswith(DOCSTART)]
    wrong += rows[:1] if is_comment(rows[0], delimiter, width) else []
    if wrong:
        raise PolyheadError(
            f"a column file cannot hold this row, which would not be read as a word: {wrong[0]!r}",
            remedy="Write CoNLL-U or JSONL.",
            file=example.file,
            line=example.line,
        )


def _column(example: Example, predictions: Predictions, layers: Sequence[str], at: int) -> Sequence[str | None]:
    """The cells of column ``at``: words, predicted, as read, or gold."""
    name = layers[at]
    if name == WORDS:
        return example.words
    rows = example.frame.rows if example.frame else ()
    if name not in predictions and rows and len(rows[0]) == len(layers):
        return [row[at] for row in rows]
    value = predictions[name].value if name in predictions else example.layers.get(name)
    if isinstance(value, WordLabels | Spans):
        return _per_word(value, len(example.words))
    return [None] * len(example.words)


# --- JSON ---


def to_dict(example: Example, predictions: Predictions, *, confidence: bool = False) -> dict[str, object]:
    """One record of a JSONL file: text, pair and words as far as the example has them, and a field for each layer.

    Labels are a sorted list. Spans are objects with ``start``, ``end`` and ``label`` that count characters of the
    text, or words where there is no text; where the words do not spell the text, they are IOB2 tags. A tree is an
    object with ``heads`` and ``relations``. Gold layers that were not predicted are kept, and so are other fields.

    Args:
        example: The text.
        predictions: The answers, by layer.
        confidence: Whether to add how sure each answer is: ``confidence`` in each span, else ``LAYER_confidence``.
            Further answers are in ``LAYER_others``.
    """
    text, offsets = _own_text(example)
    record: dict[str, object] = {"text": text, "pair": example.pair, "words": list(example.words)}
    record = {name: value for name, value in record.items() if value or value == ""}
    record |= example.others or {}
    values = {**example.layers, **{layer: prediction.value for layer, prediction in predictions.items()}}
    for layer, value in values.items():
        name = f"{layer}_" if layer in RESERVED else layer
        record[name] = _json(value, example, offsets)
        if layer in predictions and predictions[layer].others:
            record[name + OTHERS] = [
                {"text": other} | ({"confidence": round(chance, _DIGITS)} if confidence else {})
                for other, chance in predictions[layer].others
            ]
        if not confidence or layer not in predictions:
            continue
        sure = predictions[layer].confidence
        spans = record[name]
        if isinstance(value, Spans) and isinstance(spans, list) and isinstance(sure, tuple) and len(spans) == len(sure):
            for span, one in zip(spans, sure, strict=True):
                span["confidence"] = round(one, _DIGITS)
        else:
            rounded = [round(one, _DIGITS) for one in (sure if isinstance(sure, tuple) else (sure,))]
            record[name + CONFIDENCE] = rounded if isinstance(sure, tuple) else rounded[0]
    return record


def _json(value: Value, example: Example, offsets: Offsets | None) -> object:
    if isinstance(value, Tree):
        return {"heads": list(value.heads), "relations": list(value.relations)}
    if isinstance(value, Labels):
        return sorted(value)
    if isinstance(value, WordLabels):
        return list(value)
    if isinstance(value, Spans):
        if example.text is None:
            return [span._asdict() for span in value]
        if offsets is None:
            return list(to_tags(value, len(example.words)))
        return [{"start": offsets[start][0], "end": offsets[end - 1][1], "label": label} for start, end, label in value]
    return value


# --- values ---


def _own_text(example: Example) -> tuple[str | None, Offsets | None]:
    """The text of an example, without what stands around its words in a longer text, and its words' place in it.

    Returns:
        The text, None if it is not known, and the offsets, None if the words do not spell the text.
    """
    text = example.text
    if text is None:
        return None, None
    if example.offsets:
        first, last = example.offsets[0][0], example.offsets[-1][1]
        if text[:first].strip() or text[last:].strip():
            text = text[first:last]
    return text, align(text, example.words)


def _cell(cell: str | None, delimiter: str = "\t") -> str:
    """A cell that holds no delimiter, begins and ends with no space, and is not empty."""
    cell = _NOTHING if cell is None else cell.translate(_ONE_LINE).strip(" ")
    return (cell if delimiter == "\t" else cell.replace(delimiter, _NOTHING)) or _NOTHING


def _cell_of(value: str | float | Labels, separator: str) -> str:
    """A value of a whole text, for a comment.

    Raises:
        PolyheadError: One of several labels holds the separator.
    """
    if not isinstance(value, Labels):
        return str(value).translate(_ONE_LINE).strip()
    for label in value:
        if separator in label:
            raise PolyheadError(
                f"label {label!r} holds {separator!r}, which stands between labels",
                remedy="Set `separator` of the dataset to a sign that no label holds.",
            )
    return separator.join(sorted(value))


def _per_word(value: WordLabels | Spans | Tree, n: int) -> list[str | None]:
    if isinstance(value, Spans):
        return list(to_tags(value, n))
    if isinstance(value, Tree):
        return [f"{head}:{relation}" for head, relation in zip(value.heads, value.relations, strict=True)]
    return list(value)


def _spread(value: WordLabels | Spans | Tree, confidence: Confidence, n: int) -> list[str | None]:
    """A confidence for each word; that of a span stands at its first word."""
    if not isinstance(confidence, tuple):
        return [_shown(confidence)] * n
    if not isinstance(value, Spans):
        return [_shown(one) for one in confidence]
    spread: list[str | None] = [None] * n
    for span, one in zip(value, confidence, strict=True):
        spread[span.start] = _shown(one)
    return spread


def _shown(confidence: Confidence) -> str:
    values = confidence if isinstance(confidence, tuple) else (confidence,)
    return " ".join(f"{value:.{_DIGITS}f}" for value in values)
