"""The one way from prepared images to probabilities, for cross-validation, predict and localize alike.

Images come as uint8 at the cache's size, already contrast-equalised; what happens to them afterwards
(area-resize to the network's size, z-score, network, softmax, mean over the fold networks) happens only here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from magsd_cli.artifacts.checkpoints import load_weights
from magsd_cli.artifacts.runs import Run, weights_path
from magsd_cli.data.clahe import resize_images
from magsd_cli.errors import ArtifactError
from magsd_cli.inference.answer import Prediction, joined
from magsd_cli.method.zscore import column_z_score, z_score
from magsd_cli.models.build import build_model
from magsd_cli.models.origin import stay_offline
from magsd_cli.models.output import Output
from magsd_cli.recipe import Recipe
from magsd_cli.runtime.device import WEIGHTS, generator_seed

__all__ = ["BATCH_TOLERANCE", "Ensemble", "Prediction", "explain", "predict_images"]

#: Largest difference of a probability between an image scored alone and the same image in any batch (fp32).
BATCH_TOLERANCE = 1e-5


@dataclass(frozen=True)
class Ensemble:
    """Networks that predict together.

    `models` are put into eval mode; `folds[i]` is the fold whose images `models[i]` never saw (or empty);
    `size` is the side that they see.
    """

    models: tuple[nn.Module, ...]
    classes: tuple[str, ...]
    size: int
    folds: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if not self.models or not self.classes:
            raise ValueError("an ensemble needs at least one network and one class")
        if self.folds and len(self.folds) != len(self.models):
            raise ValueError(f"{len(self.folds)} fold numbers do not fit the networks: {len(self.models)}")
        for model in self.models:
            model.eval()

    def only(self, folds: Sequence[int]) -> Ensemble:
        """Return an ensemble of only the networks of `folds`. Raises `ValueError` for a fold it has not."""
        chosen = [self.folds.index(fold) for fold in folds]
        models = tuple(self.models[i] for i in chosen)
        return Ensemble(models, self.classes, self.size, tuple(folds))


def predict_images(
    ensemble: Ensemble,
    images: npt.NDArray[np.uint8],
    batch_size: int = 16,
    device: torch.device | str = "cpu",
    with_attention: bool = False,
) -> Prediction:
    """Probabilities of prepared `images`, uint8 [N,1,S,S]: the mean over the networks of their softmax.

    With `with_attention` also the attention, float32 [N,h,w] and not normalised: the mean over the maps of
    a network and over the networks; None where the network has no attention; and the class-aware maps, the
    mean over the networks, which sum to the mean of their logits. A row does not depend on the other images
    of its batch (to `BATCH_TOLERANCE`; networks in eval mode use no batch statistics).

    Raises `ValueError` for images smaller than the network's size, `ArtifactError` for non-finite outputs.
    """
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[1] != 1:
        raise ValueError(f"images must be uint8 [N,1,S,S], not {images.dtype} {list(images.shape)}")
    if images.shape[-1] < ensemble.size:
        raise ValueError(f"images of side {images.shape[-1]} for networks of side {ensemble.size}")
    for model in ensemble.models:
        model.to(device)
    parts = []
    for start in range(0, len(images), batch_size):
        batch = images[start : start + batch_size]
        if batch.shape[-1] != ensemble.size:
            batch = resize_images(batch, ensemble.size)
        parts.append(_predict_batch(ensemble.models, torch.from_numpy(batch).to(device), with_attention))
    if not parts:
        return Prediction(np.zeros((0, len(ensemble.classes)), np.float32), None)
    return joined(parts)


@torch.inference_mode()
def _predict_batch(models: Sequence[nn.Module], images: torch.Tensor, with_attention: bool) -> Prediction:
    """Return the networks' answers about uint8 [B,1,S,S]."""
    standard = z_score(images)
    outputs = [explain(model, standard) if with_attention else model(standard) for model in models]
    # In float64 the mean of five rows still sums to 1 within one float32 rounding.
    each = torch.stack([output.logits.double().softmax(dim=1) for output in outputs], dim=1)
    mean = each.mean(dim=1)
    if not bool(mean.isfinite().all()):
        raise ArtifactError("model: its output is not finite, the weights are damaged; train it again")
    attention = class_maps = None
    if with_attention:
        attention = _mean_map(
            [None if o.attention is None else o.attention.float().mean(dim=1) for o in outputs]
        )
        class_maps = _mean_map([output.class_maps for output in outputs])
    return Prediction(mean.float().cpu().numpy(), attention, each.cpu().numpy(), class_maps)


