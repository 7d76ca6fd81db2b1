"""Everything that the sources ask of TensorRT and CUDA exists in the installed modules, and takes what it is given.

Nothing is run: the sources are parsed, names are looked up, and calls are compared with the signatures in docstrings.
"""

import ast
import re

import pytest
import tensorrt_lean_bindings
import tensorrt_rtx_bindings
from cuda.bindings import runtime as cuda_runtime
from helpers import fake_gpu, fake_tensorrt
from helpers.support import ROOT

from p2p_deploy.backends.tensorrt.log import KEPT, log_of

BACKENDS = ROOT / "p2p_deploy" / "backends"
SHARED = ("tensorrt/preflight", "tensorrt/model", "tensorrt/slot", "tensorrt/log")
MODULES = {
    "rtx": (tensorrt_rtx_bindings, (*SHARED, "tensorrt/rtx")),
    "lean": (tensorrt_lean_bindings, SHARED),
    "cuda": (cuda_runtime, ("cuda_runtime",)),
}
# In a TensorRT flavour, what the sources mean by a name, with or without an underscore before it.
MEANING = {
    "engine": "ICudaEngine",
    "context": "IExecutionContext",
    "runtime": "Runtime",
    "config": "IRuntimeConfig",
    "cache": "IRuntimeCache",
    "base": "ILogger",
}
# Asked of an object that only TensorRT for RTX gives.
RTX_ONLY = {"create_runtime_cache"}


class Sources:
    """The uses of one module in some source files: found names, and calls with the number of their arguments."""

    def __init__(self, kind):
        self.kind = kind
        self.module, names = MODULES[kind]
        self.used, self.missing, self.calls = set(), set(), []
        for name in names:
            for node in ast.walk(ast.parse((BACKENDS / f"{name}.py").read_text())):
                if isinstance(node, ast.Attribute):
                    self.resolve(node)
                if isinstance(node, ast.Call):
                    self.note_call(node)

    def meaning(self, name):
        """The module or class that a variable or attribute stands for, or None."""
        name = name.lstrip("_")
        if self.kind == "cuda":
            return {"runtime": self.module, "codes": self.module.cudaError_t}.get(name)
        if name == "trt":
            return self.module
        return getattr(self.module, MEANING[name], None) if name in MEANING else None

    def resolve(self, node):
        """What an expression is in the installed module, or None when it is something else."""
        if isinstance(node, ast.Name):
            return self.meaning(node.id)
        if not isinstance(node, ast.Attribute):
            return None
        owner = self.resolve(node.value)
        if owner is None:
            return self.meaning(node.attr)
        if owner is self.module and self.meaning(node.attr) is not None:
            return self.meaning(node.attr)
        self.used.add(node.attr)
        if not hasattr(owner, node.attr):
            self.missing.add(node.attr)
        return getattr(owner, node.attr, None)

    def note_call(self, node):
        """A call, and a function that is passed on to be called with the arguments after it."""
        for place, expression in enumerate([node.func, *node.args]):
            target = self.resolve(expression)
            if callable(target) and getattr(target, "__doc__", None) and not isinstance(target, type(ast)):
                bound = 1 if isinstance(expression, ast.Attribute) and expression.attr == "__init__" else 0
                self.calls.append((ast.unparse(expression), target, len(node.args) - place - bound))


def arities(target):
    """(fewest, most) positional arguments of each overload, from the signatures in a docstring."""
    if isinstance(target, type):
        target = target.__init__
    found = []
    for arguments in re.findall(rf"{target.__name__}\((?!\*args)(.*?)\)(?= ->|\n|$)", target.__doc__):
        parameters = [part for part in re.split(r",\s*(?![^\[<(]*[\]>)])", arguments) if part]
        own = [part for part in parameters if not part.strip().startswith("self")]
        found.append((sum("=" not in part for part in own), len(own)))
    return found


@pytest.mark.parametrize("kind", MODULES)
def test_every_name_exists(kind):
    sources = Sources(kind)
    assert sources.missing <= (RTX_ONLY if kind == "lean" else set())
    expected = {
        "rtx": {"execute_async_v3", "deserialize_cuda_engine", "WHOLE_GRAPH_CAPTURE", "set_runtime_cache", "UINT8"},
        "lean": {"execute_async_v3", "deserialize_cuda_engine", "ON_PROFILE_CHANGE", "WARNING"},
        "cuda": {"cudaMallocHost", "cudaGraphLaunch", "cudaStreamCaptureModeThreadLocal", "cudaErrorMemoryAllocation"},
    }
    assert expected[kind] <= sources.used  # else the parser would have overlooked them
    assert len(sources.used) >= 20


@pytest.mark.parametrize("kind", MODULES)
def test_every_call_has_as_many_arguments_as_a_signature_takes(kind):
    calls = [call for call in Sources(kind).calls if arities(call[1])]
    assert len(calls) >= 12
    for text, target, given in calls:
        assert any(low <= given <= high for low, high in arities(target)), (text, given, arities(target))


@pytest.mark.parametrize(
    ("pretended", "real"),
    [
        (fake_gpu.FakeCuda, cuda_runtime),
        (fake_tensorrt.FakeTensorRT, tensorrt_rtx_bindings),
        (fake_tensorrt.Runtime, tensorrt_rtx_bindings.Runtime),
        (fake_tensorrt.Engine, tensorrt_rtx_bindings.ICudaEngine),
        (fake_tensorrt.Config, tensorrt_rtx_bindings.IRuntimeConfig),
        (fake_tensorrt.Cache, tensorrt_rtx_bindings.IRuntimeCache),
        (fake_tensorrt.Context, tensorrt_rtx_bindings.IExecutionContext),
    ],
)
def test_what_the_tests_pretend_is_there_in_truth(pretended, real):
    names = {name for name in vars(pretended) if not name.startswith("_")} - {"kernels"}
    assert names
    assert {name for name in names if not hasattr(real, name)} == set()


@pytest.mark.parametrize("module", [tensorrt_rtx_bindings, tensorrt_lean_bindings])
def test_the_log_is_one_that_tensorrt_takes_and_tells_the_first_error(module):
    log, severity = log_of(module.ILogger), module.ILogger.Severity
    assert log is log_of(module.ILogger)
    log.log(severity.ERROR, "of another call")
    excerpt = log.from_now()
    said = ((severity.WARNING, "slow"), (severity.INFO, "built"), (severity.ERROR, "why"), (severity.ERROR, "so"))
    for entry in said:
        log.log(*entry)
    assert (excerpt.reason(), excerpt.warnings()) == ("why", ["slow", "why", "so"])
    assert log.from_now().reason() == "it gave no reason"
    excerpt.forget()
    assert (excerpt.warnings(), log.entries[-1].text) == ([], "of another call")
    for _ in range(2 * KEPT):
        log.log(severity.WARNING, "slow")
    assert len(log.entries) == KEPT


def test_an_unknown_name_and_a_wrong_number_of_arguments_would_be_found():
    sources = Sources("rtx")
    tree = ast.parse("self._engine.get_tensor_colour(name); context.set_input_shape(name)")
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            sources.note_call(node)
    assert sources.missing == {"get_tensor_colour"}
    text, target, given = sources.calls[-1]
    assert (text, given) == ("context.set_input_shape", 1)
    assert not any(low <= given <= high for low, high in arities(target))
