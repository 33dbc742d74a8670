"""Write docs/models.md: every network with its parameters and multiply-adds, beside the published figures.

Run from the checkout: python docs/make_models_table.py
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch

from magsd_cli.models.build import MODELS, build_model, multiply_adds, parameters
from magsd_cli.models.output import SMALLEST
from magsd_cli.recipe import Model

CLASSES = 3
PUBLISHED = {  # millions of parameters, billions of multiply-adds, where they are published, and for what
    "vgg16": (138.36, 15.47, "torchvision; RGB, 1000 classes"),
    "resnet18": (11.69, 1.81, "torchvision; RGB, 1000 classes"),
    "resnet50": (25.56, 4.09, "torchvision; RGB, 1000 classes"),
    "inception_v3": (27.16, 5.71, "torchvision; RGB, 1000 classes, with the auxiliary classifier (3.33 M)"),
    "covidnet": (127.4, 3.59, "the authors' model page, COVIDNet-CXR Large; RGB"),
    "unet": (31.03, None, "implied by the paper's Fig. 1; 2 classes, no batch norm"),
}
PAPERS = {
    "magsd": "this paper",
    "vgg16": "Simonyan and Zisserman, ICLR 2015",
    "resnet18": "He et al., CVPR 2016",
    "resnet50": "He et al., CVPR 2016",
    "inception_v3": "Szegedy et al., CVPR 2016",
    "narin_resnet50": "Narin et al., arXiv:2003.10849",
    "narin_inception_v3": "Narin et al., arXiv:2003.10849",
    "covidnet": "Wang and Wong, arXiv:2003.09871",
    "bcnn": "Lin et al., ICCV 2015",
    "bcnn_attention": "Lin et al., ICCV 2015, with this paper's attention",
    "fpn": "Lin et al., CVPR 2017",
    "unet": "Ronneberger et al., MICCAI 2015",
    "linear_probe": "Alain and Bengio, arXiv:1610.01644",
}


def row(name: str) -> str:
    """A line of the table."""
    size = 299 if name in SMALLEST else 224
    with torch.device("meta"):
        model = build_model(Model(name=name, weights="none"), CLASSES, seed=0)  # type: ignore[arg-type]
    trunk = getattr(model, "trunk", None)
    millions, billions, source = PUBLISHED.get(name, (None, None, ""))
    published = (
        " / ".join(f"{v:g}" if v is not None else "-" for v in (millions, billions)) if source else "-"
    )
    counted = (f"{parameters(model) / 1e6:.2f}", f"{multiply_adds(model, size) / 1e9:.2f}")
    cells = [
        f"`{name}`", PAPERS[name], *counted,
        str(size), published, source or "-", "ImageNet" if trunk else "none", str(SMALLEST.get(name, 64)),
    ]  # fmt: skip
    return f"| {' | '.join(cells)} |"


def main() -> None:
    """Write the table."""
    unknown = [name for name in MODELS if name not in PAPERS]
    if unknown:
        sys.exit(
            f"{Path(__file__).name}: PAPERS does not say where {', '.join(unknown)} is from; add it there"
        )
    titles = (
        "`model.name`", "from", "parameters (M)", "multiply-adds (G)", "at px", "published (M / G)", "where",
        "pretrained", "smallest px",
    )  # fmt: skip
    head = f"| {' | '.join(titles)} |\n|{'---|' * len(titles)}"
    text = f"""# The networks

Written by `python docs/make_models_table.py`; the figures are counted from the networks themselves, for one
channel and {CLASSES} classes. Published figures are for RGB and their own classes: with those two differences
taken out the VGG16, ResNets and InceptionV3 agree to the last parameter
(`tests/models/baselines/test_every_network.py`).

{head}
{chr(10).join(row(name) for name in MODELS)}

"pretrained" is what `model.weights = "imagenet"` loads; a network with "none" needs `model.weights = "none"`.
COVID-Net's paper names its blocks and not the widths inside them; the widths here give the small variant its
published 117.4 M parameters (117.43 M counted, 2.53 G against 2.26 G). The large one, whose long-range
connections are not specified either, comes out 6% under its published parameters and 10% over its work.

What each leaves out or adds is in [paper.md](paper.md), under "Networks of Table 3".
"""
    Path(__file__).with_name("models.md").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
