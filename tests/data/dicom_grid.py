"""DICOM files of many kinds, drawn, and what an independent reader makes of them.

Written by pydicom, compressed by dcmtk and OpenJPEG; read back by dcmtk's `dcm2pnm`, `dcmj2pnm`, `dcml2pnm`
and by `opj_decompress`, never by the libraries that magsd decodes with. Beside it stands the drawn truth:
the formulas of PS3.3 C.11 on the values that were drawn. It is the reference where dcmtk does not settle it
(padding, headers that lie).
"""

from __future__ import annotations

import random
import shutil
import subprocess
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pydicom
from pictures import dicom_bytes, radiograph
from pydicom import uid
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.sequence import Sequence

TOOLS = ("dcm2pnm", "dcmj2pnm", "dcml2pnm", "dcmconv", "dcmcjpeg", "dcmcjpls", "dcmcrle")
OPENJPEG = ("opj_compress", "opj_decompress")
ENCODERS = {
    "implicit": ("dcmconv", "+ti"),
    "explicit": ("dcmconv", "+te"),
    "big endian": ("dcmconv", "+tb"),
    "deflated": ("dcmconv", "+td"),
    "rle": ("dcmcrle",),
    "jpeg": ("dcmcjpeg", "+eb", "+q", "100"),
    "jpeg lossless": ("dcmcjpeg", "+e1"),
    "jpeg lossless any": ("dcmcjpeg", "+el"),
    "jpeg-ls": ("dcmcjpls", "+el"),
    "jpeg-ls near": ("dcmcjpls", "+en", "+md", "1"),
    "jpeg 2000": (),
}
READERS = {"jpeg": "dcmj2pnm", "jpeg lossless": "dcmj2pnm", "jpeg lossless any": "dcmj2pnm"}
READERS |= {"jpeg-ls": "dcml2pnm", "jpeg-ls near": "dcml2pnm"}
SIDE = 64
Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Case:
    """One combination. `high` counts from the usual place; `lie` names what the header has wrong."""

    photometric: str = "MONOCHROME2"
    allocated: int = 16
    bits: int = 12
    high: str = "usual"
    signed: bool = False
    padding: str = "none"
    grading: str = "none"
    syntax: str = "explicit"
    lie: str = "none"

    @property
    def lossy(self) -> bool:
        """Whether compression changes values, which a steep grading shows: the reader alone settles it."""
        return self.syntax in ("jpeg", "jpeg-ls near")

    @property
    def settled(self) -> bool:
        """Whether dcmtk settles it; else the drawn truth is the reference.

        It rounds what a fractional rescale slope gives, which a narrow window then shows as steps.
        """
        return self.padding == "none" and self.lie in ("none", "lut bits") and self.grading != "fraction"


@dataclass(frozen=True)
class Drawn:
    """The data set, its words [H,W], and the shades [H,W] that a viewer must show."""

    dataset: Any
    words: Array
    shades: Array
    options: tuple[str, ...] = field(default=())


def missing_tools() -> list[str]:
    return [name for name in (*TOOLS, *OPENJPEG) if shutil.which(name) is None]


def gray_cases() -> list[Case]:
    """Every sensible combination of gray pictures."""
    found = []
    depths = [(8, 8), (16, 8), (16, 10), (16, 12), (16, 14), (16, 16)]
    gradings = ("none", "window", "exact", "sigmoid", "rescaled", "fraction", "voi", "modality", "both")
    for pi, (allocated, bits), high, signed, padding, grading, syntax in product(
        ("MONOCHROME1", "MONOCHROME2"),
        depths,
        ("usual", "left", "middle"),
        (False, True),
        ("none", "outside", "inside", "range"),
        gradings,
        ENCODERS,
    ):
        case = Case(pi, allocated, bits, high, signed, padding, grading, syntax)
        if high != "usual" and allocated - bits < 2:
            continue
        if padding == "outside" and (allocated == bits or high != "usual"):
            continue
        if syntax == "jpeg" and (allocated, signed, padding) != (8, False, "none"):
            continue
        if syntax == "jpeg" and grading in ("voi", "modality", "both"):
            continue  # dcmcjpeg puts the pixels through a modality table and drops a VOI one
        if syntax in ("jpeg", "jpeg-ls near") and grading == "fraction":
            continue  # settled neither by the reader nor by the truth
        if syntax == "jpeg-ls near" and (high != "usual" or padding != "none" or signed):
            continue  # an error of one in the lowest bit is not one in the value
        if grading in ("modality", "both") and signed and bits == 16:
            continue  # more entries than a table has
        found.append(case)
    return found


