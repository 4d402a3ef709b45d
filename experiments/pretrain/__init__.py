"""Commands of stage 1: MT-EmotiEffNet on AffectNet; `python -m experiments.pretrain` trains."""
