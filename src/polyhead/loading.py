"""Opening a model, whatever computes it: torch, or onnxruntime for an exported one, which then needs no torch."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from polyhead import hub
from polyhead.answering.annotator import Annotator
from polyhead.errors import PolyheadError
from polyhead.runtime.folder import check_kinds, exported_folder


def load(
    folder: str | Path,
    *,
    best: str | None = None,
    device: str = "auto",
    precision: Literal["fp32", "bf16"] | None = None,
) -> Annotator:
    """A trained model, ready to answer, from a run, from a model folder, from an exported one, or from the Hub.

    Args:
        folder: A run's folder, or the model folder in it; a folder that ``polyhead export`` wrote; or ``owner/name`` or
            ``owner/name@revision`` on the Hub.
        best: A task whose own best weights to take, whatever the others lost.
        device: ``auto``, ``cpu``, ``cuda``, ...; an exported model is computed on the CPU.
        precision: What to compute in; by default what the device gains from. An exported model has its own.

    Raises:
        PolyheadError: There is no model, no such task, or no such device.
    """
    place = exported_folder(folder)
    if place is None:
        from polyhead.predict import load as load_torch  # takes seconds, which an exported model need not wait for

        return load_torch(folder, best=best, device=device, precision=precision)
    see_plain(place, best, device)
    wanted = hub.meant(folder)
    if wanted is not None:
        check_kinds(place, wanted)
    from polyhead.runtime.backend import OnnxBackend

    return Annotator(OnnxBackend(place))


def see_plain(place: Path, best: str | None, device: str = "auto") -> None:
    """See that nothing is asked of an exported model that it does not have.

    Raises:
        PolyheadError: Other weights than its own, or another device.
    """
    if best is not None:
        raise PolyheadError(
            f"{str(place)!r} is an exported model, which has one set of weights.",
            remedy=f"Export those that were best for it: polyhead export RUN --to onnx --best {best}",
        )
    if device not in ("auto", "cpu"):
        raise PolyheadError(f"device = {device!r}: an exported model is computed on the CPU.", remedy='Take "cpu".')
