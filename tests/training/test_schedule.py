import numpy as np
import pytest

from magsd_cli.recipe import Train
from magsd_cli.runtime.device import generator_seed
from magsd_cli.training.schedule import epoch_batches, learning_rate


def rates(**keys) -> list[float]:
    settings = Train(lr=1.0, **keys)
    return [learning_rate(settings, step, 2) for step in range(2 * settings.epochs)]


def test_multistep_falls_at_shares_of_the_epochs():
    assert rates(epochs=5, milestones=(0.4, 0.8), lr_gamma=0.1) == pytest.approx(
        [1] * 4 + [0.1] * 4 + [0.01] * 2
    )


def test_a_single_epoch_keeps_the_full_rate():
    assert rates(epochs=1) == [1, 1]


def test_cosine_by_hand():
    expected = [0.5 * (1 + np.cos(np.pi * k / 4)) for k in range(4)]
    assert rates(epochs=2, schedule="cosine") == pytest.approx(expected)


def test_warm_up_rises_linearly_then_the_schedule_takes_over():
    got = rates(epochs=4, schedule="cosine", warmup_epochs=2)
    assert got == pytest.approx(
        [0.25, 0.5, 0.75, 1, 1, *[0.5 * (1 + np.cos(np.pi * k / 4)) for k in (1, 2, 3)]]
    )


def test_constant():
    assert rates(epochs=3, schedule="constant") == [1] * 6


def test_every_image_once_an_epoch_in_a_new_order():
    labels = np.arange(11) % 3
    first, again, second, other = (
        epoch_batches(labels, Train(batch_size=4), *key)
        for key in [(0, 0, 0), (0, 0, 0), (0, 0, 1), (0, 1, 0)]
    )
    assert [len(batch) for batch in first] == [4, 4, 3]
    assert sorted(np.concatenate(first)) == list(range(11))
    assert np.array_equal(np.concatenate(first), np.concatenate(again))
    assert not np.array_equal(np.concatenate(first), np.concatenate(second))
    assert not np.array_equal(np.concatenate(first), np.concatenate(other))


@pytest.mark.parametrize(
    ("n", "size", "sizes"), [(9, 4, [4, 5]), (1, 4, [1]), (8, 4, [4, 4]), (3, 1, [1, 1, 1])]
)
def test_a_last_batch_of_one_joins_the_one_before(n, size, sizes):
    assert [len(b) for b in epoch_batches(np.zeros(n, int), Train(batch_size=size), 0, 0, 0)] == sizes


def test_balanced_sampling_draws_classes_equally():
    labels = np.array([0] * 27 + [1] * 3)
    drawn = np.concatenate(epoch_batches(labels, Train(sampling="balanced", batch_size=8), 0, 0, 0))
    assert np.bincount(labels[drawn]).tolist() == [15, 15]
    assert np.bincount(drawn, minlength=30)[27:].tolist() == [5, 5, 5]


def test_generator_seeds_differ():
    seeds = {
        generator_seed(s, f, e, k) for s in range(3) for f in range(3) for e in range(3) for k in range(3)
    }
    assert len(seeds) == 81
    assert all(0 <= seed < 2**63 for seed in seeds)