def _mean_map(maps: Sequence[Tensor | None]) -> npt.NDArray[np.float32] | None:
    """The mean of the networks' maps; None where one of them has none."""
    known = [one.float() for one in maps if one is not None]
    return torch.stack(known).mean(dim=0).cpu().numpy() if len(known) == len(maps) else None


def explain(network: nn.Module, images: Tensor) -> Output:
    """The answer of `network` to z-scored X-rays [B, 1, H, W], with class-aware maps where it has them."""
    own = getattr(network, "explain", None)
    output: Output = network(images) if own is None else own(images)
    return output


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
        return self._both(self.network(images), self.network(images.flip(3)))

    def explain(self, images: Tensor) -> Output:
        """Return what `forward` does, with class-aware maps."""
        return self._both(explain(self.network, images), explain(self.network, images.flip(3)))

    @staticmethod
    def _both(direct: Output, swapped: Output) -> Output:
        mean = (direct.logits.softmax(1) + swapped.logits.softmax(1)) / 2
        return Output(
            mean.clamp_min(1e-30).log(),
            _mean_of_mirrored(direct.attention, swapped.attention),
            _mean_of_mirrored(direct.class_maps, swapped.class_maps),
        )


def _mean_of_mirrored(direct: Tensor | None, swapped: Tensor | None) -> Tensor | None:
    """The mean of two maps [B, M, h, w], the second turned back; None where there are none."""
    return None if direct is None or swapped is None else (direct + swapped.flip(3)) / 2


class ByColumn(nn.Module):
    """A trained network that sees the z-score of each column of an image (``image.z_score``), for prediction.

    forward: z-scored images [B, 1, H, W] -> Output. The z-score of the whole image before it changes nothing.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Output:
        """Answer for [B, 1, H, W] as the class says."""
        output: Output = self.network(column_z_score(images))
        return output

    def explain(self, images: Tensor) -> Output:
        """Return what `forward` does, with class-aware maps."""
        return explain(self.network, column_z_score(images))


def as_it_predicts(model: nn.Module, recipe: Recipe) -> nn.Module:
    """The network with what the recipe does to an image before it, and to the answers."""
    if recipe.image.z_score == "column":
        model = ByColumn(model)
    return Mirrored(model) if recipe.image.mirror else model


def load_ensemble(
    run: Run, folds: Sequence[int] | None = None, device: torch.device | str = "cpu"
) -> Ensemble:
    """The networks of `folds` (None: all that are trained) on `device`.

    Raises `ArtifactError` where weights are missing, damaged, not finite, or not the recipe's.
    """
    folds = tuple(run.trained if folds is None else folds)
    models = []
    for fold in folds:
        model = trained_network(run.recipe, run.classes, weights_path(run.path, fold))
        models.append(model.to(device).to(memory_format=torch.channels_last))
    return Ensemble(tuple(models), run.classes, run.recipe.image.size, folds)


def trained_network(recipe: Recipe, classes: Sequence[str], weights: Path) -> nn.Module:
    """The network that predicts with `weights`, as the recipe asks: with its mirror image or alone.

    Raises `ArtifactError` where the weights are missing, damaged, not finite, or not the recipe's.
    """
    # The weights come from the run: nothing is to be read from ImageNet's, or to be missed there.
    settings = recipe.model.model_copy(update={"weights": "none"})
    model = build_model(settings, len(classes), recipe.seed)
    load_weights(model, weights, tuple(classes))
    return as_it_predicts(model, recipe)


def untrained_ensemble(
    recipe: Recipe, classes: Sequence[str], folds: Sequence[int], first_weights: bool = False
) -> Ensemble:
    """The networks of `folds` with the random weights that training from scratch begins with: a control.

    `first_weights`: with the weights that their training began with, such as ImageNet's in the trunk. They
    are not fetched: raises `ArtifactError` where they are not on this machine.
    """
    settings = recipe.model if first_weights else recipe.model.model_copy(update={"weights": "none"})
    models = []
    for fold in folds:
        with stay_offline():
            model = build_model(settings, len(classes), generator_seed(recipe.seed, fold, 0, WEIGHTS))
        models.append(as_it_predicts(model, recipe))
    return Ensemble(tuple(models), tuple(classes), recipe.image.size, tuple(folds))
