"""`magsd pacs screen --store`: a study's report and segmentations into the PACS, each once.

Their UIDs follow from the images, the model and its settings, so the PACS itself says what it has: nothing
that is there is made again, after a kill or when the table is lost.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from pydicom import Dataset

from magsd_cli.console import say
from magsd_cli.data.decode import read_image
from magsd_cli.data.dicom.read import read_dataset
from magsd_cli.data.film import prepare_film
from magsd_cli.hospital.algorithm import algorithm_of
from magsd_cli.hospital.codes import class_codes
from magsd_cli.hospital.pacs.dicomweb import ListedImage, Pacs
from magsd_cli.hospital.reports import distinct_images
from magsd_cli.hospital.segmentation import RegionRule, build_seg, seg_uid
from magsd_cli.hospital.sources import Source, SourceError, open_source, quiet
from magsd_cli.hospital.structured_report import build_sr, sr_series_uid, sr_uid
from magsd_cli.inference.decision import DecisionRules
from magsd_cli.inference.engines import open_attention_engine
from magsd_cli.inference.model import Model
from magsd_cli.inference.resume import Row, Values
from magsd_cli.localization.measure import evidence_of
from magsd_cli.localization.regions import find_region, lay_on_film
from magsd_cli.settings import Map


class Delivery:
    """Puts what follows from a study's images into the PACS."""

    def __init__(self, pacs: Pacs, model: Model, rules: DecisionRules, region: RegionRule) -> None:
        self._pacs, self._model, self._region = pacs, model, region
        self._algorithm = algorithm_of(model, rules, class_codes(model.classes, model.recipe))
        ask = open_attention_engine(model, "cpu")
        self._ask = ask if region.map == Map.attention else evidence_of(ask, model.name)

    def deliver(self, study: str, scored: Sequence[tuple[Path, Row]]) -> None:
        """Send the report about the `scored` images (file and row, all ok), and a segmentation of each.

        Raises `PacsError` where the PACS does not take them, `SourceError` where no report can be made.
        """
        found = distinct_images([open_source(file) for file, _ in scored], [row for _, row in scored])
        sources = [source for source, _ in found]
        self._send_report(study, sources, [row for _, row in found])
        files = {row["sha256"]: file for file, row in scored}
        there = set(self._pacs.objects(study, self._algorithm.uid("SEG series", study)))
        for made in self._segmentations(sources, files, there):
            self._pacs.store(study, made)

    def _send_report(self, study: str, sources: list[Source], rows: list[Values]) -> None:
        series = sr_series_uid(study, self._algorithm)
        earlier = list(self._pacs.objects(study, series))
        if sr_uid(sources, self._algorithm) in earlier:
            return
        previous = []
        for uid in earlier:
            with quiet():
                previous.append(read_dataset(self._pacs.fetch(study, ListedImage(series, uid))))
        self._pacs.store(study, build_sr(sources, rows, self._algorithm, previous))

    def _segmentations(
        self, sources: Sequence[Source], files: Mapping[str, Path], there: set[str]
    ) -> Iterator[Dataset]:
        """Those that are not `there`. An image on which the map marks nothing has none."""
        for source in sources:
            if seg_uid(source, self._region, self._algorithm) in there:
                continue
            pixels = read_image(files[source.sha256]).pixels
            film = prepare_film(pixels, self._model.preprocessing)
            attention = self._ask(film.image[None, None], self._model.folds).attention
            if attention is None:
                say(f"{self._model.name}: its network has no attention: no segmentations", level="warning")
                return
            shape = (pixels.shape[0], pixels.shape[1])
            marked = lay_on_film(attention[0], film.frame, shape)
            region = find_region(marked, shape, self._region.threshold)
            try:
                yield build_seg(source, region.mask, self._region, self._algorithm)
            except SourceError:
                continue
