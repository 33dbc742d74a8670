"""model.frozen_stride: the first layers of a trunk keep their first weights."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from magsd_cli.errors import UsageError
from magsd_cli.method.step import plain_step
from magsd_cli.models.build import build_model
from magsd_cli.recipe import load_recipe

LITE0 = ["model.backbone=timm:tf_efficientnet_lite0", "model.weights=imagenet", "image.size=64"]
UP_TO = {4: ("conv_stem", "bn1", "blocks.0.", "blocks.1."), 8: ("blocks.2.",), 16: ("blocks.3.", "blocks.4.")}


@pytest.mark.parametrize("stride", [1, 4, 8, 16])
def test_what_is_frozen_of_lite0(stride: int) -> None:
    """All layers up to the features of that stride, and none behind them."""
    model = build_model(load_recipe("base", [*LITE0, f"model.frozen_stride={stride}"]).model, 3, 0)
    expected = tuple(
        f"features.network.{name}" for key, names in UP_TO.items() if key <= stride for name in names
    )
    frozen = {name for name, value in model.named_parameters() if not value.requires_grad}
    assert frozen == {name for name, _ in model.named_parameters() if expected and name.startswith(expected)}


@pytest.mark.parametrize(
    ("stride", "stages"), [(4, ("layer1",)), (8, ("layer1", "layer2")), (16, ("layer1", "layer2", "layer3"))]
)
def test_what_is_frozen_of_a_resnet(stride: int, stages: tuple[str, ...], tmp_path: Path) -> None:
    """The stem and the stages up to that stride."""
    import torchvision

    torch.save(torchvision.models.resnet18().state_dict(), tmp_path / "r.pt")
    settings = load_recipe(
        "base",
        ["model.backbone=resnet18", f"model.weights={tmp_path / 'r.pt'}", f"model.frozen_stride={stride}"],
    )
    model = build_model(settings.model, 3, 0)
    frozen = {name.split(".")[1] for name, value in model.named_parameters() if not value.requires_grad}
    assert frozen == {"conv1", "bn1", *stages}
    assert all(
        value.requires_grad for name, value in model.named_parameters() if name.split(".")[1] not in frozen
    )


def test_a_step_leaves_the_weights_and_moves_the_statistics() -> None:
    """One step with weight decay changes no bit of a frozen weight; batch norm follows the films."""
    recipe = load_recipe("base", [*LITE0, "model.frozen_stride=8"])
    model = build_model(recipe.model, 3, 0).train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    optimiser = torch.optim.SGD(model.parameters(), lr=0.1, weight_decay=0.1)
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(4, 1, 64, 64, generator=generator)
    plain_step(model, images, torch.tensor([0, 1, 2, 0]), recipe, generator)
    optimiser.step()
    for name, value in model.named_parameters():
        assert torch.equal(value, before[name]) == (not value.requires_grad), name
    mean = "features.network.blocks.0.0.bn1.running_mean"
    assert not torch.equal(model.state_dict()[mean], before[mean])


def test_frozen_random_weights_are_refused() -> None:
    with pytest.raises(UsageError, match="frozen_stride would keep random weights"):
        load_recipe("base", ["model.weights=none", "model.frozen_stride=8"])


def test_a_network_other_than_magsd_has_none() -> None:
    settings = load_recipe("table3/resnet50", ["model.frozen_stride=8"]).model
    with pytest.raises(UsageError, match="frozen_stride"):
        build_model(settings, 3, 0)


def test_a_stride_that_the_backbone_lacks() -> None:
    """ConvNeXt has features at 1/4 and onwards; a network without 1/4 says which it has."""
    from magsd_cli.models.timm_features import TimmFeatures

    features = TimmFeatures("convnext_atto")
    features.freeze(8)
    assert {n.split(".")[0] for n, p in features.network.named_parameters() if not p.requires_grad} == {
        "stem_0", "stem_1", "stages_0", "stages_1",
    }  # fmt: skip
    features.network.feature_info.info = [{"reduction": 8, "module": "stages.1"}]
    with pytest.raises(UsageError, match=r"frozen_stride=4: .* at 1/8"):
        features.freeze(4)
