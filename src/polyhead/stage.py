"""The ``[[stages]]`` table of a recipe: which tasks learn together, what of the model learns, for how long and how."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from polyhead.files import possible

STRICT = ConfigDict(strict=True, extra="forbid", frozen=True, allow_inf_nan=False)
"""How every table of a recipe is read: nothing unknown, nothing converted, no infinite number."""


class AdapterSpec(BaseModel):
    """What is trained instead of the encoder's own weights: small matrices beside them, put into them in the end."""

    model_config = STRICT

    kind: Literal["lora", "dora", "rslora", "loha", "lokr", "ia3"] = Field(
        default="lora",
        description="Low-rank matrices (lora, Hu et al. 2022), also with learnt lengths (dora) or scaled by the root "
        "of the rank (rslora); Hadamard (loha) or Kronecker (lokr) products; or factors alone (ia3).",
    )
    rank: int = Field(default=8, ge=1, le=4096, description="The rank of the added matrices; ia3 has none.")
    alpha: float | None = Field(
        default=None, gt=0, description="What the added product is scaled by, over the rank; by default twice the rank."
    )
    dropout: float = Field(default=0.0, ge=0, lt=1, description="The share of the adapter's input that is dropped.")


class DistilSpec(BaseModel):
    """What earlier runs teach: the stage's tasks also learn from the soft labels that these give its training texts."""

    model_config = STRICT

    teachers: list[str] = Field(
        min_length=1,
        description="The runs, or folders of models, that teach; each task learns from all of them that have a task of "
        "its name, and from gold alone if none has.",
    )
    heads: dict[str, str] = Field(
        default_factory=dict,
        description="For a task that is called otherwise in the teachers: its name there.",
    )
    tasks: list[str] = Field(
        default_factory=list,
        description="The tasks that learn from teachers; by default all of the stage that some teacher has.",
    )
    share: Literal["anneal"] | Annotated[float, Field(gt=0, le=1)] = Field(
        default="anneal",
        description="What share of a task's loss comes from its teachers, the rest being from gold: falling from 1 to "
        "0 over the stage (anneal, Clark et al. 2019), or this number throughout; at 1 gold is not looked at.",
    )
    temperature: float = Field(
        default=1.0,
        gt=0,
        description="What teachers' and student's logits are divided by before they are compared (Hinton et al. 2015); "
        "above 1, unlikely labels count for more.",
    )
    texts: Literal["own", "all"] = Field(
        default="own",
        description="Which training texts a teacher labels for a task: those of the task's own dataset, with gold or "
        "without; or those of all the stage's datasets that the task can read.",
    )

    @field_validator("teachers")
    @classmethod
    def _paths(cls, teachers: list[str]) -> list[str]:
        return [possible(teacher) for teacher in teachers]


