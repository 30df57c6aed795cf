"""The command that serves models."""

from __future__ import annotations

import logging
import math
import os
from pathlib import Path
from typing import Annotated, Literal

import typer

from polyhead.cli.shared import app
from polyhead.errors import PolyheadError

MIB = 2**20


def _mib(size: float) -> int:
    if not math.isfinite(size) or size * MIB < 1:
        raise PolyheadError(f"--max-body {size:g} is no size of a body.", remedy="Take a number of MiB, such as 8.")
    return int(size * MIB)


@app.command()
def serve(
    models: Annotated[
        list[str], typer.Argument(metavar="[NAME=]RUN...", help="Runs, exports, models, or owner/name on the Hub.")
    ],
    host: Annotated[str, typer.Option(help="The address; elsewhere than here it needs a key.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, help="Its port; 0 takes a free one.")] = 8000,
    api_key_file: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Keys, one on each line; or one in POLYHEAD_API_KEY.")
    ] = None,
    admin_key_file: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Keys to load new versions; or one in POLYHEAD_ADMIN_KEY.")
    ] = None,
    allow_host: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="A further name to be asked by, as a proxy's.")
    ] = None,
    allow_origin: Annotated[
        list[str] | None, typer.Option(metavar="ORIGIN", help="Pages of this origin may ask from a browser.")
    ] = None,
    max_body: Annotated[float, typer.Option(help="MiB: the most of a request's body.")] = 8,
    max_text: Annotated[int, typer.Option(help="The most characters of a text.")] = 20_000,
    max_texts: Annotated[int, typer.Option(help="The most texts of a request.")] = 10_000,
    timeout: Annotated[float, typer.Option(help="Seconds: how long an answer may take.")] = 60,
    queue: Annotated[int, typer.Option(help="The most requests that wait for a model.")] = 512,
    wait: Annotated[float, typer.Option(help="Milliseconds: how long a batch waits for more at most.")] = 5,
    threads: Annotated[int | None, typer.Option(min=1, help="Threads of each model.")] = None,
    grace: Annotated[float, typer.Option(help="Seconds: how long a stop waits for what was accepted.")] = 30,
    drain: Annotated[float, typer.Option(help="Seconds: how long a stop still accepts, while not ready.")] = 0,
    log: Annotated[Literal["none", "requests", "texts"], typer.Option(help="What to log of requests.")] = "none",
) -> None:
    """Serve models over HTTP, with a page to try them on.

    Example: polyhead serve runs/first

    Several: polyhead serve en=runs/english de=runs/german
    """
    from polyhead.serving import Settings, named_models, read_keys
    from polyhead.serving import serve as run

    logging.basicConfig(format="%(asctime)s %(levelname)s %(message)s")
    logging.getLogger("polyhead.serving").setLevel(logging.INFO)
    settings = Settings(
        host=host,
        port=port,
        keys=read_keys(os.environ.get("POLYHEAD_API_KEY"), api_key_file, "An API key"),
        admin_keys=read_keys(os.environ.get("POLYHEAD_ADMIN_KEY"), admin_key_file, "An admin key"),
        hosts=tuple(allow_host or ()),
        origins=tuple(allow_origin or ()),
        body_bytes=_mib(max_body),
        text_characters=max_text,
        texts=max_texts,
        seconds=timeout,
        queue=queue,
        wait_seconds=wait / 1000,
        threads=threads,
        grace=grace,
        drain=drain,
        log=log,
    )
    settings.check()
    run(named_models(models), settings, lambda address: print(f"Serving at {address}  (Ctrl-C ends it)", flush=True))
