"""A folder of files in, a folder of answers out."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from polyhead import hub
from polyhead.annotate import check_columns, opened_model
from polyhead.answering.annotator import Annotator
from polyhead.bulk.folder import STATE, Answers, read_manifest
from polyhead.bulk.following import Following, Progress, Summary
from polyhead.bulk.inputs import Input, inputs_of, output_names
from polyhead.bulk.jobs import How, Job, Outcome
from polyhead.bulk.processes import by_processes, here
from polyhead.bulk.work import Answerer
from polyhead.claim import claimed
from polyhead.data.text import counted
from polyhead.errors import PolyheadError
from polyhead.files import check_place, fingerprint, read_json
from polyhead.loading import load
from polyhead.model import BEST, model_folder
from polyhead.output import check_answers, check_source, fitting, output_format

ON = ("local", "ray")
"""Where a folder may be answered."""

NOTED = 20
"""How many notes are told one by one."""


def predict_folder(
    how: How,
    source: Path,
    output: Path,
    *,
    from_format: str | None = None,
    to_format: str | None = None,
    on: str = "local",
    workers: int | None = None,
    tell: Callable[[str], None] = lambda _: None,
    watch: Callable[[Progress], None] = lambda _: None,
) -> Summary:
    """Answer for all files of a folder and its folders, each into a file of the same name in another folder.

    A file of answers is there whole or not at all. A call that was ended, however it was, is gone on with by the same
    call: what is there is not done again, and files that were added since are answered, too.

    Args:
        how: How texts are to be answered.
        source: The folder of files.
        output: The folder of answers, new, empty, or that of an earlier call.
        from_format: The format of all files; by default each one's suffix says, and others are left out.
        to_format: The format of the answers; by default what fits each file's own.
        on: ``local`` or ``ray``.
        workers: How many processes share the work; by default this one does it all, or as many as a cluster has room
            for.
        tell: Is called with what is worth knowing.
        watch: Is called with what is done, as it goes.

    Raises:
        PolyheadError: A folder or option cannot be meant, the folder of answers is another call's, or no answers can be
            written. A fault of one file is no error, but in ``Summary.failed``.
    """
    start = time.monotonic()
    _check(source, output, on, workers)
    inputs, notes = inputs_of(source.resolve(), from_format)
    wanted = output_format(to_format, None)
    check_columns([one.kind for one in inputs], how.text, how.pair)
    how = replace(how, precision=how.precision or _earlier_precision(output))
    annotator = opened_model(load(how.run, best=how.best, precision=how.precision), how.task, how.search)
    targets = _targets(annotator, how, inputs, wanted, output)
    names = output_names(inputs, targets)
    how = _settled(how, annotator, on, workers)
    output.mkdir(parents=True, exist_ok=True)
    with claimed(output / STATE, "folder of answers"):
        answers = Answers(output.resolve(), _asked(how, from_format, to_format))
        answers.expect(inputs, names)
        following = Following(answers, inputs, targets, watch)
        jobs = following.jobs(annotator, how)
        if jobs:
            alone = annotator if on == "local" and (workers or 1) == 1 else None
            del annotator  # elsewhere its weights are of no use
            following.follow(_outcomes(jobs, how, on, workers, alone))
        answers.close()
    told = [*notes, *following.notes]
    for note in told[:NOTED]:
        tell(note)
    if len(told) > NOTED:
        tell(f"{len(told) - NOTED:,} more of the kind")
    return replace(following.summary, seconds=time.monotonic() - start)


def _outcomes(
    jobs: list[Job], how: How, on: str, workers: int | None, annotator: Annotator | None
) -> Iterator[Outcome]:
    """What comes of jobs, wherever they are done."""
    if on == "ray":
        from polyhead.bulk.ray_data import by_ray

        return by_ray(jobs, how, workers)
    if annotator is not None:
        return here(jobs, Answerer(how, annotator))
    return by_processes(jobs, how, workers or 1)


def _check(source: Path, output: Path, on: str, workers: int | None) -> None:
    """See that folders and numbers can be meant, before a model is loaded."""
    if on not in ON:
        raise PolyheadError(f"--on {on} is no place to work.", remedy=f"Take {' or '.join(ON)}.")
    if workers is not None and workers < 1:
        raise PolyheadError(f"--workers {workers} is too few.", remedy="Take at least 1.")
    if not source.is_dir():
        raise PolyheadError("There is no such folder.", file=source, remedy="Check the path.")
    inner, outer = output.resolve(), source.resolve()
    if inner == outer:
        raise PolyheadError("This is both the folder of inputs and that of answers.", file=source, remedy=_ELSEWHERE)
    if outer in inner.parents:
        raise PolyheadError("The answers would lie among the inputs.", file=output, remedy=_ELSEWHERE)
    if inner in outer.parents:
        raise PolyheadError("The inputs lie in the folder of answers.", file=output, remedy=_ELSEWHERE)
    if output.exists() and not output.is_dir():
        raise PolyheadError("This is a file, and a folder of answers is wanted.", file=output, remedy=_ELSEWHERE)
    check_place(output, folder=True)
    read_manifest(output)


_ELSEWHERE = "Take another --output."


def _earlier_precision(output: Path) -> Any:
    """What an earlier call computed in: what a processor gains from is measured, and may come out otherwise."""
    found = read_manifest(output)
    return None if found is None else found["asked"].get("precision")


def _targets(
    annotator: Annotator, how: How, inputs: list[Input], wanted: str | None, output: Path
) -> Mapping[str, str]:
    """The format of the answers for each format of inputs."""
    targets: dict[str, str] = {}
    several = (how.search or {}).get("best", 1) > 1
    for one in inputs:
        if one.kind not in targets:
            own = "parquet" if one.kind == "parquet" and not several else fitting(annotator, one.kind, output)
            targets[one.kind] = wanted or own
            check_answers(annotator, targets[one.kind], confidence=how.confidence, several=several)
            check_source(one.path, one.kind, targets[one.kind])
    return targets


def _settled(how: How, annotator: Annotator, on: str, workers: int | None) -> How:
    """What all workers must know alike."""
    run = how.run if hub.meant(how.run) is not None else str(Path(how.run).resolve())
    threads = None if on == "local" and (workers or 1) == 1 else max(1, (os.cpu_count() or 1) // (workers or 1))
    if on == "ray" and workers is None:
        threads = 1
    precision = None if "RAY_ADDRESS" in os.environ and on == "ray" else annotator.backend.precision
    return replace(how, run=run, threads=threads, precision=how.precision or precision)


def _asked(how: How, from_format: str | None, to_format: str | None) -> dict[str, Any]:
    """What decides how texts are answered, as plain data."""
    asked = {key: value for key, value in asdict(how).items() if key not in ("run", "threads", "chunks")}
    return asked | {"model": _fingerprint(how.run, how.best), "from": from_format, "to": to_format}


def _fingerprint(run: str, best: str | None) -> str:
    """The SHA-256 of a model's weights and of what it says about itself."""
    wanted = hub.meant(run)
    folder = Path(run) if wanted is None else hub.fetch(wanted)
    inner = model_folder(folder)
    files = sorted(path for path in inner.rglob("*") if path.is_file() and path.suffix in (".json", ".safetensors"))
    if best is not None:
        files.append(folder / BEST / read_json(folder / BEST / "tasks.json")[best]["file"])
    return fingerprint((path.name, path) for path in files)


def failures(summary: Summary) -> PolyheadError:
    """The error for files without answers."""
    most = 10
    shown = [f"  {text}" for text in list(summary.failed.values())[:most]]
    if len(summary.failed) > most:
        shown.append(f"  and {len(summary.failed) - most:,} more")
    what = f"{len(summary.failed):,} of {counted(summary.files, 'file')} have no answers:\n" + "\n".join(shown)
    remedy = "All others have theirs. Mend these, and give the same command again: it does only what is missing."
    return PolyheadError(what, remedy=remedy)
