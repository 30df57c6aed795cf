"""Rows without filling: nothing is lost or mixed up, and attention is that over filled rows with a mask."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import Tensor, nn

from polyhead.nn.unpadded import Unpadded, _takes_all

CPU = torch.device("cpu")
LENGTHS = [[3, 7, 3, 1, 7, 40], [4, 4, 4], [6], [2, 0, 5]]


def mask(lengths: list[int], pieces: int) -> Tensor:
    return torch.arange(pieces) < torch.tensor(lengths)[:, None]


@pytest.mark.parametrize("lengths", LENGTHS)
@pytest.mark.parametrize("spare", [0, 2])
def test_pieces_come_back_where_they_were(lengths: list[int], spare: int) -> None:
    pieces = max(lengths) + spare
    rows = Unpadded(lengths, pieces, CPU)
    x = torch.arange(len(lengths) * pieces * 2).view(len(lengths), pieces, 2)
    flat = rows.flat(x)
    real = mask(lengths, pieces)
    assert flat.shape == (sum(lengths), 2) and rows.whole == bool(real.all())
    back = rows.filled(flat)
    assert back.shape == x.shape and torch.equal(back[real], x[real])
    assert torch.equal(rows.flat(torch.arange(pieces).expand(len(lengths), -1)), rows.within)


def test_more_are_computed_than_there_are() -> None:
    rows = Unpadded([2, 3], 3, CPU, lambda count: count + 4)
    x = torch.arange(12).view(2, 3, 2)
    flat = rows.flat(x)
    assert rows.count == 5 and flat.shape == (9, 2) and rows.within.shape == (9,)
    real = mask([2, 3], 3)
    assert torch.equal(rows.filled(flat)[real], x[real])
    even = Unpadded([3, 3], 3, CPU, lambda _: 8)
    assert not even.whole and torch.equal(even.filled(even.flat(x)), x)


@pytest.mark.parametrize("lengths", LENGTHS)
@pytest.mark.parametrize("more", [0, 5])
def test_attention_is_that_over_filled_rows(lengths: list[int], more: int) -> None:
    torch.manual_seed(0)
    pieces, heads, size = max(lengths), 2, 8
    asked = [torch.randn(len(lengths), pieces, heads * size) for _ in range(3)]
    real = mask(lengths, pieces)
    query, key, value = (x.view(len(lengths), pieces, heads, size).transpose(1, 2) for x in asked)
    scores = nn.functional.scaled_dot_product_attention(query, key, value, attn_mask=real[:, None, None])
    right = scores.transpose(1, 2).flatten(2)
    rows = Unpadded(lengths, pieces, CPU, lambda count: count + more)
    with torch.inference_mode():
        found = rows.attend(*(rows.flat(x) for x in asked), heads)
    torch.testing.assert_close(rows.filled(found)[real], right[real])


def test_a_gpu_is_told_where_rows_begin(monkeypatch: pytest.MonkeyPatch) -> None:
    """What it computes stands in ``test_gpu.py``; here attention is computed row by row from what it would be given."""
    varlen = pytest.importorskip("torch.nn.attention.varlen")

    def attend(q: Tensor, k: Tensor, v: Tensor, begins: Tensor, same: Tensor, most: int, also: int) -> Tensor:
        assert begins.dtype == torch.int32 and begins is same and most == also
        ends = begins.tolist()
        parts = []
        for start, end in itertools.pairwise(ends):
            assert end - start <= most
            one = (x[None, start:end].transpose(1, 2) for x in (q, k, v))
            parts.append(nn.functional.scaled_dot_product_attention(*one)[0].transpose(0, 1))
        return torch.cat(parts)

    monkeypatch.setattr(varlen, "varlen_attn", attend)
    torch.manual_seed(0)
    lengths = [3, 7, 3, 1, 7]
    rows = Unpadded(lengths, 7, CPU)
    asked = torch.randn(3, sum(lengths), 16).unbind()
    torch.testing.assert_close(rows._attend_all(*asked, 2), rows.attend(*asked, 2))


def test_what_a_gpu_cannot_take_at_once_attends_by_lengths() -> None:
    pytest.importorskip("torch.nn.attention.varlen")
    assert _takes_all(torch.bfloat16, 32) == _takes_all(torch.float16, 256) == (torch.version.hip is None)
    assert not any(_takes_all(dtype, size) for dtype, size in ((torch.float32, 32), (torch.bfloat16, 26)))
    assert not _takes_all(torch.bfloat16, 264)
