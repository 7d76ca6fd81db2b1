"""Checkpoints: files with weights. ``native`` is the format our trainers write, ``foreign`` those of other programs."""

from __future__ import annotations

from pathlib import Path

from p2p_deploy.checkpoints.foreign import open_foreign
from p2p_deploy.checkpoints.native import Checkpoint, is_native, open_native, save_checkpoint
from p2p_deploy.checkpoints.reading import read_file
from p2p_deploy.errors import CheckpointError
from p2p_deploy.options import Assumptions

__all__ = ["Checkpoint", "load_checkpoint", "save_checkpoint"]


def load_checkpoint(path: Path, assume: Assumptions | None = None) -> Checkpoint:
    """Read a checkpoint, ours or of a family we know, without executing anything from it.

    Args:
        path: the file.
        assume: what the keys of a foreign file cannot tell; defaults are stated in ``Checkpoint.assumed``.

    Raises:
        CheckpointError: the file is missing, damaged, holds pickled objects, is no generator of a family we know, or
            its weights do not fit the network it names.
        SpecError: its ModelSpec cannot be read.
    """
    contents = read_file(path)
    if not is_native(contents):
        return open_foreign(path, contents, assume or Assumptions())
    if assume and assume != Assumptions():
        raise CheckpointError(f"{path} says itself what it is; leave out what is assumed about it.")
    return open_native(path, contents)
