"""What every task type is: plain data that knows its gold, and a head that holds the weights."""

from __future__ import annotations

import dataclasses
import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, NamedTuple

from torch import Tensor, nn

from polyhead.data.example import Example, Prediction, Value
from polyhead.errors import PolyheadError
from polyhead.nn.encoder import Encoder, Encoding
from polyhead.nn.soft import Soft


class LossSum(NamedTuple):
    """The loss of a head over the examples of a batch that carry its layer.

    Attributes:
        total: Summed over units. A scalar.
        units: How many units it was summed over: words for word-level heads, texts for text-level ones. Where gold
            and a teacher both count, those of each by its share, perhaps no whole number.
    """

    total: Tensor
    units: float


@dataclass(kw_only=True)
class Task(ABC):
    """What is to be learnt from one layer of one dataset. Plain data: it serialises to JSON and holds no weights.

    A subclass adds the settings that its type takes as fields, and what it learns from the training split as fields
    made with :func:`learnt`.

    Attributes:
        name: The task's name in the recipe.
        data: The dataset's name.
        layer: The layer that is gold.
        weight: What the task's loss counts beside the others'.
        dropout: The share of values of the encoding that are dropped before the head, in training.
        encoder_layers: What the head reads of the encoder: its last layer, or a learnt mix of all. By default heads
            about words mix, and heads about whole texts take the last.
    """

    kind: ClassVar[type] = str
    """The kind of value that the layer must hold."""
    metric: ClassVar[str] = "accuracy"
    """The figure of ``score`` that says which weights are best."""
    lower_is_better: ClassVar[bool] = False
    words: ClassVar[bool] = True
    """Whether the layer is about words, so that texts must be split into words."""
    default_layer: ClassVar[str | None] = None

    name: str
    data: str
    layer: str = ""
    weight: float = 1.0
    dropout: float = 0.2
    encoder_layers: Literal["mix", "last"] | None = None

    def __post_init__(self) -> None:
        if not self.layer:
            if self.default_layer is None:
                raise PolyheadError(f"tasks.{self.name} has no layer.", remedy='Add one, such as layer = "upos".')
            self.layer = self.default_layer
        self.encoder_layers = self.encoder_layers or ("mix" if self.words else "last")
        if not 0 <= self.weight < math.inf:
            raise PolyheadError(f"tasks.{self.name}.weight = {self.weight} is not a number of at least 0.")
        if not 0 <= self.dropout < 1:
            raise PolyheadError(f"tasks.{self.name}.dropout = {self.dropout} is not in [0, 1).")

    @abstractmethod
    def prepare(self, examples: Sequence[Example]) -> None:
        """Learn the label inventory, from examples of the training split that carry the layer.

        Raises:
            PolyheadError: The task cannot be learnt from these examples.
        """

    @abstractmethod
    def head(self, encoder: Encoder) -> Head:
        """A new head with random weights, for an encoder of this width."""

    @abstractmethod
    def target(self, example: Example) -> Any | None:
        """Gold as numbers for the loss, or ``None`` if the example lacks the layer. Called once for each example.

        Raises:
            PolyheadError: The gold is not of a kind that the task can learn; names the file and the line.
        """

    @abstractmethod
    def score(self, examples: Sequence[Example], predicted: Sequence[Value]) -> dict[str, float]:
        """Figures by their usual names, by the field's own scorer.

        Args:
            examples: Examples that carry the layer, at least one.
            predicted: A value of the layer's kind for each.
        """

    def check(self, examples: Sequence[Example], split: str) -> list[str]:  # noqa: ARG002 - for subclasses
        """See that gold outside the training split is of use; returns notes on what cannot be right.

        Raises:
            PolyheadError: A label in this split was not in the training split; names the file and the line.
        """
        return []

    def units(self, example: Example) -> int:
        """How many units the loss sums over for an example that carries the layer: its words, or 1 for a text."""
        return len(example.words) if self.words else 1

    def choices(self) -> list[str]:
        """The names of what the head gives probabilities to, in its order; none if it gives none.

        A student and its teacher match their soft labels by these names.
        """
        return []

    def carries(self, example: Example) -> bool:
        """Whether the example has this task's layer."""
        return self.layer in example.layers

    def to_dict(self) -> dict[str, Any]:
        """Settings and what was learnt, for JSON."""
        return dataclasses.asdict(self)


def learnt(default_factory: Any = list) -> Any:
    """A field of a task that ``prepare`` fills and no recipe may set."""
    return dataclasses.field(default_factory=default_factory, metadata={"learnt": True})


class Head(nn.Module, ABC):
    """The weights of one task."""

    @abstractmethod
    def loss(self, encoding: Encoding, targets: Sequence[Any]) -> LossSum:
        """The loss over examples that all carry the layer.

        Args:
            encoding: The encoding of these examples.
            targets: What ``Task.target`` gave for each.
        """

    @abstractmethod
    def predict(self, encoding: Encoding) -> list[Prediction]:
        """An answer, with its confidence, for each example."""

    def soft(self, encoding: Encoding, choices: Sequence[str], temperature: float) -> list[Soft]:
        """What a student may learn from this head: for each example the same number of arrays.

        A type that has neither this nor :meth:`distil` can be neither teacher nor student.

        Args:
            encoding: The encoding of some examples, with or without gold.
            choices: The ``Task.choices`` of the student, in whose order its soft labels must be.
            temperature: What logits are divided by: above 1, soft labels are softer.
        """
        raise NotImplementedError(f"{type(self).__name__} gives no soft labels")

    def distil(self, encoding: Encoding, soft: Sequence[Soft], temperature: float) -> LossSum:
        """As :meth:`loss`, with a teacher's soft labels in the place of gold: 0 where the two agree.

        Args:
            encoding: The encoding of some examples, with or without gold.
            soft: What :meth:`soft` of the teacher's head gave for each.
            temperature: The same as then.
        """
        raise NotImplementedError(f"{type(self).__name__} learns from no soft labels")


def unknown_label(task: Task, example: Example, label: str, split: str, known: Sequence[str], word: int = 0) -> Any:
    """The error for a label that the training split does not have."""
    line = example.lines[word] if example.lines else example.line
    shown = ", ".join(sorted(known)[:20]) + (", ..." if len(known) > 20 else "")
    return PolyheadError(
        f"The label {label!r} of layer {task.layer!r} is in the {split} split but never in the training split.",
        file=example.file,
        line=line,
        remedy=f"Correct it, or add training examples that have it. Known labels: {shown}.",
    )


def unseen_note(task: Task, count: int, what: str, split: str) -> list[str]:
    """A note on words whose gold the head cannot give, because training never shows it; none if there are none."""
    if not count:
        return []
    words = "1 word" if count == 1 else f"{count} words"
    return [f"tasks.{task.name}: {words} of the {split} split with {what} that training never shows; counted as errors"]
