"""Recipes: strict models with the paper's values as defaults, `extends`, `--set`, and a hash.

A recipe is TOML, found by name (`paper`, `table3/resnet50`) among the built-in ones or by path. Unknown keys
and values are refused with the nearest known one, all problems at once.
"""

from __future__ import annotations

import difflib
import hashlib
import json
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, model_validator

from magsd_cli.errors import UsageError

Range = tuple[float, float]
Augmentation = Literal["mixup", "dimming", "patching"]

ClassicOperation = Literal[
    "brightness", "contrast", "crop", "rotation", "translation", "horizontal_flip", "vertical_flip"
]


def _check_range(key: str, value: Range, least: float, most: float) -> None:
    if not least <= value[0] <= value[1] <= most:
        raise ValueError(
            f"{key}={list(value)}: must be [low, high] with {least:g} <= low <= high <= {most:g}"
        )


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Image(_Section):
    """Section 4.2: what the network sees. Sizes in pixels."""

    size: int = Field(224, ge=64, le=2048)
    clahe: bool = True
    clip_limit: float | None = Field(None, gt=0, description="None: the cache's own")
    tiles: int | None = Field(None, ge=1, description="None: the cache's own")
    lungs: Literal["none", "crop", "mask"] | None = Field(
        None, description="how the cache's films are cut to their lungs; None: the cache's own"
    )
    mirror: bool = Field(False, description="predict with the mean of the image and its mirror image")
    z_score: Literal["image", "column"] = Field(
        "image", description="what has mean 0 and deviation 1; column: each of an augmented image's columns"
    )


class Model(_Section):
    """Section 3.2: the network."""

    name: Literal[
        "magsd", "vgg16", "resnet18", "resnet50", "inception_v3", "narin_resnet50", "narin_inception_v3",
        "covidnet", "bcnn", "bcnn_attention", "fpn", "unet", "linear_probe",
    ] = "magsd"  # fmt: skip
    backbone: Annotated[str, StringConstraints(pattern=r"^(timm:)?[A-Za-z0-9_.]+$")] = "resnet50"
    scales: Literal[1, 2, 3] = 2
    attention_maps: int = Field(32, ge=1, le=1024)
    pooling: Literal["attention", "gap", "gmp", "bilinear"] = Field(
        "attention", description="bilinear: of the features with themselves, BCNN on magsd's backbone"
    )
    classifier_bias: bool = Field(False, description="of magsd's last layer; the baselines' have one")
    weights: str = "imagenet"
    stages: Literal[4, 3] = 4
    output_stride: Literal[32, 16, 8] = 32
    stem: Literal["sum_rgb", "fresh"] = "sum_rgb"
    attention_norm_eps: float = Field(1e-3, gt=0)
    attention_downsample: Literal["average", "max", "bilinear"] = "average"
    feature_norm: Literal["signed_sqrt_l2", "none"] = "signed_sqrt_l2"
    feature_scale: float = Field(100.0, gt=0)
    classifier_gain: float = Field(
        1.0, gt=0, description="first weights of a classifier behind feature_norm, times PyTorch's own"
    )


