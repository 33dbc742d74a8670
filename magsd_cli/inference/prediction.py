"""The one way from prepared images to probabilities, for cross-validation, predict and localize alike.

Images come as uint8 at the cache's size, already contrast-equalised; what happens to them afterwards
(area-resize to the network's size, z-score, network, softmax, mean over the fold networks) happens only here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from magsd_cli.data.clahe import resize_images
from magsd_cli.errors import ArtifactError
from magsd_cli.inference.outcome import Prediction
from magsd_cli.method.zscore import z_score

__all__ = ["BATCH_TOLERANCE", "Ensemble", "Prediction", "predict_images"]

#: Largest difference of a probability between an image scored alone and the same image in any batch (fp32).
BATCH_TOLERANCE = 1e-5


@dataclass(frozen=True)
class Ensemble:
    """Networks that predict together, and what an image must go through before they see it.

    `models` are put into eval mode; `folds[i]` is the fold whose images `models[i]` never saw (or empty).
    `cache_size` is the side at which images are resized and equalised (`clahe`, `clip_limit`, `tiles`);
    `size` is the side that the networks see, at most `cache_size`.
    """

    models: tuple[nn.Module, ...]
    classes: tuple[str, ...]
    size: int
    cache_size: int
    clahe: bool = True
    clip_limit: float = 4.0
    tiles: int = 4
    folds: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if not self.models or not self.classes:
            raise ValueError("an ensemble needs at least one network and one class")
        if self.folds and len(self.folds) != len(self.models):
            raise ValueError(f"{len(self.folds)} fold numbers for {len(self.models)} networks")
        for model in self.models:
            model.eval()

    def only(self, folds: Sequence[int]) -> Ensemble:
        """The same ensemble with only the networks of `folds`. Raises `ValueError` for a fold it has not."""
        chosen = [self.folds.index(fold) for fold in folds]
        models = tuple(self.models[i] for i in chosen)
        return Ensemble(
            models, self.classes, self.size, self.cache_size,
            self.clahe, self.clip_limit, self.tiles, tuple(folds),
        )  # fmt: skip


def predict_images(
    ensemble: Ensemble,
    images: npt.NDArray[np.uint8],
    batch_size: int = 16,
    device: torch.device | str = "cpu",
    with_attention: bool = False,
) -> Prediction:
    """Probabilities of prepared `images`, uint8 [N,1,S,S]: the mean over the networks of their softmax.

    With `with_attention` also the attention, float32 [N,h,w] and not normalised: the mean over the maps of
    a network and over the networks; None where the network has no attention. A row does not depend on the
    other images of its batch (to `BATCH_TOLERANCE`; networks in eval mode use no batch statistics).

    Raises `ValueError` for images smaller than the network's size, `ArtifactError` for non-finite outputs.
    """
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[1] != 1:
        raise ValueError(f"images must be uint8 [N,1,S,S], not {images.dtype} {list(images.shape)}")
    if images.shape[-1] < ensemble.size:
        raise ValueError(f"images of side {images.shape[-1]} for networks of side {ensemble.size}")
    for model in ensemble.models:
        model.to(device)
    probabilities, attention, members = [], [], []
    for start in range(0, len(images), batch_size):
        batch = images[start : start + batch_size]
        if batch.shape[-1] != ensemble.size:
            batch = resize_images(batch, ensemble.size)
        mean, maps, each = _predict_batch(ensemble.models, torch.from_numpy(batch).to(device), with_attention)
        probabilities.append(mean)
        members.append(each)
        if maps is not None:
            attention.append(maps)
    if not probabilities:
        return Prediction(np.zeros((0, len(ensemble.classes)), np.float32), None)
    maps_or_none = np.concatenate(attention) if attention else None
    return Prediction(np.concatenate(probabilities), maps_or_none, np.concatenate(members))


@torch.inference_mode()
def _predict_batch(
    models: Sequence[nn.Module], images: torch.Tensor, with_attention: bool
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32] | None, npt.NDArray[np.float64]]:
    """Mean softmax [B,K], if wanted mean attention [B,h,w], each softmax [B,M,K] of uint8 [B,1,S,S]."""
    standard = z_score(images)
    # In float64 the mean of five rows still sums to 1 within one float32 rounding.
    outputs = [model(standard) for model in models]
    each = torch.stack([output.logits.double().softmax(dim=1) for output in outputs], dim=1)
    mean = each.mean(dim=1)
    if not bool(mean.isfinite().all()):
        raise ArtifactError("model: its output is not finite, the weights are damaged; train it again")
    maps = None
    if with_attention and all(output.attention is not None for output in outputs):
        stacked = torch.stack([output.attention.float().mean(dim=1) for output in outputs])
        maps = stacked.mean(dim=0).cpu().numpy()
    return mean.float().cpu().numpy(), maps, each.cpu().numpy()
