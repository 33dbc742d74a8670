"""`magsd predict` and `magsd localize`: a trained network on new images."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from magsd_cli.commands.options import (
    ClusterOption,
    DeviceOption,
    DryRunOption,
    GpusOption,
    ModelOption,
    NameOption,
    NetworkOption,
    WorkersOption,
    existing_file,
    existing_folder,
    share,
)
from magsd_cli.console import noted
from magsd_cli.errors import UsageError
from magsd_cli.settings import BoxRule, By, Engine, Map

#: What a worker of predict imports.
WORKER_MODULES = ("magsd_cli.inference.onnx_engine", "onnxruntime", "magsd_cli.data.dicom.read")


def predict(
    context: typer.Context,
    inputs: Annotated[
        list[Path] | None, typer.Argument(metavar="INPUT", help="Images or folders of images.")
    ] = None,
    model: ModelOption = None,
    files_from: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            callback=existing_file,
            help="Also read paths from FILE, one per line (-: standard input).",
        ),
    ] = None,
    null: Annotated[
        bool, typer.Option("-0", "--null", help="Paths in that FILE end in NUL bytes, not lines.")
    ] = False,
    out: Annotated[
        str | None,
        typer.Option(
            "--out", metavar="FILE|DIR/", help="Write the table to this file, or in parts to this folder."
        ),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Keep the rows of FILE and score the other files.")
    ] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace FILE.")] = False,
    watch_once: Annotated[
        bool,
        typer.Option("--watch-once", help="For cron: keep all rows of FILE, add files it does not have."),
    ] = False,
    engine: Annotated[Engine, typer.Option(help="Library that runs the networks.")] = Engine.auto,
    device: DeviceOption = "auto",
    gpus: GpusOption = None,
    batch_size: Annotated[
        int | None, typer.Option(min=1, help="Images at a time (default: 1 on the CPU, 16 on a GPU).")
    ] = None,
    workers: WorkersOption = None,
    cluster: ClusterOption = None,
    raw_probabilities: Annotated[
        bool, typer.Option("--raw-probabilities", help="Do not calibrate the columns p_<class>.")
    ] = False,
    network: NetworkOption = None,
    by: Annotated[
        By | None,
        typer.Option(help="study: also write FILE.studies.parquet beside FILE, one row per study."),
    ] = None,
    dicom_sr: Annotated[
        Path | None,
        typer.Option("--dicom-sr", metavar="DIR", help="Write a DICOM report per study (extra dicom)."),
    ] = None,
    codes: Annotated[
        Path | None,
        typer.Option(
            metavar="CSV",
            callback=existing_file,
            help="With --dicom-sr: codes of the classes (class,code,scheme,meaning).",
        ),
    ] = None,
    dry_run: DryRunOption = False,
) -> int:
    """Classify images: a row for every file, on stdout or in --out.

    Parquet, or CSV where FILE ends in .csv; with a / behind its name a folder of Parquet files. On a terminal
    without --out a readable table.
    """
    if codes is not None and dicom_sr is None:
        raise UsageError("--codes: is used in DICOM reports only; add --dicom-sr DIR")
    if model is not None and model.is_file() and cluster is None and not dry_run:
        from magsd_cli.runtime.worker_pool import early_worker

        # A model file is run by workers: the first begins while the imports below go on.
        context.with_resource(early_worker(*WORKER_MODULES))

    with noted("predict: loading libraries"):
        from magsd_cli.inference.predict import PredictOptions
        from magsd_cli.inference.predict import predict as run

    options = PredictOptions(
        inputs=inputs or [],
        model=model,
        runs=context.obj,
        files_from=files_from,
        null=null,
        out=None if out is None else Path(out),
        parts=out is not None and out.endswith("/"),
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
        network=network,
        by_study=by == By.study,
    )
    if dry_run:
        from magsd_cli.inference.dry_run import dry_run as plan

        plan(options)
        return 0
    if dicom_sr is None:
        return run(options)
    from magsd_cli.hospital.reports import predict_with_reports

    return predict_with_reports(options, dicom_sr, codes)


def localize(
    context: typer.Context,
    inputs: Annotated[list[Path], typer.Argument(metavar="INPUT", help="Images or folders of images.")],
    model: ModelOption = None,
    boxes: Annotated[
        Path | None,
        typer.Option(callback=existing_file, help="CSV of true boxes: path,x,y,width,height in pixels."),
    ] = None,
    masks: Annotated[
        Path | None,
        typer.Option(callback=existing_folder, help="Folder of true masks (PNG, named like the images)."),
    ] = None,
    lungs: Annotated[
        Path | None,
        typer.Option(
            callback=existing_folder, help="Folder of lung masks: measure the attention inside them."
        ),
    ] = None,
    zones: Annotated[
        Path | None,
        typer.Option(
            callback=existing_file, help="With --lungs: CSV of severity in six zones: path,A,B,C,D,E,F."
        ),
    ] = None,
    threshold: Annotated[
        float | None,
        typer.Option(
            callback=share, help="Share of the attention's range (default: chosen on other folds, or 0.5)."
        ),
    ] = None,
    name: NameOption = None,
    device: DeviceOption = "auto",
    map_: Annotated[
        Map,
        typer.Option(
            "--map",
            help="Mark the attention, the evidence for the predicted class, or what fits the other folds.",
        ),
    ] = Map.attention,
    box: Annotated[
        BoxRule,
        typer.Option(help="Box the largest part, the part with the maximum, or what fits the other folds."),
    ] = BoxRule.largest,
    network: NetworkOption = None,
    dicom_seg: Annotated[
        Path | None,
        typer.Option(
            "--dicom-seg", metavar="DIR", help="Write the regions as DICOM segmentations (extra dicom)."
        ),
    ] = None,
    dicom_sc: Annotated[
        Path | None,
        typer.Option("--dicom-sc", metavar="DIR", help="Write the overlays as DICOM pictures (extra dicom)."),
    ] = None,
) -> int:
    """Show where the network looked: overlays, masks, boxes, IoU.

    Measured against --boxes, --masks or --zones, and against controls. Prints the folder's path.
    """
    with noted("localize: loading libraries"):
        from magsd_cli.localization.localize import LocalizeOptions
        from magsd_cli.localization.localize import localize as run

    options = LocalizeOptions(
        inputs=inputs,
        model=model,
        runs=context.obj,
        boxes=boxes,
        masks=masks,
        lungs=lungs,
        zones=zones,
        threshold=threshold,
        name=name,
        device=device,
        network=network,
        map=map_,
        box=box,
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
