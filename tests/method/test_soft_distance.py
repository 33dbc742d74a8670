"""Algorithm 1 and equations 5-7 by hand."""

from __future__ import annotations

import math

import pytest
import torch

from magsd_cli.method.soft_distance import LOSSES, l2_distance, soft_distance, soft_label, view_cross_entropy
from magsd_cli.recipe import SoftDistance

P = torch.tensor([[0.8, 0.1, 0.1], [0.6, 0.3, 0.1], [0.1, 0.85, 0.05]])
LOGITS = P.log()
TRUTH = torch.tensor([0, 1, 2])  # right and sure; wrong and unsure; wrong and sure


def test_algorithm_1_by_hand() -> None:
    soft = soft_label(LOGITS, TRUTH, SoftDistance())
    assert torch.allclose(soft, torch.tensor([[0.8, 0.1, 0.1], [0.0, 1.0, 0.0], [0.1, 0.85, 0.05]]))


def test_the_authors_variant_replaces_what_is_wrong() -> None:
    # Smoothing 0.3 over three classes: 1 - 0.3 + 0.1 = 0.8 for the class, 0.1 for the others.
    soft = soft_label(LOGITS, TRUTH, SoftDistance(replace_wrong=True, smoothing=0.3))
    assert torch.allclose(soft, torch.tensor([[0.8, 0.1, 0.1], [0.1, 0.8, 0.1], [0.1, 0.1, 0.8]]))


def test_the_confidence_must_exceed_the_threshold() -> None:
    even = torch.zeros(1, 2)
    assert soft_label(even, torch.tensor([1]), SoftDistance(confidence=0.5)).tolist() == [[0, 1]]
    assert soft_label(even, torch.tensor([1]), SoftDistance(confidence=0.49)).tolist() == [[0.5, 0.5]]


def test_soft_labels_are_distributions_without_a_gradient() -> None:
    logits = torch.randn(50, 5, requires_grad=True)
    soft = soft_label(logits, torch.randint(5, (50,)), SoftDistance(smoothing=0.01, confidence=0.4))
    assert not soft.requires_grad
    assert torch.allclose(soft.sum(1), torch.ones(50), atol=1e-6)


def test_equations_5_and_6_by_hand() -> None:
    # 0.3 + 0.2 + 0.1 = 0.6 and 0.25 + 0.5 + 0.25 = 1; the mean of six numbers.
    soft = torch.tensor([[0.8, 0.1, 0.1], [0.0, 1.0, 0.0]])
    views = torch.tensor([[0.5, 0.3, 0.2], [0.25, 0.5, 0.25]]).log()
    assert soft_distance(soft, views, TRUTH[:2]).item() == pytest.approx(1.6 / 6)


def test_l2_by_hand() -> None:
    # Against the truth (class 0): 0.5^2 + 0.3^2 + 0.2^2 = 0.38, over 3 classes; no soft label is looked at.
    views = torch.tensor([[0.5, 0.3, 0.2]]).log()
    for soft in (torch.zeros(1, 3), torch.ones(1, 3)):
        assert l2_distance(soft, views, torch.tensor([0])).item() == pytest.approx(0.38 / 3)


def test_view_cross_entropy_by_hand() -> None:
    views = torch.tensor([[0.5, 0.3, 0.2], [0.25, 0.5, 0.25]]).log()
    expected = -(math.log(0.5) + math.log(0.25)) / 2
    assert view_cross_entropy(views, views, torch.tensor([0, 2])).item() == pytest.approx(expected)


@pytest.mark.parametrize("name", list(LOSSES))
def test_a_loss_is_finite_for_any_logits(name: str) -> None:
    logits = torch.tensor([[1e4, -1e4, 0.0]], requires_grad=True)
    loss = LOSSES[name](soft_label(logits, torch.tensor([1]), SoftDistance()), logits, torch.tensor([1]))
    loss.backward()
    assert loss.isfinite()
    assert logits.grad is not None
    assert logits.grad.isfinite().all()


def test_equal_vectors_are_at_no_distance() -> None:
    assert soft_distance(P, LOGITS, TRUTH).item() == pytest.approx(0, abs=1e-7)
