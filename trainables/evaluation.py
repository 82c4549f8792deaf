"""What is measured of a confirmed configuration beyond its score (`trainables.evaluate` does it)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from trainables.rules import one_of_rules, require

__all__ = ["Evaluation", "Perturbed"]

Perturbed = Literal["all", "none"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Evaluation:
    """What is measured once a confirmation is trained. Nothing here takes part in any choice.

    Raises:
        InvalidConfig: a value is outside its range; all broken rules are listed at once.
    """

    perturbations: Perturbed = "all"
    """``all`` measures the test score under every perturbation of the modality, at three severities:
    the ranking's condition *perturbed inputs*. ``none`` leaves it unmeasured."""

    num_perturbed: int = 500
    """Most test samples that are perturbed, in [1, 1000000]; the same ones for every backbone."""

    num_attacked: int = 64
    """Test samples that FGSM and PGD attack, in [0, 1000000]; 0 is no attack."""

    num_explained: int = 0
    """Test samples that LIME, KernelSHAP and integrated gradients explain, in [0, 10000]; needs the extra
    ``explain``. 0 explains none."""

    num_drifted: int = 256
    """Test samples on which the features of each block are compared before and after tuning, in
    [0, 1000000]; 0 compares none."""

    def __post_init__(self) -> None:
        limits = {"num_perturbed": (1, 10**6), "num_attacked": (0, 10**6), "num_explained": (0, 10**4)}
        limits["num_drifted"] = (0, 10**6)
        ranges = [
            (name, f"in [{low}, {high}]", low <= getattr(self, name) <= high) for name, (low, high) in limits.items()
        ]
        require(self, [*one_of_rules(self), *ranges])
