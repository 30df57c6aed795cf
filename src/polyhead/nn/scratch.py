"""Encoders that have not learnt yet: pieces from the training texts, weights from a seed, top layers drawn anew."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, cast

import torch
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from torch import nn

from polyhead.errors import PolyheadError
from polyhead.nn.encoder import Encoder
from polyhead.nn.layers import layers_prefix
from polyhead.nn.pieces import PieceTokenizer
from polyhead.nn.quiet import quiet_transformers

SPECIALS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
"""The special pieces of a tokenizer from scratch, by their ids."""

RATE_FROM_SCRATCH = 5e-4
"""The usual learning rate of an encoder that has learnt nothing yet."""

NAME = "from scratch"
"""What an encoder from scratch is called in messages."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """The size of an encoder from scratch.

    Attributes:
        layers: The number of layers.
        width: The size of a piece's vector.
        heads: The attention heads of a layer.
        feed_forward: The inner size of a layer.
        vocabulary: The most pieces of its tokenizer.
        window: The most pieces that it reads at once.
        lowercase: Whether its tokenizer lower-cases.
    """

    layers: int
    width: int
    heads: int
    feed_forward: int
    vocabulary: int
    window: int
    lowercase: bool


def train_tokenizer(texts: Iterable[str], *, vocabulary: int, lowercase: bool) -> PieceTokenizer:
    """Learn pieces from texts by byte pair encoding (Sennrich et al. 2016) over bytes.

    The same texts give the same pieces, whatever the number of threads: pairs of the same count are joined in the order
    of their ids, and ids start from the sorted bytes. (WordPiece, as the tokenizers library trains it, numbers its
    letters in the order of a hash table, so that each run gets other pieces.) Over bytes no letter is ever unknown.

    Texts are cut at spaces and around punctuation first, and each part begins with a mark, so that raw text has the
    pieces of a text that is given word by word.

    Args:
        texts: Texts, the words of split ones joined by spaces.
        vocabulary: The most pieces, special ones included. Pairs that come only once are not joined, so that few texts
            give fewer.
        lowercase: Whether to lower-case.
    """
    tokenizer = Tokenizer(models.BPE())
    cleaned = normalizers.BertNormalizer(
        clean_text=True, handle_chinese_chars=False, strip_accents=False, lowercase=lowercase
    )
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFC(), cleaned])
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.BertPreTokenizer(), pre_tokenizers.ByteLevel(add_prefix_space=True, use_regex=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        min_frequency=2,
        special_tokens=list(SPECIALS),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    start, end = SPECIALS.index("[CLS]"), SPECIALS.index("[SEP]")
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", start), ("[SEP]", end)],
    )
    return PieceTokenizer(tokenizer, unknown=SPECIALS.index("[UNK]"), padding=SPECIALS.index("[PAD]"))


def build_encoder(texts: Iterable[str], shape: Shape, seed: int) -> Encoder:
    """A BERT (Devlin et al. 2019) with random weights, and a tokenizer trained on these texts.

    Args:
        texts: What the tokenizer learns from.
        shape: The encoder's size.
        seed: What the weights depend on, beside the shape and the number of pieces.
    """
    from transformers import BertConfig

    tokenizer = train_tokenizer(texts, vocabulary=shape.vocabulary, lowercase=shape.lowercase)
    config = BertConfig(
        vocab_size=tokenizer.tokenizer.get_vocab_size(),
        hidden_size=shape.width,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        intermediate_size=shape.feed_forward,
        max_position_embeddings=shape.window,
        pad_token_id=tokenizer.padding,
    )
    return Encoder(draw_transformer(config, seed), tokenizer, window=shape.window, name=NAME)


def draw_transformer(config: Any, seed: int) -> nn.Module:
    """A transformer of this configuration with random weights, which depend on the seed alone.

    Of an encoder-decoder it is the encoder; there is no pooler, as no head reads it.
    """
    from transformers import AutoModel

    quiet_transformers()
    with _drawing(seed):
        transformer: Any = AutoModel.from_config(config, trust_remote_code=False, dtype=torch.float32)
    if config.is_encoder_decoder:
        transformer = transformer.get_encoder()
    if getattr(transformer, "pooler", None) is not None:
        transformer.pooler = None
    drawn: nn.Module = transformer.float()
    return drawn


def reinitialise(encoder: Encoder, count: int, seed: int) -> None:
    """Give an encoder's top layers new random weights, as its family draws them (Zhang et al. 2021).

    All other weights stay as they are. The pooler, which Zhang et al. draw anew as well, is not there.

    Args:
        encoder: A pretrained encoder; changed in place.
        count: How many layers.
        seed: What the new weights depend on.

    Raises:
        PolyheadError: The encoder has fewer layers, or they share weights with those below.
    """
    if not count:
        return
    transformer, config = encoder.transformer, encoder.transformer.config
    depth = encoder.depth - 1
    if count > depth:
        raise PolyheadError(
            f"encoder.reinitialise = {count}, but the encoder {encoder.name!r} has {depth} layers.",
            remedy=f"Take a number from 0 to {depth}.",
        )
    groups = int(getattr(config, "num_hidden_groups", None) or depth)  # ALBERT's layers share weights in groups
    shared = depth // groups
    if count % shared:
        raise PolyheadError(
            f"encoder.reinitialise = {count}, but of the encoder {encoder.name!r} each {shared} layers share weights.",
            remedy=f"Take a multiple of {shared}, or leave reinitialise out.",
        )
    try:
        place = layers_prefix(transformer, groups).rstrip(".")
    except ValueError as error:
        raise PolyheadError(
            f"encoder.reinitialise = {count}: the layers of the encoder {encoder.name!r} were not found: {error}.",
            remedy="Leave reinitialise out.",
        ) from error
    ours, drawn = (
        cast(nn.ModuleList, one.get_submodule(place)) for one in (transformer, draw_transformer(config, seed))
    )
    for layer, new in list(zip(ours, drawn, strict=True))[-(count // shared) :]:
        layer.load_state_dict(new.state_dict())


@contextmanager
def _drawing(seed: int) -> Iterator[None]:
    """Random numbers for an encoder's weights, apart from those that heads are drawn from with the same seed."""
    digest = hashlib.sha256(f"weights of an encoder, seed {seed}".encode()).digest()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int.from_bytes(digest[:8], "big") >> 1)
        yield
