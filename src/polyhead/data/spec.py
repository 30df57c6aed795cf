"""What a user says about a dataset: its files, and what their columns or fields mean."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, ValidationInfo, field_validator, model_validator

from polyhead.data.braces import files_of, is_braced, parts_of
from polyhead.data.example import WORDS
from polyhead.files import possible

TEXT, PAIR, UNUSED = "text", "pair", "_"
RESERVED = frozenset({WORDS, TEXT, PAIR, UNUSED, "sentences"})
"""Names with a meaning of their own in a list of columns or among answers; no layer may have one of them."""

CONLLU_LAYERS = ("lemma", "upos", "xpos", "feats", "tree")
"""The layers that every CoNLL-U file may hold."""

Format = Literal["conllu", "columns", "csv", "tsv", "jsonl", "parquet", "parallel", "text"]
PARALLEL = "parallel"
Scheme = Literal["IOB1", "IOB2", "BIOES"]
Share = Annotated[float, Field(gt=0, lt=1)]

_LANGUAGE = re.compile(r"[a-z]{2,3}(-[A-Za-z0-9]{2,8})*")
_FOLD = re.compile(r"([0-9]{1,6})/([0-9]{1,6})")
_ADDRESS = re.compile(r"https?://[^\s<>\"`\\]+")


class DataSpec(BaseModel):
    """The files of one dataset, and how to read them: the ``[data.NAME]`` table of a recipe."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, allow_inf_nan=False)

    format: Format | None = Field(
        default=None, description="The format of the files; without it each file's suffix says, or braces in its path."
    )
    train: str | list[str] | None = Field(
        default=None, description="The training file, or files; train.{en,fr} is a pair of parallel ones."
    )
    dev: str | list[str] | Share | None = Field(
        default=None,
        description="The development file or files, or the share of the training split to hold out, as 0.1.",
    )
    test: str | list[str] | None = Field(default=None, description="The test file, or files.")
    layers: list[str] | dict[str, str] = Field(
        default_factory=list,
        description=(
            "What the columns hold: names in column order (words, text, pair, _ for a column not used, else a layer), "
            "or a table from layer to the name of its column or field. Of parallel files a name for each part."
        ),
    )
    text: str = Field(default=TEXT, description="The column or field that holds the text.")
    pair: str | None = Field(default=None, description="The column or field that holds the second text of a pair.")
    header: bool | None = Field(
        default=None, description="Whether the first row names the columns; without it the file and `layers` say."
    )
    separator: str = Field(default="|", min_length=1, description="What stands between several labels in one cell.")
    delimiter: str | None = Field(
        default=None, min_length=1, max_length=1, description="What stands between columns; without it the file says."
    )
    scheme: Scheme | None = Field(
        default=None, description="How tags mark spans (IOB1, IOB2, BIOES); without it the training split says."
    )
    misc: dict[str, str] = Field(
        default_factory=dict, description="CoNLL-U: a table from layer to the key that holds it in the MISC column."
    )
    comments: dict[str, str] = Field(
        default_factory=dict, description="CoNLL-U: a table from layer to the key of the comment that holds it."
    )
    limit: int | None = Field(
        default=None, gt=0, lt=2**63, description="Use only the first examples of the training split, this many."
    )
    draw: int | None = Field(
        default=None,
        ge=0,
        lt=2**63,
        description="Not the first `limit` examples, but so many drawn at random with this seed; of the draws with one "
        "seed the smaller ones lie within the larger ones.",
    )
    fold: str | None = Field(
        default=None,
        description="Leave one of several equal parts of the training split out, drawn with a fixed seed, for "
        "cross-validation: 2/5 is the second of five.",
    )
    licence: str | None = Field(default=None, description="The licence of the data, for the model card, as CC-BY-4.0.")
    description: str | None = Field(default=None, description="What the data is, in a sentence, for the model card.")
    url: str | None = Field(
        default=None,
        description="Where the data comes from, for the model card; a dataset on the Hub is linked to the model there.",
    )
    language: str | list[str] | None = Field(
        default=None, description="The language of the texts, or several, as codes (en, pt-BR), for the model card."
    )
    language_code: str | None = Field(
        default=None,
        min_length=1,
        description="The language of the texts that are read, by the encoder's own code, which is then put at each of "
        "them: eng_Latn of NLLB, en_XX of mBART, en of M2M100. By default that of the first dataset that has one, else "
        "the one that the encoder's tokenizer was saved with.",
    )
    _answers: bool = PrivateAttr(default=False)
    _blank: bool = PrivateAttr(default=False)

    @field_validator("train", "dev", "test")
    @classmethod
    def _files(cls, value: str | list[str] | float | None, info: ValidationInfo) -> str | list[str] | float | None:
        """A split that is given has a file, whose path can be one; braces in it are right where they mean parts."""
        if value == []:
            raise ValueError("the list is empty; name a file, or leave the key out")
        format_ = info.data.get("format")
        for path in [value] if isinstance(value, str) else value if isinstance(value, list) else []:
            possible(path)
            if format_ == PARALLEL or (format_ is None and is_braced(path)):
                parts_of(path)
        return value

    @field_validator("language")
    @classmethod
    def _codes(cls, value: str | list[str] | None) -> str | list[str] | None:
        """Languages are codes of BCP 47, which is what the Hub finds models by."""
        for code in [value] if isinstance(value, str) else value or []:
            if not _LANGUAGE.fullmatch(code):
                raise ValueError(f"{code!r} is no code of a language; write en for English, pt-BR, ...")
        return value

    @field_validator("url")
    @classmethod
    def _address(cls, value: str | None) -> str | None:
        """An address of the web, which a card can link to."""
        if value is not None and not _ADDRESS.fullmatch(value):
            raise ValueError("it should begin with https:// or http:// and hold no spaces")
        return value

    @model_validator(mode="after")
    def _names(self) -> Self:
        """Names of layers are not used twice and do not take a name that has a meaning of its own."""
        if isinstance(self.layers, list):
            twice = {name for name in self.layers if name != UNUSED and self.layers.count(name) > 1}
            if twice:
                raise ValueError(f"layers names {sorted(twice)[0]!r} twice; use '_' for a column that is not used")
        elif UNUSED in self.layers:
            raise ValueError("layers has a layer named '_'; leave a column that is not used out of the table")
        for table, keys in (("misc", self.misc), ("comments", self.comments)):
            taken = RESERVED | set(CONLLU_LAYERS) | (set(self.misc) if table == "comments" else set())
            for layer in keys:
                if layer in taken:
                    raise ValueError(f"{table} names a layer {layer!r}, but that name is taken; choose another")
        return self

    @model_validator(mode="after")
    def _drawn(self) -> Self:
        """A draw is of a number of examples."""
        if self.draw is not None and self.limit is None:
            raise ValueError("draw stands without limit; say how many examples to draw, or leave it out")
        return self

    @field_validator("fold")
    @classmethod
    def _part(cls, value: str | None) -> str | None:
        """A part of at least two."""
        found = _FOLD.fullmatch("1/2" if value is None else value)
        if not found or not 1 <= int(found[1]) <= int(found[2]) or int(found[2]) < 2:
            raise ValueError(f"{value!r} is no part of several; write 2/5 for the second of five")
        return value

    @property
    def folds(self) -> tuple[int, int] | None:
        """The number of the part that is left out, counted from 0, and how many parts there are."""
        if self.fold is None:
            return None
        part, _, parts = self.fold.partition("/")
        return int(part) - 1, int(parts)

    @property
    def languages(self) -> list[str]:
        """The codes of the texts' languages, as far as they are stated."""
        return [self.language] if isinstance(self.language, str) else list(self.language or [])

    def for_answers(self, *, keep_blank: bool = False) -> Self:
        """The same, for texts that want answers (see :attr:`wants_answers`, :attr:`keeps_blank`)."""
        spec = self.model_copy()
        spec._answers = True
        spec._blank = keep_blank
        return spec

    def files(self, split: str) -> list[str]:
        """The names of a split's files; none if it is not given, or is held out from another."""
        value = getattr(self, split)
        if value is None or isinstance(value, float):
            return []
        return [value] if isinstance(value, str) else list(value)

    def parts(self, path: Path) -> list[Path]:
        """The files behind one of these names: itself, or those that its braces name.

        Raises:
            ValueError: Its braces are wrong.
        """
        return files_of(path) if self.format in (None, PARALLEL) else [path]

    @property
    def wants_answers(self) -> bool:
        """Whether records want answers: other fields are no gold and pass through, and an empty text is an example."""
        return self._answers

    @property
    def keeps_blank(self) -> bool:
        """Whether a blank line of a plain text is an example too, so that each line has an answer at its place."""
        return self._blank

    @property
    def named(self) -> dict[str, str]:
        """Layer to column or field, where ``layers`` is a table; without the names that are no layers."""
        table = self.layers if isinstance(self.layers, dict) else {}
        return {layer: column for layer, column in table.items() if layer not in RESERVED}

    def column(self, role: str) -> str | None:
        """The column or field of ``words``, ``text`` or ``pair``; None where no pair is wanted."""
        default = {TEXT: self.text, PAIR: self.pair, WORDS: WORDS}[role]
        return self.layers.get(role, default) if isinstance(self.layers, dict) else default
