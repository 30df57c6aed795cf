"""Models on the Hugging Face Hub: fetched by their id, and pushed. Weights in safetensors or ONNX, never code."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from polyhead.errors import PolyheadError
from polyhead.version import __version__

FILES = ("*.json", "*.safetensors", "*.onnx", "*.md")
"""What is fetched and pushed of a model's folder; nothing that could hold code."""

HERE = "this/folder"
"""What stands in a model's card for the place that it is loaded from, until it is pushed and has an id."""

CARD = "README.md"
"""A model card's file, which is where the Hub looks for it."""

_ID = re.compile(r"(?P<id>[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*)(?:@(?P<revision>[A-Za-z0-9][\w./-]*))?", re.ASCII)


@dataclass(frozen=True, slots=True)
class HubId:
    """A model on the Hub.

    Attributes:
        id: As ``owner/name``.
        revision: A branch, a tag or a commit; by default the newest.
    """

    id: str
    revision: str | None = None

    def __str__(self) -> str:
        return self.id if self.revision is None else f"{self.id}@{self.revision}"


def hub_id(place: str | Path) -> HubId | None:
    """The id that a place is written as, if it could be one: ``owner/name`` or ``owner/name@revision``."""
    found = _ID.fullmatch(place.as_posix() if isinstance(place, Path) else place)
    return HubId(found["id"], found["revision"]) if found else None


def meant(place: str | Path) -> HubId | None:
    """The id on the Hub that is meant by a place, if one is: what exists here comes first.

    A name in a folder that exists, as ``runs/frist``, is taken for a slip of the pen: no one is asked for it.
    """
    found = hub_id(place)
    if found is None or Path(place).exists() or (found.revision is None and Path(place).parent.is_dir()):
        return None
    return found


def fetch(wanted: HubId) -> Path:
    """The folder of a model from the Hub, kept in huggingface_hub's cache.

    Raises:
        PolyheadError: The Hub has no such model or cannot be reached, or it is no polyhead model.
    """
    from huggingface_hub import snapshot_download  # slow to import

    try:
        folder = snapshot_download(
            wanted.id,
            revision=wanted.revision,
            allow_patterns=list(FILES),
            library_name="polyhead",
            library_version=__version__,
        )
    except Exception as error:  # of whichever library for HTTP the installed version is built on
        raise _told(error, wanted, "fetched") from error
    if not _is_model(Path(folder)):
        raise PolyheadError(f"{wanted} on the Hub is no polyhead model.", remedy="Check the id.")
    return Path(folder)


def push(folder: str | Path, repo_id: str, *, private: bool = False) -> str:
    """Push a finished model to the Hub, as one commit.

    Args:
        folder: A finished run, or a model folder.
        repo_id: Where to, as ``owner/name``; it is made if it is not there.
        private: Whether only its owner may see it.

    Returns:
        Its address.

    Raises:
        PolyheadError: There is no finished model, nobody is logged in, or the Hub refuses or cannot be reached.
    """
    wanted = hub_id(repo_id)
    if wanted is None or wanted.revision is not None:
        raise PolyheadError(f"{repo_id!r} is no id on the Hub.", remedy="Write it as owner/name.")
    files = _files_of(_finished(Path(folder)), wanted)
    from huggingface_hub import CommitOperationAdd, HfApi, get_token  # slow to import

    if get_token() is None:
        raise PolyheadError(
            "Nobody is logged in to the Hub.", remedy="Log in with: hf auth login. Or set HF_TOKEN to a token."
        )
    api = HfApi(library_name="polyhead", library_version=__version__)
    try:
        address = api.create_repo(wanted.id, private=private, exist_ok=True)
        public = private and not api.repo_info(wanted.id).private  # it was there before
        if not public:
            operations = [CommitOperationAdd(path_in_repo=name, path_or_fileobj=what) for name, what in files.items()]
            api.create_commit(wanted.id, operations, commit_message=f"A model by polyhead {__version__}")
    except Exception as error:  # as in fetch
        raise _told(error, wanted, "pushed") from error
    if public:
        raise PolyheadError(
            f"{wanted} is on the Hub already, and public.", remedy="Make it private there, or choose another name."
        )
    return str(address)


def _finished(folder: Path) -> Path:
    """The model folder of a finished run, or a model folder itself."""
    if not folder.is_dir():
        raise PolyheadError(f"There is no run {str(folder)!r}.", remedy="Check the path.")
    if (folder / "recipe.toml").exists():
        if not (folder / "scores.json").exists():
            raise PolyheadError(
                f"The run {str(folder)!r} has not finished.", remedy=f"Go on: polyhead train --resume {folder}"
            )
        folder = folder / "model"
    if not _is_model(folder):
        raise PolyheadError(f"There is no model in {str(folder)!r}.", remedy="Give a finished run, or a model folder.")
    return folder


def _is_model(folder: Path) -> bool:
    """Whether a folder holds a whole model of ours."""
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    if not isinstance(config, dict):
        return False
    if "polyhead_export" in config:
        return all((folder / str(name)).is_file() for name in config.get("files") or ["no file"])
    whole = all((folder / name).is_file() for name in ("model.safetensors", "encoder/config.json"))
    return "polyhead_format" in config and whole


def _files_of(folder: Path, wanted: HubId) -> dict[str, str | bytes]:
    """The files to push: paths, and the card's text, which names the id from now on."""
    found: dict[str, str | bytes] = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_file() and any(fnmatchcase(name, pattern) for pattern in FILES):
            found[name] = str(path)
    if CARD in found:
        found[CARD] = (folder / CARD).read_bytes().replace(HERE.encode(), wanted.id.encode())
    return found


def _told(error: Exception, wanted: HubId, done: str) -> PolyheadError:
    """What went wrong between us and the Hub, as users see it."""
    from huggingface_hub import errors

    status = getattr(getattr(error, "response", None), "status_code", None)
    if isinstance(error, errors.GatedRepoError):
        return PolyheadError(
            f"{wanted} on the Hub is for some accounts only.", remedy="Ask for access on its page, then: hf auth login."
        )
    if isinstance(error, errors.RevisionNotFoundError):
        return PolyheadError(f"{wanted.id} has no revision {wanted.revision!r} on the Hub.", remedy="Check it.")
    if isinstance(error, errors.RepositoryNotFoundError) and done == "fetched":
        return PolyheadError(
            f"There is no folder {wanted.id!r}, and no such model on the Hub.",
            remedy="Check the path or id. A private model takes: hf auth login.",
        )
    if status in (401, 403):
        return PolyheadError(
            f"The Hub does not let you: {wanted} cannot be {done}.",
            remedy="Log in with a token that may write to that owner: hf auth login.",
        )
    if _unreachable(error):
        return PolyheadError(
            f"The Hub cannot be reached, so {wanted} cannot be {done}.",
            remedy="Check the network, and HF_HUB_OFFLINE and HF_ENDPOINT if they are set.",
        )
    first: Any = (str(error).strip().splitlines() or [type(error).__name__])[0]
    return PolyheadError(f"{wanted} cannot be {done}: {first}")


def _unreachable(error: BaseException) -> bool:
    """Whether an error, or one behind it, says that there is no way to the Hub."""
    from huggingface_hub import errors

    offline = (errors.LocalEntryNotFoundError, errors.OfflineModeIsEnabled, ConnectionError, TimeoutError)
    names = {"ConnectError", "ConnectTimeout", "ReadTimeout", "ReadError", "ProxyError", "ConnectionError", "Timeout"}
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, offline) or type(seen).__name__ in names:
            return True
        seen = seen.__cause__ or seen.__context__
    return False
