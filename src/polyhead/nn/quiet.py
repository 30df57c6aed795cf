"""Keep transformers quiet."""

from __future__ import annotations

import logging
import os


def quiet_transformers() -> None:
    """Keep transformers' progress bars and advice for its own users off our users' terminals."""
    from transformers.utils import logging as hf_logging

    hf_logging.set_verbosity_error()
    hf_logging.disable_progress_bar()
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")