def lying_cases() -> list[Case]:
    """Headers that lie about the bits or the sign, and tables that lie about theirs."""
    found = []
    for pi, bits, lie, grading, syntax in product(
        ("MONOCHROME1", "MONOCHROME2"),
        (10, 12),
        ("left unsaid", "right unsaid", "too few bits", "sign unsaid"),
        ("none", "window"),
        ("implicit", "explicit", "big endian", "deflated", "rle", "jpeg lossless", "jpeg-ls", "jpeg 2000"),
    ):
        if lie in ("sign unsaid", "too few bits") and grading == "window" and lie == "too few bits":
            continue
        found.append(Case(pi, 16, bits, "usual", False, "none", grading, syntax, lie))
    for pi, bits, grading, syntax in product(
        ("MONOCHROME1", "MONOCHROME2"),
        (10, 12),
        ("voi", "modality"),
        ("implicit", "big endian", "rle", "jpeg-ls"),
    ):
        found.append(Case(pi, 16, bits, "usual", False, "none", grading, syntax, "lut bits"))
    return found


def colour_cases() -> list[Case]:
    """Palettes, and gray pictures stored as colours."""
    found = [
        Case("PALETTE COLOR", allocated, bits, "usual", False, "none", entries, syntax)
        for (allocated, bits), entries, syntax in product(
            ((8, 8), (16, 8), (16, 12)),
            ("palette 8", "palette 16"),
            (
                "implicit",
                "explicit",
                "big endian",
                "deflated",
                "rle",
                "jpeg lossless",
                "jpeg-ls",
                "jpeg 2000",
            ),
        )
    ]
    for pi, lie, syntax in product(
        ("RGB", "YBR_FULL"),
        ("none", "colour space"),
        ("implicit", "explicit", "big endian", "deflated", "rle"),
    ):
        found.append(Case(pi, 8, 8, "usual", False, "none", "none", syntax, lie))
    return found


