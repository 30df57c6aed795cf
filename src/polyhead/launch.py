"""What a launcher of several processes (torchrun, accelerate, mpirun, Ray Train) says in the environment."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass

from polyhead.errors import PolyheadError

_NAMES = {
    "rank": ("RANK", "PMI_RANK", "OMPI_COMM_WORLD_RANK", "MV2_COMM_WORLD_RANK"),
    "world": ("WORLD_SIZE", "PMI_SIZE", "OMPI_COMM_WORLD_SIZE", "MV2_COMM_WORLD_SIZE"),
    "local_rank": ("LOCAL_RANK", "MPI_LOCALRANKID", "OMPI_COMM_WORLD_LOCAL_RANK", "MV2_COMM_WORLD_LOCAL_RANK"),
    "local_world": ("LOCAL_WORLD_SIZE", "MPI_LOCALNRANKS", "OMPI_COMM_WORLD_LOCAL_SIZE", "MV2_COMM_WORLD_LOCAL_SIZE"),
}
"""What torchrun calls each number, and what the MPI libraries do."""

_HOW = "Start it with torchrun or accelerate launch (docs/scale.md)."


@dataclass(frozen=True, slots=True)
class Launch:
    """Which of several processes this one is.

    Attributes:
        rank: From 0.
        world: How many there are.
        local_rank: Which one on this machine, from 0.
        local_world: How many there are on this machine.
        restarts: How often the launcher has started all of them anew, because one had ended.
        alone: Whether it is sure that there is no other machine.
    """

    rank: int = 0
    world: int = 1
    local_rank: int = 0
    local_world: int = 1
    restarts: int = 0
    alone: bool = True

    @property
    def first(self) -> bool:
        """Whether this is the one that writes and speaks."""
        return self.rank == 0


def launched(environment: Mapping[str, str] = os.environ) -> Launch:
    """Which process this one is.

    Raises:
        PolyheadError: The environment speaks of several processes, but not of which this is.
    """
    numbers = {key: _number(environment, names) for key, names in _NAMES.items()}
    world = numbers["world"] or 1
    if world == 1:
        return Launch(restarts=_number(environment, ("TORCHELASTIC_RESTART_COUNT",)) or 0)
    rank = numbers["rank"]
    if rank is None or not 0 <= rank < world or "MASTER_ADDR" not in environment or "MASTER_PORT" not in environment:
        raise PolyheadError(
            f"The environment speaks of {world} processes (WORLD_SIZE), but RANK, MASTER_ADDR and MASTER_PORT do not "
            "say which one this is and where the others are.",
            remedy=f"{_HOW} For one process alone: unset WORLD_SIZE.",
        )
    local = numbers["local_rank"]
    here = environment["MASTER_ADDR"] in ("localhost", "127.0.0.1", "::1")
    return Launch(
        rank,
        world,
        rank if local is None else local,
        numbers["local_world"] or (world if local is None else max(1, min(world, local + 1))),
        _number(environment, ("TORCHELASTIC_RESTART_COUNT",)) or 0,
        here or numbers["local_world"] == world,
    )


def _number(environment: Mapping[str, str], names: tuple[str, ...]) -> int | None:
    for name in names:
        if name in environment:
            try:
                return int(environment[name])
            except ValueError:
                raise PolyheadError(f"{name} = {environment[name]!r} is no number.", remedy=_HOW) from None
    return None


def several(environment: Mapping[str, str] = os.environ) -> bool:
    """Whether a launcher speaks of several processes, rightly or not."""
    with suppress(PolyheadError):
        return launched(environment).world > 1
    return False


def see_alone(doing: str, remedy: str) -> None:
    """See that a command that is for one process was not started by a launcher of several.

    Args:
        doing: The command.
        remedy: How the same is had.

    Raises:
        PolyheadError: It was.
    """
    world = launched().world
    if world > 1:
        raise PolyheadError(f"{doing} takes one process, but a launcher has started {world}.", remedy=remedy)


@dataclass(frozen=True, slots=True)
class Wishes:
    """What ``accelerate launch`` asks for beside processes, by its options or its configuration file.

    Attributes:
        sharded: Whether the encoder's weights are divided among the processes (``--use_fsdp``).
        bf16: Whether to compute in bf16 (``--mixed_precision bf16``).
        cpu: Whether to leave GPUs alone (``--cpu``).
    """

    sharded: bool = False
    bf16: bool = False
    cpu: bool = False


_REFUSED = {
    "ACCELERATE_USE_DEEPSPEED": ("DeepSpeed", "Take --multi_gpu, or --use_fsdp for encoders that fit no one device."),
    "ACCELERATE_USE_MEGATRON_LM": ("Megatron-LM", "Take --multi_gpu, or --use_fsdp."),
    "ACCELERATE_USE_PARALLELISM_CONFIG": (
        "a parallelism config",
        "Leave it out: data parallel and --use_fsdp are had.",
    ),
    "FSDP_OFFLOAD_PARAMS": ("FSDP that keeps weights in the host's memory", "Set fsdp_offload_params to false."),
    "FSDP_ACTIVATION_CHECKPOINTING": (
        "FSDP with activation checkpointing",
        "Set fsdp_activation_checkpointing to false, and batch_pieces lower in the recipe if memory is short.",
    ),
}
"""Switches of accelerate that polyhead has no counterpart to, what they ask for, and what to do instead."""


def wishes(environment: Mapping[str, str] = os.environ) -> Wishes:
    """What accelerate asks for; nothing of this where another launcher, or none, was used.

    Raises:
        PolyheadError: It is something that polyhead does not do, or that belongs into the recipe.
    """
    if "ACCELERATE_MIXED_PRECISION" not in environment:
        return Wishes()

    def on(name: str) -> bool:
        return environment.get(name, "").lower() in ("1", "true", "yes", "y", "on", "t")

    sharded = on("ACCELERATE_USE_FSDP")
    for name, (what, remedy) in _REFUSED.items():
        if on(name) and (sharded or not name.startswith("FSDP")):
            raise PolyheadError(f"accelerate asks for {what}, which polyhead does not do.", remedy=remedy)
    strategy = environment.get("FSDP_SHARDING_STRATEGY", "FULL_SHARD").upper()
    if sharded and strategy not in ("FULL_SHARD", "1", "SHARD_GRAD_OP", "2"):
        raise PolyheadError(
            f"accelerate asks for the sharding strategy {strategy}, which polyhead does not do.",
            remedy="Set fsdp_sharding_strategy to FULL_SHARD; for NO_SHARD leave --use_fsdp out.",
        )
    precision = environment["ACCELERATE_MIXED_PRECISION"].lower()
    if precision not in ("no", "bf16"):
        raise PolyheadError(
            f"accelerate asks for mixed_precision {precision}, which polyhead does not do.",
            remedy='Take bf16 or no, or leave it to the recipe: precision = "auto".',
        )
    if environment.get("ACCELERATE_DYNAMO_BACKEND", "NO").upper() not in ("NO", ""):
        raise PolyheadError("accelerate asks for torch.compile, which polyhead does not do.", remedy="Set it to no.")
    if (_number(environment, ("ACCELERATE_GRADIENT_ACCUMULATION_STEPS",)) or 1) > 1:
        raise PolyheadError(
            "accelerate asks to accumulate gradients, which the recipe says.",
            remedy="Leave it out there, and set accumulate in the recipe's stage.",
        )
    return Wishes(sharded, precision == "bf16", on("ACCELERATE_USE_CPU"))
