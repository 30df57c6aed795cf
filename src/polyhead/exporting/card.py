"""The card of an exported model: the run's own, and what the export did."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from polyhead.card.markdown import plain, table
from polyhead.exporting.parity import Parity
from polyhead.exporting.quantise import Cost
from polyhead.hub import CARD, HERE
from polyhead.model import model_folder
from polyhead.scoring import figure, signed


def exported_card(run: str | Path, parities: Sequence[Parity], cost: Cost | None) -> str:
    """The card as Markdown.

    Args:
        run: What was exported.
        parities: How well the answers agree with torch's.
        cost: What int8 costs.
    """
    own = model_folder(Path(run)) / CARD if Path(run).is_dir() else None
    text = own.read_text(encoding="utf-8") if own is not None and own.is_file() else f"# {plain(Path(run).name)}\n"
    sections = [text.rstrip() + "\n", "## As ONNX graphs\n", _how()]
    for parity in parities:
        rows = [
            [plain(name), str(one.texts), str(one.same), f"{one.difference:.2g}"] for name, one in parity.tasks.items()
        ]
        sections.append(f"In {parity.precision}, beside torch in fp32:\n")
        sections.append(table(["task", "texts", "answered the same", "largest difference of confidences"], rows))
    if cost is not None:
        sections.append("What int8 costs on dev:\n")
        sections.append(
            table(
                ["task", "figure", "fp32", "int8", "difference"],
                [
                    [plain(task), plain(name), figure(name, before), figure(name, after), signed(name, after - before)]
                    for task, (name, before, after) in cost.figures.items()
                ],
            )
        )
        kept = ", ".join(map(plain, cost.kept)) or "none"
        sections.append(f"Of {cost.products} products of the encoder these stay in fp32: {kept}.\n")
    return "\n".join(sections)


def _how() -> str:
    return (
        f'This folder needs no torch: onnxruntime, tokenizers and numpy run it. `polyhead.load("{HERE}")` opens it like'
        " any model; config.json says what each graph reads and gives, and docs/export.md of polyhead how to use them"
        " without polyhead. Parity with torch was checked when it was written:\n"
    )
