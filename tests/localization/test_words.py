"""The figures of a localization in words: of one network and of several, of one image and of more."""

from __future__ import annotations

from typing import Any

import pytest

from magsd_cli.localization.words import in_words


def summary(**changed: Any) -> Any:
    whole = {
        "files": 4, "ok": 3, "errors": 1, "with_truth": 2, "own_data_by_its_unseen_fold": 2,
        "left_out_as_training_data": 1, "possibly_training_data": 0, "controls": {"untrained": ""},
        "networks": 5, "map": "attention", "thresholds": {}, "kinds": {},
    }  # fmt: skip
    return whole | changed


def test_several_networks() -> None:
    assert in_words(summary()) == [
        "localize: 4 files, 3 ok, 1 with an error",
        "2 images of the run's own data: each was shown only to the network of its fold, which was not "
        "trained on it",
        "1 image with truth left out of the figures: every network was trained on it",
    ]


def test_one_network_of_train() -> None:
    lines = in_words(summary(networks=1, own_data_by_its_unseen_fold=1))
    assert lines[1] == "1 image of the run's own data: held out, so that the network was not trained on it"
    assert lines[2].endswith("the network was trained on it")


@pytest.mark.parametrize("networks", [None, 5])
def test_what_earlier_versions_wrote_is_read(networks: int | None) -> None:
    old = summary()
    if networks is None:
        del old["networks"]
    assert in_words(old) == in_words(summary())
