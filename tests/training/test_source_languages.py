"""Datasets that say in which language their texts are, for encoders that have a code for it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from families import build_multilingual

import polyhead
import runs
from polyhead import PolyheadError
from polyhead.data.example import Example
from polyhead.model import Model, load_model
from polyhead.nn.batch import Batch
from polyhead.predict import answer
from polyhead.training.run import evaluate

EN, FR = ["a cat sat", "cats sat", "the cat eats", "a dog sat"], ["un chat", "des chats", "le chat mange", "un chien"]
DATA = """\
[data.{name}]
train = "{name}.{{{sides}}}"
dev = "{name}.{{{sides}}}"
language_code = "{code}"
"""
TASK = '[tasks.{name}]\ntype = "seq2seq"\ndata = "{name}"\nvocabulary = 300\nlayers = 1\nlongest = 20\n{more}\n'
BOTH = DATA.format(name="back", sides="fr,en", code="fra_Latn") + DATA.format(name="on", sides="en,fr", code="eng_Latn")
TASKS = TASK.format(name="back", more='language = "en"')
TASKS += '[tasks.on]\ntype = "seq2seq"\ndata = "on"\nhead_of = "back"\nlanguage = "fr"\n'
STAGE = "[[stages]]\nepochs = 1\nlearning_rate = 0.003\nhead_learning_rate = 0.01\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = runs.write_data(tmp_path / "data")
    for name in ("on", "back"):
        for side, lines in (("en", EN), ("fr", FR)):
            (folder / f"{name}.{side}").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder


def test_one_encoder_reads_several_languages(folder: Path, tmp_path: Path) -> None:
    """Each task's texts carry their own code in training, in scores, and in answers of the saved model."""
    encoder = build_multilingual("nllb", tmp_path / "encoder")
    run = polyhead.train(runs.write_recipe(folder, encoder, STAGE, data=BOTH, tasks=TASKS), tmp_path / "run")
    annotate = polyhead.load(run.folder)
    tokenizer = annotate.backend.model.encoder.tokenizer
    assert [tokenizer.single.before] == [(tokenizer.codes["fra_Latn"],)], "the first dataset's is the usual one"
    texts = ["a cat sat on the cat", "un chat mange"]
    docs = annotate.texts(texts)
    for task, code in (("back", "fra_Latn"), ("on", "eng_Latn")):
        items = annotate.backend.model.encoder.tokenise([Example(text=text) for text in texts], code)
        assert (items[0].code is None) == (task == "back")
        expected = [given[task] for given in answer(annotate.backend.model, items, [task])]
        for found in (docs, annotate.only(task).texts(texts)):
            assert [doc[task] for doc in found] == [one.value for one in expected]
            assert [doc.confidence(task) for doc in found] == pytest.approx([one.confidence for one in expected])
    scores = evaluate(run.folder, split="dev")
    assert scores == {task: pytest.approx(run.scores["dev"][task]) for task in ("back", "on")}


def test_a_child_may_read_another_language_than_its_parent(folder: Path, tmp_path: Path) -> None:
    encoder = build_multilingual("mbart50", tmp_path / "encoder")
    parent, child = (DATA.format(name="back", sides="fr,en", code=code) for code in ("fr_XX", "sl_SI"))
    task = TASK.format(name="back", more='vocabulary = "encoder"').replace("vocabulary = 300\n", "")
    polyhead.train(runs.write_recipe(folder, encoder, STAGE, data=parent, tasks=task), tmp_path / "parent")
    recipe = runs.write_recipe(folder, encoder, STAGE, data=child, tasks=task)
    text = recipe.read_text(encoding="utf-8").replace(f'encoder = "{encoder}"\n', "")
    recipe.write_text(f'{text}\n[start]\nrun = "{tmp_path}/parent"\n', encoding="utf-8")
    run = polyhead.train(recipe, tmp_path / "child")
    first, second = (load_model(tmp_path / name) for name in ("parent", "child"))
    codes = first.encoder.tokenizer.codes
    assert first.encoder.tokenizer.single.before == (codes["fr_XX"],)
    assert second.encoder.tokenizer.single.before == (codes["sl_SI"],)
    ends = [model.tasks["back"].target_vocabulary() for model in (first, second)]  # type: ignore[attr-defined]
    assert [(one.start, one.end) for one in ends] == [(2, 2)] * 2, "no code begins or ends a target by itself"
    assert run.scores["dev"]["back"]["length_ratio"] >= 0


