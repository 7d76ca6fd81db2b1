"""Every exception p2p-deploy raises on purpose.

    P2PError
    ├── OptionError          an option with a value that it cannot have; a ValueError too
    ├── SpecError            a ModelSpec that cannot be read, or that contradicts itself
    ├── CheckpointError      a checkpoint that cannot be read, or is not one of ours
    ├── ModelFileError       an ONNX file or plan that cannot be used
    │   └── StalePlan        a plan for another TensorRT, GPU or system: building it again helps
    ├── MissingDependency    a package (an extra) that has to be installed first
    ├── DeviceError          a device that was asked for and is not there
    ├── ExportError          an artefact that could not be made, or did not pass its comparison
    ├── DataError            training data that cannot be used
    ├── InputError           nothing to read where the user pointed
    ├── OutputError          a place that must not, or cannot, be written to
    ├── ItemFailed           one input could not be done; it is recorded and the run goes on
    └── Failed               a stage or a device failed; the run stops
        └── OutOfMemory      a batch that the device has no memory for: a smaller one may fit

The library raises these and never prints; the command line turns each into one sentence and exit code 1.
Every message says what was received, what was expected and what to do next.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from types import ModuleType


class P2PError(Exception):
    """The root: anything a user can do something about."""


class OptionError(P2PError, ValueError):
    """An option with a value that it cannot have."""


class SpecError(P2PError):
    """A ModelSpec that cannot be read, or that contradicts itself."""


class CheckpointError(P2PError):
    """A checkpoint that cannot be read, or is not one of ours."""


class ModelFileError(P2PError):
    """An ONNX file or TensorRT plan that cannot be used."""


class StalePlan(ModelFileError):
    """A plan that does not fit this TensorRT, GPU or system, or is damaged; building it again here would help."""


class MissingDependency(P2PError):
    """A package that the asked-for work needs and that is not installed, or is installed in a broken combination."""


class DeviceError(P2PError):
    """A device that was asked for and is not usable here."""


class ExportError(P2PError):
    """An artefact that could not be made, or did not pass its comparison with the checkpoint."""


class DataError(P2PError):
    """Training data that cannot be used."""


class InputError(P2PError):
    """There is nothing to read where the user pointed."""


class OutputError(P2PError):
    """A place that must not, or cannot, be written to."""


class ItemFailed(P2PError):
    """One input could not be done. It is recorded, and the run goes on."""


class Failed(P2PError):
    """A stage or a device failed. The run stops."""


class OutOfMemory(Failed):
    """A batch that the device has no memory for. A smaller one may fit."""


def causes(exc: BaseException) -> Iterator[BaseException]:
    """An exception, what set it off, what set that off, and so on."""
    seen: set[int] = set()
    following: BaseException | None = exc
    while following is not None and id(following) not in seen:  # nothing keeps a chain from closing
        yield following
        seen.add(id(following))
        following = following.__cause__ or following.__context__


def require(module: str, extra: str, purpose: str) -> ModuleType:
    """Import ``module``, or raise MissingDependency naming the extra that brings it.

    Args:
        module: the import name, e.g. ``"torch"``.
        extra: the extra of p2p-deploy that installs it, e.g. ``"export"``.
        purpose: what it is needed for, as the subject of a sentence, e.g. ``"Reading a checkpoint"``.
    """
    try:
        return importlib.import_module(module)
    except ImportError as exc:
        missing = (exc.name or module).partition(".")[0]
        raise MissingDependency(
            f"{purpose} needs the Python package {missing}, which cannot be imported here ({exc}). "
            f"Install it with: pip install 'p2p-deploy[{extra}]'"
        ) from exc
