"""Which batches a backbone can be trained with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch

from trainables.backbones import Backbone
from trainables.data import Task
from trainables.errors import InvalidConfig
from trainables.finetune import Finetuner

Make = Callable[..., Finetuner]


def test_batches_of_one_are_refused_where_batchnorm_is_tuned(make: Make, small: Backbone) -> None:
    for depth in (0, small.num_blocks // 2):
        with pytest.raises(InvalidConfig, match=r"at least 2 samples where BatchNorm is tuned, as in .*they hold 1"):
            make(batch_size=1, freeze_depth=depth)


def test_a_linear_probe_takes_batches_of_one(make: Make, small: Backbone) -> None:
    assert make(batch_size=1, freeze_depth=small.num_blocks).steps_per_epoch == 33


def test_a_single_sample_left_over_is_no_batch_of_its_own(make: Make) -> None:
    assert make(batch_size=8).steps_per_epoch == 4, "33 samples: the last batch has 9"


def test_a_single_training_sample_is_a_batch_of_one(make: Make, digits: Task) -> None:
    alone = replace(digits, train=digits.train.at(torch.arange(1)))
    with pytest.raises(InvalidConfig, match="the only one holds 1; raise"):
        make(task=alone)


def test_the_backbone_is_left_as_it_was(make: Make, small: Backbone) -> None:
    assert not small.training
    with pytest.raises(InvalidConfig):
        make(batch_size=1)
    assert not small.training
