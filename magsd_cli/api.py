"""Python: `import magsd_cli as magsd`, then `magsd.load("model.magsd").predict(...)`; docs/python.md.

The same steps as `magsd predict` and the same values. Nothing is printed and no process is left.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from contextlib import closing
from functools import cached_property
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import numpy.typing as npt

from magsd_cli.artifacts.columns import table_from_rows
from magsd_cli.artifacts.tables import PREDICTION, table_schema
from magsd_cli.console import silence
from magsd_cli.data.array import decode_array
from magsd_cli.data.decode import Decoded, DecodeError, read_image
from magsd_cli.data.film import prepare_film
from magsd_cli.data.ingest import Ingested
from magsd_cli.errors import ArtifactError, NoInputError, UsageError
from magsd_cli.inference import model as models
from magsd_cli.inference.decision import appearance_of, rules_of
from magsd_cli.inference.engines import AttentionEngine, choose_engine, open_attention_engine
from magsd_cli.inference.inputs import list_inputs
from magsd_cli.inference.scoring import FileAnswer, Score, score_files, score_pictures
from magsd_cli.inference.table.row import prediction_row
from magsd_cli.localization.regions import lay_on_film
from magsd_cli.runtime.worker_pool import hands_for
from magsd_cli.settings import Engine

if TYPE_CHECKING:
    import pandas as pd

Film = npt.NDArray[np.uint8] | npt.NDArray[np.uint16]  #: [H,W], white is dense, as it was decoded
PathLike = str | os.PathLike[str]
Row = dict[str, Any]
ARRAY = Path("array")  # stands for a film without a file where only files have answers


def load(model: PathLike, *, device: str = "auto") -> Model:
    """Load a trained model: a model file (``model.magsd``) or a run's folder.

    device: auto, cpu, cuda or cuda:N, as ``--device``. A model file, and on a CPU a run that has one, runs in
    ONNX Runtime and never imports torch.

    Raises `ArtifactError` where there is no such model, or it is damaged or unfinished, `UsageError` for a
    device that a model file does not run on, `DeviceError` for one that is not there.
    """
    path = Path(model)
    if not path.exists():
        raise ArtifactError(f"{path}: no such model; name a model file or the folder of a run")
    with silence():
        return Model(models.open_model(path, path.parent), device)


def read_film(path: PathLike) -> npt.NDArray[np.uint8]:
    """Decode one file (PNG, JPEG, TIFF, BMP, WebP, DICOM) as predict does: uint8 [H,W], upright, white is
    dense, before resizing and CLAHE.

    Raises `NoInputError` for a file that cannot be used; its text begins with the error code.
    """
    return _decoded(path).pixels


class Model:
    """A trained model, ready to predict. Made by `load`.

    classes: their names, in the order of the columns ``p_<class>``. sha256: the hash of its networks.
    """

    def __init__(self, trained: models.Model, device: str = "auto") -> None:
        self._trained, self._device = trained, device
        self._engine = choose_engine(trained, device=device)
        self._score = _open_engine(trained, self._engine, device)
        self.name: str = trained.name
        self.classes: tuple[str, ...] = trained.classes
        self.sha256: str = trained.sha256

    def __repr__(self) -> str:
        count = len(self._trained.folds)
        networks = "1 network" if count == 1 else f"{count} networks"
        return f"<magsd model {self.name}: {', '.join(self.classes)}; {networks}, {self._engine}>"

    def predict(
        self,
        inputs: PathLike | Film | Iterable[PathLike | Film],
        *,
        raw_probabilities: bool = False,
        workers: int | None = None,
    ) -> pd.DataFrame:
        """Classify films: a data frame with the columns and values of `magsd predict`, a row for each film.

        inputs: a path, a folder, an array, or several of them. Paths mean what they mean on the command line.
        Arrays are films as they were decoded, before any preparation: uint8 or uint16 [H,W], white is dense;
        their rows have no path and no sha256, and so no warning that they are training data.
        raw_probabilities: leave the calibration out of the columns ``p_<class>``. workers: processes that
        decode files (default: the cores); they end before this returns.

        A film that cannot be used has status "error" with a code and a reason, as on the command line.
        Raises `NoInputError` for a folder without files, `UsageError` for arrays of another type or shape.
        """
        rules = rules_of(self._trained, raw_probabilities)
        trained_on = self._trained_on
        rows: list[Row] = []
        with silence():
            for are_arrays, group in groupby(_as_list(inputs), lambda one: isinstance(one, np.ndarray)):
                some: list[Any] = list(group)
                answers = self._of_arrays(some) if are_arrays else self._of_files(some, workers)
                fresh = [prediction_row(answer, self._trained, rules, trained_on) for answer in answers]
                rows += [row | {"path": None} for row in fresh] if are_arrays else fresh
        table = table_from_rows(rows, table_schema(PREDICTION, self.classes))
        frame: pd.DataFrame = table.to_pandas()
        return frame

    def attention(self, film: PathLike | Film) -> npt.NDArray[np.float32]:
        """Return where the networks looked on one film: float32 [h,w], not normalised, larger is more.

        The map covers the whole film, whatever its shape: resize it to [H,W] to lay it over. It is the mean
        over the networks, as in the overlays of `magsd localize` for a new film.

        Raises `NoInputError` for a film that cannot be used, `UsageError` for an array of another type or
        shape or for a network without attention.
        """
        decoded = _decoded(film)
        with silence():
            prepared = prepare_film(decoded.pixels, self._trained.preprocessing)
            maps = self._attend(prepared.image[None, None], self._trained.folds).attention
        if maps is None:
            raise UsageError(
                f"{self.name}: this network has no attention maps; use a run of model.name=magsd"
            )
        return lay_on_film(maps[0], prepared.frame, (decoded.pixels.shape[0], decoded.pixels.shape[1]))

    @cached_property
    def _trained_on(self) -> dict[str, int]:
        with silence():
            return self._trained.fold_of_content() or {}

    @cached_property
    def _attend(self) -> AttentionEngine:
        return open_attention_engine(self._trained, self._device)

    def _of_files(self, given: Sequence[PathLike], workers: int | None) -> list[FileAnswer]:
        files = list_inputs([Path(path) for path in given])
        if not files:
            raise NoInputError(f"{given[0]}: no files there; name images or folders of images")
        hands = hands_for(len(files), workers)
        appearance = appearance_of(self._trained)
        with closing(
            score_files(files, self._trained.preprocessing, self._score, hands, 1, appearance)
        ) as some:
            return [answer for answers in some for answer in answers]

    def _of_arrays(self, films: Sequence[Film]) -> list[FileAnswer]:
        pictures = [self._prepared(film) for film in films]
        return score_pictures([ARRAY] * len(films), pictures, self._score, appearance_of(self._trained))

    def _prepared(self, film: Film) -> Ingested:
        try:
            decoded = decode_array(film)
        except DecodeError as error:
            return Ingested(error_code=error.code, error=error.reason)
        prepared = prepare_film(decoded.pixels, self._trained.preprocessing)
        return Ingested(prepared.image, warnings=(*decoded.warnings, *prepared.warnings))


def _as_list(inputs: PathLike | Film | Iterable[PathLike | Film]) -> list[PathLike | Film]:
    alone = isinstance(inputs, str | os.PathLike | np.ndarray) or not isinstance(inputs, Iterable)
    given = cast("list[PathLike | Film]", [inputs] if alone else list(cast("Iterable[Any]", inputs)))
    for one in given:
        if not isinstance(one, str | os.PathLike | np.ndarray):
            raise UsageError(f"{type(one).__name__}: a film is a path or an array [H,W]")
    if not given:
        raise NoInputError("no films given; name images, folders or arrays")
    return given


def _decoded(film: PathLike | Film) -> Decoded:
    try:
        return decode_array(film) if isinstance(film, np.ndarray) else read_image(Path(film))
    except DecodeError as error:
        name = "array" if isinstance(film, np.ndarray) else film
        raise NoInputError(f"{name}: {error.code}: {error.reason}") from error


def _open_engine(model: models.Model, engine: str, device: str) -> Score:
    """Open the engine: from uint8 [N,1,S,S] to each network's probabilities [N,M,K], the same bits as in
    predict.
    """
    if engine == Engine.onnxruntime:
        from magsd_cli.inference.onnx_engine import open_ensemble, predict_onnx

        assert model.model_file is not None
        ensemble = open_ensemble(model.model_file)
        return lambda images: predict_onnx(ensemble, images).of_each_network()
    from magsd_cli.inference.torch_engine import load_ensemble, predict_images
    from magsd_cli.runtime.device import choose_devices

    assert model.run is not None
    chosen = choose_devices(device)[0]
    networks = load_ensemble(model.run, model.folds, chosen)
    return lambda images: predict_images(networks, images, 1, chosen).of_each_network()
