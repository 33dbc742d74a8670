"""The image cache: one uint8 HDF5 file that is mapped into memory, and its samples table.

``<name>-<hash8>.h5`` holds the images that can be used; ``<name>-<hash8>.samples.parquet`` holds a row for
every input file, used or not. `hash8` begins the dataset's digest: the same images, labels, patients and
settings give the same name.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np
import numpy.typing as npt

from magsd_cli.artifacts.files import check_hash, hash_sidecar, hashed_path
from magsd_cli.artifacts.tables import GROUP_ROWS, groups, read_parquet, write_parquet_groups
from magsd_cli.errors import ArtifactError
from magsd_cli.settings import Lungs, Preprocessing, preprocessing_from

if TYPE_CHECKING:
    import pandas as pd


Row = Mapping[str, Any]
SCHEMA_VERSION = 2
WHOLE_SCHEMA = 1  # of a cache of whole films: versions that know no lungs read it
SUFFIX = ".h5"
AGAIN = "run `magsd prepare` again"

# The samples table: a column, and whether it enters the dataset's digest (a moved folder is the same data).
SAMPLE_COLUMNS: dict[str, bool] = {
    "image_id": True,
    "path": False,
    "sha256": True,
    "pixels_sha256": False,
    "perceptual_hash": False,
    "status": True,
    "error_code": True,
    "error": False,
    "warnings": False,
    "label": True,
    "patient_id": True,
    "exam_id": True,
    "group_id": True,
    "sex": True,
    "age": True,
    "view": True,
    "source": True,
    "findings": True,
    "split": True,
    "width": False,
    "height": False,
    "index": True,
}

#: Further columns where films are cut to their lungs: the part that the image shows, in the film's pixels;
#: all empty where the film is kept whole. They follow from the films and the settings, and so do not count.
FRAME_COLUMNS = ("frame_x", "frame_y", "frame_width", "frame_height")

IDS = ("patient_id", "exam_id", "group_id")


@dataclass(frozen=True)
class Cache:
    """An open cache. `images` uint8 [N,1,S,S]; `labels` int64 [N], -1 where unlabelled."""

    path: Path
    images: npt.NDArray[np.uint8] = field(repr=False)
    labels: npt.NDArray[np.int64] = field(repr=False)
    image_ids: list[str] = field(repr=False)
    patient_ids: list[str] = field(repr=False)  # "" where unknown
    group_ids: list[str] = field(repr=False)  # images that must share a fold; "" stands alone
    classes: tuple[str, ...]
    preprocessing: Preprocessing
    digest: str
    source_digest: str = ""

    def samples(self) -> pd.DataFrame:
        """The samples table: a row for every input file, used or not. Raises `ArtifactError` when damaged."""
        return read_samples(self.path)


def samples_path(cache: Path) -> Path:
    """Return the path of a cache file's samples table."""
    return cache.with_name(cache.name.removesuffix(SUFFIX) + ".samples.parquet")


def cache_lungs_path(cache: Path) -> Path:
    """Return the path of the network that cut the films of a cache to their lungs, if they are cut."""
    return cache.with_name(cache.name.removesuffix(SUFFIX) + ".lungs")


def _schema_of(settings: Preprocessing) -> int:
    return WHOLE_SCHEMA if settings.lungs == Lungs.none else SCHEMA_VERSION


def dataset_digest(samples: Iterable[Row], settings: Preprocessing, classes: Iterable[str]) -> str:
    """SHA-256 over settings, classes, and each row's content hash, label, patient, group.

    Ids of people count by who shares them, not by their names, which may be hashes under a site's own key.
    """
    digest = hashlib.sha256()
    head = {"schema": _schema_of(settings), "classes": list(classes), **settings.values()}
    digest.update(json.dumps(head, sort_keys=True).encode())
    columns = [name for name, counts in SAMPLE_COLUMNS.items() if counts]
    orders: dict[str, dict[str, int]] = {name: {} for name in IDS}
    for row in samples:
        facts = {name: row.get(name, "") for name in columns}
        facts |= {name: _order(facts[name], numbers) for name, numbers in orders.items()}
        digest.update(json.dumps([str(value) for value in facts.values()]).encode())
    return digest.hexdigest()


