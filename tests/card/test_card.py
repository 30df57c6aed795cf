"""A card is valid for the Hub, says what a run's own files say, and shows names from data as they are."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from huggingface_hub import ModelCard, ModelCardData
from huggingface_hub.repocard_data import eval_results_to_model_index
from markdown_it import MarkdownIt

import polyhead
import runs
from polyhead.card import CardFacts, model_card
from polyhead.card.body import duration
from polyhead.card.markdown import fenced, paragraph, plain, table
from polyhead.card.metadata import LICENCES, dataset_id
from polyhead.recipe import make_recipe
from polyhead.scoring import figure
from polyhead.tasks import make_task
from test_cli import call

HOSTILE = [
    "a|b",
    "`code` ``more``",
    "*bold* _it_ **x** __y__ ~~z~~",
    "[link](http://x) ![image](y)",
    "<script>alert(1)</script> &amp; &#65;",
    "\\| \\` \\",
    "two\nlines\r\n---\n# title",
    "---",
    "# heading",
    "1. one",
    "- item",
    "> quotation",
    "$math$ $$more$$",
    "key: value # comment",
    "'\"{}[],&*!|>%@",
    "\x00\x1b[31mred\u202edaer",
    "true",
    "",
    "日本語 ñ 🙂",
    "snake_case_name",
]


def rendered(text: str) -> str:
    """What a browser shows of Markdown in a line: the text of the rendered page."""
    page = MarkdownIt("commonmark").enable("table").enable("strikethrough").render(text)
    assert not re.search(r"<(?!/?(p|table|thead|tbody|tr|t[hd])>)", page), page
    shown = re.sub(r"<[^>]*>", "", page).strip()
    for entity, sign in (("&lt;", "<"), ("&gt;", ">"), ("&quot;", '"'), ("&amp;", "&")):
        shown = shown.replace(entity, sign)
    return shown


def shown(name: str) -> str:
    """A name as people should see it: in one line, without what cannot be seen."""
    return " ".join(re.sub(r"[\x00-\x1f\u202e]", " ", name).split())


@pytest.mark.parametrize("name", HOSTILE)
def test_any_text_is_shown_as_it_is(name: str) -> None:
    assert rendered(paragraph(name)) == shown(name)
    assert rendered(f"a {plain(name)}") == f"a {shown(name)}".strip()
    page = MarkdownIt("commonmark").enable("table").render(table(["x", plain(name)], [["1", plain(name)]]))
    assert page.count("<td>") == 2
    cell = page.rpartition("<td>")[2].partition("</td>")[0]
    assert f"a {_text(cell)}".strip() == f"a {shown(name)}".strip()


def _text(html: str) -> str:
    for entity, sign in (("&lt;", "<"), ("&gt;", ">"), ("&quot;", '"'), ("&amp;", "&")):
        html = html.replace(entity, sign)
    return html


def test_a_fence_is_longer_than_any_in_it() -> None:
    page = MarkdownIt("commonmark").render(fenced("x = '''\n````\n# no heading\n'''", "toml"))
    assert page.count("<code") == 1
    assert "<h1>" not in page


def facts(names: list[str], **more: Any) -> CardFacts:
    """Facts about a model all of whose names are hostile."""
    first = names[0]
    task = make_task("it", {"type": "classification", "data": first, "layer": names[1]})
    task.labels = names  # type: ignore[attr-defined]
    spec = {"train": f"/home/someone/{names[2].replace('/', '')}", "licence": names[3], "description": names[4]}
    recipe = make_recipe(
        {"data": {first: spec}, "tasks": {"it": {"type": "classification", "data": first, "layer": names[1]}}}
    )
    stage = {
        "stage": "stage-1",
        "tasks": [{"name": "it", "type": "classification", "data": first, "layer": names[1]}],
        "epochs": 3,
        "kept": 2,
        "stopped_early": False,
        "scores": {"it": {"accuracy": 0.5, "nothing": None}},
        "settings": {"learning_rate": 2e-4, "weights": {"it": 2.0}},
        "data": [
            {
                "name": first,
                "format": "csv",
                "files": {"train": [names[2]]},
                "examples": {"train": 10, "dev": 2},
                "fingerprint": "f" * 64,
                "licence": names[3],
                "description": names[4],
                "url": None,
                "languages": ["en"],
            }
        ],
        "seed": 1,
        "polyhead": "0.1.0",
        "date": "2026-01-02",
        "seconds": 61.2,
    }
    given: dict[str, Any] = {
        "name": names[5],
        "tasks": {"it": task},
        "info": {"lineage": [stage], "encoder": {"name": names[6], "sha256": {"model.safetensors": "e" * 64}}},
        "run": {"polyhead": "0.1.0", "processor": names[7], "command": "polyhead train x.toml"},
        "recipe": recipe,
        "scores": {"dev": {"it": {"accuracy": 0.5, "f1/x": 0.1}}},
        "intervals": {"dev": {"it": {"examples": 2, "resamples": 9, "figures": {"accuracy": (0.25, 0.75)}}}},
    }
    return CardFacts(**(given | more))


@pytest.mark.parametrize("start", range(0, len(HOSTILE), 4))
def test_a_card_full_of_hostile_names(start: int) -> None:
    names = [name for name in (HOSTILE[start:] + HOSTILE[:start]) if name not in ("", "---", "key: value # comment")]
    names = [name for name in names if "=" not in name and "|" not in name and "\n" not in name] + names
    text = model_card(facts(names))
    card = ModelCard(text)
    (result,) = card.data.eval_results
    assert (result.dataset_name, result.dataset_config) == (names[0], names[1])
    assert (result.metric_type, result.metric_value) == ("accuracy", 0.5)
    assert card.data.model_name == names[5]
    assert text.count("\n---\n") == 1, "the head ends once"
    assert "/home/someone" not in text
    page = MarkdownIt("commonmark").enable("table").render(card.text)
    assert [found[1] for found in re.finditer(r"<h2>(.*)</h2>", page)] == [
        *("What it answers", "How to use it", "Scores", "How it came to be", "Data", "Made with", "Recipe")
    ]
    assert "<script" not in page
    assert "<img" not in page
    assert "50.00</td>\n<td>25.00 to 75.00</td>\n<td>2</td>" in page


def test_the_same_layer_twice_stays_apart_in_the_index() -> None:
    given = facts(list("dlfixmep"))
    other = make_task("other", {"type": "classification", "data": "d", "layer": "l"})
    scores = {"dev": {"it": {"accuracy": 0.5}, "other": {"accuracy": 0.25}}}
    card = ModelCard(model_card(replace(given, tasks=given.tasks | {"other": other}, scores=scores)))
    index = eval_results_to_model_index("m", card.data.eval_results)
    assert [one["metrics"][0]["value"] for one in index[0]["results"]] == [0.5, 0.25]
    assert "multi-task" in card.data.tags


@pytest.mark.parametrize(
    ("licence", "expected"),
    [
        (None, {}),
        ("Apache-2.0", {"license": "apache-2.0"}),
        ("My own: ask me!", {"license": "other", "license_name": "my-own-ask-me"}),
        ("???", {"license": "other", "license_name": "other"}),
    ],
)
def test_the_model_s_licence(licence: str | None, expected: dict[str, str]) -> None:
    given = facts(list("dlfixmep"))
    text = model_card(replace(given, recipe=given.recipe.model_copy(update={"licence": licence})))
    head = yaml.safe_load(text.split("---\n")[1])
    assert {key: value for key, value in head.items() if key.startswith("license")} == expected
    assert ("Licence of the model: not stated" in text) == (licence is None)


def test_licences_are_in_the_hub_s_spelling() -> None:
    assert {"mit", "apache-2.0", "cc-by-4.0", "cc-by-sa-4.0", "cc0-1.0", "gpl-3.0"} <= LICENCES
    assert all(name == name.lower() for name in LICENCES)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://huggingface.co/datasets/owner/name", "owner/name"),
        ("https://hf.co/datasets/squad/", "squad"),
        ("https://huggingface.co/owner/model", None),
        ("https://example.org/datasets/owner/name", None),
        (None, None),
    ],
)
def test_datasets_on_the_hub_are_known_by_their_address(url: str | None, expected: str | None) -> None:
    assert dataset_id(url) == expected


def test_times_as_people_say_them() -> None:
    assert [duration(s) for s in (0, 59.4, 61, 3600, 7325)] == ["0 s", "59 s", "1 min 1 s", "1 h 0 min", "2 h 2 min"]


# --- the card of a run ---

STAGES = '[[stages]]\nname = "joint"\nepochs = 2\n[[stages]]\nname = "special"\ntasks = ["entities"]\nepochs = 1\n'
LICENSED = runs.DATA.replace(
    "[data.names]\n",
    '[data.names]\nlicence = "CC-BY-4.0"\nurl = "https://hf.co/datasets/owner/names"\nlanguage = ["en", "pt-BR"]\n',
)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, tiny_encoder: Path) -> polyhead.Run:
    folder = runs.write_data(tmp_path_factory.mktemp("data"))
    recipe = runs.write_recipe(folder, tiny_encoder, STAGES, data=LICENSED, top='licence = "mit"')
    return polyhead.train(recipe, folder / "first run")


def test_the_hub_can_read_it(run: polyhead.Run) -> None:
    card = ModelCard.load(run.folder / "model" / "README.md")
    data = card.data
    assert isinstance(data, ModelCardData)
    assert (data.library_name, data.license, data.datasets) == ("polyhead", "mit", ["owner/names"])
    assert data.language == ["en", "pt-BR"]
    assert data.base_model is None, "a folder is nothing that the Hub knows"
    assert data.pipeline_tag is None, "words and whole texts: no one tag fits"
    assert ModelCardData(**yaml.safe_load(data.to_yaml())).to_dict() == data.to_dict()
    found = {
        (one.dataset_split, one.dataset_name, one.dataset_config, one.metric_type): one.metric_value
        for one in data.eval_results
    }
    layers = {"pos": ("ud", "upos"), "syntax": ("ud", "tree"), "entities": ("names", "entities")}
    for split, scores in run.scores.items():
        for task, place in layers.items():
            for name, value in scores.get(task, {}).items():
                assert "/" in name or found[(split, *place, name)] == value


def test_it_shows_scores_with_their_intervals(run: polyhead.Run) -> None:
    text = (run.folder / "model" / "README.md").read_text(encoding="utf-8")
    for split, scores in run.scores.items():
        for task, figures in scores.items():
            sure = run.intervals[split][task]
            for name, value in figures.items():
                low, high = sure.figures[name]
                assert low <= value <= high
                row = f"| {task} | {name} | {figure(name, value)} | {figure(name, low)} to {figure(name, high)} |"
                assert "/" in name or f"{row} {sure.examples} |" in text


def test_it_tells_data_and_stages_and_no_path_of_this_machine(run: polyhead.Run, tiny_encoder: Path) -> None:
    text = (run.folder / "model" / "README.md").read_text(encoding="utf-8")
    fingerprints = json.loads((run.folder / "run.json").read_text(encoding="utf-8"))["fingerprints"]
    assert all(fingerprint in text for fingerprint in fingerprints.values())
    assert "| licence | CC-BY-4.0 |" in text
    assert "| licence | not stated |" in text
    assert "| train | 8 examples of names-train.conll |" in text
    assert "1. joint: learning_rate" in text
    assert "| 2 | special | entities | 1, kept 1 |" in text
    assert str(run.folder.parent) not in text
    assert str(tiny_encoder.parent) not in text
    config = (run.folder / "model" / "config.json").read_text(encoding="utf-8")
    assert str(tiny_encoder.parent) not in config
    assert str(run.folder.parent) not in config


# --- the card of a model that writes texts ---


def writing(
    languages: list[str], tasks: dict[str, str], signatures: dict[str, dict[str, str]] | None = None
) -> CardFacts:
    """Facts about tasks of some types over one dataset in these languages."""
    layers = {name: {} if kind == "denoising" else {"layer": name} for name, kind in tasks.items()}
    made = {name: make_task(name, {"type": kind, "data": "d", **layers[name]}) for name, kind in tasks.items()}
    for task in made.values():
        if hasattr(task, "architecture"):
            task.architecture = {"kind": "fresh", "config": {"d_model": 8}}
    given = facts(list("dlfixmep"), tasks=made, signatures=signatures or {})
    given.info["lineage"][0]["data"][0]["languages"] = languages
    scores = {"dev": {name: {"bleu": 0.125, "chrf": 0.25, "length_ratio": 1.5} for name in tasks}}
    return replace(given, scores=scores, intervals={})


@pytest.mark.parametrize(
    ("languages", "kind", "told"),
    [
        (["en", "fr"], "translation", "the whole text, with a text, from en to fr"),
        (["en"], "text-generation", "the whole text, with a text"),
        (["en", "en"], "text-generation", "the whole text, with a text, from en to en"),
        ([], "text-generation", "the whole text, with a text"),
    ],
)
def test_a_translator_is_one_to_the_hub(languages: list[str], kind: str, told: str) -> None:
    signatures = {"target": {"bleu": "nrefs:1|tok:13a", "chrf": "nrefs:1|nc:6"}}
    text = model_card(writing(languages, {"target": "seq2seq"}, signatures))
    card = ModelCard(text)
    assert isinstance(card.data, ModelCardData)
    assert (card.data.pipeline_tag, card.data.metrics) == (kind, ["bleu", "chrf"])
    assert {"seq2seq", kind} < set(card.data.tags)
    found = {one.metric_type: (one.metric_name, one.metric_args, one.task_type) for one in card.data.eval_results}
    assert found == {
        "bleu": ("BLEU", {"signature": "nrefs:1|tok:13a"}, kind),
        "chrf": ("chrF", {"signature": "nrefs:1|nc:6"}, kind),
        "length_ratio": ("length_ratio", None, kind),
    }
    assert f"| target | seq2seq | target | {told} | bleu |" in text
    assert "- target: nothing, it writes freely\n" in text


def test_each_model_is_asked_as_it_answers() -> None:
    alone = model_card(writing(["en", "fr"], {"target": "seq2seq"}))
    assert "print(annotate(\"A text.\")['target'])" in alone
    assert "polyhead predict this/folder texts.txt --output answers.txt\n" in alone and "--task" not in alone
    beside = model_card(writing(["en", "fr"], {"target": "seq2seq", "mood": "classification"}))
    assert 'print(annotate("A text."))' in beside
    assert "texts.txt --output answers.jsonl\npolyhead predict this/folder texts.txt --task target --output" in beside
    pretrained = ModelCard(model_card(writing(["en", "fr"], {"target": "seq2seq", "noise": "denoising"})))
    assert pretrained.data.pipeline_tag == "translation", "what a model only learnt from is nothing that it does"
    two = model_card(writing(["en", "fr"], {"to fr": "seq2seq", "de": "seq2seq"}))
    assert "--task 'to fr' --output 'to fr.txt'\n" in two and "--task de --output de.txt\n" in two


def test_the_commands_of_a_translator_s_card_work(
    tmp_path: Path, tiny_encoder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = runs.write_data(tmp_path / "data")
    for side, lines in (("en", ["a cat", "the dog sat"]), ("fr", ["un chat", "le chien"])):
        (folder / f"x.{side}").write_text("\n".join(lines) + "\n", encoding="utf-8")
    data = '[data.x]\ntrain = "x.{en,fr}"\ndev = "x.{en,fr}"\nlanguage = ["en", "fr"]\n'
    tasks = '[tasks.fr]\ntype = "seq2seq"\ndata = "x"\nvocabulary = 270\nlayers = 1\n'
    recipe = runs.write_recipe(folder, tiny_encoder, "[[stages]]\nepochs = 1\n", data=data, tasks=tasks)
    run = polyhead.train(recipe, tmp_path / "run")
    card = ModelCard.load(run.folder / "model" / "README.md")
    assert card.data.pipeline_tag == "translation" and card.data.eval_results[0].metric_args["signature"]
    code, commands = re.findall(r"```(?:python|console)\n(.*?)```", card.text, re.DOTALL)[:2]
    monkeypatch.chdir(tmp_path)
    (tmp_path / "texts.txt").write_text("a dog\na cat sat\n", encoding="utf-8")
    exec(code.replace("this/folder", str(run.folder / "model")), {})
    assert capsys.readouterr().out.endswith("\n")
    (command,) = commands.strip().splitlines()
    call(*command.replace("this/folder", str(run.folder / "model")).split()[1:])
    assert len((tmp_path / "answers.txt").read_text(encoding="utf-8").splitlines()) == 2
