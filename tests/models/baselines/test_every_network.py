"""The comparison networks of Table 3: published costs and keys, sizes, and whether they learn at all."""

from __future__ import annotations

import pytest
import torch
import torchvision
from torch import nn
from torch.optim import SGD, Adam

from magsd_cli.errors import UsageError
from magsd_cli.method.step import plain_step
from magsd_cli.models.baselines.bcnn import bilinear_pooling
from magsd_cli.models.baselines.vgg import VGG16Features
from magsd_cli.models.build import MODELS, build_model, multiply_adds, parameters
from magsd_cli.models.weights import fit_trunk
from magsd_cli.recipe import Model, Recipe, recipe_from_values

COMPARISON = [name for name in MODELS if name != "magsd"]
NO_ATTENTION = [name for name in COMPARISON if name != "bcnn_attention"]


def network(name: str, classes: int = 3, **changes: object) -> nn.Module:
    return build_model(Model(name=name, weights="none", **changes), classes, seed=0)  # type: ignore[arg-type]


def on_paper(name: str, classes: int = 1000) -> nn.Module:
    """The network without any numbers in it, for counting."""
    with torch.device("meta"):
        return network(name, classes)


@pytest.mark.parametrize(
    ("name", "size", "published", "published_gmac", "stem", "stem_pixels"),
    [
        # torchvision's model pages. One input channel instead of three saves 2/3 of the first convolution,
        # whose filters are `stem` values a channel, at `stem_pixels` places.
        ("vgg16", 224, 138_357_544, 15.470, 64 * 9, 224**2),
        ("resnet18", 224, 11_689_512, 1.814, 64 * 49, 112**2),
        ("resnet50", 224, 25_557_032, 4.089, 64 * 49, 112**2),
        # Without the auxiliary classifier: 27,161,264 less its 3,326,696.
        ("inception_v3", 299, 27_161_264 - 3_326_696, 5.713, 32 * 9, 149**2),
    ],
)
def test_published_costs(
    name: str, size: int, published: int, published_gmac: float, stem: int, stem_pixels: int
) -> None:
    model = on_paper(name)
    assert parameters(model) == published - 2 * stem
    gmac = (multiply_adds(model, size) + 2 * stem * stem_pixels) / 1e9
    assert gmac == pytest.approx(published_gmac, abs=0.002)


def test_the_bilinear_vector_has_the_published_length() -> None:
    # Lin et al., section 3: 512 x 512 = 262,144 for [D, D].
    assert on_paper("bcnn", 3).classifier.in_features == 262_144


def test_bilinear_pooling_by_hand() -> None:
    # Two channels at two places, (1, 3) and (2, 4). Outer products (1,3;3,9) and (4,8;8,16), their mean.
    features = torch.tensor([[[[1.0, 2.0]], [[3.0, 4.0]]]])
    assert bilinear_pooling(features).tolist() == [[2.5, 5.5, 5.5, 12.5]]


def test_vggs_scales_are_those_before_the_poolings() -> None:
    with torch.device("meta"):
        features = VGG16Features()
        scales = features(torch.empty(1, 1, 224, 224))
    assert [list(f.shape[1:]) for f in scales] == [[256, 56, 56], [512, 28, 28], [512, 14, 14]]
    kinds = [type(features.features[end]) for end in (16, 23, 30)]
    assert kinds == [nn.MaxPool2d] * 3


@pytest.mark.parametrize("name", COMPARISON)
def test_torchvisions_weights_fit(name: str) -> None:
    model = on_paper(name, 3)
    if model.trunk is None:
        pytest.skip("no weights are published for it")
    with torch.device("meta"):
        extra = {"init_weights": False} if model.trunk.name == "inception_v3" else {}
        published = torchvision.models.get_model(model.trunk.name, weights=None, **extra)
    fit_trunk(model.trunk, published.state_dict(), "sum_rgb", name)


@pytest.mark.parametrize("name", COMPARISON)
def test_shapes_at_odd_and_small_sizes(name: str) -> None:
    for size in (75, 101) if "inception" in name else (64, 101):
        model = on_paper(name, 3).eval()
        output = model(torch.empty(2, 1, size, size, device="meta"))
        assert output.logits.shape == (2, 3)
        assert (output.attention is None) == (name in NO_ATTENTION)
        if output.attention is not None:
            assert output.attention.shape == (2, 32, size // 16, size // 16)


@pytest.mark.parametrize("name", ["inception_v3", "narin_inception_v3"])
def test_too_small_an_image_is_refused_with_the_smallest_size(name: str) -> None:
    with pytest.raises(UsageError, match=r"image\.size=64: .* takes 75 px and more"):
        on_paper(name, 3)(torch.empty(2, 1, 64, 64, device="meta"))


def _overfit(
    name: str,
    steps: int,
    size: int,
    lr: float,
    optimiser: type[SGD] | type[Adam] = SGD,
    **changes: object,
) -> int:
    """Train on 16 images of blurred noise with random labels; how many of them are right at the end."""
    generator = torch.Generator().manual_seed(0)
    coarse = torch.randn(16, 1, 6, 6, generator=generator)
    images = nn.functional.interpolate(coarse, size=(size, size), mode="bilinear")
    targets = torch.randint(3, (16,), generator=generator)
    recipe: Recipe = recipe_from_values(
        {"model": {"name": name, "weights": "none", **changes}, "train": {"step": "plain"}}, "test"
    )
    torch.manual_seed(0)
    model = build_model(recipe.model, 3, seed=0)
    descent = Adam(model.parameters(), lr) if optimiser is Adam else SGD(model.parameters(), lr, momentum=0.9)
    right = 0
    for _ in range(steps):
        descent.zero_grad()
        right = int(plain_step(model, images, targets, recipe, generator).correct)
        nn.utils.clip_grad_norm_(model.parameters(), 5.0)
        descent.step()
        if right == 16:
            break
    return right


@pytest.mark.parametrize(
    ("name", "changes"),
    [("resnet18", {}), ("magsd", {"backbone": "resnet18", "attention_maps": 4, "feature_scale": 10.0})],
)
def test_sixteen_images_are_learnt_by_heart(name: str, changes: dict[str, object]) -> None:
    assert _overfit(name, steps=30, size=64, lr=0.01, **changes) == 16


#: Learning rates of Adam for those that SGD had not taught all sixteen within two minutes.
ADAM = {"unet": 1e-3, "vgg16": 1e-4, "bcnn": 1e-4}
SLOW = [name for name in COMPARISON if name != "resnet18"]


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("name", SLOW)
def test_every_network_learns_sixteen_images_by_heart(name: str) -> None:
    size = 75 if "inception" in name else 64
    optimiser = Adam if name in ADAM else SGD
    assert _overfit(name, 150, size, ADAM.get(name, 0.01), optimiser) == 16
