"""How many threads an exported model computes with."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from polyhead.processes import limit_threads
from polyhead.runtime.sessions import threads


@pytest.mark.parametrize(("said", "count"), [("3", 3), ("4,2", 4), (" 2 ", 2)])
def test_what_the_environment_says(monkeypatch: pytest.MonkeyPatch, said: str, count: int) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", said)
    assert threads() == count


@pytest.mark.parametrize("said", ["", "0", "many", "-1"])
@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="processors are not told here")
def test_else_the_processors_that_may_be_used(monkeypatch: pytest.MonkeyPatch, said: str) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", said)
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 5, 6})
    assert threads() == 3
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)))
    assert threads() == 0, "onnxruntime counts cores itself"


def test_a_worker_limits_what_is_loaded_later(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    monkeypatch.setenv("MKL_NUM_THREADS", "7")
    limit_threads(2)
    assert threads() == 2


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="threads are not told here")
def test_onnxruntime_takes_as_many(tmp_path: Path) -> None:
    """Of one thread it begins none beside its own, of four three more."""
    code = (
        "import os, sys; from pathlib import Path; import onnx; from onnx import helper, TensorProto\n"
        "x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in 'xy')\n"
        "graph = helper.make_graph([helper.make_node('Identity', ['x'], ['y'])], 'g', [x], [y])\n"
        "model = helper.make_model(graph, opset_imports=[helper.make_opsetid('', 18)], ir_version=9)\n"
        "onnx.save(model, sys.argv[1]); from polyhead.runtime.sessions import _opened; import onnxruntime\n"
        "before = len(os.listdir('/proc/self/task')); kept = _opened(Path(sys.argv[1]))\n"
        "print(len(os.listdir('/proc/self/task')) - before)\n"
    )
    for count in (1, 4):
        environment = os.environ | {"OMP_NUM_THREADS": str(count)}
        command = [sys.executable, "-c", code, str(tmp_path / "one.onnx")]
        done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
        assert int(done.stdout) == count - 1