def chosen_cases(count: int, seed: int = 0) -> list[Case]:
    """All colour and lying ones, and as many gray ones as are missing to `count`, drawn by `seed`.

    Three of four gray ones are settled by the independent reader.
    """
    fixed = [*colour_cases(), *lying_cases()]
    gray = gray_cases()
    random.Random(seed).shuffle(gray)
    settled, open_ones = ([case for case in gray if case.settled == which] for which in (True, False))
    wanted = max(0, count - len(fixed))
    return fixed + settled[: wanted - wanted // 4] + open_ones[: wanted // 4]


def draw(case: Case) -> Drawn:
    """The file of a case, uncompressed, with its truth."""
    y, x = np.mgrid[:SIDE, :SIDE]
    share = (np.sin(x / 9) + np.cos(y / 7) + x / 32 + 1) / 5
    share = ((share - share.min()) / np.ptp(share)).clip(0, 1)
    if case.photometric in ("RGB", "YBR_FULL"):
        return _draw_colours(case, share)
    if case.photometric == "PALETTE COLOR":
        return _draw_palette(case, share)
    lowest = -(1 << (case.bits - 1)) if case.signed else 0
    highest = lowest + (1 << case.bits) - 1
    spare = 3 if case.padding in ("inside", "range") else 0
    values = np.round(lowest + spare + share * (highest - lowest - spare)).astype(np.int64)
    tags: dict[str, Any] = {
        "BitsStored": case.bits,
        "HighBit": case.bits - 1,
        "PixelRepresentation": int(case.signed),
    }
    tags["PhotometricInterpretation"] = case.photometric
    shades, options = _graded(case, values, (lowest, highest), tags)
    if case.photometric == "MONOCHROME1":
        shades = 255 - shades
    words, shades = _padded(case, values, lowest, shades, tags)
    words = _laid(case, words, tags) & ((1 << case.allocated) - 1)
    dtype = np.uint8 if case.allocated == 8 else np.uint16
    dataset = radiograph(words.astype(dtype), **tags)
    return Drawn(dataset, words.astype(dtype), shades, options)


def _laid(case: Case, values: Array, tags: dict[str, Any]) -> Array:
    """Values in their words, as the case has high bit and lie."""
    shift = {"usual": 0, "left": case.allocated - case.bits, "middle": 1}[case.high]
    tags["HighBit"] += shift
    if case.lie == "left unsaid":
        return values << (16 - case.bits)
    if case.lie == "right unsaid":
        tags["HighBit"] = 15
    if case.lie == "too few bits":
        tags["BitsStored"], tags["HighBit"] = case.bits - 2, case.bits - 3
    if case.lie == "sign unsaid":
        return values - (1 << (case.bits - 1))
    return values << shift


def _padded(
    case: Case, values: Array, lowest: int, shades: Array, tags: dict[str, Any]
) -> tuple[Array, Array]:
    """A border of padding, black."""
    if case.padding == "none":
        return values, shades
    first, last = {
        "outside": (-(1 << 15), -(1 << 15)) if case.signed else (65_535, 65_535),
        "inside": (lowest, lowest),
        "range": (lowest + 2, lowest),
    }[case.padding]
    tags["PixelPaddingValue"] = first
    if case.padding == "range":
        tags["PixelPaddingRangeLimit"] = last
    border = np.ones(values.shape, bool)
    border[6:-10, 8:-4] = False
    values, shades = values.copy(), shades.copy()
    values[border] = np.where(np.arange(border.sum()) % 2, first, last)
    shades[border] = 0
    return values, shades


def _graded(
    case: Case, values: Array, limits: tuple[int, int], tags: dict[str, Any]
) -> tuple[Array, tuple[str, ...]]:
    """The shades of the values before inversion, and how dcmtk is asked for them."""
    lowest, highest = limits
    if case.grading == "none":
        first, last = (values[6:-10, 8:-4].min(), values[6:-10, 8:-4].max()) if case.signed else limits
        if case.signed and case.padding == "none":
            first, last = values.min(), values.max()
        if case.lie == "sign unsaid":
            first, last = values.min(), values.max()
        return _linear(values, first, last), ("+Wm",)
    if case.grading in ("window", "exact", "sigmoid", "rescaled", "fraction"):
        return _windowed(case, values, limits, tags)
    shades: Array = values
    top = 255.0
    if case.grading in ("modality", "both"):
        table = _ramp(highest - lowest + 1, 12, 1.4)
        tags["ModalityLUTSequence"] = Sequence([_table(table, lowest, _said_bits(case, 12), case)])
        shades, top = table[shades - lowest], 4095.0
        lowest, highest = 0, 4095
    if case.grading in ("voi", "both"):
        table = _ramp(highest - lowest + 1, 10, 0.7)
        tags["VOILUTSequence"] = Sequence([_table(table, lowest, _said_bits(case, 10), case)])
        shades, top = table[shades - lowest], 1023.0
    options = ("+Wl", "1") if case.grading != "modality" else ("+Wm",)
    if case.lie == "lut bits":
        options += ("+Mm", "+Mv")
    return _linear(shades, 0, top), options


def _said_bits(case: Case, bits: int) -> int:
    return 16 if case.lie == "lut bits" else bits


def _windowed(
    case: Case, values: Array, limits: tuple[int, int], tags: dict[str, Any]
) -> tuple[Array, tuple[str, ...]]:
    lowest, highest = limits
    if case.lie == "sign unsaid":
        values, lowest, highest = (v - (1 << (case.bits - 1)) for v in (values, lowest, highest))
    slope, intercept = {"rescaled": (2.0, -100.0), "fraction": (0.5, -100.0)}.get(case.grading, (1.0, 0.0))
    if slope != 1:
        tags["RescaleSlope"], tags["RescaleIntercept"] = slope, intercept
    shown = values * slope + intercept
    low, high = (lowest + (highest - lowest) * part for part in (0.15, 0.8))
    centre, width = round((low + high) / 2 * slope + intercept), max(round((high - low) * slope), 4)
    tags["WindowCenter"], tags["WindowWidth"] = centre, width
    if case.grading == "sigmoid":
        tags["VOILUTFunction"] = "SIGMOID"
        return np.round(255 / (1 + np.exp(-4 * (shown - centre) / width))), ("+Wi", "1")
    if case.grading == "exact":
        tags["VOILUTFunction"] = "LINEAR_EXACT"
        return _linear(shown, centre - width / 2, centre + width / 2), ("+Wi", "1")
    return _linear(shown, centre - 0.5 - (width - 1) / 2, centre - 0.5 + (width - 1) / 2), ("+Wi", "1")


def _linear(values: Array, low: float, high: float) -> Array:
    return np.round((values - low) / (high - low) * 255).clip(0, 255)


def _ramp(entries: int, bits: int, power: float) -> Array:
    table: Array = np.round(np.linspace(0, 1, entries) ** power * ((1 << bits) - 1)).astype(np.int64)
    return table


def _table(table: Array, first: int, bits: int, case: Case) -> Dataset:
    item = Dataset()
    item.add_new("LUTDescriptor", "SS" if first < 0 else "US", [len(table) % 65_536, first, bits])
    item.add_new("LUTData", "OW", table.astype("<u2").tobytes())
    if case.grading in ("modality", "both") and bits in (12, 16):
        item.ModalityLUTType = "US"
    if first < 0 and len(table) % 65_536 >= 32_768:
        item["LUTDescriptor"].VR = "US"
        item.LUTDescriptor = [len(table) % 65_536, first + 65_536, bits]
    return item


def _draw_palette(case: Case, share: Array) -> Drawn:
    entries = 1 << case.bits
    order = np.random.default_rng(0).permutation(entries)
    wanted = np.round(share * 255).astype(np.int64)
    at = np.round(share * (entries - 1)).astype(np.int64)
    places = np.argsort(order)  # where in the table the n-th shade stands
    words = places[at]
    shade_of_entry = np.round(order / (entries - 1) * 255).astype(np.int64)
    wanted = shade_of_entry[words]
    said = 8 if case.grading == "palette 8" else 16
    table = shade_of_entry if said == 8 else shade_of_entry * 257
    tags: dict[str, Any] = {"PhotometricInterpretation": "PALETTE COLOR", "Modality": "OT"}
    tags |= {"BitsStored": case.bits, "HighBit": case.bits - 1}
    dataset = radiograph(words.astype(np.uint8 if case.allocated == 8 else np.uint16), **tags)
    for colour in ("Red", "Green", "Blue"):
        setattr(dataset, f"{colour}PaletteColorLookupTableDescriptor", [entries % 65_536, 0, said])
        data = table.astype("<u2").tobytes() if said == 16 else table.astype(np.uint8).tobytes()
        setattr(dataset, f"{colour}PaletteColorLookupTableData", data)
        dataset[f"{colour}PaletteColorLookupTableData"].VR = "OW"
    return Drawn(dataset, words.astype(np.uint8 if case.allocated == 8 else np.uint16), wanted)


def _draw_colours(case: Case, share: Array) -> Drawn:
    gray = np.round(share * 255).astype(np.uint8)
    ycbcr = np.dstack([gray, np.full_like(gray, 128), np.full_like(gray, 128)])
    as_ycbcr = (case.photometric == "YBR_FULL") != (case.lie == "colour space")
    pixels = ycbcr if as_ycbcr else np.dstack([gray] * 3)
    return Drawn(radiograph(pixels, PhotometricInterpretation=case.photometric), pixels, gray)


def write(drawn: Drawn, case: Case, folder: Path) -> Path | None:
    """The file of a case in its transfer syntax; None where no tool here can write it."""
    plain, whole, path = (folder / name for name in ("plain.dcm", "whole.dcm", "case.dcm"))
    plain.write_bytes(dicom_bytes(drawn.dataset))
    if case.syntax != "jpeg 2000":
        command, *options = ENCODERS[case.syntax]
        odd = case.high != "usual" or case.padding == "outside" or case.lie not in ("none", "lut bits")
        if not (odd and command in ("dcmcjpeg", "dcmcjpls")):
            return path if _run([command, *options, str(plain), str(path)]) else None
        # The encoders keep only the bits that the header declares: it gets its words after them.
        said = {name: drawn.dataset[name].value for name in ("BitsStored", "HighBit", "PixelRepresentation")}
        dataset = pydicom.dcmread(plain)
        _set(dataset, dict(zip(said, (16, 15, 0), strict=True)))
        whole.write_bytes(dicom_bytes(dataset))
        if not _run([command, *options, str(whole), str(path)]):
            return None
        dataset = pydicom.dcmread(path)
        _set(dataset, said)
        path.write_bytes(dicom_bytes(dataset))
        return path
    dtype = drawn.words.dtype.newbyteorder("<")
    (folder / "words.rawl").write_bytes(drawn.words.astype(dtype).tobytes())
    form = f"{SIDE},{SIDE},1,{case.allocated},u"
    if not _run(["opj_compress", "-i", str(folder / "words.rawl"), "-o", str(folder / "w.j2k"), "-F", form]):
        return None
    dataset = pydicom.dcmread(plain)
    dataset.PixelData = encapsulate([(folder / "w.j2k").read_bytes()])
    dataset["PixelData"].VR = "OB"
    dataset.file_meta.TransferSyntaxUID = uid.JPEG2000Lossless
    path.write_bytes(dicom_bytes(dataset))
    return path


def read_independently(path: Path, drawn: Drawn, case: Case, folder: Path) -> Array | None:
    """What dcmtk shows, uint8 [H,W]; JPEG 2000 is decompressed by OpenJPEG and graded by dcmtk."""
    if case.syntax == "jpeg 2000":
        if not _run(["opj_decompress", "-i", str(folder / "w.j2k"), "-o", str(folder / "back.rawl")]):
            return None
        dataset = pydicom.dcmread(folder / "plain.dcm")
        dataset.PixelData = (folder / "back.rawl").read_bytes()
        path = folder / "back.dcm"
        path.write_bytes(dicom_bytes(dataset))
    reader = READERS.get(case.syntax, "dcm2pnm")
    target = folder / "shown.pnm"
    target.unlink(missing_ok=True)
    if not _run([reader, "-O", *drawn.options, "--write-raw-pnm", str(path), str(target)]):
        return None
    shown = cv2.imread(str(target), cv2.IMREAD_UNCHANGED)
    return None if shown is None else cv2.cvtColor(shown, cv2.COLOR_BGR2GRAY) if shown.ndim == 3 else shown


def _set(dataset: Any, values: dict[str, Any]) -> None:
    for name, value in values.items():
        setattr(dataset, name, value)


def _run(command: list[str]) -> bool:
    done = subprocess.run(command, capture_output=True, check=False, timeout=60)
    return done.returncode == 0
