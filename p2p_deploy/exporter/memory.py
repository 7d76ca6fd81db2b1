"""What is said when images are too large for the memory there is."""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Iterator

from p2p_deploy.errors import Failed, P2PError, causes
from p2p_deploy.spec import ModelSpec

# In the words of torch, of oneDNN inside it, of the C++ library and of ONNX Runtime, none of which raise MemoryError.
_SAID = ("can't allocate memory", "out of memory", "could not create a memory", "bad_alloc", "bad allocation")
_SAID_BY_ONNX_RUNTIME = "failed to allocate memory"


@contextlib.contextmanager
def memory_for(spec: ModelSpec) -> Iterator[None]:
    """Run a block whose need of memory grows with the size of the images.

    Raises:
        Failed: there was not enough, whoever noticed; the sentence names the size.
    """
    try:
        yield
    except Exception as exc:  # each library has its own
        if not any(map(_ran_out, causes(exc))):
            raise
        height, width = spec.working_size
        raise Failed(
            f"There is not enough memory for images of {height}x{width} pixels. Export with a smaller `sizes`, or on a "
            "computer with more memory."
        ) from exc


def _ran_out(exc: BaseException) -> bool:
    if isinstance(exc, MemoryError) or (isinstance(exc, OSError) and exc.errno == errno.ENOMEM):
        return True
    # Our own sentences may be about a GPU that a plan is built on, which is another memory.
    said = "" if isinstance(exc, P2PError) else str(exc).lower()
    return any(words in said for words in (*_SAID, _SAID_BY_ONNX_RUNTIME))
