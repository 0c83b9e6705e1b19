"""Published weights: by name from Hugging Face's hub or torchvision's table, or as a folder of the hub's layout.

The hub's files come through huggingface_hub: its cache, offline mode and mirrors are those of that library.
"""
# torch is an extra, and not where types are checked
# pyright: reportMissingImports=false

import difflib
import hashlib
import os
import re
from pathlib import Path
from typing import Any, NamedTuple

from jsep.errors import UserError, first_line, nearest
from jsep.models import model_info
from jsep.models.registry import FED_IMAGENET, Fed
from jsep.port.architectures import Origin, origin_of, read_config, registered_name
from jsep.port.read import KERAS_SUFFIXES, SUFFIXES
from jsep.port.tags import known_weights

TIMM, TORCHVISION, HUB = "timm/", "torchvision/", "hf-hub:"  # what the names begin with
CONFIG, WEIGHTS = "config.json", "model.safetensors"  # files of a repository of the hub


class Published(NamedTuple):
    """A file of weights that somebody published.

    Attributes:
        path: the file on this machine.
        origin: what the publisher says of the network; None where only the file itself can tell.
    """

    path: Path
    origin: Origin | None


def find_published(source: Path) -> Published | None:
    """Find weights that are no run of jsep, and download them if need be.

    Args:
        source: a file of weights; a folder with the files of a repository of the hub; or, where there is no such path,
            a name: `timm/NAME.TAG`, `hf-hub:OWNER/NAME` (either may end in `@REVISION`) or `torchvision/NAME.WEIGHTS`.

    Returns:
        The file and what is known of it; None if the source is something else, such as a run folder.

    Raises:
        UserError: there are no such weights, they cannot be downloaded, or are damaged, or jsep has no such network.
    """
    if os.path.isdir(source):  # unlike Path.is_dir, also for names that are too long
        return _in_folder(source) if read_config(source / CONFIG) else None
    if os.path.isfile(source) or source.suffix in (
        ".safetensors",
        *SUFFIXES,
        *KERAS_SUFFIXES,
    ):  # one that is missing is no run
        return Published(source, None)
    name = source.as_posix()
    if name.startswith(TORCHVISION):
        return _from_torchvision(name)
    if name.startswith((TIMM, HUB)):
        return _from_hub(name)
    return None


def _in_folder(folder: Path) -> Published:
    file = folder / WEIGHTS
    if not file.is_file():
        raise UserError(f"{folder} has a {CONFIG} and no {WEIGHTS}: put the weights there under this name")
    registered_name(origin_of(file, {}), folder)
    return Published(file, None)


def _from_hub(name: str) -> Published:
    repository, _, revision = name.removeprefix(HUB).partition("@")
    config = _downloaded(name, repository, CONFIG, revision)
    registered_name(origin_of(config, {}), name)  # before the weights are downloaded
    # the folder of the snapshot is called like its commit, which the weights should be of as well
    return Published(_downloaded(name, repository, WEIGHTS, config.parent.name), None)


