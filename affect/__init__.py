"""Labels, tasks, losses and metrics; networks, calibration, storage, submissions and super-resolution below."""
