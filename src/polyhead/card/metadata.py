"""The head of a model card: what the Hub finds, sorts and shows models by (https://hf.co/docs/hub/model-cards)."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from polyhead.card.facts import CardFacts
from polyhead.data.example import Labels, Spans, Text, Tree, WordLabels
from polyhead.tasks import Task, describe_task

KINDS = {
    WordLabels: "token-classification",
    Spans: "token-classification",
    Tree: "token-classification",
    str: "text-classification",
    Labels: "text-classification",
    float: "text-classification",
    Text: "text-generation",
}
"""The Hub's name for what answers with a kind of value."""

TRANSLATION = "translation"
"""Its name for what answers with a text in another language."""

METRICS = {"bleu": "BLEU", "chrf": "chrF"}
"""What people call a figure that the Hub knows by another name."""

LICENCES = frozenset(
    """
    apache-2.0 mit openrail bigscience-openrail-m creativeml-openrail-m bigscience-bloom-rail-1.0 bigcode-openrail-m
    afl-3.0 artistic-2.0 bsl-1.0 bsd bsd-2-clause bsd-3-clause bsd-3-clause-clear c-uda cc cc0-1.0 cc-by-2.0 cc-by-2.5
    cc-by-3.0 cc-by-4.0 cc-by-sa-3.0 cc-by-sa-4.0 cc-by-nc-2.0 cc-by-nc-3.0 cc-by-nc-4.0 cc-by-nd-4.0 cc-by-nc-nd-3.0
    cc-by-nc-nd-4.0 cc-by-nc-sa-2.0 cc-by-nc-sa-3.0 cc-by-nc-sa-4.0 cdla-sharing-1.0 cdla-permissive-1.0
    cdla-permissive-2.0 wtfpl ecl-2.0 epl-1.0 epl-2.0 etalab-2.0 eupl-1.1 eupl-1.2 agpl-3.0 gfdl gpl gpl-2.0 gpl-3.0
    lgpl lgpl-2.1 lgpl-3.0 isc lppl-1.3c ms-pl mpl-2.0 odc-by odbl openrail++ osl-3.0 postgresql ofl-1.1 ncsa unlicense
    zlib pddl lgpl-lr gemma llama2 llama3 llama3.1 llama3.2 llama3.3 llama4
    """.split()  # noqa: SIM905
)
"""The licences that the Hub knows by name; any other is given as "other" with its name."""

_ON_THE_HUB = re.compile(r"https?://(?:www\.)?(?:huggingface\.co|hf\.co)/datasets/([\w.-]+(?:/[\w.-]+)?)/?(?:[?#].*)?")


def metadata(facts: CardFacts) -> str:
    """The card's head as YAML, without the lines ``---`` around it."""
    from huggingface_hub import ModelCardData  # slow to import

    types = sorted({describe_task(task)["type"].rpartition(".")[2].lower() for task in facts.tasks.values()})
    kinds = list(dict.fromkeys(_kind(facts, task) for task in facts.tasks.values() if task.annotates))
    signed = {figure for name in facts.tasks for figure in facts.signatures.get(name, {})}
    results = list(_results(facts))
    languages = list(dict.fromkeys(code for data in facts.data for code in data.get("languages") or []))
    datasets = [found for data in facts.data if (found := dataset_id(data.get("url")))]
    encoder = facts.encoder.get("hub_id")
    optional: dict[str, Any] = _licence(facts.recipe.licence)
    if encoder:
        optional |= {"base_model": encoder, "base_model_relation": "finetune"}
    card = ModelCardData(
        language=languages or None,
        library_name="polyhead",
        pipeline_tag=kinds[0] if len(kinds) == 1 and kinds[0] != "other" else None,
        tags=["polyhead", *(["multi-task"] if len(facts.tasks) > 1 else []), *types, *sorted(set(kinds) - {"other"})],
        datasets=list(dict.fromkeys(datasets)) or None,
        metrics=sorted({task.metric for task in facts.tasks.values()} | signed),
        model_name=facts.name,
        eval_results=results or None,
        **optional,
    )
    return card.to_yaml(line_break="\n").strip() + "\n"


def dataset_id(url: str | None) -> str | None:
    """The id of a dataset on the Hub, if that is where its address leads."""
    found = _ON_THE_HUB.fullmatch(url) if url else None
    return found[1] if found else None


def _kind(facts: CardFacts, task: Task) -> str:
    """The Hub's name for what a task does; it has none for what answers nothing."""
    if not task.annotates:
        return "other"
    two = task.kind is Text and len(set(facts.languages(task))) == 2
    return TRANSLATION if two else KINDS.get(task.kind, "other")


def _licence(licence: str | None) -> dict[str, str]:
    if licence is None:
        return {}
    known = licence.strip().lower()
    if known in LICENCES:
        return {"license": known}
    return {"license": "other", "license_name": re.sub(r"[^a-z0-9.+-]+", "-", known).strip("-") or "other"}


def _results(facts: CardFacts) -> Iterator[Any]:
    """The figures of each task and split, as the Hub's model index has them."""
    from huggingface_hub import EvalResult

    places = {data["name"]: data for data in facts.data}
    layers = [(task.data, task.layer) for task in facts.tasks.values()]
    for split, scores in facts.scores.items():
        for name, figures in scores.items():
            task = facts.tasks[name]
            data: Mapping[str, Any] = places.get(task.data, {})
            unique = layers.count((task.data, task.layer)) == 1  # results are told apart by this
            for figure, value in _main_figures(figures):
                signature = facts.signatures.get(name, {}).get(figure)
                yield EvalResult(
                    task_type=_kind(facts, task),
                    task_name=f"{name} ({describe_task(task)['type']})",
                    dataset_type=dataset_id(data.get("url")) or task.data,
                    dataset_name=task.data,
                    dataset_config=task.layer if unique and task.layer else f"{task.layer} ({name})".lstrip(),
                    dataset_split=split,
                    metric_type=figure,
                    metric_name=METRICS.get(figure, figure),
                    metric_value=value,
                    metric_args={"signature": signature} if signature else None,
                )


def _main_figures(figures: Mapping[str, float]) -> Sequence[tuple[str, float]]:
    return [(name, value) for name, value in figures.items() if "/" not in name]
