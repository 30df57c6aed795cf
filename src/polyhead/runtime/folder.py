"""The folder of an exported model: what is in it, and what is wrong with one."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from polyhead import hub
from polyhead.answering.kinds import is_ours
from polyhead.errors import PolyheadError
from polyhead.files import read_json

FORMAT = 1
"""The version of the folder's layout; raised when an older polyhead could not read a newer folder."""

MARK = "polyhead_export"
"""The key of config.json that holds the version, by which an exported model is told from others."""

CONFIG, TOKENIZER, PARITY, TASKS = "config.json", "tokenizer.json", "parity.json", "tasks.json"
WORDS = "words.json"
"""The rules by which raw text is cut into words."""

MAIN = "model"
"""The graph that reads pieces and gives the scores of all heads."""


def is_exported(folder: Path) -> bool:
    """Whether a folder is that of an exported model."""
    path = folder / CONFIG
    return path.is_file() and not (folder / "encoder").exists() and MARK in read_json(path)


def exported_folder(place: str | Path) -> Path | None:
    """The folder of the exported model that a place names, if it names one; what is on the Hub is fetched.

    Raises:
        PolyheadError: The Hub has no such model, or cannot be reached; or config.json is damaged.
    """
    wanted = hub.meant(place)
    folder = Path(place) if wanted is None else hub.fetch(wanted)
    return folder if is_exported(folder) else None


def read_config(folder: Path) -> dict[str, Any]:
    """What config.json says of an exported model, whose files are all there.

    Raises:
        PolyheadError: A newer polyhead wrote it, or a file is missing or not whole.
    """
    path = folder / CONFIG
    config = read_json(path, MARK, "pieces", "graphs", "files", "heads", "answers", "info")
    version = config[MARK]
    if not isinstance(version, int) or version > FORMAT:
        raise PolyheadError(f"A newer polyhead exported this model (format {version}).", remedy="Update polyhead.")
    graphs = {graph["file"] for graph in config["graphs"].values()}
    strange = [name for name in {*config["files"], *graphs} if Path(name).name != name or name not in config["files"]]
    if strange:
        raise PolyheadError(f"It names {strange[0]!r}, which is no file of this folder.", file=path, remedy=_AGAIN)
    for name, facts in config["files"].items():
        file = folder / name
        if not file.is_file():
            raise PolyheadError("This file of the exported model is missing.", file=file, remedy=_AGAIN)
        if file.stat().st_size != facts["bytes"]:
            raise PolyheadError(
                f"This file of the exported model is not whole: it has {file.stat().st_size} bytes, not"
                f" {facts['bytes']}.",
                file=file,
                remedy=_AGAIN,
            )
    return config


def check_kinds(folder: Path, wanted: hub.HubId) -> None:
    """A stranger's model must not choose which modules are imported here: its user's own kinds are imported first.

    Raises:
        PolyheadError: A task is answered by a kind of its own, whose module nobody has imported.
    """
    for name, one in read_config(folder)["answers"].items():
        kind = one["chooser"]
        if not is_ours(kind) and str(kind.get("kind")).rpartition(".")[0] not in sys.modules:
            raise PolyheadError(
                f"{wanted}: tasks.{name} is answered by {kind.get('kind')}, which is not loaded with a model from the"
                " Hub.",
                remedy="If you have its module and trust it, import that first, then call polyhead.load.",
            )


_AGAIN = "Put it back from a copy, or export the run again: polyhead export RUN --to onnx"