class Train(_Section):
    """Section 4.1: how it is trained. The paper gives no schedule; milestones are fractions of the epochs."""

    step: Literal["attention_guided", "plain", "logistic_regression"] = Field(
        "attention_guided",
        description="logistic_regression: for model.name=linear_probe, and nothing else is",
    )
    augment: tuple[Augmentation, ...] = ("mixup", "dimming", "patching")
    loss: Literal["soft_distance", "l2", "cross_entropy", "mean_cross_entropy"] = Field(
        "soft_distance",
        description="of the guided views, beside the image's cross-entropy; mean_cross_entropy: of all alike",
    )
    epochs: int = Field(100, ge=1)
    batch_size: int = Field(32, ge=1)
    lr: float = Field(1e-2, gt=0)
    momentum: float = Field(0.9, ge=0, lt=1)
    nesterov: bool = False
    weight_decay: float = Field(1e-6, ge=0)
    schedule: Literal["multistep", "cosine", "constant"] = "multistep"
    milestones: tuple[float, ...] = (0.5, 0.8)
    lr_gamma: float = Field(0.1, gt=0, le=1)
    warmup_epochs: int = Field(0, ge=0, description="epochs of linear learning-rate warm-up")
    sampling: Literal["shuffle", "balanced"] = "shuffle"
    label_smoothing: float = Field(0.0, ge=0, lt=1)
    weight_average: float = Field(0.0, ge=0, lt=1, description="decay of the averaged weights; 0: none")
    precision: Literal["fp32", "bf16", "fp16", "auto"] = Field(
        "fp32", description="auto: fp32 or bf16, measured once a run before its first fold"
    )
    tf32: Literal["convolutions", "all", "none"] = Field(
        "convolutions", description="what a GPU computes in TF32 where precision is fp32"
    )
    compile: bool = Field(False, description="torch.compile: a minute of compiling, then faster steps")
    sync_batch_norm: bool = Field(False, description="batch norm over all processes that train one network")
    channels_last: bool = True

    @property
    def takes_steps(self) -> bool:
        """True when an optimiser trains the network in steps; a logistic regression is fitted at once."""
        return self.step != "logistic_regression"

    @model_validator(mode="after")
    def _consistent(self) -> Train:
        if len(set(self.augment)) != len(self.augment):
            raise ValueError("train.augment names an augmentation twice")
        if any(not 0 < m < 1 for m in self.milestones) or list(self.milestones) != sorted(self.milestones):
            raise ValueError("train.milestones must be rising fractions between 0 and 1")
        if self.nesterov and self.momentum == 0:
            raise ValueError("train.nesterov needs train.momentum above 0")
        return self


class Guide(_Section):
    """Section 3.3: attention-guided augmentation. Thresholds are shares of a map's maximum."""

    map_choice: Literal["sqrt_sum", "uniform"] = "sqrt_sum"
    mixup_threshold: Range = (0.4, 0.6)
    dimming_threshold: Range = (0.2, 0.5)
    box_padding: float = Field(0.1, ge=0, le=1, description="share of the image side added on each side")
    mixup_gamma: float = Field(0.6, ge=0, le=1)
    dimming_factor: float = Field(0.1, ge=0, le=1)

    @model_validator(mode="after")
    def _consistent(self) -> Guide:
        for key in ("mixup_threshold", "dimming_threshold"):
            _check_range(f"guide.{key}", getattr(self, key), 0, 1)
        return self


class SoftDistance(_Section):
    """Section 3.4, Algorithm 1."""

    confidence: float = Field(0.7, ge=0, le=1)
    replace_wrong: bool = Field(False, description="also replace a confident but wrong prediction")
    smoothing: float = Field(0.0, ge=0, lt=1, description="of the one-hot that replaces it")
    over_views: Literal["mean", "sum"] = "mean"
    weight: float = Field(1.0, ge=0)


class Classic(_Section):
    """Table 2: classic augmentation. A random number of the operations is applied to each image."""

    enabled: bool = True
    operations: tuple[ClassicOperation, ...] = (
        "brightness", "contrast", "crop", "rotation", "horizontal_flip", "vertical_flip",
    )  # fmt: skip
    choose: Literal["random_number", "each", "all"] = Field(
        "random_number", description="each operation, or all of them together, with `probability`"
    )
    probability: float = Field(0.5, ge=0, le=1, description="where choose is `each` or `all`")
    brightness: Range = (0.5, 1.0)
    contrast: Range = (0.7, 1.0)
    crop_area: Range = (0.5, 1.0)
    rotation: Range = (0.0, 120.0)
    translation: float = Field(0.1, ge=0, le=0.5, description="largest shift as a share of the side")

    @model_validator(mode="after")
    def _consistent(self) -> Classic:
        _check_range("classic.brightness", self.brightness, 0, 4)
        _check_range("classic.contrast", self.contrast, 0, 4)
        _check_range("classic.crop_area", self.crop_area, 0.01, 1)
        _check_range("classic.rotation", self.rotation, -180, 180)
        return self


