"""Reading files of weights that may come from anywhere: tensors, texts and numbers, and nothing that could run."""

from __future__ import annotations

import pickle
import re
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from p2p_deploy.errors import CheckpointError

# Where training programs keep the weights among other things, the most specific first.
WRAPPERS = ("params_ema", "ema", "netG", "generator", "gen", "G", "state_dict", "model_state_dict", "model", "params")
_MAX_LAYERS = 8


def read_file(path: Path) -> Any:
    """What ``torch.save`` wrote, without executing anything from it.

    Raises:
        CheckpointError: the file is missing, damaged, no PyTorch file, or holds pickled objects.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # remarks about the pickle protocol of files that are refused anyway
            return torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as exc:
        raise CheckpointError(f"{path} does not exist.") from exc
    except OSError as exc:
        raise CheckpointError(f"{path} cannot be read: {exc.strerror or exc}.") from exc
    except pickle.UnpicklingError as exc:
        raise CheckpointError(_pickled(path, str(exc))) from exc
    except Exception as exc:  # torch raises whatever its readers meet in a damaged file
        raise CheckpointError(
            f"{path} is damaged or is not a checkpoint ({first_line(exc)}). Copy or train it again."
        ) from exc


def _pickled(path: Path, complaint: str) -> str:
    """What to say of a file that is more than weights."""
    head = path.read_bytes()[:16]
    if head[8:10] == b'{"':
        return (
            f"{path} seems to be a safetensors file; expected a file that torch.save wrote. Load it where it was made "
            "and save it with torch.save(state_dict, FILE)."
        )
    found = re.search(r"GLOBAL ([\w.]+)", complaint)
    if found and found[1].rpartition(".")[2][:1].isupper():  # a class, so this may be a whole network
        return (
            f"{path} holds pickled Python objects ({found[1]}), not only weights. Loading them could run any code, so "
            "it was refused and nothing was executed. If you trust the file, turn it into weights where its program is "
            f'installed: model = torch.load("{path.name}", weights_only=False); '
            f'torch.save(model.state_dict(), "{path.stem}_weights.pth")'
        )
    return (
        f"{path} holds pickled Python objects, or is no PyTorch file. Unpickling them could run any code, so it was "
        "refused and nothing was executed; expected weights, such as torch.save(model.state_dict(), FILE) writes."
    )


def first_line(exc: Exception) -> str:
    """What torch says, without its advice to unpickle anyway."""
    line = str(exc).partition("\n")[0].partition("Re-running")[0].strip()
    return line or type(exc).__name__


def is_plain(value: Any) -> bool:
    """Whether this is an ordinary tensor of real numbers that lies in memory."""
    return (
        isinstance(value, torch.Tensor)
        and value.layout == torch.strided
        and not value.is_meta
        and not value.is_complex()
        and not value.is_quantized
        # One number can pretend to be any number of them by a stride of 0.
        and value.untyped_storage().nbytes() >= value.numel() * value.element_size()
    )


def state_dict_of(contents: Any, part: str | None) -> tuple[dict[str, Tensor], str | None]:
    """The weights among what a file holds, with every wrapper around them opened.

    Args:
        contents: what ``read_file`` gave.
        part: the wrapper to take, where a file holds several networks.

    Returns:
        Key to tensor, and ``part`` where no wrapper had that name.

    Raises:
        CheckpointError: there are no weights, or several networks to choose from.
    """
    weights, part = _unwrap(contents, part)
    unusable = [key for key, value in weights.items() if not is_plain(value)]
    if unusable:
        raise CheckpointError(f"{unusable[0]} is not a plain tensor of real numbers; expected weights only.")
    return weights, part


def _unwrap(contents: Any, part: str | None) -> tuple[dict[str, Any], str | None]:
    for _ in range(_MAX_LAYERS):
        if not isinstance(contents, Mapping):
            raise CheckpointError(f"holds a {type(contents).__name__}; expected the weights of a generator.")
        tensors = {key: value for key, value in contents.items() if isinstance(value, Tensor)}
        inner = {key: value for key, value in contents.items() if isinstance(key, str) and isinstance(value, Mapping)}
        if tensors and not inner and all(isinstance(key, str) for key in tensors):
            return tensors, part  # numbers and texts beside them, such as an epoch, are no weights
        if {"state", "param_groups"} <= contents.keys():
            raise CheckpointError(
                "is the state of an optimizer, without a network; expected the weights of a generator."
            )
        if part in inner:
            return _unwrap(inner[part], None)
        networks = {key: value for key, value in inner.items() if _holds_tensors(value)}
        wrapper = next((name for name in WRAPPERS if name in networks), None)
        if wrapper is None and len(networks) != 1:
            raise CheckpointError(_no_weights(contents, networks))
        if part and len(networks) > 1 and not any(key.startswith(f"{part}.") for key in networks[wrapper or ""]):
            raise CheckpointError(f"has no part {part!r}; it holds {', '.join(sorted(networks)[:6])}.")
        contents = networks[wrapper or min(networks)]
    raise CheckpointError(f"is wrapped more than {_MAX_LAYERS} times; expected the weights of a generator.")


def _holds_tensors(value: Any, layers: int = _MAX_LAYERS) -> bool:
    return isinstance(value, Tensor) or (
        layers > 0 and isinstance(value, Mapping) and any(_holds_tensors(item, layers - 1) for item in value.values())
    )


def _no_weights(contents: Mapping[Any, Any], networks: Mapping[str, Any]) -> str:
    if networks:
        names = list(networks)
        return (
            f"holds several networks ({', '.join(names[:6])}); say which with `part`, an option of p2p export, "
            f"such as {names[0]}."
        )
    keys = ", ".join(sorted(str(key) for key in contents)[:5])
    return f"holds no weights (keys: {keys or 'none'}); expected the weights of a generator."


def fold_spectral_norm(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Divide the weights that spectral norm was trained with by their largest singular value, as eval mode does.

    Miyato et al.: Spectral Normalization for Generative Adversarial Networks (ICLR 2018), section 2.1. Both forms that
    torch has had are read: ``weight_orig`` with ``weight_u`` and ``weight_v``, and ``parametrizations.weight``.

    Raises:
        CheckpointError: vectors are missing or do not fit.
    """
    folded = dict(weights)
    for key in weights:
        for ending, u_ending, v_ending in (
            ("weight_orig", "weight_u", "weight_v"),
            ("parametrizations.weight.original", "parametrizations.weight.0._u", "parametrizations.weight.0._v"),
        ):
            if key != ending and not key.endswith(f".{ending}"):
                continue
            stem = key.removesuffix(ending)
            original = folded.pop(key)
            u, v = folded.pop(stem + u_ending, None), folded.pop(stem + v_ending, None)
            if u is not None and v is not None:
                folded[f"{stem}weight"] = _normalised(key, original, u, v)
            elif f"{stem}weight" not in folded:  # files older than torch 1.0 have the result itself beside it
                raise CheckpointError(f"{key} was trained with spectral norm, and its vectors u and v are missing.")
    return folded


def _normalised(key: str, original: Tensor, u: Tensor, v: Tensor) -> Tensor:
    if u.numel() != original.shape[0] and original.ndim == 4:  # transposed convolutions have their outputs second
        turned = original.transpose(0, 1)
        if (u.numel(), v.numel()) == (turned.shape[0], turned[0].numel()):
            return _normalised(key, turned, u, v).transpose(0, 1).contiguous()
    original, u, v = original.float(), u.float(), v.float()
    matrix = original.flatten(1)
    if u.shape != matrix.shape[:1] or v.shape != matrix.shape[1:]:
        raise CheckpointError(
            f"{key} has the shape {tuple(original.shape)}, its spectral norm {tuple(u.shape)} and {tuple(v.shape)}; "
            "they do not belong together."
        )
    return original / torch.dot(u, torch.mv(matrix, v))
