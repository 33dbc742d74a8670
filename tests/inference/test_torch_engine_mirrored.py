"""What comes before and behind a network at prediction: mirror images, the z-score by column."""

from __future__ import annotations

import pytest
import torch
from tiny_run import KEYS
from torch import Tensor, nn

from magsd_cli.inference.torch_engine import ByColumn, Mirrored, predict_images, untrained_ensemble
from magsd_cli.method.zscore import column_z_score, z_score
from magsd_cli.models.output import Output
from magsd_cli.recipe import load_recipe


class LeftHalf(nn.Module):
    """Logits: 0 and the log of the sum of the left half; attention: the image itself."""

    def forward(self, images: Tensor) -> Output:
        left = images[..., : images.shape[3] // 2].sum((1, 2, 3))
        return Output(torch.stack([torch.zeros_like(left), left.log()], 1), images)


def test_the_mean_of_both_answers_by_hand() -> None:
    # Left half sums to 3, right half to 1. Softmax of (0, log 3) is (1/4, 3/4), of (0, log 1) (1/2, 1/2);
    # the mean is (3/8, 5/8).
    image = torch.tensor([[[[3.0, 1.0]]]])
    output = Mirrored(LeftHalf())(image)
    torch.testing.assert_close(output.logits.softmax(1), torch.tensor([[3 / 8, 5 / 8]]))
    # The mirror image's attention is turned back, so it lies over the image again.
    torch.testing.assert_close(output.attention, image)


def test_an_image_and_its_mirror_image_get_the_same_answer() -> None:
    images = torch.rand(2, 1, 4, 6, generator=torch.Generator().manual_seed(0)) + 0.1
    network = Mirrored(LeftHalf())
    torch.testing.assert_close(network(images).logits, network(images.flip(3)).logits)


@pytest.mark.parametrize("mirror", ["false", "true"])
def test_a_recipe_with_a_z_score_by_column_predicts_with_it(mirror: str) -> None:
    images = torch.randint(0, 256, (2, 1, 64, 64), dtype=torch.uint8).numpy()
    plain, column = (
        untrained_ensemble(load_recipe("base", [*KEYS, f"image.z_score={of}", *both]), ("a", "b"), [0])
        for of, both in (("image", []), ("column", [f"image.mirror={mirror}"]))
    )
    network = plain.models[0]
    if mirror == "true":
        network = Mirrored(network).eval()
    with torch.inference_mode():
        expected = network(column_z_score(z_score(torch.from_numpy(images)))).logits.softmax(1)
    torch.testing.assert_close(torch.from_numpy(predict_images(column, images).probabilities), expected)
    assert any(isinstance(module, ByColumn) for module in column.models[0].modules())
