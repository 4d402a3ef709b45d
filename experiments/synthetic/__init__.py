"""Commands of stage 3: learning from synthetic faces; `python -m experiments.synthetic` trains."""
