"""`magsd lungs`: the network that finds lungs, by which `magsd prepare --lungs` cuts films."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from magsd_cli.commands.options import WorkersOption, existing_folders

lungs_app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Train and check the network that finds lungs.",
)

MasksOption = Annotated[
    list[Path] | None,
    typer.Option(
        "--masks",
        metavar="DIR",
        callback=existing_folders,
        help="Lung masks, pictures named as their films.",
    ),
]

NetworkOption = Annotated[
    Path | None, typer.Option("--network", help="A .lungs file (default: the one of the tool).")
]


@lungs_app.command("train")
def lungs_train(
    images: Annotated[list[Path], typer.Argument(metavar="IMAGES...", help="Folders of films.")],
    out: Annotated[Path, typer.Option("--out", help="The file to write, NAME.lungs; its card beside it.")],
    masks: MasksOption = None,
    tests: Annotated[
        list[Path] | None,
        typer.Option(
            "--test",
            metavar="IMAGES",
            callback=existing_folders,
            help="Films with masks to measure it on, never to train.",
        ),
    ] = None,
    credit: Annotated[
        str, typer.Option("--credit", help="Whose films and masks, with which licence: for the card.")
    ] = "",
    folds: Annotated[int, typer.Option(min=2, max=20, help="Networks that each miss some patients.")] = 2,
    steps: Annotated[int, typer.Option(min=1, help="Steps of 16 films for each network.")] = 200,
    seed: Annotated[int, typer.Option(min=0, help="Draws folds, first weights and augmentation.")] = 0,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace FILE.")] = False,
    workers: WorkersOption = None,
) -> int:
    """Train a lung network on films and masks, and measure it out of fold.

    Patients are kept apart. Prints the file's path.
    """
    from magsd_cli.training.lungs.train import LungOptions, train_lungs

    print(
        train_lungs(
            LungOptions(images, masks or [], out, tests or [], credit, folds, steps, seed, workers, overwrite)
        )
    )
    return 0


@lungs_app.command("check")
def lungs_check(
    images: Annotated[list[Path], typer.Argument(metavar="IMAGES...", help="Folders of films.")],
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Where panel.jpg and films.csv go.")],
    masks: MasksOption = None,
    network: NetworkOption = None,
    shown: Annotated[int, typer.Option("--panel", min=1, max=300, help="Films on the panel.")] = 30,
    workers: WorkersOption = None,
) -> int:
    """Say on which share of films two lungs are found, and draw some of them to look at.

    By source and class, with Dice where there are masks. Prints the panel's path.
    """
    from magsd_cli.tools.lungs_check import check_lungs

    print(check_lungs(images, masks or [], out, network, shown, workers))
    return 0


@lungs_app.command("find")
def lungs_find(
    images: Annotated[list[Path], typer.Argument(metavar="IMAGES...", help="Films or folders of films.")],
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Where the masks go: DIR/<film>.png.")],
    network: NetworkOption = None,
    workers: WorkersOption = None,
) -> int:
    """Write the lungs of films as masks, for `magsd localize --lungs DIR`.

    In each film's own pixels, white is lung. A film without two lungs gets none and is named.
    """
    from magsd_cli.tools.lungs_check import find_lungs

    return find_lungs(images, out, network, workers)


@lungs_app.command("card")
def lungs_card(
    network: Annotated[
        Path | None, typer.Argument(metavar="[FILE]", help="A .lungs file (default: the one of the tool).")
    ] = None,
) -> int:
    """Print what a lung network was trained on, its licences and its figures."""
    from magsd_cli.lungs.card import card_text
    from magsd_cli.lungs.network import open_lung_network, shipped

    opened = open_lung_network(network or shipped())
    print(card_text(opened.card, opened.sha256), end="")
    return 0
