"""Everything that the rest of a run depends on, on disk: weights, optimizer, random state, position, best so far."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import NamedTuple

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from polyhead.errors import PolyheadError
from polyhead.files import UNFINISHED, read_json, remove_unfinished, whole, write_json
from polyhead.model import BEST
from polyhead.scoring import Scores

FOLDER = "checkpoints"


@dataclass
class Best:
    """The best weights so far by one measure.

    Attributes:
        score: The measure; higher is better.
        stage, epoch: Where they come from.
        file: Their name in the run's ``best`` folder.
    """

    score: float
    stage: str
    epoch: int
    file: str

    def beaten_by(self, score: float) -> bool:
        """Whether a later score is better; of two zeros the later is.

        Span F1 and BLEU begin with epochs in which the loss falls and no answer is right yet. The first of these must
        not be kept, and they do not count as no progress.
        """
        return score > self.score or score == self.score == 0


@dataclass
class Progress:
    """Where a run stands. Plain data.

    Attributes:
        stage: The number of stages done.
        epoch: The number of epochs done in this stage.
        batch: The number of batches done in this epoch.
        step: The number of the optimizer's steps done in this stage.
        losses: For each task the sum over this epoch's steps of its mean loss, and the number of such steps.
        words: The words read in this epoch.
        seconds: The seconds trained in this epoch.
        waited: The number of epochs without a better mean score.
        history: For each epoch done in this stage each task's mean loss.
        cosines: For each two tasks, over this stage, the number of cosines measured, their sum and their squares' sum.
        chance: For each task of this stage the loss of a head that knows nothing, where losses are divided by it.
        kept: Whether what frozen layers make of texts is read from files in this stage; ``None`` before it began.
        scored: The dev scores of the epoch whose weights would be kept if the stage ended now.
        start: The dev scores, before the first stage, of the tasks that the run which it started from has learnt.
        stages: For each stage done the scores on the dev splits, of all tasks learnt until then.
        mean: The stage's best weights by the mean of all tasks.
        tasks: Each task's best weights over all stages.
        log: The length of the log in bytes.
    """

    stage: int = 0
    epoch: int = 0
    batch: int = 0
    step: int = 0
    losses: dict[str, list[float]] = field(default_factory=dict)
    words: int = 0
    seconds: float = 0.0
    waited: int = 0
    history: list[dict[str, float]] = field(default_factory=list)
    cosines: dict[str, list[float]] = field(default_factory=dict)
    chance: dict[str, float] = field(default_factory=dict)
    kept: bool | None = None
    scored: Scores = field(default_factory=dict)
    start: Scores = field(default_factory=dict)
    stages: list[Scores] = field(default_factory=list)
    mean: Best | None = None
    tasks: dict[str, Best] = field(default_factory=dict)
    log: int = 0

    def files(self) -> set[str]:
        """The files of best weights that this progress speaks of."""
        return {best.file for best in [*self.tasks.values(), self.mean] if best is not None}

    def note_step(self, losses: Mapping[str, float], cosines: Mapping[str, float], *, batches: int, words: int) -> None:
        """Take note of a step of the optimizer."""
        for name, value in losses.items():
            total, count = self.losses.get(name, [0.0, 0])
            self.losses[name] = [total + value, count + 1]
        for pair, cosine in cosines.items():
            number, total, squares = self.cosines.get(pair, [0, 0.0, 0.0])
            self.cosines[pair] = [number + 1, total + cosine, squares + cosine**2]
        self.batch += batches
        self.step += 1
        self.words += words

    def end_epoch(self, losses: Mapping[str, float], *, scored: bool, better: bool) -> None:
        """Take note of the end of an epoch; one that was not scored is none to lose patience over."""
        self.history.append(dict(losses))
        self.epoch, self.batch = self.epoch + 1, 0
        self.losses, self.words, self.seconds = {}, 0, 0.0
        self.waited = 0 if better else self.waited + scored

    def end_stage(self, scores: Scores) -> None:
        """Take note of the end of a stage."""
        self.stages.append(scores)
        self.stage += 1
        self.epoch = self.batch = self.step = self.waited = 0
        self.history, self.cosines, self.chance, self.scored, self.mean = [], {}, {}, {}, None
        self.kept = None

    @classmethod
    def from_dict(cls, table: dict[str, object]) -> Progress:
        """The inverse of ``dataclasses.asdict``."""
        progress = cls(**table)  # type: ignore[arg-type]
        progress.mean = None if progress.mean is None else Best(**progress.mean)  # type: ignore[arg-type]
        progress.tasks = {name: Best(**best) for name, best in progress.tasks.items()}  # type: ignore[arg-type]
        return progress


class Checkpoint(NamedTuple):
    """What was saved of a run.

    Attributes:
        progress: Where it stands.
        weights: The model's, by name, in full precision.
        optimizer: Everything else that the next step depends on.
    """

    progress: Progress
    weights: dict[str, Tensor]
    optimizer: dict[str, Tensor]


def save_checkpoint(
    run: Path, progress: Progress, weights: Mapping[str, Tensor], optimizer: Mapping[str, Tensor]
) -> None:
    """Write a checkpoint whole, then remove older ones and best weights that nothing speaks of any more."""
    tensors = {f"model/{name}": tensor for name, tensor in weights.items()}
    tensors |= {f"optimizer/{name}": tensor for name, tensor in optimizer.items()}
    tensors |= {f"random/{name}": tensor for name, tensor in _random_state().items()}
    folder = run / FOLDER / f"{progress.stage:03d}-{progress.epoch:05d}-{progress.batch:09d}"
    with whole(folder) as draft:
        draft.mkdir(parents=True)
        save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, draft / "state.safetensors")
        write_json(draft / "progress.json", asdict(progress))
    for old in (run / FOLDER).iterdir():
        if old != folder:
            shutil.rmtree(old, ignore_errors=True)
    prune_best(run, progress.files())


def has_checkpoint(run: Path) -> bool:
    """Whether a run has a checkpoint to go on from."""
    folders = (run / FOLDER).glob("*") if (run / FOLDER).is_dir() else ()
    return any(not folder.name.endswith(UNFINISHED) for folder in folders)


def load_checkpoint(run: Path, *, clean: bool = True) -> Checkpoint | None:
    """Read the newest checkpoint and set the random state from it.

    Args:
        run: The run's folder.
        clean: Whether to clear away what a killed process left half-written.

    Returns:
        The checkpoint; ``None`` if there is none yet.

    Raises:
        PolyheadError: The checkpoint is broken.
    """
    if clean:
        remove_unfinished(run)
        if (run / FOLDER).is_dir():
            remove_unfinished(run / FOLDER)
    folders = sorted((run / FOLDER).glob("*")) if (run / FOLDER).is_dir() else []
    folders = [folder for folder in folders if not folder.name.endswith(UNFINISHED)]
    if not folders:
        return None
    try:
        tensors = load_file(folders[-1] / "state.safetensors")
        progress = Progress.from_dict(read_json(folders[-1] / "progress.json"))
    except Exception as error:
        said = error.what.rstrip(".") if isinstance(error, PolyheadError) else error
        raise PolyheadError(
            f"The checkpoint cannot be read: {said}.",
            file=folders[-1],
            remedy="Delete this folder; the run goes on from an older checkpoint, or from the start.",
        ) from error
    parts: dict[str, dict[str, Tensor]] = {"model": {}, "optimizer": {}, "random": {}}
    for key, tensor in tensors.items():
        part, _, name = key.partition("/")
        parts[part][name] = tensor
    _set_random_state(parts["random"])
    return Checkpoint(progress, parts["model"], parts["optimizer"])


def save_best(run: Path, name: str, weights: Mapping[str, Tensor]) -> None:
    """Write weights whole into the run's ``best`` folder."""
    with whole(run / BEST / name) as draft:
        save_file({key: tensor.contiguous() for key, tensor in weights.items()}, draft)


def load_best(run: Path, name: str) -> dict[str, Tensor]:
    """Weights that ``save_best`` wrote.

    Raises:
        PolyheadError: The file is missing or broken.
    """
    try:
        return load_file(run / BEST / name)
    except Exception as error:
        raise PolyheadError(f"The best weights cannot be read: {error}.", file=run / BEST / name) from error


def prune_best(run: Path, keep: set[str]) -> None:
    """Delete best weights other than these, and what a killed process left half-written."""
    if (run / BEST).is_dir():
        remove_unfinished(run / BEST)
        for path in (run / BEST).glob("*.safetensors"):
            if path.name not in keep:
                path.unlink(missing_ok=True)


def _random_state() -> dict[str, Tensor]:
    state = {"cpu": torch.get_rng_state()}
    if torch.cuda.is_available():
        state |= {f"cuda{i}": tensor for i, tensor in enumerate(torch.cuda.get_rng_state_all())}
    return state


def _set_random_state(state: Mapping[str, Tensor]) -> None:
    torch.set_rng_state(state["cpu"])
    cuda = [state[f"cuda{i}"] for i in range(len(state) - 1)]
    if cuda and torch.cuda.device_count() == len(cuda):
        torch.cuda.set_rng_state_all(cuda)
