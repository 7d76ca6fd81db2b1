"""The timing cache of ``tensorrt``: what its kernels took on this GPU, kept so that the next build is faster."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

from p2p_deploy.errors import OutputError
from p2p_deploy.files import replacing


def default_path(flavour: str, version: str, gpu: str) -> Path | None:
    """``p2p-deploy/timing/FLAVOUR-VERSION-GPU.cache`` in the user's cache folder; one per GPU and TensorRT.

    Returns:
        None for a user without a home, as in some containers.
    """
    root = Path(os.environ.get("XDG_CACHE_HOME", ""))
    if not root.is_absolute():  # unset, or relative, which the XDG specification says to ignore
        try:
            root = Path.home() / ".cache"
        except RuntimeError:
            return None
    name = re.sub(r"[^A-Za-z0-9.]+", "-", f"{flavour}-{version}-{gpu}").strip("-")
    return root / "p2p-deploy" / "timing" / f"{name}.cache"


def hand_in(config: Any, path: Path, log: Any) -> list[str]:
    """Give the builder the cache in ``path``, or an empty one.

    Returns:
        Warnings: the file cannot be read, or the builder does not take it.
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return _take(config, b"", log)
    except OSError as exc:
        return [*_take(config, b"", log), f"The timing cache {path} cannot be read: {exc.strerror or exc}."]
    if not _take(config, data, log):
        return []
    _take(config, b"", log)
    return [f"The timing cache {path} is damaged, or of another GPU or TensorRT; it was ignored and is replaced."]


def _take(config: Any, data: bytes, log: Any) -> list[str]:
    """Make a cache of ``data`` the builder's; returns, and removes from the log, what it says against it."""
    said = log.from_now()
    cache = config.create_timing_cache(data)
    taken = cache is not None and config.set_timing_cache(cache, ignore_mismatch=False)
    complaints = said.warnings()
    said.forget()
    return complaints if taken else [*complaints, "The builder takes no timing cache."]


def keep(config: Any, path: Path) -> list[str]:
    """Write what the builder has learnt to ``path``, whole or not at all.

    Returns:
        Warnings: the file cannot be written, which costs the next build time and nothing else.
    """
    cache = config.get_timing_cache()
    data = cache and cache.serialize()
    if data is None:
        return ["The builder gave no timing cache to keep."]
    try:
        with replacing(path) as temporary:
            temporary.write_bytes(memoryview(data))
    except OutputError as exc:
        return [f"The timing cache was not kept: {exc}"]
    return []
