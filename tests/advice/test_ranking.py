"""Advice on tiny data: what ranks first, what cannot be told apart, what fails without ending the rest."""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from rich.console import Console
from typer.testing import CliRunner

import polyhead
import polyhead.advice.candidates as candidates
import polyhead.advice.ranking as ranking
import polyhead.training.prepare as prepare
import runs
from conftest import build_encoder
from polyhead.advice import Advice, advise
from polyhead.advice.units import MOST_WORDS, Sample, features, sample
from polyhead.advice.view import advice_lines
from polyhead.cli import app
from polyhead.data.example import Example, WordLabels
from polyhead.errors import PolyheadError
from polyhead.nn.cache import Cache, find_cache
from polyhead.nn.encoder import Encoder
from polyhead.nn.loading import load_encoder
from polyhead.nn.precision import Precision
from polyhead.nn.ready import make_ready
from polyhead.tasks import Task, make_task

pytestmark = pytest.mark.usefixtures("one_thread")

STAGE = "[[stages]]\nepochs = 1\nbatch_pieces = 96\n"
Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path, tiny_encoder: Path) -> Write:
    def write(**changes: Any) -> Path:
        folder = runs.write_data(tmp_path / "files")
        runs.write_conllu(folder / "ud-train.conllu", [*range(8)] * 8)
        return runs.write_recipe(folder, tiny_encoder, STAGE, **changes)

    return write


