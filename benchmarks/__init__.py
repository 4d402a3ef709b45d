"""Speed, measured against peers and limits, in processes set up as the experiments are."""

from experiments.runtime.process_settings import prepare_process

prepare_process()
