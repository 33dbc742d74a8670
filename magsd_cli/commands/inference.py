"""`magsd predict` and `magsd localize`: a trained network on new images."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from magsd_cli.commands.options import (
    ClusterOption,
    DeviceOption,
    GpusOption,
    ModelOption,
    NameOption,
    WorkersOption,
)
from magsd_cli.errors import UsageError
from magsd_cli.settings import By, Engine


def predict(
    context: typer.Context,
    inputs: Annotated[list[Path], typer.Argument(metavar="INPUT...", help="Images or folders of images.")],
    model: ModelOption = None,
    out: Annotated[Path | None, typer.Option("--out", help="Write the table to this file.")] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Keep the rows that FILE has and score the rest.")
    ] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace FILE.")] = False,
    watch_once: Annotated[
        bool, typer.Option("--watch-once", help="For cron: add what FILE has not seen yet, keep all it has.")
    ] = False,
    engine: Annotated[Engine, typer.Option(help="What runs the network.")] = Engine.auto,
    device: DeviceOption = "auto",
    gpus: GpusOption = None,
    batch_size: Annotated[
        int | None, typer.Option(min=1, help="Images at a time (default: 1 on the CPU, 16 on a GPU).")
    ] = None,
    workers: WorkersOption = None,
    cluster: ClusterOption = None,
    raw_probabilities: Annotated[
        bool, typer.Option("--raw-probabilities", help="Leave the calibration out of p_<class>.")
    ] = False,
    by: Annotated[
        By | None,
        typer.Option(help="A table with a row a study too: FILE.studies.parquet beside --out FILE."),
    ] = None,
    dicom_sr: Annotated[
        Path | None,
        typer.Option("--dicom-sr", metavar="DIR", help="A DICOM report for each study (extra dicom)."),
    ] = None,
    codes: Annotated[
        Path | None,
        typer.Option(metavar="CSV", help="With --dicom-sr: the classes' codes: class,code,scheme,meaning."),
    ] = None,
) -> int:
    """Classify images: one row for every input file, as Parquet on stdout or in --out."""
    from magsd_cli.inference.predict import PredictOptions
    from magsd_cli.inference.predict import predict as run

    if codes is not None and dicom_sr is None:
        raise UsageError(
            "--codes: are the codes of DICOM reports; say where to write them with --dicom-sr DIR"
        )

    options = PredictOptions(
        inputs=inputs,
        model=model,
        runs=context.obj,
        out=out,
        resume=resume,
        overwrite=overwrite,
        watch_once=watch_once,
        engine=engine.value,
        device=device,
        gpus=gpus,
        batch_size=batch_size,
        workers=workers,
        cluster=cluster,
        raw_probabilities=raw_probabilities,
        by_study=by == By.study,
    )
    if dicom_sr is None:
        return run(options)
    from magsd_cli.hospital.reports import predict_with_reports

    return predict_with_reports(options, dicom_sr, codes)


def localize(
    context: typer.Context,
    inputs: Annotated[list[Path], typer.Argument(metavar="INPUT...", help="Images or folders of images.")],
    model: ModelOption = None,
    boxes: Annotated[
        Path | None, typer.Option(help="CSV of true boxes: path,x,y,width,height in pixels.")
    ] = None,
    masks: Annotated[
        Path | None, typer.Option(help="Folder of true masks (PNG, named as the images).")
    ] = None,
    lungs: Annotated[
        Path | None, typer.Option(help="Folder of lung masks: how much of the attention is inside?")
    ] = None,
    threshold: Annotated[
        float | None,
        typer.Option(
            min=0, max=1, help="Share of the attention's range (default: chosen on other folds, or 0.5)."
        ),
    ] = None,
    name: NameOption = None,
    device: DeviceOption = "auto",
    dicom_seg: Annotated[
        Path | None,
        typer.Option("--dicom-seg", metavar="DIR", help="The regions as DICOM segmentations (extra dicom)."),
    ] = None,
    dicom_sc: Annotated[
        Path | None,
        typer.Option("--dicom-sc", metavar="DIR", help="The overlays as DICOM pictures (extra dicom)."),
    ] = None,
) -> int:
    """Show where the network looked: overlays, masks, boxes, and IoU against the truth. Prints the folder."""
    from magsd_cli.localization.localize import LocalizeOptions
    from magsd_cli.localization.localize import localize as run

    options = LocalizeOptions(
        inputs=inputs,
        model=model,
        runs=context.obj,
        boxes=boxes,
        masks=masks,
        lungs=lungs,
        threshold=threshold,
        name=name,
        device=device,
    )
    folders = {"seg": dicom_seg, "sc": dicom_sc}
    wanted = {kind: folder for kind, folder in folders.items() if folder is not None}
    if wanted:
        from magsd_cli.hospital.regions import localize_with_objects

        path, code = localize_with_objects(options, wanted)
    else:
        path, code = run(options)
    print(path)
    return code
