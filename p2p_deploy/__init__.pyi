from .backends.base import Model as Model
from .benchmark import (
    BenchReport as BenchReport,
    BenchResult as BenchResult,
    bench as bench,
)
from .errors import (
    CheckpointError as CheckpointError,
    DataError as DataError,
    DeviceError as DeviceError,
    ExportError as ExportError,
    Failed as Failed,
    InputError as InputError,
    ItemFailed as ItemFailed,
    MissingDependency as MissingDependency,
    ModelFileError as ModelFileError,
    OptionError as OptionError,
    OutOfMemory as OutOfMemory,
    OutputError as OutputError,
    P2PError as P2PError,
    SpecError as SpecError,
    StalePlan as StalePlan,
)
from .exporter.export import export as export
from .exporter.quality import Quality as Quality
from .exporter.report import (
    ExportReport as ExportReport,
    PlanReport as PlanReport,
)
from .exporter.verify import (
    VerifyReport as VerifyReport,
    verify as verify,
)
from .inspection import (
    ModelFacts as ModelFacts,
    inspect as inspect,
)
from .options import (
    Assumptions as Assumptions,
    BenchOptions as BenchOptions,
    BuildOptions as BuildOptions,
    ExportOptions as ExportOptions,
    LoadOptions as LoadOptions,
    RunOptions as RunOptions,
    SampleOptions as SampleOptions,
    VerifyOptions as VerifyOptions,
)
from .reports import Report as Report
from .runner.models import load as load
from .runner.run import run as run
from .runner.summary import (
    RunProgress as RunProgress,
    RunSummary as RunSummary,
)
from .sampling import (
    SampleReport as SampleReport,
    sample as sample,
)
from .spec import (
    ImageSpec as ImageSpec,
    ModelSpec as ModelSpec,
)

__version__: str
