"""Speed benchmarks against peers and limits, with the process settings of the experiments."""

from experiments.runtime.process_settings import prepare_process

prepare_process()
