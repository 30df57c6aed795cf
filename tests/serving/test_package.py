"""What is built for others holds the page, and starting a server needs no model's library."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from polyhead.serving.assets import all_files

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "src" / "polyhead" / "serving" / "page"


def test_the_wheel_holds_the_page() -> None:
    wheel = pytest.importorskip("hatchling.builders.wheel", reason="hatchling is not installed")
    builder = wheel.WheelBuilder(str(ROOT))
    held = {file.distribution_path for file in builder.recurse_included_files()}
    assert {f"polyhead/serving/page/{path.name}" for path in PAGE.iterdir()} <= held
    assert len(list(PAGE.iterdir())) >= 10


def test_pages_ask_for_files_that_there_are() -> None:
    for page in ("index.html", "docs.html"):
        text = (PAGE / page).read_text(encoding="utf-8")
        asked = re.findall(r'(?:href|src)="page/([^"]+)"', text)
        assert asked and set(asked) <= set(all_files())
        assert not re.search(r"<script>|<style|\son\w+=|\sstyle=|https?://", text), "the policy would refuse it"
    for name, file in all_files().items():
        text = file.content.decode()
        if name.endswith(".js"):
            assert set(re.findall(r'from "\./([^"]+)"', text)) <= set(all_files())
            assert not re.search(
                r"innerHTML|outerHTML|insertAdjacentHTML|document\.write\(|\beval\(|new Function", text
            )
        assert not re.search(r"(?<!xmlns=\")https?://(?!www\.w3\.org/2000/svg)", text), name


def test_a_server_imports_no_library_of_models() -> None:
    code = "import sys, polyhead.serving.server; print(sorted({'torch', 'transformers', 'spacy'} & set(sys.modules)))"
    environment = {"PYTHONPATH": str(ROOT / "src")}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    assert done.stdout.strip() == "[]"
