"""Tiny random encoders of the families that people use, written to disk as transformers writes them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import transformers
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers.utils import logging

LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.,!?"
SHAPE: dict[str, Any] = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 64,
    "max_position_embeddings": 40,
}


def _wordpiece(kind: str, *, lower: bool = False) -> Any:
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *LETTERS, *(f"##{letter}" for letter in LETTERS)]
    return getattr(transformers, kind)(vocab={piece: i for i, piece in enumerate(pieces)}, do_lower_case=lower)


def _byte_level() -> Any:
    pieces = ["<s>", "<pad>", "</s>", "<unk>", "<mask>", *LETTERS, "Ġ", "Ġc", "Ġa", "at"]
    merges = [("Ġ", "c"), ("Ġ", "a"), ("a", "t")]
    return transformers.RobertaTokenizer(vocab={piece: i for i, piece in enumerate(pieces)}, merges=merges)


def _modern() -> Any:
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *LETTERS, "Ġ", "Ġc"]
    index = {piece: i for i, piece in enumerate(pieces)}
    tokenizer = Tokenizer(models.BPE(vocab=index, merges=[("Ġ", "c")]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    names = {"unk_token": "[UNK]", "pad_token": "[PAD]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    return transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, mask_token="[MASK]", **names)


def _unigram() -> Any:
    specials = [("<s>", 0.0), ("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0)]
    scores = [("▁", -2.0), ("▁c", -2.5), *((letter, -3.0) for letter in LETTERS), ("<mask>", 0.0)]
    return transformers.XLMRobertaTokenizer(vocab=specials + scores)


def _deberta() -> Any:
    specials = [("[PAD]", 0.0), ("[CLS]", 0.0), ("[SEP]", 0.0), ("[UNK]", 0.0)]
    scores = [("▁", -2.0), ("▁c", -2.5), *((letter, -3.0) for letter in LETTERS), ("[MASK]", 0.0)]
    return transformers.DebertaV2Tokenizer(vocab=specials + scores, unk_id=3)


def _mpnet() -> Any:
    pieces = ["<s>", "<pad>", "</s>", "[UNK]", "<mask>", *LETTERS, *(f"##{letter}" for letter in LETTERS)]
    return transformers.MPNetTokenizer(vocab={piece: i for i, piece in enumerate(pieces)}, do_lower_case=True)


def _word_of_letters() -> Any:
    pieces = ["<pad>", "</s>", "<unk>", *LETTERS]
    tokenizer = Tokenizer(models.WordPiece({piece: i for i, piece in enumerate(pieces)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Whitespace(), pre_tokenizers.Split("", "isolated")]
    )
    tokenizer.post_processor = processors.TemplateProcessing(
        single="$A </s>", pair="$A </s> $B </s>", special_tokens=[("</s>", 1)]
    )
    names = {"unk_token": "<unk>", "pad_token": "<pad>", "eos_token": "</s>"}
    return transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, **names)


def _t5() -> Any:
    specials = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0)]
    scores = [("▁", -2.0), ("▁c", -2.5), *((letter, -3.0) for letter in LETTERS)]
    return transformers.T5Tokenizer(vocab=specials + scores, extra_ids=0)


def _mbart() -> Any:
    specials = [("<s>", 0.0), ("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0)]
    scores = [("▁", -2.0), ("▁c", -2.5), *((letter, -3.0) for letter in LETTERS)]
    return transformers.MBartTokenizer(vocab=specials + scores, src_lang="en_XX", tgt_lang="en_XX")


def _albert() -> Any:
    specials = [("<pad>", 0.0), ("<unk>", 0.0), ("[CLS]", 0.0), ("[SEP]", 0.0), ("[MASK]", 0.0)]
    scores = [("▁", -2.0), ("▁c", -2.5), *((letter, -3.0) for letter in LETTERS)]
    return transformers.AlbertTokenizer(vocab=specials + scores, do_lower_case=True)


ROBERTA_IDS = {"pad_token_id": 1, "bos_token_id": 0, "eos_token_id": 2, "type_vocab_size": 1}
DISTIL = {"dim": 32, "n_layers": 2, "n_heads": 2, "hidden_dim": 64, "max_position_embeddings": 40}
MODERN = {
    **SHAPE,
    "pad_token_id": 0,
    "cls_token_id": 2,
    "sep_token_id": 3,
    "bos_token_id": 2,
    "eos_token_id": 3,
    "local_attention": 8,
    "global_attn_every_n_layers": 2,
}
DEBERTA = {
    **SHAPE,
    "relative_attention": True,
    "position_buckets": 8,
    "pos_att_type": ["p2c", "c2p"],
    "type_vocab_size": 0,
    "norm_rel_ebd": "layer_norm",
    "share_att_key": True,
    "position_biased_input": False,
    "pad_token_id": 0,
}

T5 = {"d_model": 32, "d_kv": 16, "d_ff": 64, "num_layers": 2, "num_heads": 2, "pad_token_id": 0, "eos_token_id": 1}
BART = {
    "d_model": 32,
    "encoder_layers": 2,
    "decoder_layers": 1,
    "encoder_attention_heads": 2,
    "decoder_attention_heads": 2,
    "encoder_ffn_dim": 64,
    "decoder_ffn_dim": 64,
    "max_position_embeddings": 40,
    "encoder_layerdrop": 0.5,
    "pad_token_id": 0,
    "eos_token_id": 1,
}

FAMILIES: dict[str, tuple[str, dict[str, Any], Callable[[], Any]]] = {
    "bert": ("Bert", SHAPE, lambda: _wordpiece("BertTokenizer")),
    "roberta": ("Roberta", SHAPE | ROBERTA_IDS, _byte_level),
    "xlm-roberta": ("XLMRoberta", SHAPE | ROBERTA_IDS, _unigram),
    "electra": ("Electra", {**SHAPE, "embedding_size": 16}, lambda: _wordpiece("BertTokenizer", lower=True)),
    "distilbert": ("DistilBert", DISTIL, lambda: _wordpiece("DistilBertTokenizer", lower=True)),
    "deberta-v2": ("DebertaV2", DEBERTA, _deberta),
    "modernbert": ("ModernBert", MODERN, _modern),
    "albert": ("Albert", {**SHAPE, "embedding_size": 16, "num_hidden_groups": 2}, _albert),
    "deberta": ("Deberta", DEBERTA | {"position_buckets": -1, "max_relative_positions": 40}, _byte_level),
    "mpnet": ("MPNet", SHAPE | {"pad_token_id": 1, "bos_token_id": 0, "eos_token_id": 2}, _mpnet),
}


ENCODER_DECODERS: dict[str, tuple[str, dict[str, Any], Callable[[], Any]]] = {
    "t5": ("T5", T5, _t5),
    "bart": ("Bart", BART, _word_of_letters),
    "mbart": ("MBart", BART | {"pad_token_id": 1, "bos_token_id": 0, "eos_token_id": 2}, _mbart),
}
"""Of these only the half that encodes is used."""

ALL = FAMILIES | ENCODER_DECODERS


def build(family: str, folder: Path) -> Path:
    """Write a tiny random encoder of this family into ``folder``."""
    logging.disable_progress_bar()
    name, settings, make_tokenizer = ALL[family]
    tokenizer = make_tokenizer()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        config = getattr(transformers, name + "Config")(vocab_size=len(tokenizer), **settings)
        model = getattr(transformers, name + "Model")(config)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def build_writing(family: str, folder: Path) -> Path:
    """Write a tiny random encoder-decoder that can write, of the family t5, mbart or marian, into ``folder``."""
    logging.disable_progress_bar()
    pieces = ["<s>", "<pad>", "</s>", "<unk>", "fr_XX", "en_XX", *"abcdefghijklmnopqrstuvwxyz .", "Ġ"]
    backend = Tokenizer(models.BPE(vocab={piece: i for i, piece in enumerate(pieces)}, merges=[]))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 2)])
    names = {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>", "unk_token": "<unk>"}
    tokenizer = transformers.PreTrainedTokenizerFast(tokenizer_object=backend, **names)
    tokenizer.add_special_tokens({"additional_special_tokens": ["fr_XX", "en_XX"]})
    size = {"vocab_size": len(pieces), "pad_token_id": 1, "eos_token_id": 2, "decoder_start_token_id": 2}
    whole: Any
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        if family == "t5":
            shape = {"d_model": 32, "d_ff": 48, "d_kv": 16, "num_layers": 1, "num_heads": 2}
            whole = transformers.T5ForConditionalGeneration(transformers.T5Config(**size, **shape))
        else:
            shape = {
                f"{half}_{key}": n for half in ("encoder", "decoder") for key, n in (("layers", 1), ("ffn_dim", 48))
            }
            shape |= {"encoder_attention_heads": 2, "decoder_attention_heads": 2, "d_model": 32}
            kinds = {
                "mbart": ("MBartForConditionalGeneration", "MBartConfig"),
                "marian": ("MarianMTModel", "MarianConfig"),
            }
            model, config = (getattr(transformers, name) for name in kinds[family])
            whole = model(config(**size, **shape, max_position_embeddings=64))
    whole.eval().save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


_SPECIALS = [("<s>", 0.0), ("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0)]
_SCORES = [*_SPECIALS, ("▁", -2.0), ("▁c", -2.5), *((letter, -3.0) for letter in LETTERS)]


def _nllb(*, legacy: bool = False) -> Any:
    pieces = ["<s>", "<pad>", "</s>", "<unk>", "▁", *LETTERS, "▁c"]
    vocabulary = {piece: number for number, piece in enumerate(pieces)}
    return transformers.NllbTokenizer(vocab=vocabulary, merges=[("▁", "c")], legacy_behaviour=legacy)


MULTILINGUAL: dict[str, tuple[Callable[[], Any], list[str]]] = {
    "mbart": (lambda: transformers.MBartTokenizer(vocab=_SCORES), ["fr_XX", "en_XX"]),
    "mbart50": (lambda: transformers.MBart50Tokenizer(vocab=_SCORES), ["fr_XX", "sl_SI", "en_XX"]),
    "nllb": (_nllb, ["fra_Latn", "zho_Hans", "eng_Latn"]),
    "nllb, its first way": (lambda: _nllb(legacy=True), ["fra_Latn", "eng_Latn"]),
}
"""Each kind with some of its codes, the last of which is what it usually takes texts for."""


def build_multilingual(kind: str, folder: Path) -> Path:
    """A tiny random encoder-decoder with this tokenizer, as transformers writes it."""
    logging.disable_progress_bar()
    made = MULTILINGUAL[kind][0]()
    settings = BART | {"pad_token_id": 1, "bos_token_id": 0, "eos_token_id": 2}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = transformers.MBartModel(transformers.MBartConfig(vocab_size=len(made), **settings))
    model.save_pretrained(folder)
    made.save_pretrained(folder)
    return folder
