"""BLEU and chrF are sacrebleu's, of a corpus and of any resample of it."""

from __future__ import annotations

import random
import sys
import time

import numpy as np
import pytest
from sacrebleu.metrics.bleu import BLEU
from sacrebleu.metrics.chrf import CHRF

from polyhead import intervals as bootstrap
from polyhead.data.example import Text
from polyhead.intervals import draws
from polyhead.metrics import Tally
from polyhead.text_metrics import TOKENIZERS, tally_texts, text_quality, text_signatures, tokenizer_of

REAL = [
    (
        "The parcel was left with a neighbour, who has since moved.",
        "The parcel was given to a neighbour who has moved.",
    ),
    ("Don't pay more than £3.50 for it!", "Do not pay more than 3.50 for it."),
    ("“Really?” she asked — and left.", '"Really?" she asked, and left'),
    ("Work began in 1998 & ended in 2001 (U.S. only).", "Work began in 1998 &amp; ended in 2001 (U.S. only)."),
    ("Yes.", ""),
    ("No", "No"),
    ("", "Something where nothing should be"),
    ("  spaces   around  ", "spaces around"),
    ("😀 e\u0301t\u200be", "😀 été"),
]
CHINESE = [("我们昨天去了北京。", "我们昨天去北京了。"), ("今天天气很好", "今天天气不好"), ("是", "")]


def pairs(seed: int, count: int = 40) -> tuple[list[str], list[str]]:
    """Sentences of few words, some of them answered in part, some not at all."""
    rng = random.Random(seed)
    words = ["the", "cat", "cats", "sat", "on", "a", "mat", ".", ",", "isn't", "3.5", "U.S."]
    gold = [" ".join(rng.choices(words, k=rng.randint(1, 15))) for _ in range(count)]
    given = [" ".join(w if rng.random() < 0.8 else rng.choice(words) for w in text.split()) for text in gold]
    return gold, [text if rng.random() < 0.9 else "" for text in given]


def official(gold: list[str], given: list[str], tokenizer: str = "13a") -> dict[str, float]:
    bleu = BLEU(tokenize=tokenizer, force=True).corpus_score(given, [gold])
    chrf = CHRF().corpus_score(given, [gold])
    return {"bleu": bleu.score / 100, "chrf": chrf.score / 100, "length_ratio": bleu.ratio}


@pytest.mark.parametrize("seed", range(5))
def test_figures_of_random_texts_are_those_of_sacrebleu(seed: int) -> None:
    gold, given = pairs(seed)
    assert text_quality(gold, given) == pytest.approx(official(gold, given), abs=1e-12)


def test_figures_of_real_looking_texts_are_those_of_sacrebleu() -> None:
    gold, given = (list(side) for side in zip(*REAL, strict=True))
    figures = text_quality([Text(text) for text in gold], [Text(text) for text in given])
    assert figures == pytest.approx(official(gold, given), abs=1e-12)
    assert 0.2 < figures["bleu"] < figures["chrf"] < 1
    for wanted, answer in REAL:
        assert text_quality([wanted], [answer]) == pytest.approx(official([wanted], [answer]), abs=1e-12), wanted


@pytest.mark.parametrize(
    ("tokenizer", "codes"),
    [
        ("zh", "zh zh-Hant zh-TW ZH_cn zh_CN zho zho_Hans zho_Hant cmn cmn_Hans yue_Hant lzh __zh__ >>cmn_Hans<<"),
        ("ja-mecab", "ja ja-JP ja_XX jpn jpn_Jpan __ja__"),
        ("ko-mecab", "ko ko-KR ko_KR kor kor_Hang __ko__"),
        ("13a", "en en_XX eng_Latn de-AT fra_Latn jav_Latn kon_Latn zu_ZA zul_Latn jam_Latn __my__"),
    ],
)
def test_a_language_is_known_by_all_its_codes(tokenizer: str, codes: str) -> None:
    """Those of BCP 47, of NLLB, mBART, M2M100 and Marian; sacrebleu has a tokenizer of this name."""
    from sacrebleu.metrics.bleu import _TOKENIZERS as KNOWN

    assert {code: tokenizer_of(code) for code in codes.split()} == dict.fromkeys(codes.split(), tokenizer)
    assert tokenizer in KNOWN and set(TOKENIZERS.values()) <= set(KNOWN)
    assert tokenizer_of(None) == tokenizer_of("") == tokenizer_of("??") == "13a"


