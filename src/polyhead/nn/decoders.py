"""The decoders that there are: fresh ones, those that begin as an encoder, those of a pretrained encoder-decoder."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn

from polyhead.nn.decoding import Absent, Decoder, decoder_width
from polyhead.nn.quiet import quiet_transformers


def describe_decoder(decoder: Decoder) -> dict[str, Any]:
    """What :func:`build_decoder` needs to make a decoder of the same shape; plain data for JSON."""
    config = decoder.config
    inner = getattr(config, "decoder", None)
    kind, shape = ("warm", inner) if inner is not None else ("whole", config)
    return {"kind": kind, "config": json.loads(json.dumps(shape.to_dict()))}  # as it is read again: keys are strings


def build_decoder(described: Mapping[str, Any], width: int) -> Decoder:
    """A decoder with random weights, of a shape that :func:`describe_decoder` gave.

    Args:
        described: What it gave.
        width: The encoder's width.
    """
    from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForSeq2SeqLM

    quiet_transformers()
    settings = {key: value for key, value in described["config"].items() if key != "transformers_version"}
    config = AutoConfig.for_model(**settings)
    if described["kind"] == "warm":
        return Decoder(_joined(AutoModelForCausalLM.from_config(config, trust_remote_code=False)), width)
    config.encoder_layers = 0 if hasattr(config, "encoder_layers") else None  # it is taken away at once
    return Decoder(AutoModelForSeq2SeqLM.from_config(config, trust_remote_code=False), width)


@dataclass(frozen=True, slots=True, kw_only=True)
class DecoderShape:
    """The size of a decoder that begins with random weights.

    Attributes:
        layers: The number of layers.
        width: The size of a piece's vector.
        heads: The attention heads of a layer.
        feed_forward: The inner size of a layer.
        pieces: The size of the vocabulary.
        longest: The most pieces of a text, its start and end included.
        dropout: The share of values dropped in training.
        padding, end: The ids of the pieces that fill up and that end a text.
    """

    layers: int
    width: int
    heads: int
    feed_forward: int
    pieces: int
    longest: int
    dropout: float
    padding: int
    end: int


def fresh_decoder(shape: DecoderShape, width: int) -> Decoder:
    """A decoder with random weights, normalised before each sublayer, which few pairs suffice for (Xiong et al. 2020).

    Args:
        shape: Its size.
        width: The encoder's width.
    """
    from transformers import MBartConfig

    config = MBartConfig(
        vocab_size=shape.pieces,
        d_model=shape.width,
        encoder_layers=0,
        decoder_layers=shape.layers,
        encoder_attention_heads=shape.heads,
        decoder_attention_heads=shape.heads,
        decoder_ffn_dim=shape.feed_forward,
        encoder_ffn_dim=shape.feed_forward,
        max_position_embeddings=shape.longest,
        dropout=shape.dropout,
        attention_dropout=0.0,  # else torch's fused attention could not be used
        activation_dropout=0.0,
        scale_embedding=True,
        init_std=shape.width**-0.5,
        pad_token_id=shape.padding,
        eos_token_id=shape.end,
        bos_token_id=None,
        decoder_start_token_id=None,
        forced_eos_token_id=None,
    )
    return build_decoder({"kind": "whole", "config": config.to_dict()}, width)


def warm_decoder(transformer: nn.Module, shape: DecoderShape) -> Decoder:
    """A decoder that begins with an encoder's own layers, and new attention to what it reads (Rothe et al. 2020).

    Args:
        transformer: The encoder's. If it has more layers than wanted, some are taken, evenly spread.
        shape: Layers, pieces, longest, dropout and ids count; the rest is the encoder's.

    Raises:
        ValueError: A decoder cannot be made of this family.
    """
    from transformers import AutoModelForCausalLM

    source: Any = transformer
    config = type(source.config).from_dict(source.config.to_dict())
    depth = int(config.num_hidden_layers)
    taken = [round(i * (depth - 1) / max(1, shape.layers - 1)) for i in range(shape.layers)]
    config.update(
        {
            "is_decoder": True,
            "add_cross_attention": True,
            "num_hidden_layers": shape.layers,
            "vocab_size": shape.pieces,
            "pad_token_id": shape.padding,
            "eos_token_id": shape.end,
            "bos_token_id": None,
            "hidden_dropout_prob": shape.dropout,
            "attention_probs_dropout_prob": 0.0,
            "tie_word_embeddings": True,
        }
    )
    quiet_transformers()
    causal = AutoModelForCausalLM.from_config(config, trust_remote_code=False)
    own = causal.base_model.state_dict()
    if not any("crossattention" in name or "encoder_attn" in name for name in own):
        raise ValueError(f"the family {config.model_type!r} knows no attention to another text")
    for name, weight in source.state_dict().items():
        for target in _places(name, taken):
            if target in own and own[target].shape == weight.shape and "word_embeddings" not in name:
                own[target].copy_(weight)
    return Decoder(_joined(causal), int(config.hidden_size))


def pretrained_decoder(source: str) -> Decoder:
    """The decoder of a pretrained encoder-decoder, such as T5, mBART, Marian or NLLB.

    Args:
        source: Its folder, or its id on the Hub.

    Raises:
        ValueError: It has none, or its files lack weights.
    """
    from transformers import AutoConfig, AutoModelForSeq2SeqLM

    quiet_transformers()
    config = AutoConfig.from_pretrained(source, trust_remote_code=False)
    if not getattr(config, "is_encoder_decoder", False):
        raise ValueError("it is an encoder without a decoder")
    network, info = AutoModelForSeq2SeqLM.from_pretrained(
        source, config=config, trust_remote_code=False, use_safetensors=True, output_loading_info=True
    )
    missing = sorted(name for name in info["missing_keys"] if "encoder." not in name)
    if missing:
        raise ValueError(f"{len(missing)} of its weights are not in its files, such as {missing[0]}")
    return Decoder(network.float(), decoder_width(config))


def _places(name: str, taken: Sequence[int]) -> list[str]:
    """Where an encoder's weight goes in a decoder that has these of its layers."""
    parts = name.split(".")
    number = next((i for i, part in enumerate(parts) if part.isdigit()), None)
    if number is None:
        return [name]
    return [
        ".".join([*parts[:number], str(new), *parts[number + 1 :]])
        for new, old in enumerate(taken)
        if old == int(parts[number])
    ]


def _joined(causal: Any) -> Any:
    """A decoder alone as the decoder of an encoder-decoder, whose encoder is absent."""
    from transformers import EncoderDecoderConfig, EncoderDecoderModel

    config = EncoderDecoderConfig(encoder=causal.config.to_dict(), decoder=causal.config.to_dict())
    network = EncoderDecoderModel.__new__(EncoderDecoderModel)
    super(EncoderDecoderModel, network).__init__(config)
    network.encoder, network.decoder = Absent(causal.config), causal
    config.decoder = network.decoder.config
    return network
