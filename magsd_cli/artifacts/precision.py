"""The outcome of `train.precision = "auto"`: a run keeps it, reports say it."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class PrecisionChoice:
    """The outcome of `train.precision = "auto"`, one for the whole run.

    `chosen`: "fp32" or "bf16". `seconds` (median of a step) and `loss` (mean of the last steps) by precision;
    both empty where it was not measured, and `reason` says why.
    """

    chosen: str
    device: str
    reason: str = ""
    steps: int = 0
    seconds: dict[str, float] = field(default_factory=dict)
    loss: dict[str, float | None] = field(default_factory=dict)


def precision_words(choice: PrecisionChoice) -> str:
    """Say in a line what was chosen and why."""
    if choice.reason:
        return f"{choice.chosen}, not measured: {choice.reason}"
    other = "fp32" if choice.chosen == "bf16" else "bf16"
    one, two = choice.seconds[choice.chosen], choice.seconds[other]
    losses = {name: "not finite" if loss is None else f"{loss:.4f}" for name, loss in choice.loss.items()}
    return (
        f"{choice.chosen} on {choice.device}: {1000 * one:.4g} ms a step, {other} {1000 * two:.4g} ms; "
        f"loss after {choice.steps} steps: {losses[choice.chosen]}, {other} {losses[other]}"
    )