@pytest.mark.parametrize("language", ["zh", "zh-Hant", "ZH_cn", "zho_Hans"])
def test_chinese_is_cut_into_signs(language: str) -> None:
    gold, given = (list(side) for side in zip(*CHINESE, strict=True))
    figures = text_quality(gold, given, language)
    assert figures == pytest.approx(official(gold, given, "zh"), abs=1e-12)
    assert figures["bleu"] > text_quality(gold, given)["bleu"], "else a sentence is a word, and none is right"


def test_resamples_have_the_figures_of_a_corpus() -> None:
    gold, given = pairs(7)
    found = bootstrap._of_tally(tally_texts(gold, given), seed=3)
    for number, row in enumerate(draws(len(gold), 30, 3).tolist()):
        reference = official([gold[i] for i in row], [given[i] for i in row])
        assert {name: values[number] for name, values in found.items()} == pytest.approx(reference, abs=1e-12)


def test_right_and_wrong_answers() -> None:
    gold = ["the cat sat on the mat .", "a dog was here ."]
    assert text_quality(gold, gold) == {"bleu": pytest.approx(1), "chrf": pytest.approx(1), "length_ratio": 1.0}
    assert text_quality(gold, ["", ""]) == {"bleu": 0.0, "chrf": 0.0, "length_ratio": 0.0}
    assert text_quality(["", " "], ["x", ""]) == {"bleu": 0.0, "chrf": 0.0, "length_ratio": 0.0}
    assert text_quality(gold, ["the cat", "a dog"])["length_ratio"] == pytest.approx(4 / 12)


def test_what_cannot_be_scored() -> None:
    with pytest.raises(ValueError, match="no texts"):
        text_quality([], [])
    with pytest.raises(ValueError, match="2 gold values but 1 predictions"):
        text_quality(["a", "b"], ["a"])


@pytest.mark.parametrize(("language", "tokenizer"), [(None, "13a"), ("de", "13a"), ("zh", "zh"), ("pt-BR", "13a")])
def test_signatures_are_sacrebleu_s(language: str | None, tokenizer: str) -> None:
    bleu, chrf = BLEU(tokenize=tokenizer), CHRF()
    for metric in (bleu, chrf):
        metric.corpus_score(["a"], [["a"]])
    assert text_signatures(language) == {"bleu": str(bleu.get_signature()), "chrf": str(chrf.get_signature())}
    assert f"nrefs:1|case:mixed|eff:no|tok:{tokenizer}|smooth:exp" in text_signatures(language)["bleu"]


@pytest.mark.parametrize(("language", "module"), [("ja", "tokenizer_ja_mecab"), ("ko", "tokenizer_ko_mecab")])
def test_without_its_dictionary_a_language_is_cut_into_signs(
    language: str, module: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from importlib import import_module

    from polyhead import text_metrics

    tokenizer = import_module(f"sacrebleu.tokenizers.{module}")
    monkeypatch.setattr(tokenizer, "MeCab", None)
    text_metrics._bleu.cache_clear()
    assert "tok:char" in text_signatures(language)["bleu"]
    text_metrics._bleu.cache_clear()


@pytest.mark.parametrize("language", ["ja", "ko"])
def test_a_language_s_own_tokenizer_is_taken_where_it_is_installed(
    language: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sacrebleu.metrics import bleu
    from sacrebleu.tokenizers.tokenizer_char import TokenizerChar

    from polyhead import text_metrics

    class Own(TokenizerChar):
        def signature(self) -> str:
            return "own"

    before = bleu._get_tokenizer
    monkeypatch.setattr(bleu, "_get_tokenizer", lambda name: Own if name == TOKENIZERS[language] else before(name))
    text_metrics._bleu.cache_clear()
    assert "tok:own" in text_signatures(language)["bleu"]
    text_metrics._bleu.cache_clear()


def test_a_thousand_resamples_of_a_thousand_texts_take_about_a_second() -> None:
    gold, given = pairs(1, 1000)
    tally: Tally = tally_texts(gold, given)
    before = time.process_time()
    found = bootstrap._of_tally(tally, 1)
    assert time.process_time() - before < 2
    low, high = np.quantile(found["bleu"], [0.025, 0.975])
    assert low < tally.figures()["bleu"] < high


def test_sacrebleu_is_imported_only_when_texts_are_scored() -> None:
    import subprocess

    code = "import sys, polyhead.text_metrics; print('sacrebleu' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
