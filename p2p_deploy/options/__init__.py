"""Every option there is, declared once: ``declaration`` says how, the other files have one class each.

Standard library only, so that the command line can show its help without loading anything.
"""

from p2p_deploy.options.assumptions import Assumptions
from p2p_deploy.options.bench import BenchOptions
from p2p_deploy.options.declaration import Declared, Option, Options, declared_options
from p2p_deploy.options.export import BuildOptions, ExportOptions, VerifyOptions
from p2p_deploy.options.load import LoadOptions
from p2p_deploy.options.run import RunOptions
from p2p_deploy.options.sample import SampleOptions
from p2p_deploy.options.shared import Overwrite, count_or_auto, size

__all__ = [
    "Assumptions",
    "BenchOptions",
    "BuildOptions",
    "Declared",
    "ExportOptions",
    "LoadOptions",
    "Option",
    "Options",
    "Overwrite",
    "RunOptions",
    "SampleOptions",
    "VerifyOptions",
    "count_or_auto",
    "declared_options",
    "size",
]
