"""The suite's experiments: one story per file, run as `python -m experiments.<name>`."""

from experiments.cpu_settings import keep_freed_memory, limit_spinning

limit_spinning()
keep_freed_memory()
