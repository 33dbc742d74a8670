"""A network asked twice: for the image and for its mirror image."""

from __future__ import annotations

from torch import Tensor, nn

from magsd_cli.models.output import Output


class Mirrored(nn.Module):
    """The mean of a trained network's answers for an image and for its mirror image (left and right swapped).

    forward: [B, 1, H, W] -> Output; the softmax of its logits is the mean of the two softmaxes, its attention
    the mean of the two attentions, the second turned back. For prediction only. Not in the paper
    (``image.mirror``, docs/paper.md).
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Output:
        """Answer for [B, 1, H, W] as the class says."""
        direct, swapped = self.network(images), self.network(images.flip(3))
        mean = (direct.logits.softmax(1) + swapped.logits.softmax(1)) / 2
        attention = direct.attention
        if attention is not None:
            attention = (attention + swapped.attention.flip(3)) / 2
        return Output(mean.clamp_min(1e-30).log(), attention)
