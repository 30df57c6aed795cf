"""What launchers say in the environment is understood, or refused with what to do instead."""

from __future__ import annotations

import pytest

from polyhead import PolyheadError
from polyhead.launch import Launch, Wishes, launched, see_alone, several, wishes

MEETING = {"MASTER_ADDR": "first", "MASTER_PORT": "29500"}
TORCHRUN = MEETING | {"RANK": "5", "WORLD_SIZE": "8", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "4"}
ACCELERATE = {"ACCELERATE_MIXED_PRECISION": "no", "ACCELERATE_DYNAMO_BACKEND": "NO"}


def test_which_process_this_is() -> None:
    assert launched({}) == launched({"WORLD_SIZE": "1", "RANK": "0"}) == Launch()
    assert launched(TORCHRUN) == Launch(5, 8, 1, 4, alone=False)
    assert not launched(TORCHRUN).first
    assert launched(TORCHRUN | {"TORCHELASTIC_RESTART_COUNT": "2"}).restarts == 2
    mpi = {"OMPI_COMM_WORLD_RANK": "3", "OMPI_COMM_WORLD_SIZE": "4", "OMPI_COMM_WORLD_LOCAL_RANK": "1"}
    assert launched(MEETING | mpi).rank == 3
    assert several(TORCHRUN) and not several({})


def test_whether_there_is_another_machine() -> None:
    """Only then may processes meet over the loopback; a launcher that says nothing of machines may have several."""
    bare = MEETING | {"RANK": "1", "WORLD_SIZE": "2"}
    assert not launched(bare).alone
    assert launched(bare | {"MASTER_ADDR": "127.0.0.1"}).alone
    assert launched(bare | {"LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "2"}).alone


@pytest.mark.parametrize("lost", ["RANK", "MASTER_ADDR", "MASTER_PORT"])
def test_half_of_what_a_launcher_says(lost: str) -> None:
    with pytest.raises(PolyheadError, match="do not say which one this is") as error:
        launched({name: value for name, value in TORCHRUN.items() if name != lost})
    assert "unset WORLD_SIZE" in error.value.remedy


def test_numbers_are_numbers() -> None:
    with pytest.raises(PolyheadError, match="WORLD_SIZE = 'many' is no number"):
        launched(TORCHRUN | {"WORLD_SIZE": "many"})
    with pytest.raises(PolyheadError, match="8 processes"):
        launched(TORCHRUN | {"RANK": "8"})


def test_what_accelerate_asks_for() -> None:
    assert wishes({}) == wishes(ACCELERATE) == Wishes()
    assert wishes(ACCELERATE | {"ACCELERATE_MIXED_PRECISION": "bf16"}).bf16
    assert wishes(ACCELERATE | {"ACCELERATE_USE_CPU": "True"}).cpu
    fsdp = {"ACCELERATE_USE_FSDP": "true", "FSDP_SHARDING_STRATEGY": "FULL_SHARD", "FSDP_OFFLOAD_PARAMS": "false"}
    assert wishes(ACCELERATE | fsdp).sharded


@pytest.mark.parametrize(
    ("given", "what"),
    [
        ({"ACCELERATE_USE_DEEPSPEED": "true"}, "DeepSpeed"),
        ({"ACCELERATE_USE_MEGATRON_LM": "true"}, "Megatron-LM"),
        ({"ACCELERATE_MIXED_PRECISION": "fp16"}, "mixed_precision fp16"),
        ({"ACCELERATE_DYNAMO_BACKEND": "INDUCTOR"}, "torch.compile"),
        ({"ACCELERATE_GRADIENT_ACCUMULATION_STEPS": "4"}, "accumulate gradients"),
        ({"ACCELERATE_USE_FSDP": "true", "FSDP_OFFLOAD_PARAMS": "true"}, "host's memory"),
        ({"ACCELERATE_USE_FSDP": "true", "FSDP_SHARDING_STRATEGY": "HYBRID_SHARD"}, "HYBRID_SHARD"),
    ],
)
def test_what_accelerate_may_not_ask_for(given: dict[str, str], what: str) -> None:
    with pytest.raises(PolyheadError, match=what) as error:
        wishes(ACCELERATE | given)
    assert error.value.remedy


def test_commands_for_one_process(monkeypatch: pytest.MonkeyPatch) -> None:
    see_alone("polyhead study", "Start it alone.")
    for name, value in TORCHRUN.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(PolyheadError, match="polyhead study takes one process, but a launcher has started 8"):
        see_alone("polyhead study", "Start it alone.")