class Paper(_Section):
    """The published figures to put beside a run of this recipe: a table of the paper and its row."""

    table: int = Field(ge=3, le=8)
    row: str


class ClassCode(_Section):
    """A class's code in DICOM reports: scheme (as SCT), value and meaning of DICOM's coded entry."""

    scheme: str = Field(min_length=1, max_length=16)
    value: str = Field(min_length=1)
    meaning: str = Field(min_length=1, max_length=64)


class Recipe(_Section):
    """A fully resolved recipe."""

    title: str = ""
    paper: Paper | None = None
    image: Image = Image()
    model: Model = Model()
    train: Train = Train()
    guide: Guide = Guide()
    soft_distance: SoftDistance = SoftDistance()
    classic: Classic = Classic()
    codes: dict[str, ClassCode] = Field({}, description="of classes, for `predict --dicom-sr`")
    seed: int = Field(0, ge=0, lt=2**63)

    @model_validator(mode="after")
    def _consistent(self) -> Recipe:
        if (self.model.name == "linear_probe") != (self.train.step == "logistic_regression"):
            raise ValueError("model.name=linear_probe and train.step=logistic_regression go together")
        return self

    def to_json(self) -> str:
        """Every key with its value, in a stable order."""
        return json.dumps(self.model_dump(mode="json"), indent=2, sort_keys=True) + "\n"

    def hash(self) -> str:
        """SHA-256 of everything that changes a result; the title, the paper's row and classes' codes do not.

        Keys at their defaults are left out, so that a key that a later version adds does not make earlier
        runs strangers: its default must be what the earlier version did, and no default ever changes.
        """
        values = self.model_dump(mode="json", exclude={"title", "paper", "codes"}, exclude_defaults=True)
        return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


def load_recipe(name: str | None = None, overrides: Sequence[str] = ()) -> Recipe:
    """Read the recipe called `name` (built-in, or a path; None is `base`) and apply `key=value` overrides.

    Raises `UsageError` with every problem in one line.
    """
    values = _read_with_parents(_find(name or "base"), seen=())
    for override in overrides:
        _apply(values, override)
    return recipe_from_values(values, name or "base")


def recipe_from_values(values: Mapping[str, Any], where: str) -> Recipe:
    """Check `values` against the models. Raises `UsageError` naming `where` and every bad key."""
    try:
        return Recipe.model_validate(dict(values))
    except ValidationError as error:
        problems = "; ".join(_explain(problem) for problem in error.errors())
        raise UsageError(f"recipe {where}: {problems}") from None


def recipes_folder() -> Path:
    """Return the folder of the built-in recipes: inside the installed package, or beside it in a checkout."""
    here = Path(__file__).parent
    installed = here / "recipes"
    return installed if installed.is_dir() else here.parent / "recipes"


def recipe_names() -> list[str]:
    """Names of the built-in recipes, such as `cpu` and `table3/resnet50`."""
    folder = recipes_folder()
    return sorted(p.relative_to(folder).with_suffix("").as_posix() for p in folder.rglob("*.toml"))


def recipe_text(name: str) -> str:
    """The TOML text of a recipe. Raises `UsageError` when there is none of that name."""
    return _find(name).read_text(encoding="utf-8-sig")


def recipe_title(name: str) -> str:
    """The title of a recipe. Raises `UsageError` when there is none of that name or it is not TOML."""
    path = _find(name)
    return str(_read(path).get("title", ""))


def recipe_changes(name: str) -> list[str]:
    """Return a recipe file's own keys as `key=value`, less title, parent and row. Raises `UsageError`."""
    own = {
        key: value for key, value in _read(_find(name)).items() if key not in ("title", "paper", "extends")
    }
    return [f"{key}={json.dumps(value)}" for key, value in _flatten(own)]


def recipe_paper(name: str) -> Paper | None:
    """The row of the paper that a recipe names; None without one. Raises `UsageError`."""
    own = _read(_find(name)).get("paper")
    return None if own is None else Paper.model_validate(own)