class Stage(BaseModel):
    """A ``[[stages]]`` table: which tasks learn together, for how long and how."""

    model_config = STRICT

    name: str = Field(default="", description="The stage's name in the log; by default stage-1, stage-2, ...")
    tasks: list[str] = Field(default_factory=list, description="The tasks that learn; by default all.")
    fresh: list[str] = Field(
        default_factory=list,
        description="Tasks of the stage that begin it with a new head and the encoder of the stage before: after a "
        "joint stage on few labels that is better than to go on with the head.",
    )
    epochs: int = Field(default=5, ge=1, description="How often the stage's training examples are gone through.")
    learning_rate: float | None = Field(
        default=None,
        ge=0,
        description="The encoder's highest learning rate; by default 0.0768 over its width, "
        "which is 2e-4 for minilm and 1e-4 for a base-sized encoder; a quarter of that where the stage only classifies "
        "or rates texts; 5 times that for an adapter; 5e-4 from scratch.",
    )
    head_learning_rate: float = Field(default=1e-3, ge=0, description="The heads' highest learning rate.")
    warmup: float = Field(default=0.1, ge=0, le=1, description="The share of steps in which the rates rise from 0.")
    schedule: Literal["linear", "cosine", "constant", "slanted-triangular"] = Field(
        default="linear",
        description="How the rates fall after the warm-up: linear or cosine to 0, constant, or slanted-triangular "
        "(linear, from 1/32 and back to it; Howard and Ruder 2018).",
    )
    layer_decay: float = Field(
        default=1.0,
        gt=0,
        le=1,
        description="What the encoder's rate is multiplied with from each layer to the one below it, down to the "
        "embeddings: below 1, lower layers move less.",
    )
    freeze: Literal["nothing", "embeddings", "encoder"] | Annotated[int, Field(ge=0)] = Field(
        default="nothing",
        description="What of the encoder does not learn: nothing, its embeddings, the whole encoder, or a number: the "
        "embeddings and so many of its first layers.",
    )
    cache: bool = Field(
        default=True,
        description="Whether what layers that stay frozen through the stage make of each text is computed once and "
        "kept on disk, for later epochs, stages and runs, too (see Frozen layers in design.md).",
    )
    thaw: Literal["epoch"] | Annotated[float, Field(gt=0, le=1)] | None = Field(
        default=None,
        description="Gradual unfreezing from the top: one frozen layer more learns after each epoch, or after each "
        "such share of the stage's steps, the embeddings last. What is frozen at first says freeze, by default the "
        "whole encoder.",
    )
    adapter: AdapterSpec | None = Field(
        default=None,
        description="Trains an adapter instead of the encoder's own weights (needs peft: the extra adapters).",
    )
    weight_decay: float = Field(default=0.01, ge=0, description="AdamW's decay of matrices; vectors are left alone.")
    l2_sp: float = Field(
        default=0.0,
        ge=0,
        description="How hard the encoder's weights are pulled back to where the stage began (L2-SP, Li et al. 2018): "
        "each step takes away this times the learning rate of the way that they went. 100 is a firm pull at 2e-4.",
    )
    average: float = Field(
        default=0.1,
        ge=0,
        le=1,
        description="Scored and kept are the weights' moving average over this share of the steps so far; "
        "0 takes them as they are.",
    )
    clip: float = Field(default=1.0, gt=0, description="The longest gradient; longer ones are scaled down to it.")
    batch_pieces: int = Field(default=384, ge=8, le=10**7, description="The most pieces in a batch, filling included.")
    accumulate: int = Field(default=1, ge=1, description="How many batches make one step of the optimizer.")
    sampling: Literal["proportional", "uniform"] | Annotated[float, Field(gt=0)] = Field(
        default="proportional",
        description="Each dataset's share of an epoch: by its size, the same for all, or a temperature above 0 "
        "(1 is proportional, a large one nears uniform).",
    )
    batches: Literal["mixed", "single"] = Field(
        default="mixed", description="Whether a batch mixes examples of all datasets, or holds those of one dataset."
    )
    replay: float = Field(
        default=0.0,
        ge=0,
        lt=1,
        description="The share of an epoch's examples that come from the data of other tasks of earlier stages, or of "
        "the run that the recipe starts from, which so go on learning and are not forgotten.",
    )
    weights: dict[str, Annotated[float, Field(ge=0)]] = Field(
        default_factory=dict,
        description="What each task's loss counts in this stage, instead of the task's own weight.",
    )
    combine: Literal[
        "weights",
        "uncertainty",
        "dynamic",
        "pcgrad",
        "cagrad",
        "mgda",
        "upgrad",
        "dualproj",
        "aligned-mtl",
        "imtl-g",
        "config",
        "graddrop",
    ] = Field(
        default="weights",
        description="How the tasks' losses become one step: by their weights alone; by weights that also follow each "
        "task's uncertainty (Kendall et al. 2018) or how slowly its loss falls (dynamic, Liu et al. 2019); or by "
        "joining the tasks' gradients of the encoder by a method of torchjd (the extra conflicts), which takes a "
        "backward pass for each task.",
    )
    normalise: Literal["units", "chance"] = Field(
        default="units",
        description="What a task's loss is divided by before its weight: its units, that is words or texts; or also "
        "the loss of a head that knows nothing, so that every task begins near 1.",
    )
    cosines: int | None = Field(
        default=None,
        ge=0,
        description="Every so many steps the cosines between the tasks' gradients are measured; 0 never. By default so "
        "seldom that it costs about 3 % of the time.",
    )
    dropout: float | None = Field(default=None, ge=0, lt=1, description="The encoder's dropout; by default its own.")
    score_every: int = Field(
        default=1,
        ge=1,
        description="After every so many epochs, and after the last, the dev splits are scored; more than 1 saves time "
        "where they are large beside the training splits.",
    )
    patience: int | None = Field(
        default=None,
        ge=1,
        description="Stop after this many scored epochs without a better mean score on the dev splits; "
        "epochs before the first score above 0 do not count.",
    )
    distil: DistilSpec | None = Field(
        default=None, description="Distillation: the tasks also learn from what earlier runs answer, see below."
    )
    keep: Literal["best", "last"] = Field(
        default="best",
        description="The weights that the stage hands on: of the best epoch by the mean of dev scores "
        "(the last, without a dev split), or the last.",
    )
