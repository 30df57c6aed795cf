"""What a GPU answers is what a CPU answers."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import polyhead
import runs
from polyhead.nn.unpadded import Unpadded

pytestmark = pytest.mark.gpu


@pytest.fixture(autouse=True)
def _gpu() -> None:
    if not torch.cuda.is_available():
        pytest.skip("there is no GPU")


def test_a_gpu_answers_as_a_cpu(tiny_encoder: Path, tmp_path: Path) -> None:
    folder = runs.write_data(tmp_path / "data")
    recipe = runs.write_recipe(folder, tiny_encoder, "[[stages]]\nepochs = 2\n")
    run = polyhead.train(recipe, tmp_path / "run").folder
    texts = [["The", "cats", "sat", "in", "Rome", "."], ["Ann", "saw", "Bob"], ("Rain fell in New York " * 20).split()]
    here, there = (polyhead.load(run, device=name, precision="fp32").words(texts) for name in ("cpu", "cuda"))
    for one, other in zip(here, there, strict=True):
        assert one.to_dict(confidence=False) == other.to_dict(confidence=False)
        for layer in ("upos", "sentiment"):
            assert other.confidence(layer) == pytest.approx(one.confidence(layer), abs=1e-3)


@pytest.mark.parametrize("lengths", [[5, 1, 9, 5], [40] * 3])
def test_a_gpu_attends_to_rows_of_all_lengths_at_once(lengths: list[int]) -> None:
    torch.manual_seed(0)
    query, key, value = torch.randn(3, sum(lengths), 64).unbind()
    right = Unpadded(lengths, max(lengths), torch.device("cpu")).attend(query, key, value, 2)
    rows = Unpadded(lengths, max(lengths), torch.device("cuda"))
    found = rows.attend(*(x.cuda().bfloat16() for x in (query, key, value)), 2)
    torch.testing.assert_close(found.float().cpu(), right, rtol=0.05, atol=0.02)
