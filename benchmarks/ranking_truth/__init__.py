"""The ranking against known truth: simulated backbones whose best reachable score is known exactly."""
