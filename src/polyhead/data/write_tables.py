"""Answers about whole texts as rows of a table (CSV, TSV) or as lines of plain text."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping

from polyhead.data.example import WORDS, Example, Labels, Prediction
from polyhead.data.writers import Predictions, to_dict
from polyhead.errors import PolyheadError


class TableWriter:
    """Writes a row for each text, and before the first one a row that names the columns.

    Columns are the text, what else the input has in columns, and the answers. Cells are quoted as in RFC 4180 where
    they hold a quote, a delimiter or a line break. The readers of this package read the same values back.

    Args:
        delimiter: What stands between cells.
        separator: What stands between several labels in a cell.
        confidence: Whether to add how sure each answer is, in a column ``LAYER_confidence``.
    """

    def __init__(self, delimiter: str, *, separator: str = "|", confidence: bool = False) -> None:
        self.delimiter, self.separator, self.confidence = delimiter, separator, confidence
        self.columns: list[str] = []

    def __call__(self, example: Example, predictions: Predictions) -> str:
        """The row of a text with its answers.

        Raises:
            PolyheadError: The text has a field that the first one has not, or a label holds the separator.
        """
        record = to_dict(example, predictions, confidence=self.confidence)
        several = {layer for layer, one in predictions.items() if isinstance(one.value, Labels)}
        cells = {name: self._cell(value, name == WORDS, name in several, example) for name, value in record.items()}
        rows = [] if self.columns else [list(cells)]
        self.columns = self.columns or list(cells)
        new = [name for name in cells if name not in self.columns]
        if new:
            raise PolyheadError(
                f"a field {new[0]!r} that the first text has not, so that the table has no column for it",
                remedy="Write JSONL.",
                file=example.file,
                line=example.line,
            )
        rows.append([cells.get(name, "") for name in self.columns])
        return "".join(map(self._row, rows))

    def _cell(self, value: object, words: bool, several: bool, example: Example) -> str:
        if value is None:
            return ""
        if isinstance(value, str):
            return value
        if words and isinstance(value, list):
            return " ".join(value)
        if several and isinstance(value, list):
            wrong = [label for label in value if self.separator in label]
            if wrong:
                raise PolyheadError(
                    f"label {wrong[0]!r} holds {self.separator!r}, which stands between labels",
                    remedy="Set `separator` of the dataset to a sign that no label holds, or write JSONL.",
                    file=example.file,
                    line=example.line,
                )
            return self.separator.join(value)
        return json.dumps(value, ensure_ascii=False)

    def _row(self, cells: list[str]) -> str:
        row = self._quoted(cells)
        lines = row.removesuffix("\n").split("\n")
        if self.delimiter == "\t" and len(lines) > 1 and {line.count("\t") for line in lines} == {len(cells) - 1}:
            # A reader would take these lines for rows of their own.
            row = self._quoted([cell.replace("\t", " ") for cell in cells])
        return row

    def _quoted(self, cells: list[str]) -> str:
        out = io.StringIO()
        csv.writer(out, delimiter=self.delimiter, lineterminator="\n").writerow(cells)
        return out.getvalue()


def text_line(example: Example, answers: Mapping[str, Prediction], layer: str) -> str:
    """The answer of a layer that holds a text, on one line; empty for an empty text, so that lines stay aligned."""
    value = "" if example.blank or layer not in answers else str(answers[layer].value)
    return " ".join(value.splitlines()) + "\n"
