"""What many tests share: a tiny random encoder, small files of each kind, and the real corpora where they are."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.context import ForkServerContext
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser

    from studies.inline import Inline

CHROMIUM = Path("/usr/bin/chromium")
"""Debian's browser; tests of pages are skipped without it."""

LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
VOCABULARY = [
    *("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"),
    *"!\"#$%&'()*+,-./:;<=>?@[]_",
    *LETTERS,
    *(f"##{letter}" for letter in LETTERS),
    *("the", "The", "a", "in", "is", "was", "and", "good", "bad", "cat", "cats", "sat", "see", "##ing", "##ed", "##s"),
]

SENTENCES = (
    # word, lemma, UPOS, head, relation, entity tag; the text's sentiment is at the end
    ("The|the|DET|2|det|O cats|cat|NOUN|3|nsubj|O slept|sleep|VERB|0|root|O .|.|PUNCT|3|punct|O", "good"),
    ("Ann|Ann|PROPN|2|nsubj|B-PER saw|see|VERB|0|root|O Bob|Bob|PROPN|2|obj|B-PER", "good"),
    ("It|it|PRON|3|nsubj|O was|be|AUX|3|cop|O bad|bad|ADJ|0|root|O .|.|PUNCT|3|punct|O", "bad"),
    ("New|New|PROPN|2|compound|B-LOC York|York|PROPN|3|nsubj|I-LOC sleeps|sleep|VERB|0|root|O", "good"),
    ("No|no|INTJ|0|root|O !|!|PUNCT|1|punct|O", "bad"),
    ("A|a|DET|3|det|O bad|bad|ADJ|3|amod|O cat|cat|NOUN|4|nsubj|O sat|sit|VERB|0|root|O", "bad"),
    ("Cats|cat|NOUN|2|nsubj|O like|like|VERB|0|root|O Ann|Ann|PROPN|2|obj|B-PER Lee|Lee|PROPN|3|flat|I-PER", "good"),
    ("Rain|rain|NOUN|2|nsubj|O fell|fall|VERB|0|root|O in|in|ADP|4|case|O Rome|Rome|PROPN|2|obl|B-LOC", "bad"),
)


def cells(sentence: str) -> list[list[str]]:
    """The words of a sentence, each a list of its columns."""
    return [word.split("|") for word in sentence.split()]


def pytest_configure() -> None:
    """No test may ask the Hub for anything, nor start threads for a handful of texts."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    os.environ["POLYHEAD_CACHE"] = tempfile.mkdtemp(prefix="polyhead-cache-")


def pytest_unconfigure() -> None:
    """Leave nothing behind."""
    shutil.rmtree(os.environ["POLYHEAD_CACHE"], ignore_errors=True)


def build_encoder(folder: Path, *, width: int = 32, layers: int = 2, window: int = 64, seed: int = 0) -> Path:
    """Write a BERT with random weights and a WordPiece vocabulary of letters and a few words, as transformers does."""
    import torch
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
    from transformers import BertConfig, BertModel, PreTrainedTokenizerFast
    from transformers.utils import logging

    logging.disable_progress_bar()
    index = {piece: i for i, piece in enumerate(VOCABULARY)}
    tokenizer = Tokenizer(models.WordPiece(index, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=False)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", index["[CLS]"]), ("[SEP]", index["[SEP]"])],
    )
    names = {"unk_token": "[UNK]", "pad_token": "[PAD]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    wrapper = PreTrainedTokenizerFast(tokenizer_object=tokenizer, mask_token="[MASK]", **names)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        config = BertConfig(
            vocab_size=len(VOCABULARY),
            hidden_size=width,
            num_hidden_layers=layers,
            num_attention_heads=2,
            intermediate_size=2 * width,
            max_position_embeddings=window,
            initializer_range=0.2,  # wide, so that random weights tell pieces and places apart
        )
        model = BertModel(config, add_pooling_layer=False)
    model.save_pretrained(folder)
    wrapper.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def tiny_encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a tiny encoder: 2 layers, width 32, windows of 64 pieces, cased. Do not write into it."""
    return build_encoder(tmp_path_factory.mktemp("encoder") / "tiny")


