"""Predictions of networks beside the true classes of the images."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True)
class Predictions:
    """Probabilities float64 [N,K] of N images for each of `classes`, with the true class numbers int64 [N].

    folds: the fold in which each was tested, int64 [N]; None for images of no fold. patients: "" where
    unknown.
    """

    image_ids: tuple[str, ...] = field(repr=False)
    truth: npt.NDArray[np.int64] = field(repr=False)
    probabilities: npt.NDArray[np.float64] = field(repr=False)
    folds: npt.NDArray[np.int64] | None = field(repr=False)
    patients: tuple[str, ...] = field(repr=False)
    classes: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.truth)

    @property
    def called(self) -> npt.NDArray[np.int64]:
        """The class of the largest probability [N]."""
        called: npt.NDArray[np.int64] = self.probabilities.argmax(axis=1)
        return called

    @property
    def confidence(self) -> npt.NDArray[np.float64]:
        """The largest probability [N]."""
        confidence: npt.NDArray[np.float64] = self.probabilities.max(axis=1)
        return confidence

    @property
    def labels(self) -> list[str]:
        """The name of the true class [N]."""
        return [self.classes[k] for k in self.truth]

    def tested_in(self) -> npt.NDArray[np.int64]:
        """The folds [N]. Raises `ValueError` where the images are of none."""
        if self.folds is None:
            raise ValueError("these images are of no fold")
        return self.folds

    def by_image(self) -> Predictions:
        """Return the predictions in the order of the image ids."""
        return self.where(np.array(sorted(range(len(self)), key=self.image_ids.__getitem__), np.int64))

    def where(self, chosen: npt.NDArray[np.bool_] | npt.NDArray[np.int64]) -> Predictions:
        """Those of the `chosen` images: a mask bool [N], or their rows in the wanted order."""
        order = np.arange(len(self))[chosen]
        return replace(
            self,
            image_ids=tuple(self.image_ids[i] for i in order),
            truth=self.truth[order],
            probabilities=self.probabilities[order],
            folds=None if self.folds is None else self.folds[order],
            patients=tuple(self.patients[i] for i in order),
        )
