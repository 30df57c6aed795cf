"""A web service for trained models, and its page."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from polyhead.errors import PolyheadError
from polyhead.serving.settings import Settings, named_models, read_keys

__all__ = ["Settings", "named_models", "read_keys", "serve"]


def serve(
    models: Mapping[str, str], settings: Settings | None = None, tell: Callable[[str], None] = lambda _: None
) -> None:
    """Serve models over HTTP until SIGTERM or SIGINT ends it.

    Args:
        models: What ``polyhead.load`` takes, by the name to serve it under; the first answers where none is named.
        settings: Where to listen, and what to take.
        tell: Is called with the address when it listens.

    Raises:
        PolyheadError: The extra ``serve`` is not installed, a model cannot be loaded, or the address cannot be had.
    """
    try:
        from polyhead.serving.server import run_server
    except ModuleNotFoundError as error:
        if error.name is None or error.name.split(".")[0] == "polyhead":
            raise
        what = f"Serving needs {error.name}, which is not installed."
        raise PolyheadError(what, remedy="pip install 'polyhead[serve]'") from error
    run_server(models, settings or Settings(), tell)
