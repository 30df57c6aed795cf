"""The body of a model card: what people read."""

from __future__ import annotations

import dataclasses
import shlex
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import tomli_w

from polyhead.card.facts import CardFacts
from polyhead.card.markdown import fenced, paragraph, plain, table
from polyhead.data.example import Text
from polyhead.data.text import counted
from polyhead.hub import HERE
from polyhead.scoring import Scores, figure, signature_lines
from polyhead.tasks import Task, describe_task

MOST_LABELS = 40
"""So many labels of a task are listed; the others are in ``config.json``."""


def body(facts: CardFacts) -> str:
    """The card without its head."""
    sections = [
        f"# {plain(facts.name)}\n",
        _opening(facts),
        "## What it answers\n",
        _answers(facts),
        "## How to use it\n",
        _usage(facts),
        "## Scores\n",
        *_scores(facts),
        "## How it came to be\n",
        *_stages(facts),
        "## Data\n",
        *_data(facts),
        "## Made with\n",
        _making(facts),
        "## Recipe\n",
        "Files by their names alone; defaults are written out.\n",
        fenced(_recipe(facts), "toml"),
    ]
    return "\n".join(sections)


def _opening(facts: CardFacts) -> str:
    heads = sum(task.head_of is None for task in facts.tasks.values())
    text = f"A polyhead model: one encoder and {counted(heads, 'head')} for {counted(len(facts.tasks), 'task')}."
    if facts.best_of is not None:
        stage, epoch = facts.best_of
        text += f" Its weights are those that were best for this task alone: stage {plain(stage)}, epoch {epoch}."
    licence = "not stated" if facts.recipe.licence is None else plain(facts.recipe.licence)
    return f"{text}\n\nLicence of the model: {licence}.\n"


def _answers(facts: CardFacts) -> str:
    rows = [
        [
            plain(name),
            plain(describe_task(task)["type"]),
            plain(task.layer) or "none",
            _unit(facts, task),
            plain(task.metric),
        ]
        for name, task in facts.tasks.items()
    ]
    free = dict.fromkeys(facts.writers, "nothing, it writes freely")
    learnt = "".join(
        f"- {plain(name)}: {'; '.join(_learnt(task)) or free.get(name, 'nothing')}\n"
        for name, task in facts.tasks.items()
    )
    head = ["task", "type", "layer", "answers for", "main figure"]
    return f"{table(head, rows)}\nWhat the tasks learnt to choose from:\n\n{learnt}"


def _unit(facts: CardFacts, task: Task) -> str:
    """What a task answers for, and with a text in which language, where the data says so."""
    if not task.annotates:
        return "nothing"
    if task.kind is not Text:
        return "each word or span of words" if task.words else "the whole text"
    languages = facts.languages(task)
    between = f", from {plain(languages[0])} to {plain(languages[1])}" if len(languages) == 2 else ""
    return f"the whole text, with a text{between}"


def _learnt(task: Task) -> Iterator[str]:
    """What a task learnt from its training split, whatever its type calls it."""
    for field in dataclasses.fields(task):
        if not field.metadata.get("learnt"):
            continue
        value = getattr(task, field.name)
        if isinstance(value, float):
            yield f"{field.name} {value:.4g}"
        elif isinstance(value, list | dict) and _are_names(value):
            shown = ", ".join(plain(one) for one in list(value)[:MOST_LABELS])
            more = f", and {len(value) - MOST_LABELS:,} more" if len(value) > MOST_LABELS else ""
            yield f"{len(value):,} {field.name}: {shown}{more}"


def _are_names(value: list[Any] | dict[Any, Any]) -> bool:
    """Whether a list or a table is one of names, and not of tables in their turn."""
    inner = value.values() if isinstance(value, dict) else ()
    return bool(value) and all(isinstance(one, str) for one in value) and not any(isinstance(x, dict) for x in inner)


def _usage(facts: CardFacts) -> str:
    """How to load the model and ask it: a translator for a text, others for all that they say."""
    writers = facts.writers
    alone = len(writers) == sum(task.answers and task.annotates for task in facts.tasks.values()) == 1
    asked = f'annotate("A text.")[{next(iter(writers.values()))!r}]' if alone else 'annotate("A text.")'
    code = f'import polyhead\n\nannotate = polyhead.load("{HERE}")\nprint({asked})\n'
    commands = [] if alone else [f"polyhead predict {HERE} texts.txt --output answers.jsonl"]
    for name in writers:
        only = "" if alone else f" --task {shlex.quote(name)}"
        output = "answers.txt" if len(writers) == 1 else shlex.quote(f"{name}.txt")
        commands.append(f"polyhead predict {HERE} texts.txt{only} --output {output}")
    asked = "\n".join(commands)
    return f"{fenced(code, 'python')}\n{fenced(asked, 'console')}"


def _scores(facts: CardFacts) -> Iterator[str]:
    if not any(facts.scores.values()):
        yield "There is no dev or test split.\n"
        return
    for split, scores in facts.scores.items():
        yield f"On {plain(split)}:\n"
        yield table(["task", "figure", "value", "95 % interval", "examples"], _figures(facts, split, scores))
    if facts.signatures:
        yield "How it is computed exactly:\n"
        yield "".join(f"- {plain(line)}\n" for line in signature_lines(facts.signatures))
    yield (
        "Shares are in per cent. The intervals are of a percentile bootstrap over the examples of the split: they say "
        "how far a figure might be off on other examples of the same kind, not what another seed would change. Epochs "
        "and stages are chosen by dev, so its figures are somewhat too good.\n"
    )