@pytest.fixture(scope="session")
def corpora() -> Path:
    """The folder of the real corpora; the test is skipped where there is none."""
    folder = os.environ.get("POLYHEAD_DATA")
    if not folder:
        pytest.skip("POLYHEAD_DATA does not name the folder of the corpora")
    return Path(folder).resolve()


@pytest.fixture
def conllu_file(tmp_path: Path) -> Path:
    """Eight sentences with lemma, UPOS, tree, ``# sentiment`` and ``Entity=`` in MISC."""
    blocks = []
    for number, (sentence, sentiment) in enumerate(SENTENCES, 1):
        words = cells(sentence)
        text = " ".join(word[0] for word in words)
        lines = [f"# sent_id = {number}", f"# text = {text}", f"# sentiment = {sentiment}"]
        for i, (form, lemma, upos, head, relation, entity) in enumerate(words, 1):
            misc = "_" if entity == "O" else f"Entity={entity}"
            lines.append("\t".join([str(i), form, lemma, upos, "_", "_", head, relation, "_", misc]))
        blocks.append("\n".join(lines) + "\n\n")
    path = tmp_path / "small.conllu"
    path.write_text("".join(blocks), encoding="utf-8")
    return path


@pytest.fixture
def columns_file(tmp_path: Path) -> Path:
    """Eight sentences, a word and its IOB2 entity tag on each line, with a tab between them."""
    sentences = [[f"{word[0]}\t{word[5]}\n" for word in cells(sentence)] for sentence, _ in SENTENCES]
    path = tmp_path / "small.conll"
    path.write_text("\n".join("".join(lines) for lines in sentences) + "\n", encoding="utf-8")
    return path


@pytest.fixture
def tsv_file(tmp_path: Path) -> Path:
    """Eight texts with a header: text, label (good or bad), stars (a number), topics (several labels)."""
    rows = ["text\tlabel\tstars\ttopics\n"]
    for number, (sentence, sentiment) in enumerate(SENTENCES):
        text = " ".join(word[0] for word in cells(sentence))
        topics = "|".join(topic for topic in ("cats", "Ann") if topic.lower() in text.lower())
        rows.append(f"{text}\t{sentiment}\t{number % 5 + 0.5}\t{topics}\n")
    path = tmp_path / "small.tsv"
    path.write_text("".join(rows), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """A real browser, without a window."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    if not CHROMIUM.exists():
        pytest.skip(f"there is no {CHROMIUM}")
    with playwright.sync_playwright() as started:
        opened = started.chromium.launch(executable_path=str(CHROMIUM), args=["--no-sandbox"])
        yield opened
        opened.close()


@pytest.fixture(scope="module")
def light() -> Iterator[None]:
    """One thread, and no time for finding out what this machine is fastest with."""
    import torch

    import polyhead.predict

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(polyhead.predict, "choose_precision", lambda _: "fp32")
        yield
    torch.set_num_threads(before)


@pytest.fixture
def one_thread() -> Iterator[None]:
    """torch computes with one thread: the same figures on every machine."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def context() -> ForkServerContext:
    """Where runs that are killed are started from."""
    import killing

    return killing.spawner()


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> Inline:
    """Runs of studies are computed in the tests' own process, which notes each."""
    import polyhead.studies.best
    import polyhead.studies.study
    from studies.inline import Inline

    inline = Inline()

    @contextmanager
    def workers(on: str, count: int | None, threads: int) -> Iterator[Inline]:
        yield inline

    for module in (polyhead.studies.study, polyhead.studies.best):
        monkeypatch.setattr(module, "workers", workers)
    return inline
