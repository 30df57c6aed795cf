"""Text to text: vocabularies, targets, loss, answers, and what goes from one decoder to the next."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from families import build_writing

from conftest import SENTENCES
from polyhead.data.example import Example, Text
from polyhead.errors import PolyheadError
from polyhead.inherit import inherit
from polyhead.model import Model, Targets
from polyhead.nn.encoder import Encoder
from polyhead.nn.loading import load_encoder
from polyhead.nn.targets import END, START, TargetVocabulary, learn_vocabulary, restore_vocabulary
from polyhead.predict import annotator as annotator_of
from polyhead.predict import answer
from polyhead.tasks import describe_task, make_task, restore_task
from polyhead.tasks.seq2seq import Seq2Seq
from polyhead.tasks.writing_head import Seq2SeqHead

WORDS = [" ".join(part.split("/")[0] for part in sentence.split()) for sentence, _ in SENTENCES]
PAIRS = [
    ("the dog sleeps", "Le chien dort."),
    ("the cat sleeps", "Le chat dort."),
    ("a dog eats", "Un chien mange à midi."),
    ("a cat eats", "Un chat mange à midi."),
    ("the dog eats", "Le chien mange à midi."),
    ("a cat sleeps", "Un chat dort."),
]


def examples(pairs: Sequence[tuple[str, str]] = PAIRS) -> list[Example]:
    return [
        Example(text=source, layers={"target": Text(target)}, file="x.tsv", line=line)
        for line, (source, target) in enumerate(pairs, 1)
    ]


def task(**settings: Any) -> Seq2Seq:
    made = make_task("it", {"type": "seq2seq", "data": "d", "vocabulary": 300, **settings})
    assert isinstance(made, Seq2Seq)
    return made


def model_of(encoder: Encoder, *tasks: Seq2Seq) -> Model:
    torch.manual_seed(1)
    return Model(encoder, {one.name: one for one in tasks})


@pytest.fixture
def encoder(tiny_encoder: Path) -> Encoder:
    return load_encoder(str(tiny_encoder))


def learn(model: Model, name: str, given: Sequence[Example], steps: int = 60) -> float:
    """Train on all examples at once; the last loss for each piece."""
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
    batch = model.encoder.collate(model.encoder.tokenise(given))
    gold = [model.tasks[name].target(example) for example in given]
    model.train()
    for _ in range(steps):
        optimizer.zero_grad()
        loss = model.loss(batch, {name: Targets(list(range(len(given))), gold)})[name]
        (loss.total / loss.units).backward()
        optimizer.step()
    model.eval()
    return float(loss.total.detach()) / loss.units


@pytest.mark.parametrize(
    "text", ["L'été, à Noël…", "“Quoi?”  – 12,5 €", "Straße", "日本語", "a_b\\c <x>", "İstanbul", "a<s>b</s> <unk>"]
)
def test_a_text_comes_back_as_it_was(text: str) -> None:
    vocabulary = learn_vocabulary(["L'été dernier", "l'été prochain"], 300)
    assert vocabulary.decode(vocabulary.encode(text)) == text
    again = restore_vocabulary(vocabulary.tokenizer.to_str())
    assert again.encode(text) == vocabulary.encode(text) and again.pieces == vocabulary.pieces


def test_a_line_break_in_an_answer_becomes_a_space() -> None:
    vocabulary = learn_vocabulary(["a b"], 300)
    assert vocabulary.decode(vocabulary.encode("a\n b\tc")) == "a b c"


def test_a_byte_that_no_text_may_hold_is_not_written() -> None:
    vocabulary = learn_vocabulary(["a b"], 300)
    assert vocabulary.decode([*vocabulary.encode("a"), *vocabulary.encode("\0"), *vocabulary.encode("b")]) == "ab"


def test_targets_go_from_start_to_end() -> None:
    made = task()
    made.prepare(examples())
    target = made.target(examples()[0])
    assert target is not None and (target[0], target[-1]) == (START, END)
    assert made.target_vocabulary().decode(target.tolist()) == PAIRS[0][1]
    assert made.units(examples()[0], target) == made.steps(target) == len(target) - 1
    assert made.target(Example(text="alone")) is None


def test_pairs_beyond_the_longest_are_left_out_by_name() -> None:
    made = task(longest=5)
    given = examples([*PAIRS, ("x", "ÀÉÎ ÕÜ " * 9)])
    made.prepare(given)
    targets = [made.target(example) for example in given]
    short = sum(target is not None for target in targets)
    assert targets[-1] is None and short > 0
    (remark,) = made.remarks()
    assert "x.tsv:7" in remark and "longest = 5" in remark and "left out" in remark
    assert made.remarks() == [], "it is said once"


@pytest.mark.parametrize("decoder", ["fresh", "warm"])
def test_a_decoder_learns_to_translate(encoder: Encoder, decoder: str) -> None:
    room = {"longest": 60} if decoder == "warm" else {}  # the encoder's positions are its own
    made = task(decoder=decoder, layers=1, dropout=0.0, label_smoothing=0.0, **room)
    made.prepare(examples())
    model = model_of(encoder, made)
    assert learn(model, "it", examples(), steps=120) < 0.1
    found = answer(model, encoder.tokenise([Example(text=source) for source, _ in PAIRS]), ["it"])
    assert [one["it"].value for one in found] == [target for _, target in PAIRS]
    assert all(isinstance(one["it"].value, Text) and 0.8 < float(one["it"].confidence) <= 1 for one in found)  # type: ignore[arg-type]


def test_an_empty_text_is_answered_with_an_empty_one(encoder: Encoder) -> None:
    made = task(layers=1)
    made.prepare(examples())
    model = model_of(encoder, made).eval()
    blank, other = answer(model, encoder.tokenise([Example(text=""), Example(text="a dog")]), ["it"])
    assert blank["it"].value == "" and blank["it"].confidence == 1.0 and other["it"].value != ""


def test_a_text_beyond_the_window_is_read_to_its_end(encoder: Encoder) -> None:
    """Every row of a long text is read: another end gives other vectors to attend to."""
    long = " ".join(["dog"] * 90)
    batch = encoder.collate(encoder.tokenise([Example(text=long), Example(text="cat")]))
    states, mask = encoder(batch).memory
    assert states.shape[0] == 2 and mask.sum(1).tolist()[1] < 8 < 90 <= mask.sum(1).tolist()[0]
    chosen, there = encoder(batch).select([1]).memory
    assert torch.equal(chosen[0][there[0]], states[1][mask[1]])


def test_what_is_read_does_not_depend_on_the_batch(encoder: Encoder) -> None:
    given = [Example(text="a dog"), Example(text="the cat eats and eats")]
    together = encoder.eval()(encoder.collate(encoder.tokenise(given)))
    alone = encoder(encoder.collate(encoder.tokenise(given[:1])))
    (one, one_mask), (both, mask) = alone.memory, together.memory
    assert torch.allclose(one[0][one_mask[0]], both[0][mask[0]], atol=1e-5)
    selected, rest = together.select([0]).memory
    assert selected.shape[1] == one.shape[1] and rest.all(), "nothing is filled up for texts that are not there"


def test_one_decoder_writes_the_language_that_is_asked_for(encoder: Encoder) -> None:
    """Two tasks share a head, each with its language."""
    german = [(source, f"Hund {number}") for number, (source, _) in enumerate(PAIRS)]
    french, other = task(language="fr", layers=1, dropout=0.0), task(language="de", layers=1, dropout=0.0)
    other.name, other.head_of = "de", "it"
    french.shared_with([other])
    french.prepare(examples() + examples(german))
    assert french.languages == ["de", "fr"]
    other.take_learnt(french)
    model = model_of(encoder, french, other)
    for _ in range(12):
        learn(model, "it", examples(), steps=10)
        learn(model, "de", examples(german), steps=10)
    found = answer(model, encoder.tokenise([Example(text="the dog sleeps")]), ["it", "de"])[0]
    assert str(found["it"].value).startswith("Le") and str(found["de"].value).startswith("Hund")


@pytest.mark.parametrize("languages", [("fr", None), (None, "fr")])
def test_a_decoder_of_several_tasks_is_always_told_the_language(languages: tuple[str | None, str | None]) -> None:
    first, second = (task(language=language) for language in languages)
    first.name, second.name, second.head_of = "one", "two", "one"
    silent = "one" if languages[0] is None else "two"
    with pytest.raises(PolyheadError, match=rf"tasks\.{silent} names no language") as found:
        first.shared_with([second])
    assert f"[tasks.{silent}]" in str(found.value)


def test_a_decoder_that_goes_on_is_told_the_language_again() -> None:
    parent, child = task(language="fr"), task()
    parent.prepare(examples())
    child.earlier = parent  # type: ignore[misc]
    with pytest.raises(PolyheadError, match=r'(?s)names no language.*language = "fr"'):
        child.prepare(examples())


def test_an_unknown_language_is_told(encoder: Encoder) -> None:
    made = task(language="fr")
    made.prepare(examples())
    made.language = "it"
    with pytest.raises(PolyheadError, match=r"tasks\.it\.language = 'it' is no language"):
        model_of(encoder, made)


def test_a_saved_task_makes_the_same_head(encoder: Encoder, tmp_path: Path) -> None:
    made = task(layers=1, width=16, heads=2, feed_forward=24)
    made.prepare(examples())
    model = model_of(encoder, made).eval()
    model.save(tmp_path / "model")
    again = Model.load(tmp_path / "model")
    items = encoder.tokenise([Example(text="a dog sleeps")])
    assert answer(again, items, ["it"]) == answer(model, items, ["it"])
    assert describe_task(restore_task(describe_task(made))) == describe_task(made)


def test_a_child_keeps_what_the_parent_knew_of_each_piece(encoder: Encoder) -> None:
    """Pieces in both vocabularies keep their vectors; new ones begin as the mean of their pieces."""
    parent, child = task(layers=1), task(layers=1)
    parent.prepare(examples())
    child.prepare(examples([("x", "Der Hund schläft, der Hund frisst.")] * 3))
    before, after = model_of(encoder, parent).head("it"), model_of(encoder, child).head("it")
    assert isinstance(before, Seq2SeqHead) and isinstance(after, Seq2SeqHead)
    inherit(after, before)
    old, new = before.vocabulary, after.vocabulary
    theirs, ours = before.decoder.embedding.weight, after.decoder.embedding.weight
    shared = set(old.pieces) & set(new.pieces)
    added = set(new.pieces) - shared
    assert len(shared) > 256 and added
    for piece in shared:
        assert torch.equal(ours[new.pieces.index(piece)], theirs[old.pieces.index(piece)])
    for piece in added:
        parts = old.tokenizer.model.tokenize(piece)
        assert len(parts) > 1
        expected = theirs[[part.id for part in parts]].mean(0)
        assert torch.allclose(ours[new.pieces.index(piece)], expected, atol=1e-6)


@pytest.mark.parametrize("decoder", ["fresh", "warm"])
def test_a_decoder_has_room_for_what_it_may_write(encoder: Encoder, decoder: str) -> None:
    """The longest text is written and learnt; one piece more is refused, also by a decoder that goes on."""
    made = task(decoder=decoder, longest=63, layers=1, vocabulary=260)
    made.prepare(examples())
    model = model_of(encoder, made)
    target = made.target(examples([("a", "x" * 63)])[0])
    assert target is not None and len(target) == 65
    batch = encoder.collate(encoder.tokenise(examples([("a", "x")])))
    assert model.loss(batch, {"it": Targets([0], [target])})["it"].units == 64
    more = task(decoder=decoder, longest=80, layers=1)
    more.earlier = made  # type: ignore[misc]
    more.prepare(examples())
    with pytest.raises(PolyheadError, match=r"longest = 80 is more(.|\n)*Take 6[34] or fewer"):
        model_of(encoder, more)


@pytest.mark.parametrize(("family", "room"), [("t5", None), ("mbart", 64), ("marian", 64)])
def test_the_room_of_a_pretrained_decoder(tmp_path: Path, family: str, room: int | None) -> None:
    made = task(decoder="pretrained", longest=63)
    folder = build_writing(family, tmp_path)
    made.prepare(examples())
    model = model_of(load_encoder(str(folder)), made)
    decoder = model.heads["it"].decoder
    assert decoder.room == room
    ids = torch.full((1, room or 100), 6)
    assert decoder(torch.zeros(1, 2, 32), torch.ones(1, 2, dtype=torch.bool), ids).shape[1] == (room or 100)
    if room is not None:
        made.longest = 64
        with pytest.raises(PolyheadError, match=r"longest = 64 is more(.|\n)*Take 63 or fewer"):
            made.head(model.encoder)


@pytest.mark.parametrize("family", ["t5", "mbart", "marian"])
def test_a_pretrained_encoder_decoder_is_taken_over_whole(family: str, tmp_path: Path) -> None:
    """Loss and greedy texts are those of transformers for the same folder, after saving and loading, too."""
    folder = build_writing(family, tmp_path / family)
    encoder = load_encoder(str(folder))
    made = task(decoder="pretrained", label_smoothing=0.0, longest=9)
    given = examples([("a cat", "un chat"), ("a dog sleeps", "le chien dort")])
    made.prepare(given)
    made.longest = 60
    model = model_of(encoder, made).eval()
    whole = transformers.AutoModelForSeq2SeqLM.from_pretrained(folder).eval()
    own = transformers.AutoTokenizer.from_pretrained(folder)
    batch = encoder.collate(encoder.tokenise(given))
    loss = model.loss(batch, {"it": Targets([0, 1], [made.target(example) for example in given])})["it"]
    read = own([example.text for example in given], return_tensors="pt", padding=True)
    labels = own([str(example.layers["target"]) for example in given], return_tensors="pt", padding=True).input_ids
    labels = labels.masked_fill(labels == own.pad_token_id, -100)
    expected = whole(input_ids=read.input_ids, attention_mask=read.attention_mask, labels=labels).loss
    assert (loss.total / loss.units).item() == pytest.approx(expected.item(), abs=1e-5)
    made.longest = 9
    model.save(tmp_path / "model")
    texts = whole.generate(
        input_ids=read.input_ids, attention_mask=read.attention_mask, max_length=10, do_sample=False, num_beams=1
    )
    for one in (model, Model.load(tmp_path / "model")):
        found = [a["it"].value for a in answer(one, encoder.tokenise(given), ["it"])]
        assert found == [own.decode(row, skip_special_tokens=True).strip() for row in texts]


def test_a_pretrained_decoder_writes_the_language_of_its_code(tmp_path: Path) -> None:
    encoder = load_encoder(str(build_writing("mbart", tmp_path / "m")))
    made = task(decoder="pretrained", language="fr_XX", longest=60)
    made.prepare(examples())
    model = model_of(encoder, made)
    target = model.tasks["it"].target(examples([("a", "chat")])[0])
    assert target.tolist()[:2] == [2, encoder.tokenizer.tokenizer.token_to_id("fr_XX")] and target.tolist()[-1] == 2


def test_an_encoder_without_a_decoder_is_told(encoder: Encoder) -> None:
    made = task(decoder="pretrained")
    made.prepare(examples())
    with pytest.raises(PolyheadError, match=r"decoder = 'pretrained': the encoder .* brings none"):
        model_of(encoder, made)


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"decoder": "warm", "width": 64}, r"tasks\.it\.width = 64 stands beside decoder = 'warm'"),
        ({"decoder": "pretrained", "layers": 2}, r"tasks\.it\.layers = 2 stands beside decoder = 'pretrained'"),
        ({"decoder": "hot"}, r"tasks\.it\.decoder = 'hot' is not right"),
        ({"vocabulary": 12}, r"tasks\.it\.vocabulary = 12 is not right"),
        ({"beams": 0}, r"tasks\.it\.beams = 0 is not right"),
        ({"label_smoothing": 1.0}, r"tasks\.it\.label_smoothing = 1\.0 is not right"),
    ],
)
def test_wrong_settings_are_told(settings: dict[str, Any], told: str) -> None:
    with pytest.raises(PolyheadError, match=told):
        task(**settings)


def test_shapes_that_do_not_fit_are_told(encoder: Encoder) -> None:
    for settings, told in (
        ({"width": 20, "heads": 3}, r"heads = 3 does not divide the width 20"),
        ({"decoder": "warm", "layers": 9}, r"layers = 9, but the encoder .* has 2"),
    ):
        made = task(**settings)
        made.prepare(examples())
        with pytest.raises(PolyheadError, match=told):
            model_of(encoder, made)


def test_no_pair_to_learn_from_is_told() -> None:
    with pytest.raises(PolyheadError, match=r"tasks\.it: no pair of texts"):
        task().prepare([])


def test_the_loss_is_that_of_each_piece_alone(encoder: Encoder) -> None:
    """Filling up does not count: a batch's loss is the sum of its examples' losses."""
    made = task(layers=1, dropout=0.0)
    made.prepare(examples())
    model = model_of(encoder, made).eval()
    given = examples()[:3]
    gold = [made.target(example) for example in given]
    together = model.loss(encoder.collate(encoder.tokenise(given)), {"it": Targets([0, 1, 2], gold)})["it"]
    alone = [
        model.loss(encoder.collate(encoder.tokenise([one])), {"it": Targets([0], [target])})["it"]
        for one, target in zip(given, gold, strict=True)
    ]
    assert together.units == sum(one.units for one in alone) == sum(len(np.asarray(t)) - 1 for t in gold)
    assert together.total.item() == pytest.approx(sum(one.total.item() for one in alone), rel=1e-5)


def test_a_vocabulary_without_a_language_has_no_piece_for_it() -> None:
    vocabulary = learn_vocabulary(["de la"] * 2, 300, ["fr"])
    assert isinstance(vocabulary, TargetVocabulary)
    assert vocabulary.language("fr") == 4 and vocabulary.language("de") is None
    assert "de" in vocabulary.pieces, "which is a piece of words, and no language"


def learnt_model(encoder: Encoder) -> Model:
    made = task(layers=1, dropout=0.0, label_smoothing=0.0)
    made.prepare(examples())
    model = model_of(encoder, made)
    learn(model, "it", examples(), steps=120)
    return model


def test_several_texts_for_each_are_given_best_first(encoder: Encoder) -> None:
    annotator = annotator_of(learnt_model(encoder)).searching(best=3)
    (doc,) = annotator.texts(["the dog sleeps"])
    prediction = doc.answers["target"]
    assert prediction.value == "Le chien dort." and len(prediction.others) == 2
    texts = [prediction.value, *(text for text, _ in prediction.others)]
    assert len(set(texts)) == 3 and all(0 < chance <= 1 for _, chance in prediction.others)
    record = doc.to_dict(confidence=True)
    assert [one["text"] for one in record["target_others"]] == texts[1:]  # type: ignore[attr-defined]
    assert all(0 <= one["confidence"] <= 1 for one in record["target_others"])  # type: ignore[attr-defined]
    (alone,) = annotator.searching(best=1).texts(["the dog sleeps"])
    assert alone.answers["target"].others == () and "target_others" not in alone.to_dict()


def test_drawn_texts_differ_and_the_seed_repeats_them(encoder: Encoder) -> None:
    annotator = annotator_of(learnt_model(encoder)).searching(temperature=20.0)
    drawn = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        drawn.append(annotator("the dog sleeps").answers["target"].value)
    assert drawn[0] == drawn[1] != drawn[2]


@pytest.mark.parametrize(
    ("search", "told"),
    [
        ({"beams": 0}, "beams = 0 is not right"),
        ({"best": 65}, "n-best = 65 is not right"),
        ({"beams": 2, "best": 3}, "The 3 best texts are wanted of 2 hypotheses"),
        ({"temperature": 0.0}, "temperature = 0.0 is not right"),
        ({"temperature": 1e-40}, "temperature = 1e-40 is not right"),
        ({"temperature": float("nan")}, "temperature = nan is not right"),
    ],
)
def test_a_search_that_cannot_be_is_told(encoder: Encoder, search: dict[str, Any], told: str) -> None:
    made = task(layers=1)
    made.prepare(examples())
    with pytest.raises(PolyheadError, match=told):
        annotator_of(model_of(encoder, made)).searching(**search)


def test_a_text_is_no_longer_than_what_is_read_allows(encoder: Encoder) -> None:
    """However far the decoder would go on, and whatever stands beside it in the batch."""
    made = task(layers=1, stretch=0.5)
    made.prepare(examples())
    model = model_of(encoder, made).eval()
    short, long = Example(text="dog"), Example(text="dog " * 40)
    both = answer(model, encoder.tokenise([short, long]), ["it"])
    alone = answer(model, encoder.tokenise([short]), ["it"])
    wide = task(layers=1, stretch=9.0, longest=made.longest)
    wide.pieces, wide.architecture = made.pieces, made.architecture
    model.tasks["it"] = wide
    (more,) = answer(model, encoder.tokenise([short]), ["it"])
    assert both[0]["it"].value == alone[0]["it"].value
    assert len(str(both[0]["it"].value)) < min(len(str(both[1]["it"].value)), len(str(more["it"].value)))
