"""What only TensorRT for RTX has: it compiles kernels when a plan is run, and can keep them for the next time."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

from p2p_deploy.errors import OutputError
from p2p_deploy.files import replacing


def cache_path(plan: Path) -> Path:
    """``x.plan`` to ``x.plan.cache``."""
    return plan.with_name(plan.name + ".cache")


def configure(trt: Any, config: Any, cache: Any, plan: Path, cuda_graphs: bool) -> None:
    """Let ``config`` use the kernels compiled earlier for this plan, and capture CUDA graphs.

    A context takes memory for the profile it runs, and not for the largest of all.

    TensorRT for RTX ignores kernels of another GPU, driver or version, and compiles again. It captures graphs itself
    because it replaces kernels while it runs, which a graph of ours would not notice.
    """
    with contextlib.suppress(OSError):
        blob = cache_path(plan).read_bytes()
        if blob:
            cache.deserialize(blob)
    config.set_runtime_cache(cache)
    config.set_execution_context_allocation_strategy(trt.ExecutionContextAllocationStrategy.ON_PROFILE_CHANGE)
    if cuda_graphs:
        config.cuda_graph_strategy = trt.CudaGraphStrategy.WHOLE_GRAPH_CAPTURE


def save_cache(cache: Any, plan: Path) -> None:
    """Write the kernels compiled so far beside the plan; a folder that cannot be written costs only time."""
    serialized = cache.serialize()
    if serialized is None:
        return
    data, path = bytes(memoryview(serialized)), cache_path(plan)
    with contextlib.suppress(OSError, OutputError):
        if data and (not path.is_file() or path.read_bytes() != data):
            with replacing(path) as temporary:
                temporary.write_bytes(data)