def _order(name: str, numbers: dict[str, int]) -> int:
    """Number a name in order of appearance, -1 for ""."""
    return numbers.setdefault(name, len(numbers)) if name else -1


def cache_path(folder: Path, name: str, digest: str) -> Path:
    """The name that a cache of the dataset with this `dataset_digest` gets."""
    return folder / f"{name}-{digest[:8]}{SUFFIX}"


def write_cache(
    folder: Path,
    name: str,
    samples: Iterable[Row],
    images: Iterable[npt.NDArray[np.uint8]],
    classes: tuple[str, ...],
    settings: Preprocessing,
    source_digest: str = "",
    digest: str = "",
) -> Path:
    """Write a cache and the tables beside it; the ``.h5`` comes last: a cache that is there is complete.

    `samples` are rows with the keys of `SAMPLE_COLUMNS` (absent ones are empty), which are gone through
    several times; those with index 0, 1, ... in this order are the images, which `images` yields as
    [B,1,S,S] batches. Neither rows nor images are ever in memory together. `digest`: their `dataset_digest`,
    where it is known already. Raises `OutputError`.
    """
    digest = digest or dataset_digest(samples, settings, classes)
    path = cache_path(folder, name, digest)
    count = _write_samples(samples_path(path), samples, settings)
    used = (row for row in samples if row["index"] >= 0)
    attributes = {
        "classes": json.dumps(list(classes)),
        "schema_version": _schema_of(settings),
        "source_digest": source_digest,
        "dataset_sha256": digest,
        **settings.values(),
    }
    with hashed_path(path) as temporary, h5py.File(temporary, "w") as file:
        _write_images(file, images, count, settings.size)
        _write_columns(file, used, count, classes)
        file.attrs.update(attributes)
    return path


def _write_images(file: h5py.File, batches: Iterable[npt.NDArray[np.uint8]], count: int, size: int) -> None:
    images = file.create_dataset("images", (count, 1, size, size), np.uint8)  # one piece, to be mapped
    start = 0
    for batch in batches:
        images[start : start + len(batch)] = batch
        start += len(batch)
    if start != count:
        raise ValueError(f"{count} images announced, {start} came")


def _write_columns(file: h5py.File, used: Iterable[Row], count: int, classes: Sequence[str]) -> None:
    """Write labels and ids of the images, `GROUP_ROWS` at a time."""
    code = {label: number for number, label in enumerate(classes)}
    start = 0
    for some in groups(used, GROUP_ROWS):
        columns: dict[str, Any] = {
            "labels": np.array([code.get(row["label"], -1) for row in some], dtype=np.int64),
            **{name: [row[name] for row in some] for name in ("image_id", "patient_id", "group_id")},
        }
        for name, values in columns.items():
            kind = h5py.string_dtype() if isinstance(values, list) else np.int64
            column = file[name] if name in file else file.create_dataset(name, (count,), kind)
            column[start : start + len(some)] = values
        start += len(some)


def open_cache(path: Path) -> Cache:
    """Check a cache's recorded hash and schema and open it.

    The images are mapped, not read: what is used of them comes into memory once for all processes, and goes
    when the system needs the room. A cache that an earlier version wrote in pieces is read as a whole.

    Raises `ArtifactError` when it is missing, damaged, or of a schema that this version does not know.
    """
    check_hash(path)
    try:
        with h5py.File(path, "r") as file:
            return _read_h5(path, file)
    except (OSError, KeyError, ValueError, TypeError, UnicodeDecodeError) as error:
        raise ArtifactError(f"{path}: not a magsd cache ({type(error).__name__}); {AGAIN}") from error


def _read_h5(path: Path, file: h5py.File) -> Cache:
    version = int(file.attrs["schema_version"])
    if version not in (WHOLE_SCHEMA, SCHEMA_VERSION):
        raise ArtifactError(f"{path}: cache schema {version}, this magsd reads {SCHEMA_VERSION}; {AGAIN}")
    size = int(file.attrs["size"])
    images = _mapped(path, file["images"])
    count = len(images)
    if images.shape != (count, 1, size, size) or images.dtype != np.uint8 or file["labels"].shape != (count,):
        raise ArtifactError(f"{path}: images and labels do not match; {AGAIN}")
    return Cache(
        path=path,
        images=images,
        labels=file["labels"][()].astype(np.int64),
        image_ids=_texts(file["image_id"]),
        patient_ids=_texts(file["patient_id"]),
        group_ids=_texts(file["group_id"]),
        classes=tuple(json.loads(file.attrs["classes"])),
        preprocessing=preprocessing_from(file.attrs, cache_lungs_path(path)),
        digest=str(file.attrs["dataset_sha256"]),
        source_digest=str(file.attrs["source_digest"]),
    )


