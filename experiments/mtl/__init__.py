"""Commands of stage 2: multi-task heads on s-Aff-Wild2; `python -m experiments.mtl` trains."""
