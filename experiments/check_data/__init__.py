"""`python -m experiments.check_data`: check a data set and report all that is wrong with it before a long training."""