def test_frozen_layers_are_kept_for_each_language(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is kept is what is computed: the same run without its cache has the same losses."""
    monkeypatch.setenv("POLYHEAD_CACHE", str(tmp_path / "cache"))
    encoder = build_multilingual("nllb", tmp_path / "encoder")
    same = BOTH.replace('"back.{fr,en}"', '"on.{en,fr}"')  # the same texts, said to be in two languages
    weights = []
    for cache in ("true", "false"):
        stages = STAGE + f'freeze = "encoder"\ncache = {cache}\n'
        recipe = runs.write_recipe(folder, encoder, stages, data=same, tasks=TASKS)
        run = polyhead.train(recipe, tmp_path / f"cache-{cache}")
        weights.append(load_model(run.folder).state_dict())
    assert any((tmp_path / "cache").rglob("*")), "there is a cache"
    names = [name for name in weights[0] if not name.endswith("k_proj.bias")]  # no gradient but rounding
    assert all(torch.allclose(weights[0][name], weights[1][name], atol=1e-4) for name in names)


def test_a_wrong_code_names_its_line(folder: Path, tmp_path: Path, tiny_encoder: Path) -> None:
    for encoder, code, told in (
        (build_multilingual("mbart50", tmp_path / "encoder"), "fr", "It has 52, such as fr_XX, "),
        (tiny_encoder, "fr_XX", "Leave language_code out"),
    ):
        data = DATA.format(name="back", sides="fr,en", code=code)
        recipe = runs.write_recipe(folder, encoder, STAGE, data=data, tasks=TASK.format(name="back", more=""))
        with pytest.raises(PolyheadError, match=f"data.back.language_code = '{code}' is no language") as caught:
            polyhead.train(recipe, tmp_path / "run")
        assert told in caught.value.remedy and caught.value.file == str(recipe)
        assert caught.value.line == 1 + recipe.read_text(encoding="utf-8").split("\n").index(
            f'language_code = "{code}"'
        )
        assert not (tmp_path / "run" / "model").exists()


def test_a_teacher_reads_each_text_in_its_language(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoder = build_multilingual("nllb", tmp_path / "encoder")
    data = tasks = ""
    for name, code, texts in (("en", "eng_Latn", EN), ("fr", "fra_Latn", FR)):
        lines = [f"{text}\t{'long' if len(text) > 9 else 'short'}" for text in texts]
        (folder / f"{name}.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")
        data += f'[data.{name}]\nlayers = ["text", "mood"]\ntrain = "{name}.tsv"\nlanguage_code = "{code}"\n'
        tasks += f'[tasks.{name}]\ntype = "classification"\ndata = "{name}"\nlayer = "mood"\n'
    polyhead.train(runs.write_recipe(folder, encoder, STAGE, data=data, tasks=tasks), tmp_path / "teacher")
    seen: list[int] = []
    soft = Model.soft

    def see(self: Model, batch: Batch, *rest: Any) -> Any:
        seen.extend(batch.ids[:, 0].tolist())
        return soft(self, batch, *rest)

    monkeypatch.setattr(Model, "soft", see)
    stage = f'{STAGE}[stages.distil]\nteachers = ["{tmp_path / "teacher"}"]\n'
    polyhead.train(runs.write_recipe(folder, encoder, stage, data=data, tasks=tasks), tmp_path / "student")
    codes = load_model(tmp_path / "teacher").encoder.tokenizer.codes
    assert sorted(seen) == sorted([codes["eng_Latn"], codes["fra_Latn"]] * 4)
