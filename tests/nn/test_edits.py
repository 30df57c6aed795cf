"""Edit scripts: exact on the pair that they were made of, few over a corpus, harmless elsewhere."""

import os
import random
from collections import Counter
from pathlib import Path

import pytest

from polyhead.nn.edits import apply, script


@pytest.mark.parametrize(
    ("form", "lemma", "expected"),
    [
        ("dog", "dog", "l|"),
        ("The", "the", "l|"),
        ("Paris", "Paris", "k|"),
        ("USA", "USA", "k|"),
        ("PARIS", "Paris", "t|"),
        ("i", "I", "t|"),
        ("usa", "USA", "u|"),
        ("Dogs", "dog", "l|-"),
        ("Running", "run", "l|----"),
        ("PCs", "PC", "k|-"),
        ("cities", "city", "l|---+y"),
        ("had", "have", "l|-+v+e"),
        ("Häuser", "Haus", "k=-+a|--"),
        ("gesungen", "singen", "l--=-+i|"),
        ("was", "be", "abe"),
        ("Is", "be", "abe"),
        ("are", "be", "l--+b|"),
        ("", "", "l|"),
        ("x", "", "a"),
        ("", "x", "ax"),
    ],
)
def test_scripts_read_as_documented(form: str, lemma: str, expected: str) -> None:
    assert script(form, lemma) == expected
    assert apply(expected, form) == lemma


def test_a_script_carries_over_to_other_words() -> None:
    assert apply(script("Running", "run"), "sitting") == "sit"
    assert apply(script("Bäume", "Baum"), "Häuse") == "Haus"
    assert apply(script("cities", "city"), "PARTIES") == "party"
    assert apply(script("was", "be"), "ARE") == "be"


@pytest.mark.parametrize(
    ("rule", "form"),
    [
        *(("l|-", "A"), ("l--|-", "Abc"), ("l=|=", "Ab"), ("k|-", ""), ("l|+y", "")),  # too short to leave a middle
        *(("", "Word"), ("l", "Word"), ("|", "Word"), ("l|+", "Word"), ("l||", "Word"), ("x|", "Word")),  # no script
        *(("l|-x", "Word"), ("L|", "Word"), ("l|-\n", "Word"), ("\nl|-", "Word")),
    ],
)
def test_what_does_not_fit_gives_the_form(rule: str, form: str) -> None:
    assert apply(rule, form) == form


ALPHABETS = [
    "abAB",  # many repeats, so many longest common substrings
    "ab+-=|lktu",  # the marks of the scripts themselves
    "aAßẞİıſΣσςǅǆŉﬁé\u0301",  # letters whose case changes length, or does not come back
    "a1 .\n\t\x00\u00a0\u200d😀𝔸\ud800",  # blanks, controls, astral, a lone surrogate
    "कुमारحُمٰن한국語",
]


def words(rng: random.Random, alphabet: str) -> str:
    return "".join(rng.choices(alphabet, k=rng.randint(0, 9)))


@pytest.mark.parametrize("alphabet", ALPHABETS)
def test_exact_on_random_strings(alphabet: str) -> None:
    rng = random.Random(0)
    scripts = []
    for _ in range(2000):
        form, lemma = words(rng, alphabet), words(rng, alphabet)
        if rng.random() < 0.7:  # share something, as forms and lemmas do
            shared = words(rng, alphabet)
            form, lemma = form[:3] + shared + form[3:5], lemma[:2] + shared
            lemma = rng.choice([lemma.lower(), lemma.upper(), lemma])
        scripts.append(script(form, lemma))
        assert apply(scripts[-1], form) == lemma, (form, lemma)
    kinds = Counter(rule[0] for rule in scripts)
    assert kinds["a"] < len(scripts) > 2 * kinds["a"]  # most are real edits


@pytest.mark.parametrize("alphabet", ALPHABETS)
def test_never_raises(alphabet: str) -> None:
    rng = random.Random(1)
    for _ in range(2000):
        rule = rng.choice(["", "l", "k", "t", "u", "a"]) + words(rng, alphabet + "+-=|")
        form = words(rng, alphabet)
        assert isinstance(apply(rule, form), str)


def pairs(file: Path) -> list[tuple[str, str]]:
    """(form, lemma) of all words of a CoNLL-U file."""
    columns = (line.split("\t") for line in file.read_text(encoding="utf-8").split("\n"))
    return [(c[1], c[2]) for c in columns if len(c) == 10 and c[0].isdigit()]


@pytest.mark.corpora
@pytest.mark.skipif("POLYHEAD_DATA" not in os.environ, reason="POLYHEAD_DATA does not name the corpora's folder")
def test_scripts_of_a_treebank_are_few_and_carry_over() -> None:
    folder = Path(os.environ["POLYHEAD_DATA"]) / "ewt"
    train, dev = (pairs(folder / f"en_ewt-ud-{split}.conllu") for split in ("train", "dev"))
    assert len(train) == 204_577
    for form, lemma in {*train, *dev}:
        assert apply(script(form, lemma), form) == lemma
    scripts = Counter(script(form, lemma) for form, lemma in train)
    assert len(scripts) < 600
    assert sum(script(form, lemma) in scripts for form, lemma in dev) / len(dev) > 0.997
    seen = {form for form, _ in train}
    unseen = [(form, lemma) for form, lemma in dev if form not in seen]
    assert sum(script(form, lemma) in scripts for form, lemma in unseen) / len(unseen) > 0.975
