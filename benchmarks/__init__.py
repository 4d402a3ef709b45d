"""Speed, measured against peers and limits, in processes set up as the experiments are."""

import experiments  # noqa: F401  its settings for threads and memory, before torch
