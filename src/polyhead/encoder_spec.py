"""What a recipe says about where its model starts: an encoder, pretrained or from scratch, or a previous run."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, Literal

from pydantic import BaseModel, Field, field_validator

from polyhead.errors import PolyheadError, nearest
from polyhead.files import possible
from polyhead.stage import STRICT

LEAST_PIECES = 261
"""The smallest vocabulary of an encoder from scratch: the 256 bytes, and 5 special pieces."""

MOST_NEW = 50_000
"""The most pieces that a named encoder may get beside its own."""

WINDOW = 512
"""The usual window of an encoder from scratch."""

_OF_SCRATCH = ("layers", "width", "heads", "feed_forward", "vocabulary", "lowercase")
"""The keys that shape an encoder from scratch."""


class EncoderSpec(BaseModel):
    """The ``[encoder]`` table; ``encoder = "NAME"`` is short for a table with a name alone."""

    model_config = STRICT

    name: str | None = Field(
        default=None,
        description="A bundled name (minilm), a folder, or an id on the Hub (owner/name); it "
        "needs safetensors weights and a fast tokenizer. Without a name the encoder is built from scratch.",
    )
    window: int | None = Field(
        default=None,
        description="The most pieces read at once, by default as many as the encoder can, 512 from scratch; "
        "longer texts are split with overlap, text pairs are cut.",
    )
    weights: Literal["pretrained", "random"] | None = Field(
        default=None,
        description="Of a named encoder: its pretrained weights (the default), or random ones for the same "
        "architecture and tokenizer; those take the learning rates of an encoder from scratch.",
    )
    reinitialise: int | None = Field(
        default=None,
        ge=0,
        description="How many of a named encoder's top layers get new random weights, by default 0; they are "
        "the closest to what it was pretrained for.",
    )
    extend: int | None = Field(
        default=None,
        ge=1,
        le=MOST_NEW,
        description="The most pieces that are learnt from the training texts and added to a named encoder's, for a "
        "domain or a language that it cuts into many; by default none. Each begins as the mean of the pieces that it "
        "was cut into.",
    )
    layers: int | None = Field(default=None, ge=1, le=128, description="From scratch: the number of layers; 6.")
    width: int | None = Field(
        default=None, ge=8, le=16384, description="From scratch: the size of a piece's vector; 384."
    )
    heads: int | None = Field(
        default=None,
        ge=1,
        description="From scratch: the attention heads of a layer, which must divide the width; by default one for "
        "each 64 of it.",
    )
    feed_forward: int | None = Field(
        default=None,
        ge=1,
        le=65536,
        description="From scratch: the inner size of a layer; by default 4 times the width.",
    )
    vocabulary: int | None = Field(
        default=None,
        ge=LEAST_PIECES,
        le=10**6,
        description="From scratch: the most pieces that the tokenizer may learn from the training texts; 16000. It has "
        f"at least {LEAST_PIECES}, one for each byte and 5 special ones.",
    )
    lowercase: bool | None = Field(
        default=None, description="From scratch: whether the tokenizer lower-cases; by default it does not."
    )

    @field_validator("name")
    @classmethod
    def _path(cls, name: str | None) -> str | None:
        return None if name is None else possible(name)

    def resolved(self) -> EncoderSpec:
        """The same with the defaults of its kind written out."""
        if self.name is not None:
            return self.model_copy(
                update={"weights": self.weights or "pretrained", "reinitialise": self.reinitialise or 0}
            )
        width = self.width or 384
        heads = self.heads or next(n for n in range(max(1, width // 64), 0, -1) if width % n == 0)
        shape: dict[str, Any] = {
            "window": self.window or WINDOW,
            "layers": self.layers or 6,
            "width": width,
            "heads": heads,
            "feed_forward": self.feed_forward or 4 * width,
            "vocabulary": self.vocabulary or 16000,
            "lowercase": bool(self.lowercase),
        }
        return self.model_copy(update=shape)

    @property
    def untrained(self) -> bool:
        """Whether no layer of the encoder has learnt anything yet."""
        return self.name is None or self.weights == "random"


class StartSpec(BaseModel):
    """The ``[start]`` table: a previous run that a model goes on from, in place of ``encoder``."""

    model_config = STRICT

    run: str = Field(
        description="The folder of the run, or of a model. Its encoder and tokenizer are taken, and the heads of tasks "
        "that have the same name and type here."
    )
    best: str | None = Field(
        default=None,
        description="A task of the run: start from the weights that were best for it, not from those that were best "
        "for all.",
    )
    fresh: list[str] = Field(
        default_factory=list, description="Tasks that get a new head, although the run has one of their name."
    )
    heads: dict[str, str] = Field(
        default_factory=dict,
        description='From a task to the task of the run whose head it starts from, as { reviews = "sentiment" }; '
        "labels that both have are matched by name.",
    )
    labels: Literal["union", "data"] = Field(
        default="union",
        description="What a task that keeps its head can answer: the run's labels and those of the data (union), or "
        "those of the data alone.",
    )

    _path = field_validator("run")(possible)


def check_encoder(spec: EncoderSpec) -> None:
    """See that an encoder's keys go together.

    Raises:
        PolyheadError: They do not; names the key, its value and a remedy.
    """
    for key in _OF_SCRATCH if spec.name is not None else ("reinitialise", "weights", "extend"):
        value = getattr(spec, key)
        if value is not None and not (key == "weights" and value == "random"):
            _refuse_key(spec, key)
    if spec.weights == "random" and spec.reinitialise:
        raise PolyheadError(
            f'encoder.reinitialise = {spec.reinitialise} stands beside weights = "random", which draws all anew.',
            remedy="Leave one of them out.",
        )
    if spec.name is not None:
        return
    shape = spec.resolved()
    assert shape.width and shape.heads and shape.window, "they are resolved"
    if shape.width % shape.heads:
        fitting = [n for n in range(1, shape.width + 1) if shape.width % n == 0]
        near = sorted(sorted(fitting, key=lambda n: abs(n - (spec.heads or 0)))[:3])
        raise PolyheadError(
            f"encoder.heads = {shape.heads} does not divide encoder.width = {shape.width}.",
            remedy=f"Take {', '.join(map(str, near[:-1]))} or {near[-1]} heads, or another width.",
        )
    if not 8 <= shape.window <= 8192:
        raise PolyheadError(
            f"encoder.window = {shape.window} is out of bounds.", remedy="Take a number from 8 to 8192."
        )


def _refuse_key(spec: EncoderSpec, key: str) -> None:
    value = getattr(spec, key)
    if key == "extend":
        raise PolyheadError(
            f"encoder.extend = {value} needs a named encoder; one from scratch learns all its pieces from the texts.",
            remedy='Add a name, such as name = "minilm", or say in vocabulary how many pieces are learnt.',
        )
    shown = str(value).lower() if isinstance(value, bool) else repr(value)
    if spec.name is None:
        raise PolyheadError(
            f"encoder.{key} = {shown} needs a pretrained encoder, but encoder has no name.",
            remedy='Add one, such as name = "minilm", or leave the key out: from scratch all weights are random.',
        )
    raise PolyheadError(
        f"encoder.{key} = {shown} is for an encoder from scratch, but {spec.name!r} has a shape of its own.",
        remedy=f"Leave {key} out, or leave name out to build an encoder from scratch.",
    )


def check_start(start: StartSpec, tasks: Collection[str], *, encoder: bool) -> None:
    """See that a start names tasks of the recipe, and that no encoder stands beside it.

    Args:
        start: The table.
        tasks: The recipe's tasks.
        encoder: Whether the recipe says something about the encoder, too.

    Raises:
        PolyheadError: It does not fit.
    """
    if encoder:
        raise PolyheadError(
            f"start.run = {start.run!r} stands beside encoder: the run has an encoder of its own.",
            remedy="Leave out encoder, or start.",
        )
    for key, names in (("fresh", start.fresh), ("heads", list(start.heads))):
        for name in names:
            if name not in tasks:
                raise PolyheadError(
                    f"start.{key} names {name!r}, which is no task of the recipe.", remedy=nearest(name, tasks)
                )
    for name in start.fresh:
        if name in start.heads:
            raise PolyheadError(
                f"start.fresh names {name!r}, which start.heads gives a head of the run.", remedy="Leave it out of one."
            )