def _figures(facts: CardFacts, split: str, scores: Scores) -> Iterator[Sequence[str]]:
    for name, figures in scores.items():
        sure = facts.intervals.get(split, {}).get(name, {})
        for which, value in figures.items():
            if "/" in which:
                continue
            ends = sure.get("figures", {}).get(which)
            between = f"{figure(which, ends[0])} to {figure(which, ends[1])}" if ends else "not known"
            examples = f"{sure['examples']:,}" if sure else "not known"
            yield [plain(name), plain(which), figure(which, value), between, examples]


def _stages(facts: CardFacts) -> Iterator[str]:
    yield f"The encoder that it began with: {_encoder(facts.encoder)}.\n"
    rows = [
        [
            str(number),
            plain(stage["stage"]),
            ", ".join(plain(task["name"]) for task in stage["tasks"]),
            f"{stage['epochs']}{' (stopped early)' if stage['stopped_early'] else ''}, kept {stage['kept']}",
            "; ".join(_told(task, figures) for task, figures in stage["scores"].items()) or "no dev split",
            plain(stage["date"]),
            duration(stage["seconds"]),
            plain(stage["polyhead"]),
        ]
        for number, stage in enumerate(facts.stages, 1)
    ]
    yield table(["", "stage", "tasks", "epochs", "dev after it", "date", "took", "polyhead"], rows)
    for number, stage in enumerate(facts.stages, 1):
        yield f"{number}. {plain(stage['stage'])}: {_settings(stage['settings'])}; seed {stage['seed']}"
    yield ""


def _encoder(encoder: Mapping[str, Any]) -> str:
    parts = [plain(encoder.get("name") or "not known")]
    hub_id = encoder.get("hub_id")
    if hub_id and hub_id != encoder.get("name"):
        parts.append(f"on the Hub {plain(hub_id)}")
    if encoder.get("revision"):
        parts.append(f"revision {plain(encoder['revision'])}")
    sums = [f"SHA-256 of {plain(name)} {plain(digest)}" for name, digest in encoder.get("sha256", {}).items()]
    return ", ".join([*parts, *sums])


def _told(task: str, figures: Mapping[str, float | None]) -> str:
    shown = [f"{plain(name)} {figure(name, value)}" for name, value in figures.items() if value is not None]
    return f"{plain(task)} {', '.join(shown)}"


def _settings(settings: Mapping[str, Any]) -> str:
    return ", ".join(f"{plain(key)} {_setting(value)}" for key, value in settings.items() if value not in ({}, []))


def _setting(value: Any) -> str:
    if isinstance(value, Mapping):
        return " and ".join(f"{plain(key)} {_setting(one)}" for key, one in value.items())
    return f"{value:.4g}" if isinstance(value, float) else plain(value)


def _data(facts: CardFacts) -> Iterator[str]:
    for data in facts.data:
        lines = [f"### {plain(data['name'])}\n"]
        if data.get("description"):
            lines.append(f"{paragraph(data['description'])}\n")
        rows = [
            ["licence", plain(data["licence"]) if data.get("licence") else "not stated"],
            ["from", f"<{data['url']}>" if data.get("url") else "not stated"],
            ["languages", ", ".join(map(plain, data.get("languages") or [])) or "not stated"],
            ["format", plain(data["format"])],
            *(
                [plain(split), f"{counted(count, 'example')}{_of_files(data['files'].get(split))}"]
                for split, count in data["examples"].items()
            ),
            ["fingerprint (SHA-256 of the files and how they are read)", plain(data["fingerprint"])],
        ]
        lines.append(table(["", ""], rows))
        yield "\n".join(lines)


def _of_files(names: Sequence[str] | None) -> str:
    return f" of {', '.join(map(plain, names))}" if names else ", held out from train"


def _making(facts: CardFacts) -> str:
    run, recipe = facts.run, facts.recipe
    versions = [
        f"{name} {plain(run[name])}" for name in ("polyhead", "torch", "transformers", "python") if run.get(name)
    ]
    rows = [
        ["command", plain(run["command"]) if run.get("command") else "a program of the user's"],
        ["versions", ", ".join(versions)],
        ["processor", f"{plain(run.get('processor') or 'not known')} ({plain(run.get('machine', ''))})"],
        ["memory", f"{run['memory']:.1f} GiB" if run.get("memory") else "not known"],
        ["GPU", plain(run.get("gpu") or "none")],
        ["threads", plain(run.get("threads"))],
        ["precision and device", f"{plain(recipe.precision)} on {plain(recipe.device)}"],
        ["seed", str(recipe.seed)],
        ["time", f"{duration(sum(stage['seconds'] for stage in facts.stages))} of training and scoring on dev"],
        ["started", plain(run.get("started", "not known"))],
    ]
    return table(["", ""], rows)


def duration(seconds: float) -> str:
    """A time as people say it."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, seconds = divmod(whole, 60)
    return f"{minutes} min {seconds} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def _recipe(facts: CardFacts) -> str:
    """The resolved recipe; of files and folders only the names."""
    recipe = tomllib.loads(facts.recipe.to_toml())
    if isinstance(recipe.get("encoder"), dict) and "name" in recipe["encoder"]:
        recipe["encoder"]["name"] = facts.encoder.get("name") or Path(recipe["encoder"]["name"]).name
    for stage in recipe["stages"]:
        if "distil" in stage:
            stage["distil"]["teachers"] = [Path(teacher).name for teacher in stage["distil"]["teachers"]]
    if "start" in recipe:
        recipe["start"]["run"] = Path(recipe["start"]["run"]).name
    for data in recipe["data"].values():
        for split in ("train", "dev", "test"):
            files = data.get(split)
            if isinstance(files, str):
                data[split] = Path(files).name
            elif isinstance(files, list):
                data[split] = [Path(file).name for file in files]
    return tomli_w.dumps(recipe)
