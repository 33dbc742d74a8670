"""A lung network's card in words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from magsd_cli.lungs.network import SUFFIX


def figure_words(figure: Mapping[str, Any]) -> str:
    """One line of the card's figures."""
    share = f"two lungs found on {figure['found']} of {figure['films']} films"
    words = f"{figure['of']} ({figure['how']}): {figure['films']} films of {figure['patients']} patients"
    if figure["dice"] is None:
        return f"{words}; {share}"
    return f"{words}: Dice {_dice(figure)}; {share}"


def card_text(card: Mapping[str, Any], sha256: str) -> str:
    """The card as Markdown."""
    sources = [
        f"- {one['source']}: {one['films_with_mask']} films with masks of {one['patients']} patients"
        for one in card["sources"]
    ]
    rows = [
        f"| {one['of']} | {one['how']} | {one['films']} | {one['patients']} | {_dice(one)} | "
        f"{100 * one['found'] / max(1, one['films']):.1f}% |"
        for one in card["figures"]
    ]
    lines = [
        f"# Lung network {card['name']}",
        "",
        f"`{card['name']}{SUFFIX}`, SHA-256 `{sha256}`, made by `magsd lungs train` {card['version']}. It "
        "marks both lungs on a frontal chest film. Not for clinical diagnosis.",
        "",
        "## Trained on",
        "",
        *sources,
        "",
        card["credit"] or "Credit and licence of these films and masks were not given (`--credit`).",
        "",
        f"SHA-256 over the content of films and masks: `{card['films_sha256']}`.",
        "",
        "## What it is worth",
        "",
        f"Dice at {card['size']} px with its 95% interval over patients; on which share of films two lungs "
        "are found.",
        "",
        "| films | how | films | patients | Dice | two lungs |",
        "|---|---|---|---|---|---|",
        *rows,
        "",
        "## How",
        "",
        f"U-Net of widths {', '.join(map(str, card['widths']))}, {card['size']} px, {card['steps']} steps of "
        f"{card['batch_size']} films, seed {card['seed']}: one network on all films, and one for each of "
        f"{card['folds']} folds without its patients, for the {card['known_films']} films that the command "
        "saw of patients with masks. Weights in float16, as ONNX and as safetensors. Members of the archive:",
        "",
        *[f"- `{name}` SHA-256 `{digest}`" for name, digest in card.get("members", {}).items()],
        "",
    ]
    return "\n".join(lines)


def _dice(figure: Mapping[str, Any]) -> str:
    if figure["dice"] is None:
        return "no masks"
    if figure["low"] is None:
        return f"{figure['dice']:.3f}"
    return f"{figure['dice']:.3f} ({figure['low']:.3f} to {figure['high']:.3f})"
