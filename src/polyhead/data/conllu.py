"""Reads CoNLL-U: https://universaldependencies.org/format.html."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from polyhead.data.align import Offsets, align
from polyhead.data.escapes import unescape
from polyhead.data.example import KIND_NAMES, Example, Frame, Labels, Spans, Text, Tree, Value, WordLabels
from polyhead.data.spec import CONLLU_LAYERS, DataSpec
from polyhead.data.text import Notes, Source, counted, lines, name_of, short
from polyhead.data.trees import check_tree
from polyhead.data.values import from_cell
from polyhead.errors import PolyheadError, nearest

ID, FORM, LEMMA, UPOS, XPOS, FEATS, HEAD, DEPREL, _DEPS, MISC = range(10)
COLUMNS = ("ID", "FORM", "LEMMA", "UPOS", "XPOS", "FEATS", "HEAD", "DEPREL", "DEPS", "MISC")
EMPTY = "_"
_TEXT = "# text = "
_COMMENT = re.compile(r"#\s*(.+?)\s*=\s*(.*?)\s*$")
_RANGE = re.compile(r"([1-9][0-9]{0,8})-([1-9][0-9]{0,8})")
_EMPTY_NODE = re.compile(r"(0|[1-9][0-9]{0,8})\.[1-9][0-9]*")
_HEAD = re.compile(r"[0-9]{1,9}")
_NO_SPACE = "SpaceAfter=No"
_IDS = [str(number) for number in range(1, 1001)]
_HEADS = {str(number): number for number in range(1001)}

Row = tuple[str, ...]


@dataclass(slots=True)
class _Sentence:
    """The lines of one sentence, sorted.

    Attributes:
        comments: The comment lines.
        first: The number of the first line after the comments.
        words: The row of each word. Length n.
        lines: The number of the line of each word. Length n.
        between: Lines that are no words, each with the number of words before it.
        ranges: (first word, past the last word, row) of each multiword token, words counted from 0.
    """

    comments: tuple[str, ...]
    first: int
    words: list[Row]
    lines: tuple[int, ...]
    between: tuple[tuple[int, str], ...] = ()
    ranges: tuple[tuple[int, int, Row], ...] = ()


def read_conllu(source: Source, spec: DataSpec, kinds: Mapping[str, type], notes: Notes) -> Iterator[Example]:
    """Each sentence of a CoNLL-U file.

    Layers: ``lemma``, ``upos``, ``xpos``, ``feats`` (labels per word; ``_`` is None, but for feats, where it
    means "no features"), ``tree``, and those that ``spec.misc`` and ``spec.comments`` name. A layer of which a
    sentence has nothing is absent. Trees are read and checked only where ``kinds`` is empty or wants them.
    Multiword tokens and empty nodes are kept in the frame; the words of a multiword token that its form does
    not spell share its offsets.

    Raises:
        PolyheadError: A broken line, word ids out of order, or a tree that is none.
    """
    reader = _Reader(name_of(source), spec, kinds, notes)
    block: list[str] = []
    number = 0
    for number, line in lines(source):
        if line and not line.isspace():
            block.append(line)
        elif block:
            yield from reader.examples(block, number - len(block))
            block = []
    if block:
        yield from reader.examples(block, number - len(block) + 1)


class _Reader:
    """What one pass over one file shares: wishes, notes, and the cells seen before."""

    def __init__(self, file: str, spec: DataSpec, kinds: Mapping[str, type], notes: Notes) -> None:
        self.file, self.spec, self.kinds, self.notes = file, spec, kinds, notes
        self.wants_tree = not kinds or "tree" in kinds
        # One string object per distinct cell: a treebank repeats its cells, so this saves most of the memory.
        self.seen: dict[str, str] = {}
        for layer, kind in kinds.items():
            self._check_kind(layer, kind)

    def _check_kind(self, layer: str, kind: type) -> None:
        """Refuses a wish that this format cannot grant."""
        if layer in CONLLU_LAYERS:
            offered: tuple[type, ...] = (Tree,) if layer == "tree" else (WordLabels,)
        elif layer in self.spec.misc:
            offered = (WordLabels, Spans)
        elif layer in self.spec.comments:
            offered = (str, Text, Labels, float)
        else:
            known = nearest(layer, (*CONLLU_LAYERS, *self.spec.misc, *self.spec.comments))
            remedy = f"{known} For a layer kept in MISC or in comments, set `misc` or `comments` of the dataset."
            raise PolyheadError(f"this CoNLL-U file has no layer {layer!r}", remedy=remedy, file=self.file)
        if kind not in offered:
            names = " or ".join(KIND_NAMES[one] for one in offered)
            raise PolyheadError(
                f"layer {layer!r} of CoNLL-U gives {names}, and a task wants {KIND_NAMES.get(kind, kind.__name__)}",
                remedy="Give the task another layer, or another type.",
                file=self.file,
            )

    def error(self, line: int, what: str, remedy: str = "") -> PolyheadError:
        return PolyheadError(what, remedy=remedy, file=self.file, line=line)

    def examples(self, block: Sequence[str], first: int) -> Iterator[Example]:
        """The example of one block of lines, the first of which is line ``first``; none if it holds no words."""
        start = 0
        while start < len(block) and block[start][0] == "#":
            start += 1
        if start == len(block):
            here = "without words left out of"
            self.notes.add(self.file, f"block of comments {here}", f"blocks of comments {here}")
            return
        sentence = self._sort(tuple(block[:start]), self._cells(block[start:], first + start), first + start)
        if not sentence.words:
            raise self.error(first + start, "a sentence without words", "Give it a word, or take it out.")
        yield self._example(sentence)

    def _cells(self, block: Sequence[str], first: int) -> list[str]:
        """The cells of all lines, one after the other; every line has ten that are not empty."""
        cells = "\t".join(block).split("\t")
        if "" in cells or {line.count("\t") for line in block} != {9}:
            raise self._broken(block, first)
        return list(map(self.seen.setdefault, cells, cells))

    def _broken(self, block: Sequence[str], first: int) -> PolyheadError:
        """The error for the first broken line of a block that has one."""
        for number, line in enumerate(block, start=first):
            cells = line.split("\t")
            if line.lstrip().startswith("#") and len(cells) == 1:
                return self.error(
                    number,
                    f"a comment inside a sentence, or with space before it: {short(line)}",
                    "Put comments before the sentence, with # as the first sign of the line.",
                )
            if len(cells) != 10:
                remedy = "Use tabs, not spaces." if len(cells) == 1 else "Write _ where a column has nothing."
                if len(cells) > 10:
                    remedy = "Take the tab at its end out." if not cells[-1] else "Take out what is too much."
                count = counted(len(cells), "column")
                what = f"a word line has 10 columns with a tab between; this one has {count}: {short(line)}"
                return self.error(number, what, remedy)
            if "" in cells:
                column = COLUMNS[cells.index("")]
                return self.error(number, f"column {column} is empty: {short(line)}", "Write _ for nothing.")
        raise AssertionError("no line of the block is broken")

    def _sort(self, comments: tuple[str, ...], cells: list[str], first: int) -> _Sentence:
        """Tells words from multiword tokens and empty nodes, and checks that the ids count up."""
        rows: list[Row] = list(zip(*[iter(cells)] * 10, strict=True))
        n = len(rows)
        if cells[::10] == _IDS[:n]:
            return _Sentence(comments, first, rows, tuple(range(first, first + n)))
        words: list[Row] = []
        numbers: list[int] = []
        between: list[tuple[int, str]] = []
        ranges: list[tuple[int, int, Row]] = []
        for number, row in enumerate(rows, start=first):
            id_ = row[ID]
            if id_ == str(len(words) + 1):
                words.append(row)
                numbers.append(number)
                continue
            if match := _RANGE.fullmatch(id_):
                start, end = int(match[1]) - 1, int(match[2])
                good = start == len(words) and end > start + 1 and not (ranges and start < ranges[-1][1])
                ranges.append((start, end, row))
            else:
                match = _EMPTY_NODE.fullmatch(id_)
                good = match is not None and int(match[1]) == len(words)
            if not good:
                raise self.error(
                    number,
                    f"word id {short(id_)} where {len(words) + 1} is next",
                    "Ids count words from 1 in each sentence, a range has two words or more, and an empty line stands "
                    "between sentences.",
                )
            between.append((len(words), "\t".join(row)))
        if ranges and ranges[-1][1] > len(words):
            raise self.error(
                first + rows.index(ranges[-1][2]),
                f"range {ranges[-1][2][ID]!r} goes past the last word, {len(words)}",
                "Correct the range, or add the words that it lacks.",
            )
        return _Sentence(comments, first, words, tuple(numbers), tuple(between), tuple(ranges))

    def _example(self, sentence: _Sentence) -> Example:
        columns = list(zip(*sentence.words, strict=True))
        words = columns[FORM]
        text, offsets = self._text(sentence, words, columns[MISC])
        return Example(
            words=words,
            text=text,
            layers=self._layers(sentence, columns),
            offsets=offsets,
            file=self.file,
            line=sentence.lines[0],
            lines=sentence.lines,
            frame=Frame(sentence.comments, tuple(sentence.words), sentence.between),
        )

    def _layers(self, sentence: _Sentence, columns: list[tuple[str, ...]]) -> dict[str, Value]:
        layers: dict[str, Value] = {}
        lemmas = columns[LEMMA]
        if any(lemma != EMPTY for lemma in lemmas):
            if EMPTY in lemmas:  # The lemma of the word "_" is itself; any other "_" means that there is none.
                pairs = zip(lemmas, columns[FORM], strict=True)
                layers["lemma"] = WordLabels(
                    lemma if lemma != EMPTY or form == EMPTY else None for lemma, form in pairs
                )
            else:
                layers["lemma"] = WordLabels(lemmas)
        for name, column in (("upos", columns[UPOS]), ("xpos", columns[XPOS])):
            if EMPTY not in column:
                layers[name] = WordLabels(column)
            elif any(cell != EMPTY for cell in column):
                layers[name] = WordLabels(None if cell == EMPTY else cell for cell in column)
        if any(cell != EMPTY for cell in columns[FEATS]) or "upos" in layers:
            layers["feats"] = WordLabels(columns[FEATS])
        if self.wants_tree and (tree := self._tree(columns[HEAD], columns[DEPREL], sentence.lines)):
            layers["tree"] = tree
        if self.spec.misc:
            layers.update(self._misc(columns[MISC]))
        if self.spec.comments:
            layers.update(self._comments(sentence))
        return layers

    def _tree(self, heads: Sequence[str], relations: tuple[str, ...], numbers: Sequence[int]) -> Tree | None:
        """The checked tree of a sentence; None where no word has a head."""
        try:
            parsed = tuple([_HEADS[head] for head in heads])
        except KeyError:
            if all(head == EMPTY for head in heads):
                return None
            parsed = tuple(self._head(head, number) for head, number in zip(heads, numbers, strict=True))
        try:
            check_tree(parsed)
        except ValueError as error:
            word, what, remedy = error.args
            raise self.error(numbers[word], what, remedy) from None
        if EMPTY in relations:
            word = relations.index(EMPTY)
            raise self.error(
                numbers[word], f"word {word + 1} has a head but no relation (DEPREL is _)", "Name the relation."
            )
        return Tree(parsed, relations)

    def _head(self, head: str, number: int) -> int:
        if head == EMPTY:
            raise self.error(
                number,
                "this word has no head (HEAD is _), but others of its sentence have",
                "Give every word of the sentence a head, or none.",
            )
        if not _HEAD.fullmatch(head):
            what = f"head {short(head)} is not a whole number, or too large"
            raise self.error(number, what, "HEAD is 0 or the id of a word.")
        return int(head)

    def _misc(self, column: Sequence[str]) -> dict[str, Value]:
        cells = [dict(part.split("=", 1) for part in cell.split("|") if "=" in part) for cell in column]
        layers: dict[str, Value] = {}
        for layer, key in self.spec.misc.items():
            values = WordLabels(unescape(cell[key]) if key in cell else None for cell in cells)
            # Where spans are wanted a sentence without tags may simply hold no span: the caller decides.
            if self.kinds.get(layer) is Spans or any(value is not None for value in values):
                layers[layer] = values
        return layers

    def _comments(self, sentence: _Sentence) -> dict[str, Value]:
        found: dict[str, str] = {}
        wanted = {key: layer for layer, key in self.spec.comments.items()}
        layers: dict[str, Value] = {}
        for number, comment in enumerate(sentence.comments, start=sentence.first - len(sentence.comments)):
            match = _COMMENT.match(comment)
            if match is None or match[1] not in wanted:
                continue
            key, cell = match[1], match[2]
            if key in found:
                raise self.error(number, f"comment {key!r} stands twice: {cell!r} and {found[key]!r}", "Keep one.")
            found[key] = cell
            try:
                value = from_cell(cell, self.kinds.get(wanted[key], str), self.spec.separator)
            except ValueError as error:
                raise self.error(number, f"comment {key!r}: {error}") from None
            if value is not None and not isinstance(value, list):
                layers[wanted[key]] = value
        return layers

    def _text(self, sentence: _Sentence, words: tuple[str, ...], misc: tuple[str, ...]) -> tuple[str, Offsets | None]:
        """The text of a sentence, and the characters of each word in it if the words do spell it."""
        forms, miscs = (words, misc) if not sentence.ranges else _surface(words, misc, sentence.ranges)
        text = next((comment[len(_TEXT) :] for comment in sentence.comments if comment.startswith(_TEXT)), None)
        if text is None:
            spaces = ["" if _NO_SPACE in cell else " " for cell in miscs]
            text = "".join(part for pair in zip(forms, spaces, strict=True) for part in pair).rstrip(" ")
        offsets = align(text, forms)
        if offsets is None:
            here = "whose # text its words do not spell (read without offsets) in"
            self.notes.add(self.file, f"sentence {here}", f"sentences {here}")
            return text, None
        return text, offsets if not sentence.ranges else _spread(words, offsets, sentence.ranges)


def _surface(
    words: Sequence[str], misc: Sequence[str], ranges: Sequence[tuple[int, int, Row]]
) -> tuple[list[str], list[str]]:
    """Forms and MISC cells of the tokens as the text spells them: multiword tokens in place of their words."""
    forms: list[str] = []
    cells: list[str] = []
    done = 0
    for start, end, row in ranges:
        forms += [*words[done:start], row[FORM]]
        cells += [*misc[done:start], row[MISC]]
        done = end
    return [*forms, *words[done:]], [*cells, *misc[done:]]


def _spread(words: Sequence[str], offsets: Offsets, ranges: Sequence[tuple[int, int, Row]]) -> Offsets:
    """The offsets of words from those of the tokens that the text spells."""
    spread: list[tuple[int, int]] = []
    tokens = iter(offsets)
    for start, end, row in ranges:
        spread += [next(tokens) for _ in range(start - len(spread))]
        first, last = next(tokens)
        parts = words[start:end]
        if "".join(parts) == row[FORM]:
            for part in parts:
                spread.append((first, first + len(part)))
                first += len(part)
        else:
            spread += [(first, last)] * (end - start)
    return (*spread, *tokens)