def _mapped(path: Path, dataset: h5py.Dataset) -> npt.NDArray[np.uint8]:
    """The images on disk as an array; changes to it stay in memory."""
    offset = dataset.id.get_offset()
    if offset is None or dataset.dtype != np.uint8:
        everything: npt.NDArray[np.uint8] = dataset[()]
        return everything
    return np.memmap(path, np.uint8, "c", offset, dataset.shape)


def _texts(dataset: h5py.Dataset) -> list[str]:
    return [str(value) for value in dataset.asstr()[()]]


def find_newest_cache(runs: Path, clahe: bool | None = None) -> tuple[Path, str]:
    """The newest complete cache under ``runs/cache`` that can be trained on, and where none can, the newest.

    Those that were made with (without) `clahe` come first, where it is given. The second value says in words
    that it is the newest, or which newer one was passed over and why.

    Raises `ArtifactError` when there is none.
    """
    folder = runs / "cache"
    found = [path for path in folder.glob(f"*{SUFFIX}") if not path.name.startswith(".")]
    complete = [path for path in found if hash_sidecar(path).is_file() and samples_path(path).is_file()]
    if not complete:
        raise ArtifactError(
            f"{folder}: no cache here; make one with `magsd prepare FOLDER`, or name it with --cache"
        )
    age = {path: (path.stat().st_mtime_ns, path.name) for path in complete}
    fitness = {path: _fitness(path, clahe) for path in complete}
    chosen = max(complete, key=lambda path: (fitness[path], age[path]))
    newest = max(complete, key=lambda path: age[path])
    if newest == chosen:
        return chosen, "the newest"
    reason = (
        f"was made {'without' if clahe else 'with'} CLAHE"
        if fitness[newest][0]
        else "has no labels of two classes"
    )
    return chosen, f"not the newest: {newest.name} {reason}"


def _fitness(path: Path, clahe: bool | None) -> tuple[bool, bool]:
    """Return whether a cache's images have labels to tell apart, and whether they have the contrast asked
    for.

    A damaged one is for `open_cache` to refuse.
    """
    try:
        with h5py.File(path) as file:
            return len(json.loads(file.attrs["classes"])) > 1, clahe in (None, bool(file.attrs["clahe"]))
    except (OSError, KeyError, ValueError):
        return True, True


def read_samples(cache: Path) -> pd.DataFrame:
    """The samples table of the cache file `cache`. Raises `ArtifactError` when it is missing or damaged."""
    return read_parquet(samples_path(cache), AGAIN)


def _write_samples(path: Path, samples: Iterable[Row], settings: Preprocessing) -> int:
    """Write the samples table in row groups of `GROUP_ROWS`; return how many rows are images."""
    import pandas as pd
    import pyarrow as pa

    kinds = {
        "warnings": pa.list_(pa.string()),
        "width": pa.int32(),
        "height": pa.int32(),
        "index": pa.int64(),
    }
    fields = [pa.field(name, kinds.get(name, pa.string())) for name in SAMPLE_COLUMNS]
    if settings.lungs != Lungs.none:
        fields += [pa.field(name, pa.int32()) for name in FRAME_COLUMNS]
    schema, count = pa.schema(fields), 0

    def tables() -> Iterator[pa.Table]:
        nonlocal count
        for some in groups(samples, GROUP_ROWS):
            count += sum(row["index"] >= 0 for row in some)
            columns = {
                name: [row.get(name, "" if name in SAMPLE_COLUMNS else None) for row in some]
                for name in schema.names
            }
            yield pa.Table.from_pandas(pd.DataFrame(columns), schema=schema, preserve_index=False)

    write_parquet_groups(path, tables())
    return count