def _downloaded(name: str, repository: str, file: str, revision: str) -> Path:
    """Return a file of a repository of the hub, from the cache if it is there."""
    from huggingface_hub import constants, errors, hf_hub_download

    try:
        path = Path(hf_hub_download(repository, file, revision=revision or None))
    except (errors.LocalEntryNotFoundError, errors.OfflineModeIsEnabled) as error:
        close = _close(repository)
        meant = f" (did you mean {' or '.join(close)}?)" if close and repository not in close else ""
        why = "the hub cannot be reached: connect to the network, set HF_ENDPOINT to a mirror"
        if constants.HF_HUB_OFFLINE:
            why = "HF_HUB_OFFLINE is set: unset it to download"
        raise UserError(
            f"{name} is not in the cache{meant}, and {why}, or give a folder with its config.json and model.safetensors"
        ) from error
    except errors.GatedRepoError as error:
        raise UserError(f"{name} is only for those who agreed to its terms: do so on its page, then log in") from error
    except errors.RepositoryNotFoundError as error:
        close = _close(repository)
        hint = f"did you mean {' or '.join(close)}?" if close else "jsep models --weights lists known ones"
        raise UserError(f"The hub has no weights called {name}, or they are private; {hint}") from error
    except errors.RevisionNotFoundError as error:
        raise UserError(f"{name}: its repository has no such revision; leave @ out for the newest") from error
    except errors.EntryNotFoundError as error:
        pickled = ", and pickled weights are not read" if file == WEIGHTS else ""
        raise UserError(f"{name} has no {file}{pickled}: choose weights in the layout of timm") from error
    except errors.HFValidationError as error:
        raise UserError(f"{name} is no name on the hub ({first_line(error)}): write it as timm/NAME.TAG") from error
    except Exception as error:  # what the client of HTTP, the file system and the cache raise
        raise UserError(f"{name}: {file} could not be downloaded ({first_line(error)}): try again") from error
    digest = path.resolve().name  # of large files, the cache names the content by its SHA-256
    if re.fullmatch("[0-9a-f]{64}", digest):
        _check_hash(path.resolve(), digest)
    return path


def _close(repository: str) -> list[str]:
    """Return the known weights on the hub that a name may have meant, the closest first."""
    known = [found.name for found in known_weights() if found.name.startswith(TIMM)]
    return difflib.get_close_matches(repository, known, n=3)


def _from_torchvision(name: str) -> Published:
    """Return weights of torchvision's table, downloaded to where torch keeps them."""
    try:
        import torch
        import torchvision
    except ImportError as error:
        raise UserError(f"{name} needs {error.name}, not installed here: pip install 'jsep[torch]'") from error
    network, _, tag = name.removeprefix(TORCHVISION).partition(".")
    origin = Origin(network, True)
    model = registered_name(origin, name)
    try:
        known = torchvision.models.get_model_weights(network)
    except ValueError as error:
        raise UserError(f"torchvision has no network {network}: write the name as torchvision/NAME.WEIGHTS") from error
    if tag not in (tags := [one.name for one in known]):
        names = [f"{TORCHVISION}{network}.{one}" for one in tags]
        raise UserError(f"torchvision has no weights {name}; {nearest(name, names)}")
    weights = known[tag]
    file = Path(torch.hub.get_dir(), "checkpoints", weights.url.rpartition("/")[2])
    digest = re.search(r"-([0-9a-f]{8,})\.", file.name)
    if not file.is_file():
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            torch.hub.download_url_to_file(weights.url, str(file), digest and digest[1])
        except Exception as error:  # what urllib, the file system and torch raise
            raise UserError(
                f"{name} could not be downloaded ({first_line(error)}): try again, or put the file of {weights.url} "
                f"at {file}"
            ) from error
    if digest:
        _check_hash(file, digest[1])
    view, info, names = weights.transforms(), model_info(model), tuple(weights.meta["categories"])
    facts: dict[str, Any] = {"fed": info.fed.get("torchvision")}
    if info.task == "detection":  # whose networks normalise images themselves
        facts["fed"] = facts["fed"] or FED_IMAGENET
        names = names[1:]  # behind the background
    else:
        facts["fed"] = facts["fed"] or Fed(tuple(view.mean), tuple(view.std))
        facts["interpolation"] = view.interpolation.value
    if info.task == "classification":
        (crop,), (scaled,) = view.crop_size, view.resize_size
        facts |= {"image_size": crop, "crop_share": crop / scaled}
    return Published(file, Origin(f"{network}.{tag}", True, **facts, class_names=names))


def _check_hash(file: Path, digest: str) -> None:
    """Refuse a file whose SHA-256 does not begin as it should."""
    with file.open("rb") as content:
        found = hashlib.file_digest(content, "sha256").hexdigest()
    if not found.startswith(digest):
        raise UserError(f"{file} is damaged: its SHA-256 is not the published one; delete it, then try again")
