"""Gold and predicted texts in, figures out: BLEU and chrF, both by sacrebleu (Post 2018).

Both are made of counts that add up over texts, so they are a :class:`polyhead.metrics.Tally`: the counts of each text
and the figures of any sums of them are computed by sacrebleu's own classes, and equal its ``corpus_score``. What
exactly was computed, a signature says.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING

import numpy as np
from scipy.sparse import csr_array

from polyhead.metrics import Floats, Tally, check_texts

if TYPE_CHECKING:
    from sacrebleu.metrics.bleu import BLEU
    from sacrebleu.metrics.chrf import CHRF

TOKENIZERS = {
    **dict.fromkeys(("zh", "zho", "chi", "cmn", "yue", "wuu", "hak", "lzh"), "zh"),
    **dict.fromkeys(("ja", "jpn"), "ja-mecab"),
    **dict.fromkeys(("ko", "kor"), "ko-mecab"),
}
"""What BLEU cuts words with in languages that write no spaces between them, or whose words are made of many parts: by
their codes of two and of three letters, Chinese ones by those of its varieties, too."""

DEFAULT_TOKENIZER, WITHOUT_DICTIONARY = "13a", "char"
"""Those for all other languages, and where the dictionary that a language needs is not installed."""


def text_quality(gold: Sequence[str], predicted: Sequence[str], language: str | None = None) -> dict[str, float]:
    """One text each, against one reference.

    Args:
        gold: The references.
        predicted: The answers; an empty one is wrong in all of its words.
        language: The code of the texts' language, as ``de``, ``zh-Hant``, NLLB's ``zho_Hans``, mBART's ``zh_CN`` or
            M2M100's ``__zh__``; it chooses what BLEU cuts words with.

    Returns:
        ``bleu`` (Papineni et al. 2002) and ``chrf`` (Popović 2015), with sacrebleu's defaults, as fractions in [0, 1];
        ``length_ratio``, how many words the answers have for each word of the references, as BLEU counts them (0.0
        where these have none).

    Raises:
        ValueError: No texts, or not as many predictions as gold values.
    """
    return tally_texts(gold, predicted, language).figures()


def tally_texts(gold: Sequence[str], predicted: Sequence[str], language: str | None = None) -> Tally:
    """The counts behind ``text_quality``: n-grams of words and of characters, of each side and in common."""
    check_texts(gold, predicted)
    bleu, chrf = _bleu(language), _chrf()
    # BLEU: words of answer and reference, then right and given n-grams. chrF: given, wanted and right ones by order.
    of_words = np.asarray(bleu._extract_corpus_statistics(predicted, [gold]), dtype=np.int64)  # (texts, 10)
    of_signs = np.asarray(chrf._extract_corpus_statistics(predicted, [gold]), dtype=np.int64)  # (texts, 18)
    first = of_words.shape[1]

    def figures_of(sums: Floats) -> dict[str, Floats]:
        rows = np.rint(sums).astype(np.int64).tolist()  # whole numbers, which the scorers count on
        words = [bleu._compute_score_from_stats(row[:first]) for row in rows]
        signs = [chrf._compute_score_from_stats(row[first:]) for row in rows]
        return {
            "bleu": np.asarray([found.score / 100 for found in words]),
            "chrf": np.asarray([found.score / 100 for found in signs]),
            "length_ratio": np.asarray([float(found.ratio) for found in words]),
        }

    return Tally(csr_array(np.hstack([of_words, of_signs])), figures_of)


def chrf_of(gold: str, predicted: str) -> float:
    """chrF of one text alone, as a fraction."""
    return float(_chrf().sentence_score(predicted, [gold]).score) / 100


def text_signatures(language: str | None = None) -> dict[str, str]:
    """What ``bleu`` and ``chrf`` are exactly, in sacrebleu's words: figures compare only where these are the same."""
    found: dict[str, str] = {}
    for name, metric in (("bleu", _bleu(language)), ("chrf", _chrf())):
        metric.corpus_score([""], [[""]])  # only now does it know of the one reference for each text
        found[name] = str(metric.get_signature())
    return found


def tokenizer_of(language: str | None) -> str:
    """What BLEU should cut words with, by its name in sacrebleu; the first part of a language's code tells."""
    first = re.search(r"[a-z]+", (language or "").lower())
    return TOKENIZERS.get(first[0], DEFAULT_TOKENIZER) if first else DEFAULT_TOKENIZER


@cache
def _bleu(language: str | None) -> BLEU:
    from sacrebleu.metrics.bleu import BLEU  # slow to import

    try:
        return BLEU(tokenize=tokenizer_of(language), force=True)
    except (RuntimeError, AssertionError):  # MeCab or its dictionary is not installed, or it is another one
        return BLEU(tokenize=WITHOUT_DICTIONARY, force=True)


@cache
def _chrf() -> CHRF:
    from sacrebleu.metrics.chrf import CHRF

    return CHRF()
