"""The fitted head is the regularised (logistic) regression that scikit-learn finds."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.preprocessing import StandardScaler
from torch import Tensor, nn

from trainables import probe
from trainables.objective import make_objective
from trainables.probe import fit_head

Split = tuple[Tensor, Tensor]


def classes(num: int, seed: int) -> Split:
    """Three classes in six features of very different scales, one of them constant."""
    generator = torch.Generator().manual_seed(seed)
    targets = torch.randint(3, (num,), generator=generator)
    centres = torch.randn(3, 6, generator=torch.Generator().manual_seed(9))
    features = (centres[targets] + torch.randn(num, 6, generator=generator)) * torch.logspace(-1, 2, 6) + 7
    features[:, 2] = 4.0
    return features, targets


def test_it_is_scikit_learns_logistic_regression(monkeypatch: pytest.MonkeyPatch) -> None:
    train, val = classes(300, 0), classes(200, 1)
    strength = 1e-2
    monkeypatch.setattr(probe, "STRENGTHS", (strength,))
    head = nn.Sequential(nn.Dropout(0.5), nn.Linear(6, 3))
    fit_head(head, make_objective("classification", 3, train[1], val[1]), train, val, None)
    scaler = StandardScaler().fit(train[0].numpy())
    reference = LogisticRegression(C=1 / (strength * 300), tol=1e-8, max_iter=5000)
    reference.fit(scaler.transform(train[0].numpy()), train[1].numpy())
    with torch.no_grad():
        ours = head.eval()(val[0]).softmax(dim=1).numpy()
    assert np.abs(ours - reference.predict_proba(scaler.transform(val[0].numpy()))).max() < 2e-3


def test_it_is_ridge_regression(monkeypatch: pytest.MonkeyPatch) -> None:
    features, _ = classes(300, 0)
    targets = (features[:, :1] * 30 + features[:, 5:] / 50) + 11
    strength = 1e-1
    monkeypatch.setattr(probe, "STRENGTHS", (strength,))
    head = nn.Linear(6, 1)
    objective = make_objective("regression", 1, targets, targets)
    fit_head(head, objective, (features, targets), (features, targets), None)
    scaled = StandardScaler().fit_transform(features.numpy())
    standard = StandardScaler().fit_transform(targets.numpy())
    reference = Ridge(alpha=strength / 2 * 300).fit(scaled, standard)
    with torch.no_grad():
        assert np.abs(head(features).numpy() - reference.predict(scaled).reshape(-1, 1)).max() < 2e-3


def test_the_penalty_is_chosen_on_validation() -> None:
    """Pure noise: the strongest penalty generalises best, and it is what is kept."""
    generator = torch.Generator().manual_seed(0)
    train, val = (
        (torch.randn(40, 30, generator=generator), torch.randint(2, (40,), generator=generator)) for _ in range(2)
    )
    objective = make_objective("classification", 2, train[1], val[1])
    head = nn.Linear(30, 2)
    fit_head(head, objective, train, val, None)
    loose = nn.Linear(30, 2)
    probe._minimise(loose, lambda: objective.loss(loose(train[0]), train[1]), 1e-4)
    with torch.no_grad():
        assert objective.loss(head(val[0]), val[1]) < 0.5 * objective.loss(loose(val[0]), val[1])


@pytest.mark.parametrize(
    "head",
    [
        nn.Sequential(nn.Linear(6, 16), nn.Tanh(), nn.Dropout(0.3), nn.Linear(16, 3)),
        nn.Sequential(nn.Unflatten(1, (6, 1, 1)), nn.Conv2d(6, 3, 1), nn.Flatten()),
    ],
    ids=["two layers", "convolution"],
)
def test_other_heads_are_fitted_too(head: nn.Sequential) -> None:
    train, val = classes(300, 0), classes(200, 1)
    train, val = ((features / torch.logspace(-1, 2, 6), targets) for features, targets in (train, val))
    objective = make_objective("classification", 3, train[1], val[1])
    head.train()
    fit_head(head, objective, train, val, None)
    assert head.training
    assert all(p.grad is None for p in head.parameters())
    with torch.no_grad():
        assert objective.quality(head.eval()(val[0]), val[1]).score("accuracy") > 0.7


def test_a_channel_that_is_dead_but_for_rounding_gets_no_weight() -> None:
    train, val = classes(300, 0), classes(200, 1)
    for features, _ in (train, val):
        features /= torch.logspace(-1, 2, 6)
        features[:, 1] = 1e-33 * torch.randn(len(features), generator=torch.Generator().manual_seed(0))
    torch.manual_seed(0)
    head = nn.Linear(6, 3)
    fit_head(head, make_objective("classification", 3, train[1], val[1]), train, val, None)
    assert head.weight.abs().max() < 100


def test_it_is_deterministic_and_weights_classes_on_request() -> None:
    train, val = classes(300, 0), classes(200, 1)
    keep = torch.cat([torch.nonzero(train[1] == 0)[:5, 0], torch.nonzero(train[1] != 0)[:, 0]])
    train = train[0][keep], train[1][keep]
    objective = make_objective("classification", 3, train[1], val[1])
    recalls = []
    for weight in (None, None, objective.balanced_weight(train[1])):
        torch.manual_seed(0)
        head = nn.Linear(6, 3)
        fit_head(head, objective, train, val, weight)
        with torch.no_grad():
            recalls.append(float((head(val[0]).argmax(dim=1) == 0)[val[1] == 0].float().mean()))
    assert recalls[0] == recalls[1]
    assert recalls[2] > recalls[0]
