"""What is kept of a network: folders of weights and configuration, and the state of a training run; none executes."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

from vireid._checks import require

CONFIG, WEIGHTS = "config.json", "model.safetensors"


def write_checkpoint(folder: str | os.PathLike[str], config: Mapping[str, Any], state: Mapping[str, Tensor]) -> None:
    """Write both files whole: a write that fails leaves an earlier checkpoint in the folder as it was."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=folder, prefix=".unfinished-") as unfinished:
        # Copies, for safetensors refuses a classifier that goes by two names.
        tensors = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in state.items()}
        safetensors.torch.save_file(tensors, Path(unfinished, WEIGHTS), metadata={"format": "pt"})
        Path(unfinished, CONFIG).write_text(json.dumps(config, indent=2) + "\n")
        for name in (WEIGHTS, CONFIG):
            os.replace(Path(unfinished, name), folder / name)


def save_training_state(path: str | os.PathLike[str], state: Mapping[str, Any]) -> None:
    """Write the state of a training run whole: a write that fails or is killed leaves an earlier file as it was.

    Args:
        path: of the file; its folder is made if need be.
        state: tensors, numbers, texts, lists and dictionaries, such as modules and optimisers give.

    Raises:
        OSError: the file cannot be written, for want of space or of permission.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     save_training_state(f"{folder}/last.pt", {"epoch": 3})
        ...     load_training_state(f"{folder}/last.pt")
        {'epoch': 3}
    """
    path = Path(path)
    unfinished = path.with_name(f".{path.name}.unfinished")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.save(dict(state), unfinished)
        unfinished.replace(path)
    except (OSError, RuntimeError) as error:  # torch raises the latter when the disk is full
        with contextlib.suppress(OSError):
            unfinished.unlink(missing_ok=True)
        raise OSError(f"path must be a file that can be written, got {str(path)!r}: {error}.") from error


def load_training_state(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Read what :func:`save_training_state` has written, to the CPU. Nothing in it is executed.

    Args:
        path: of the file.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is damaged, or holds something else than such a state.
    """
    require(Path(path).is_file(), "path", "be a file", str(path), error=FileNotFoundError)
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # what torch raises depends on the damage, and may advise to trust the file
        remedy = "It is damaged, or something else."
        raise ValueError(f"path must be a whole training state, got {str(path)!r}. {remedy}") from error
    require(isinstance(state, dict), "path", "be a training state", type(state).__name__)
    return state  # type: ignore[no-any-return]


def read_config(source: str | os.PathLike[str]) -> tuple[dict[str, Any], Path]:
    """Return the configuration of a checkpoint and the file of its weights.

    ``source`` is a folder or the name of a repository on the Hugging Face hub, such as ``"name/model"``.
    """
    folder = _find(source)
    for name in (CONFIG, WEIGHTS):
        remedy = f"save_pretrained writes {CONFIG} and {WEIGHTS}."
        require((folder / name).is_file(), "source", f"hold {name}", str(source), remedy, error=FileNotFoundError)
    try:
        config = json.loads((folder / CONFIG).read_text())
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"source must hold a {CONFIG} in JSON, got {str(source)!r}: {error}.") from error
    require(isinstance(config, dict), "source", f"hold a {CONFIG} with a dictionary", type(config).__name__)
    return config, folder / WEIGHTS


def load_weights(model: nn.Module, path: Path) -> None:
    """Load weights that fit exactly, in names and shapes."""
    try:
        state = safetensors.torch.load_file(path)
    except safetensors.SafetensorError as error:
        raise ValueError(f"source must hold whole weights, got {str(path)!r}: {error}.") from error
    own = model.state_dict()
    matching = [name for name, tensor in state.items() if name in own and own[name].shape == tensor.shape]
    different = sorted((own.keys() | state.keys()) - set(matching))
    rule = f"hold the {len(own)} weights of this network"
    found = f"{len(matching)} that match; the first that does not: {different[:1]}"
    require(not different, "source", rule, found)
    model.load_state_dict(state)


def _find(source: str | os.PathLike[str]) -> Path:
    if Path(source).is_dir():
        return Path(source)
    parts = str(source).split("/")
    remedy = "Write 'name/model' for a repository on the Hugging Face hub."
    repository = len(parts) == 2 and all(part.strip(".") for part in parts)
    require(repository, "source", "be a folder", str(source), remedy, error=FileNotFoundError)
    from huggingface_hub import snapshot_download  # noqa: PLC0415  (it costs time, and only the hub needs it)

    try:
        return Path(snapshot_download(str(source), allow_patterns=[CONFIG, WEIGHTS]))
    except (OSError, ValueError) as error:
        reason = f"be a folder, or a repository that can be reached on the Hugging Face hub ({error})"
        raise FileNotFoundError(f"source must {reason}, got {str(source)!r}.") from error
