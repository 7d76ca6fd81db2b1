from .data_check import (
    DataReport as DataReport,
    check_data as check_data,
)
from .options import (
    SYSTEM_OPTIONS as SYSTEM_OPTIONS,
    CGANOptions as CGANOptions,
    CycleGANOptions as CycleGANOptions,
    GANOptions as GANOptions,
    Pix2PixHDOptions as Pix2PixHDOptions,
    Pix2PixOptions as Pix2PixOptions,
    SPADEOptions as SPADEOptions,
    TrainingOptions as TrainingOptions,
)
from .training import (
    SYSTEMS as SYSTEMS,
    TrainingProgress as TrainingProgress,
    TrainingReport as TrainingReport,
    train as train,
)
