"""Checkpoints: files with weights. ``native`` is the format our trainers write."""

from p2p_deploy.checkpoints.native import Checkpoint, load_checkpoint, save_checkpoint

__all__ = ["Checkpoint", "load_checkpoint", "save_checkpoint"]