def resolved_keys(recipe: Recipe) -> list[tuple[str, str]]:
    """Every dotted key of `recipe` with its value as JSON."""
    return [(key, json.dumps(value)) for key, value in _flatten(recipe.model_dump(mode="json"))]


def recipe_schema() -> dict[str, Any]:
    """Return the JSON Schema (2020-12) of a recipe file: types, choices and defaults of every key.

    ``extends`` is a key of files alone. Editors take it with a line ``#:schema PATH`` at the top of a TOML.
    """
    schema = Recipe.model_json_schema()
    extends = {"type": "string", "description": "The recipe whose keys this file changes: a name or a file."}
    schema["properties"] = {"extends": extends, **schema["properties"]}
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}


def _flatten(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        if isinstance(value, dict):
            yield from _flatten(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value


def _find(name: str) -> Path:
    candidates = [Path(name), recipes_folder() / f"{name}.toml", recipes_folder() / name]
    for path in candidates:
        if path.is_file():
            return path
    near = difflib.get_close_matches(name, recipe_names(), n=1, cutoff=0.4)
    hint = f"did you mean {near[0]}?" if near else "`magsd recipes list` shows the built-in ones"
    raise UsageError(f"recipe {name}: no such file and no built-in recipe of that name; {hint}")


def _read_with_parents(path: Path, seen: tuple[Path, ...]) -> dict[str, Any]:
    if path.resolve() in seen:
        raise UsageError(f"recipe {path}: extends itself; break the cycle")
    values = _read(path)
    parent = values.pop("extends", None)
    if parent is None:
        return values
    if not isinstance(parent, str):
        raise UsageError(f"recipe {path}: extends must be a file name or a built-in recipe's name")
    beside = path.parent / parent
    base = _read_with_parents(beside if beside.is_file() else _find(parent), (*seen, path.resolve()))
    for key in ("title", "paper"):  # they describe one recipe, not those that extend it
        base.pop(key, None)
    return _merge(base, values)


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise UsageError(f"recipe {path}: cannot be read as TOML ({error}); fix the file") from error


def _merge(base: dict[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in over.items():
        if isinstance(value, Mapping) and isinstance(merged.get(key), dict):
            merged[key] = _merge(merged[key], value)
        else:
            merged[key] = value
    return merged


def _apply(values: dict[str, Any], override: str) -> None:
    """Set `section.key=value`, the value read as TOML, and as plain text where it is not TOML."""
    key, equals, text = override.partition("=")
    *sections, last = key.strip().split(".")
    if not equals or not last:
        raise UsageError(f"--set {override}: write it as key=value, for example train.epochs=2")
    try:
        value = tomllib.loads(f"value = {text.strip()}")["value"]
    except tomllib.TOMLDecodeError:
        value = text.strip()
    for section in sections:
        inner = values.setdefault(section, {})
        if not isinstance(inner, dict):
            raise UsageError(f"--set {override}: {section} is not a section; {_near_key(key.strip())}")
        values = inner
    values[last] = value


def _explain(problem: Any) -> str:
    key = ".".join(str(part) for part in problem["loc"])
    if problem["type"] == "extra_forbidden":
        return f"{key}: unknown key, {_near_key(key)}"
    if problem["type"] == "literal_error":
        near = difflib.get_close_matches(str(problem["input"]), problem["ctx"]["expected"].split("'"), n=1)
        hint = f", did you mean {near[0]}?" if near else ""
        return f"{key}={problem['input']!r}: must be {problem['ctx']['expected']}{hint}"
    if problem["type"] == "value_error":
        return str(problem["ctx"]["error"])
    return f"{key}={problem['input']!r}: {problem['msg'][:1].lower()}{problem['msg'][1:]}"


def _near_key(key: str) -> str:
    near = difflib.get_close_matches(key, [known for known, _ in resolved_keys(Recipe())], n=1, cutoff=0.5)
    return f"did you mean {near[0]}?" if near else "`magsd recipes show base --keys` lists the known ones"
