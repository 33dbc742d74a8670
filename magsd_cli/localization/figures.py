"""Plain tables of a localization: its figures (``figures.csv``), the zones of its images (``zones.csv``)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pyarrow as pa

from magsd_cli.artifacts.tables import path_text
from magsd_cli.localization.choice import BRIGHTNESS, NETWORKS, Choice, PendingImage
from magsd_cli.localization.scores import KindFigures, figure_of
from magsd_cli.localization.words import MEASURES
from magsd_cli.localization.zones import ZONES, zone_means

_TEXTS = ("truth", "measure", "control")
_NUMBERS = ("mean", "low", "high", "control_mean", "gain", "gain_low", "gain_high", "p", "p_holm")
FIGURES = pa.schema(
    [
        *((name, pa.string()) for name in _TEXTS[:2]),
        ("images", pa.int32()),
        ("patients", pa.int32()),
        *((name, pa.float64()) for name in _NUMBERS[:3]),
        ("control", pa.string()),
        *((name, pa.float64()) for name in _NUMBERS[3:]),
    ]
)


def figures_table(kinds: Mapping[str, KindFigures]) -> pa.Table:
    """A row for each kind of truth, measure and control, columns `FIGURES`; shares in 0..1.

    A measure without a control has a row with an empty one. The bounds are of 95% intervals over patients.
    """
    rows: list[dict[str, object]] = []
    for kind, figures in kinds.items():
        for measure in MEASURES:
            score = figure_of(figures, measure)
            if score is None:
                continue
            low, high = score["interval95"] or (None, None)
            head = {
                "truth": kind,
                "measure": measure,
                "images": figures["n"],
                "patients": figures["patients"],
                "mean": score["mean"],
                "low": low,
                "high": high,
            }
            for control, gain in score["controls"].items():
                below, above = gain["gain_interval95"] or (None, None)
                rows.append(
                    {
                        **head,
                        "control": control,
                        "control_mean": gain["mean"],
                        "gain": gain["gain"],
                        "gain_low": below,
                        "gain_high": above,
                        "p": gain["p"],
                        "p_holm": gain["p_holm"],
                    }
                )
            if not score["controls"]:
                rows.append(dict(head))
    return pa.Table.from_pylist(rows, schema=FIGURES)


def zones_table(pending: Mapping[Path, PendingImage], chosen: Mapping[Path, Choice]) -> pa.Table | None:
    """Six rows for each image with zones: its severity, each reader's, and the means of map and brightness in
    the zone; None without such an image.
    """
    rows: list[dict[str, object]] = []
    found = [(path, one, zones) for path, one in pending.items() if (zones := one.known.zones) is not None]
    names = dict.fromkeys(name for _, _, zones in found for name in zones.scores.readers)
    for path, one, zones in found:
        seen = zone_means(one.maps[NETWORKS][chosen[path].map], zones.labels)
        bright = zone_means(one.maps[BRIGHTNESS][chosen[path].map], zones.labels)
        for place, zone in enumerate(ZONES):
            readers = zones.scores.readers
            rows.append(
                {
                    "path": path_text(path),
                    "zone": zone,
                    "severity": zones.scores.severity[place],
                    **{
                        f"severity_{name or 'reader'}": readers[name][place] if name in readers else None
                        for name in names
                    },
                    "map": chosen[path].map,
                    "attention": float(seen[place]),
                    "brightness": float(bright[place]),
                }
            )
    return pa.Table.from_pylist(rows) if rows else None
