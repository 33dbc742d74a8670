"""`magsd prepare`: X-rays into one cache."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from magsd_cli.commands.options import ClusterOption, DryRunOption, WorkersOption, existing_file
from magsd_cli.console import noted
from magsd_cli.errors import UsageError
from magsd_cli.settings import Layout, Lungs, Preprocessing, View


def prepare(
    context: typer.Context,
    sources: Annotated[
        list[Path] | None, typer.Argument(metavar="SOURCE", help="Folders or files of X-rays.")
    ] = None,
    layout: Annotated[Layout, typer.Option(help="How the sources are laid out.")] = Layout.auto,
    name: Annotated[str | None, typer.Option(help="The cache's name (default: the first source's).")] = None,
    size: Annotated[int, typer.Option(min=64, max=2048, help="Side of the cached images in pixels.")] = 224,
    clahe: Annotated[
        bool, typer.Option("--clahe/--no-clahe", help="Equalise the contrast (section 4.2).")
    ] = True,
    clip_limit: Annotated[float, typer.Option(min=0.01, help="CLAHE's clip limit.")] = 4.0,
    tiles: Annotated[int, typer.Option(min=1, max=64, help="CLAHE's tiles along each side.")] = 4,
    lungs: Annotated[
        Lungs, typer.Option(help="Cut each film to the box around its lungs, or to the lungs alone.")
    ] = Lungs.none,
    lung_network: Annotated[
        Path | None,
        typer.Option(help="What finds them, from `magsd lungs train` (default: the one of the tool)."),
    ] = None,
    label_map: Annotated[
        list[str] | None,
        typer.Option("--map", metavar="OLD=NEW", help="Rename a label; an empty NEW leaves it out."),
    ] = None,
    per_class: Annotated[
        int | None, typer.Option(min=1, help="At most this many images of each class.")
    ] = None,
    seed: Annotated[
        int, typer.Option(min=0, help="Seed for drawing images (--per-class, data recipes).")
    ] = 0,
    view: Annotated[View, typer.Option(help="Use frontal films only, or all.")] = View.frontal,
    site_key: Annotated[
        Path | None,
        typer.Option(
            help="File with the secret key for hashing DICOM patient ids.",
            envvar="MAGSD_SITE_KEY_FILE",
            callback=existing_file,
        ),
    ] = None,
    recipe: Annotated[str | None, typer.Option(help="A data recipe, such as data/a (Table 1).")] = None,
    named: Annotated[
        list[str] | None,
        typer.Option("--source", metavar="NAME=PATH", help="Path of an archive that the data recipe names."),
    ] = None,
    separate_patients: Annotated[
        bool,
        typer.Option("--separate-patients", help="Treat the same patient id in two sources as two people."),
    ] = False,
    workers: WorkersOption = None,
    cluster: ClusterOption = None,
    dry_run: DryRunOption = False,
) -> int:
    """Decode X-rays into one cache, ready to train on.

    They are resized and their contrast is equalised. Prints the cache's path.
    """
    with noted("prepare: loading libraries"):
        from magsd_cli.preparation.prepare import PrepareOptions
        from magsd_cli.preparation.prepare import prepare as run

    if not sources and recipe is None:
        raise UsageError("SOURCE: name a folder of X-rays, or a data recipe with --recipe")
    options = PrepareOptions(
        sources or [],
        context.obj,
        layout=layout.value,
        name=name,
        preprocessing=Preprocessing(size, clahe, clip_limit, tiles, lungs, lung_file=lung_network),
        label_map=label_map or [],
        per_class=per_class,
        seed=seed,
        view=view.value,
        key_file=site_key,
        recipe=recipe,
        named=named or [],
        separate_patients=separate_patients,
        workers=workers,
        cluster=cluster,
    )
    if dry_run:
        from magsd_cli.preparation.dry_run import dry_run as plan

        plan(options)
        return 0
    path, code = run(options)
    print(path)
    return code