@pytest.fixture(scope="module")
def blind(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An encoder that makes the same of everything: its embeddings are 0."""
    folder = build_encoder(tmp_path_factory.mktemp("blind") / "blind", seed=3)
    encoder = load_encoder(str(folder))
    with torch.no_grad():
        for name, weight in encoder.transformer.named_parameters():
            if "embeddings" in name:
                weight.zero_()
    encoder.save(folder.parent / "saved")
    return folder.parent / "saved"


def tagger(examples: list[Example], **settings: Any) -> Task:
    task = make_task("pos", {"type": "tagging", "data": "d", "layer": "upos", **settings})
    task.prepare(examples)
    return task


def sentences(count: int, length: int = 4) -> list[Example]:
    rng = np.random.default_rng(0)
    words = [tuple(rng.choice(["cat", "sat", "The", "good"], size=length)) for _ in range(count)]
    return [Example(words=one, layers={"upos": WordLabels(word[0] for word in one)}) for one in words]


def test_an_encoder_that_sees_words_is_before_one_that_does_not(write: Write, tiny_encoder: Path, blind: Path) -> None:
    said: list[str] = []
    found = advise(write(), "pos", encoders=[str(blind), str(tiny_encoder)], tell=said.append)
    assert [one.name for one in found.encoders] == [str(tiny_encoder), str(blind)]
    first, second = found.encoders
    assert first.behind is None and second.behind is not None and second.behind.value > 0 and not second.tied
    assert first.h_score is not None and second.h_score is not None and first.h_score > second.h_score
    assert (found.examples, found.unit) == (64, "word") and len(said) == 2 and not found.sources
    again = advise(write(), "pos", encoders=[str(blind), str(tiny_encoder)])
    assert [one.logme for one in again.encoders] == [one.logme for one in found.encoders]


def test_the_same_encoder_twice_cannot_be_told_apart(write: Write, tiny_encoder: Path, tmp_path: Path) -> None:
    shutil.copytree(tiny_encoder, tmp_path / "twin")
    found = advise(write(), "mood", encoders=[str(tiny_encoder), str(tmp_path / "twin")])
    assert all(one.tied for one in found.encoders)
    said = [line for line in advice_lines(found) if isinstance(line, str)]
    assert said[0] == f"These examples cannot tell {tiny_encoder} and {tmp_path / 'twin'} apart."


def test_an_encoder_that_fails_does_not_end_the_others(write: Write, tiny_encoder: Path, tmp_path: Path) -> None:
    shutil.copytree(tiny_encoder, tmp_path / "broken")
    (tmp_path / "broken" / "model.safetensors").write_bytes(b"nonsense")
    found = advise(write(), "mood", encoders=[str(tmp_path / "broken"), str(tiny_encoder)])
    assert [one.name for one in found.encoders] == [str(tiny_encoder)]
    assert list(found.failures) == [str(tmp_path / "broken")] and "could not be loaded" in next(
        iter(found.failures.values())
    )
    with pytest.raises(PolyheadError, match="could not be loaded"):
        advise(write(), "mood", encoders=[str(tmp_path / "broken")])


@pytest.mark.parametrize(
    ("asked", "what"),
    [
        ({"target": "moods"}, "no task 'moods'.*\n.*'mood'"),
        ({"encoders": ["minlim"]}, "no encoder 'minlim'.*\n.*'minilm'"),
        ({"encoders": ["./none"]}, "no encoder folder"),
        ({"sources": ["poss"]}, "'poss' is no other task.*\n.*'pos'"),
        ({"sources": ["mood"]}, "'mood' is no other task|shares the head"),
        ({"examples": 1}, "1 examples are too few"),
    ],
)
def test_what_cannot_be_asked_is_told_at_once(write: Write, asked: dict[str, Any], what: str) -> None:
    with pytest.raises(PolyheadError, match=what):
        advise(write(), **{"target": "mood", **asked})


def test_types_without_a_measure_say_so(write: Write, tmp_path: Path) -> None:
    tasks = '[tasks.shouted]\ntype = "seq2seq"\ndata = "ud"\nlayer = "said"\nvocabulary = 300\n'
    data = runs.DATA.replace('comments = { sentiment = "sentiment" }', 'comments = { said = "text" }')
    with pytest.raises(PolyheadError, match=r"(?s)tasks.shouted cannot be advised on.*polyhead study"):
        advise(write(data=data, tasks=tasks), "shouted")
    text = '[tasks.text]\ntype = "masked-lm"\ndata = "ud"\n'
    with pytest.raises(PolyheadError, match="learns from text alone"):
        advise(write(tasks=text), "text")


def test_a_target_of_one_class_is_one_error(write: Write) -> None:
    recipe = write()
    train = recipe.parent / "ud-train.conllu"
    train.write_text(train.read_text().replace("sentiment = bad", "sentiment = good"), encoding="utf-8")
    with pytest.raises(PolyheadError, match="has only \\['good'\\]"):
        advise(recipe, "mood")


def test_a_draw_that_lacks_all_but_one_class_is_one_error() -> None:
    examples = [Example(words=("a", "b"), layers={"upos": WordLabels(["X", "X"])}) for _ in range(50)]
    examples.append(Example(words=("a", "b"), layers={"upos": WordLabels(["X", "Y"])}))
    task = tagger(examples)
    with pytest.raises(PolyheadError, match=r"(?s)2 examples were drawn, and all have the same 'upos'.*--examples"):
        sample(task, examples, 2, seed=1)


def test_numbers_are_measured_as_numbers(write: Write, tsv_file: Path) -> None:
    data = f'[data.reviews]\ntrain = "{tsv_file}"\n'
    tasks = '[tasks.stars]\ntype = "regression"\ndata = "reviews"\nlayer = "stars"\n'
    found = advise(write(data=data, tasks=tasks), "stars")
    assert found.unit == "text" and found.units == 8
    assert found.encoders[0].h_score is None and np.isfinite(found.encoders[0].logme.value)


def test_a_larger_draw_holds_the_smaller_one_and_long_texts_are_bounded() -> None:
    examples = sentences(100)
    task = tagger(examples)
    small, large = (sample(task, examples, most, seed=4) for most in (10, 40))
    assert len(small.examples) == 10 and {id(one) for one in small.examples} <= {id(one) for one in large.examples}
    assert set(small.groups) == set(range(10)) and len(small.gold) == len(small.groups) == 40
    long = sentences(30, length=2000)
    bounded = sample(tagger(long), long, 30, seed=4)
    assert sum(len(one.words) for one in bounded.examples) <= MOST_WORDS
    assert len(bounded.gold) == 5000 and bounded.kept.max() < MOST_WORDS


@pytest.mark.parametrize("word", ["first", "mean"])
def test_features_are_the_mean_of_all_layers(tiny_encoder: Path, word: str) -> None:
    examples = [*sentences(3), *sentences(2, length=40)]  # the longer ones take two windows
    task = tagger(examples, word=word)
    encoder = load_encoder(str(tiny_encoder)).eval()
    of = sample(task, examples, 5, seed=1)
    with torch.inference_mode():
        encoding = encoder(encoder.collate(encoder.tokenise(of.examples)), all_layers=True)
        expected = torch.stack(list(encoding.select(range(5), piece=word).word_layers_view(word))).mean(0)
    np.testing.assert_allclose(features(encoder, of), expected.numpy()[of.kept], atol=1e-5)


def test_features_in_bf16_are_near_and_kept_by_themselves(tiny_encoder: Path) -> None:
    examples = sentences(20)
    of = sample(tagger(examples), examples, 20, seed=1)
    exact = features(load_encoder(str(tiny_encoder)), of, find_cache())
    encoder = load_encoder(str(tiny_encoder))
    make_ready(encoder, "bf16")
    near = features(encoder, of, find_cache(), "bf16")
    assert 0 < np.abs(near - exact).max() < 0.05 * np.abs(exact).max()


def test_what_to_compute_in_is_the_recipes_or_what_the_machine_gains_from_if_a_model_can(
    write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    plain = ranking.features

    def noted(encoder: Encoder, of: Sample, cache: Cache | None, precision: Precision) -> Any:
        asked.append(precision)
        if precision == "bf16" and len(asked) > 1:
            raise RuntimeError("value cannot be converted to type c10::BFloat16 without overflow")
        return plain(encoder, of, cache, precision)

    monkeypatch.setattr(ranking, "features", noted)
    monkeypatch.setattr(prepare, "choose_precision", lambda _: "bf16")
    recipe = write()
    advise(recipe, "pos", sources=[])
    assert asked == ["fp32"]
    recipe.write_text(recipe.read_text().replace('precision = "fp32"', 'precision = "auto"'))
    assert advise(recipe, "pos", sources=[]).encoders and asked == ["fp32", "bf16", "fp32"]


def test_features_are_kept_for_the_next_time(tiny_encoder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    examples = sentences(6)
    of, encoder = sample(tagger(examples), examples, 6, seed=1), load_encoder(str(tiny_encoder))
    first = features(encoder, of, find_cache())
    monkeypatch.setattr("polyhead.advice.units._compute", lambda *_: pytest.fail("computed again"))
    np.testing.assert_array_equal(features(load_encoder(str(tiny_encoder)), of, find_cache()), first)
    with pytest.raises(pytest.fail.Exception, match="computed again"):
        with torch.no_grad():
            next(encoder.transformer.parameters()).add_(1e-3)
        features(encoder, of, find_cache())


def test_sources_are_learnt_briefly_or_taken_as_they_are(write: Write, tmp_path: Path) -> None:
    recipe = write()
    run = polyhead.train(recipe, tmp_path / "run")
    found = advise(recipe, "mood", encoders=[str(run.folder)], sources=["pos", "entities", str(run.folder)])
    assert {one.name for one in found.sources} == {"pos", "entities", str(run.folder)}
    values = [one.logme.value for one in found.sources]
    assert values == sorted(values, reverse=True)
    assert len({one.gain.value for one in found.sources if one.gain}) == 3, "each has moved the encoder elsewhere"
    taken = next(one for one in found.sources if one.name == str(run.folder))
    assert taken.logme == found.encoders[0].logme, "a run is judged alike, whatever it is asked about as"
    assert found.ways()[:2] == ["fine-tuned", f"with:{run.folder}"]


def test_a_brief_lesson_takes_few_examples_and_scores_nothing(write: Write) -> None:
    recipe = polyhead.load_recipe(write())
    table = candidates.brief(recipe, ["entities"], 7, most=3)
    assert list(table["tasks"]) == ["entities"] and list(table["data"]) == ["names"]
    spec = table["data"]["names"]
    assert (spec["limit"], spec["draw"], table["seed"]) == (3, 7, 7) and not {"dev", "test"} & spec.keys()
    assert table["stages"][0]["batch_pieces"] == 96 and table["stages"][0]["keep"] == "last"
    limited = runs.DATA.replace('train = "names-train.conll"', 'train = "names-train.conll"\nlimit = 2')
    few = candidates.brief(polyhead.load_recipe(write(data=limited)), ["entities"], 7, most=3)["data"]["names"]
    assert few["limit"] == 2 and "draw" not in few, "never more than the recipe itself lets learn"


def test_an_encoder_with_random_weights_learns_no_source(write: Write) -> None:
    recipe = write()
    recipe.write_text(recipe.read_text().replace('encoder = "', 'encoder.weights = "random"\nencoder.name = "', 1))
    with pytest.raises(PolyheadError, match="random weights"):
        advise(recipe, "mood", sources=["pos"])


def test_advice_in_the_terminal_and_as_json(write: Write, tmp_path: Path, tiny_encoder: Path, blind: Path) -> None:
    arguments = ["advise", str(write()), "--target", "pos", "--encoders", str(tiny_encoder), str(blind)]
    told = ["--sources", "mood", "--groups", "--examples", "60", "--json", str(tmp_path / "advice.json")]
    result = CliRunner().invoke(app, [*arguments, *told], env={"COLUMNS": "200"})
    assert result.exit_code == 0, result.output
    shown = result.output.replace("\n", " ")
    assert f"{tiny_encoder} looks the better start than {blind}." in shown
    assert "Train together:" in shown and "of close ones a study decides" in shown
    saved = json.loads((tmp_path / "advice.json").read_text())
    assert [one["name"] for one in saved["encoders"]] == [str(tiny_encoder), str(blind)]
    assert saved["sources"][0]["name"] == "mood" and saved["together"]["affinities"]
    wrong = CliRunner().invoke(app, [*arguments, "--then", "dance"])
    assert isinstance(wrong.exception, PolyheadError) and "--then dance" in str(wrong.exception)


def test_then_a_study_of_the_best(write: Write, tmp_path: Path, blind: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: dict[str, Any] = {}

    def run_study(recipe: Path, target: str, output: Path, **wish: Any) -> None:
        asked.update(wish, target=target, output=output)
        raise PolyheadError("asked")

    monkeypatch.setattr("polyhead.studies.run_study", run_study)
    arguments = ["advise", str(write()), "--target", "pos", f"--encoders={blind}", "--sources", "mood"]
    result = CliRunner().invoke(app, [*arguments, "--then", "study", "-o", str(tmp_path / "study")])
    assert f" --output {tmp_path / 'study'}" in result.stdout, "the study to add to is this one"
    assert str(result.exception) == "asked", result.output
    assert asked["ways"][:2] == ["fine-tuned", f"with:{blind}"] and asked["target"] == "pos"
    assert set(asked["ways"][2:]) <= {"from:mood"}


def test_markup_in_names_is_shown_as_it_stands(write: Write, tiny_encoder: Path, tmp_path: Path) -> None:
    odd = tmp_path / "[bold]odd"
    shutil.copytree(tiny_encoder, odd)
    found = advise(write(), "mood", encoders=[str(odd), str(tiny_encoder)])
    assert isinstance(found, Advice)
    console = Console(width=300, record=True, file=io.StringIO())
    for line in advice_lines(found):
        console.print(line, markup=not isinstance(line, str))
    assert "[bold]odd" in console.export_text()
