"""What every task type is: plain data that knows its gold, and a head that holds the weights."""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from polyhead.answering.chooser import Chooser
from polyhead.data.example import Example, Prediction, Value
from polyhead.errors import PolyheadError
from polyhead.metrics import Tally
from polyhead.nn.encoder import Encoder, Encoding
from polyhead.nn.pieces import Pieces, PieceTokenizer
from polyhead.outcomes import hits
from polyhead.tasks.head import Head
from polyhead.tasks.packing import Packing
from polyhead.tasks.settings import check_settings


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
        word: Which of its pieces stands for a word: the first, the last, or the mean of all.
        head_of: The task whose head this one shares, so that one head learns from several datasets. All settings of the
            head are that task's, and the type, unless denoising is to share with seq2seq; data and weight are its own,
            the layer and the language of texts that are written, and ``only`` of named entities.
        more_labels: Labels that there are beside those of the training split: a small one may lack some, which dev,
            test and later texts have.
    """

    kind: ClassVar[type] = str
    """The kind of value that the layer must hold."""
    metric: ClassVar[str] = "accuracy"
    """The figure of ``score`` that says which weights are best."""
    lower_is_better: ClassVar[bool] = False
    words: ClassVar[bool] = True
    """Whether the layer is about words, so that texts must be split into words."""
    gentle: ClassVar[bool] = False
    """Whether the encoder has little to relearn for it: a stage of such tasks alone has a lower usual rate."""
    default_layer: ClassVar[str | None] = None
    inventory: ClassVar[str] = ""
    """The field that ``prepare`` fills with the labels, if there is one."""
    earlier: ClassVar[Task | None] = None
    """Set for one task, before ``prepare``: the task of a previous run whose labels stay known beside the data's."""
    own: ClassVar[frozenset[str]] = frozenset({"name", "data", "weight", "head_of"})
    """The settings that tasks which share a head may have apart; all others belong to the head."""
    separate: ClassVar[bool] = False
    """Whether each unit that ``Head.chances`` tells of is a question of its own, such as whether a text has a label."""
    annotates: ClassVar[bool] = True
    """Whether the task learns a layer and answers with one. One that does not learns from texts alone: it has no
    layer, its examples are blocks of text that it corrupts anew for each step (``packing``, ``corrupt``), which are
    rows of their own in a batch, and it is left out where texts are annotated."""

    name: str
    data: str
    layer: str = ""
    weight: Annotated[float, Field(ge=0)] = 1.0
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.2
    encoder_layers: Literal["mix", "last"] | None = None
    word: Literal["first", "last", "mean"] = "first"
    head_of: str | None = None
    more_labels: list[str] | None = None

    def __post_init__(self) -> None:
        check_settings(self, Task)
        if self.more_labels and not self.inventory:
            raise PolyheadError(f"tasks.{self.name}.more_labels = {self.more_labels}: the type has no labels.")
        if not self.annotates:
            if self.layer:
                raise PolyheadError(f"tasks.{self.name}.layer = {self.layer!r}: the type learns no layer.")
        elif not self.layer:
            if self.default_layer is None:
                raise PolyheadError(f"tasks.{self.name} has no layer.", remedy='Add one, such as layer = "upos".')
            self.layer = self.default_layer
        self.encoder_layers = self.encoder_layers or ("mix" if self.words else "last")

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

    def unit_gold(self, example: Example) -> NDArray[Any] | None:
        """The class of each word, or of the text, negative for none, shape (units,); or numbers, (units, numbers).

        ``None`` without the layer. Measures that train no head read this; a type without it cannot be advised on.
        """
        raise NotImplementedError(f"{type(self).__qualname__} gives no plain classes")

    def tally(self, examples: Sequence[Example], predicted: Sequence[Value]) -> Tally | None:  # noqa: ARG002
        """What each example counts for the figures, where they are made of counts that add up.

        A type gives this or ``score``. With it, the figures of a thousand resamples cost little.

        Args:
            examples: Examples that carry the layer, at least one.
            predicted: A value of the layer's kind for each.
        """
        return None

    def score(self, examples: Sequence[Example], predicted: Sequence[Value]) -> dict[str, float]:
        """Figures by their usual names, by the field's own scorer; by default those of ``tally``.

        Args:
            examples: Examples that carry the layer, at least one.
            predicted: A value of the layer's kind for each.
        """
        tally = self.tally(examples, predicted)
        if tally is None:
            raise NotImplementedError(f"{type(self).__qualname__} has neither score nor tally")
        return tally.figures()

    def signatures(self) -> dict[str, str]:
        """How figures are computed exactly, by their names, where their scorer has more than one way; by default none.

        They stand beside the figures wherever these are written or shown.
        """
        return {}

    def check(self, examples: Sequence[Example], split: str) -> list[str]:  # noqa: ARG002 - for subclasses
        """See that gold outside the training split is of use; returns notes on what cannot be right.

        Raises:
            PolyheadError: A label in this split was not in the training split; names the file and the line.
        """
        return []

    @classmethod
    def can_share(cls, other: type[Task]) -> bool:
        """Whether a task of this type may have the head of a task of the other type; by default only of its own.

        It then has the other's settings, as far as its type has them, too, and neither says that they are its ``own``.
        """
        return other is cls

    def lesson(self, example: Example, owner: Task) -> Example | None:  # noqa: ARG002 - for subclasses
        """What ``prepare`` of the task that has this one's head, or of this one, gets to see of an example: by default
        the example itself, if it has the layer; of every example something, if the task does not annotate."""
        return example if self.carries(example) or not self.annotates else None

    def shared_with(self, others: Sequence[Task]) -> None:  # noqa: B027 - most have nothing to note
        """Take note of the tasks that share this one's head; called before ``prepare``."""

    def bind(self, encoder: Encoder) -> None:  # noqa: B027
        """Take note of the encoder; called before ``head`` and ``target``, of every task.

        Raises:
            PolyheadError: The task does not go with it.
        """

    def steps(self, target: Any) -> int:  # noqa: ARG002 - for subclasses
        """How many pieces a head reads beside the encoder's for this target; a batch has room for as many of both."""
        return 0

    def remarks(self) -> list[str]:
        """What is to be said of the targets so far, such as what was left out; it is said once."""
        return []

    def answer(self, head: Head, encoding: Encoding, *, sure: bool = True) -> list[Prediction]:  # noqa: ARG002
        """What the task's head, which others may share, answers for each example; with ``sure`` also how sure it is,
        if that takes work of its own."""
        return head.predict(encoding)

    def chooser(self, head: Head) -> Chooser:
        """What turns the scores of the task's head into answers; see ``Head.chooser``."""
        return head.chooser()

    def search(self, *, beams: int | None, best: int, temperature: float | None) -> None:  # noqa: B027
        """Look for answers in another way from now on; types that write texts have several.

        Args:
            beams: How many hypotheses are kept as a text is written; ``None`` leaves it.
            best: How many texts are wanted.
            temperature: Texts are drawn, with logits divided by this.

        Raises:
            PolyheadError: One is out of bounds.
        """

    def units(self, example: Example, target: Any) -> int:  # noqa: ARG002 - for subclasses
        """How many units the loss sums over for an example with this target: its words, or 1 for a text."""
        return len(example.words) if self.words else 1

    def earlier_labels(self) -> set[str]:
        """The labels that are known whatever the training split holds: a previous run's, and ``more_labels``."""
        return {*(self.more_labels or ()), *(() if self.earlier is None else self.earlier.known_labels())}

    def known_labels(self) -> list[str]:
        """The labels that ``prepare`` learnt; none if the type has none."""
        return list(getattr(self, self.inventory)) if self.inventory else []

    def take_learnt(self, other: Task) -> None:
        """Take over what another task, whose head this one shares, learnt from the training split."""
        for one in dataclasses.fields(self):
            if one.metadata.get("learnt"):
                setattr(self, one.name, getattr(other, one.name))

    def choices(self) -> list[str]:
        """The names of what the head gives probabilities to, in its order; none if it gives none.

        A student and its teacher match their soft labels by these names.
        """
        return []

    def marks(self, target: Any) -> NDArray[np.int64]:
        """What gold chooses for each unit that ``Head.chances`` tells of, by its place there; ``IGNORE`` for nothing.

        Args:
            target: What ``target`` gave.
        """
        return np.atleast_1d(np.asarray(target, dtype=np.int64))

    def reading(self, example: Example, unit: int, choice: int) -> str:  # noqa: ARG002 - for subclasses
        """What a choice of ``Head.chances`` means for a unit of a text, in a word or two."""
        return self.choices()[choice]

    def hits(self, example: Example, given: Value) -> list[bool | None]:
        """Whether an answer is right, for each of its confidences; ``None`` where gold does not say.

        Types whose confidence is no probability of being right say so of none.
        """
        return hits(example.layers[self.layer], given)

    def carries(self, example: Example) -> bool:
        """Whether the example has this task's layer."""
        return self.layer in example.layers

    @property
    def answers(self) -> bool:
        """Whether there is an answer of this task beside those of others: not where it only lends a head its data."""
        return self.annotates and self.head_of is None

    @property
    def writes_encoder_pieces(self) -> bool:
        """Whether the layer holds texts that are written with the pieces of the encoder's tokenizer."""
        return False

    @property
    def packing(self) -> Packing:
        """How texts become blocks, for a task that does not annotate."""
        return Packing()

    def corrupt(
        self,
        pieces: Pieces,
        tokenizer: PieceTokenizer,  # noqa: ARG002 - for subclasses
        rng: np.random.Generator,  # noqa: ARG002
    ) -> tuple[Pieces, Any]:
        """A block as the encoder gets to read it, and what the head is to find out about it; by default nothing.

        Called for a task that does not annotate, anew at each step; where a GPU computes, by another thread and ahead
        of time, so that it must change nothing of the task.

        Args:
            pieces: A block. ``starts`` are the first pieces of its words; the words themselves are left out.
            tokenizer: Tells what the pieces are.
            rng: Depends on the seed, the stage, the step and the block alone, so that a run can be gone on with.

        Returns:
            Pieces as many as before, whose ``starts`` and ``words`` are what the head reads as words, and the target.
        """
        return pieces, None

    def block_units(self, pieces: int) -> int:
        """Over how many units the loss sums for a block of so many pieces (of those alongside, if it has some), about.

        Where it has pieces alongside, that is also how many the head reads, as ``steps`` says of other targets.
        """
        return pieces

    def figures(self, sums: Mapping[str, float]) -> dict[str, float]:
        """Figures from the sums over blocks of what ``Head.measure`` gave; by default the mean loss."""
        return {"loss": sums["loss"] / max(1.0, sums["units"])}

    def to_dict(self) -> dict[str, Any]:
        """Settings and what was learnt, for JSON."""
        return dataclasses.asdict(self)


def learnt(default_factory: Any = list) -> Any:
    """A field of a task that ``prepare`` fills and no recipe may set."""
    return dataclasses.field(default_factory=default_factory, metadata={"learnt": True})
