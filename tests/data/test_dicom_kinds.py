"""DICOM files as people really have them: each kind decodes to what a viewer shows, or is refused in words.

The pictures are drawn; those marked `real` are small inputs rebuilt after public fault reports.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pydicom
import pytest
from pictures import dicom_bytes, encoded, gradient, radiograph
from pydicom import uid
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.sequence import Sequence

from magsd_cli.data.decode import Decoded, DecodeError, decode_image
from magsd_cli.data.dicom.start import dicom_start

FIELDCASES = Path(__file__).resolve().parents[3] / "shared" / "fieldcases"
G = gradient()
T = G.astype(np.int64) * 16 + 8  # twelve bits
TWELVE: dict[str, Any] = {"BitsStored": 12, "HighBit": 11}
Array = npt.NDArray[Any]


def words(values: Array) -> Array:
    return (values & 0xFFFF).astype(np.uint16)


def decode(pixels: Array | None = None, **tags: Any) -> Decoded:
    return decode_image(dicom_bytes(radiograph(pixels, **tags)))


def code_of(data: bytes) -> str:
    with pytest.raises(DecodeError) as caught:
        decode_image(data)
    return caught.value.code


def assert_shows(decoded: Decoded, picture: Array = G, *, said: str = "", off: int = 1) -> None:
    np.testing.assert_allclose(decoded.pixels.astype(int), picture, atol=off)
    assert said in " | ".join(decoded.warnings), decoded.warnings


def table(entries: Array, first: int, bits: int, vr: str = "OW") -> Sequence:
    item = Dataset()
    item.add_new("LUTDescriptor", "SS" if first < 0 else "US", [len(entries) % 65_536, first, bits])
    data = entries.astype("<u2").tobytes() if vr == "OW" else entries.astype(vr).tolist()
    item.add_new("LUTData", "OW" if vr == "OW" else {"i2": "SS", "u2": "US"}[vr], data)
    return Sequence([item])


# Lookup tables whose declared bits are not those of their values.


@pytest.mark.parametrize("name", ["VOILUTSequence", "ModalityLUTSequence"])
@pytest.mark.parametrize(
    ("fills", "declared"), [(12, 16), (10, 16), (8, 16), (9, 12), (14, 16), (12, 8), (12, 0)]
)
def test_a_table_is_as_deep_as_its_values(name: str, fills: int, declared: int) -> None:
    entries = np.arange(4096) * ((1 << fills) - 1) // 4095
    decoded = decode(words(T), **TWELVE, **{name: table(entries, 0, declared)})
    assert_shows(decoded, said=f"a lookup table of {declared} bits whose values fill {fills}", off=1)
    honest = decode(words(T), **TWELVE, **{name: table(entries, 0, fills)})
    np.testing.assert_array_equal(decoded.pixels, honest.pixels)
    assert "lookup table" not in " ".join(honest.warnings)


def test_tables_as_bytes_numbers_and_below_zero() -> None:
    entries = np.arange(4096) * 16 + 15
    for vr in ("OW", "u2", "i2"):
        signed = decode((T - 2048).astype(np.int16), **TWELVE, VOILUTSequence=table(entries, -2048, 16, vr))
        assert_shows(signed)
    as_unsigned = table(entries, 65_536 - 2048, 16)
    assert_shows(decode((T - 2048).astype(np.int16), **TWELVE, VOILUTSequence=as_unsigned))


# Padding.


INSIDE = G.copy()  # with black and white inside the border
INSIDE[40, 50], INSIDE[50, 40] = 0, 255
DEEP = INSIDE.astype(np.int64) * 16 + 8


def bordered(values: Array, padding: int) -> tuple[Array, Array]:
    border = np.ones(values.shape, bool)
    border[10:-20, 15:-5] = False
    return np.where(border, padding, values), np.where(border, 0, INSIDE)


PADDINGS = {
    "white, 16 bits": (0, {"PixelPaddingValue": 65_535}, 65_535, False),
    "white, above the bits stored": (0, {"PixelPaddingValue": 65_535, **TWELVE}, 65_535, False),
    "black": (0, {"PixelPaddingValue": 0, **TWELVE}, 0, False),
    "within the values": (0, {"PixelPaddingValue": 4095, **TWELVE}, 4095, False),
    "a range, downwards": (
        0,
        {"PixelPaddingValue": 4095, "PixelPaddingRangeLimit": 4090, **TWELVE},
        4092,
        False,
    ),
    "a range, upwards": (0, {"PixelPaddingValue": 0, "PixelPaddingRangeLimit": 5, **TWELVE}, 3, False),
    "signed": (2048, {"PixelPaddingValue": -2048, **TWELVE}, -2048, True),
    "signed, beyond the bits": (2048, {"PixelPaddingValue": -32_768, **TWELVE}, -32_768, True),
    "signed, written as unsigned": (
        2048,
        {"PixelPaddingValue": 65_536 - 2000, "BitsStored": 16},
        -2000,
        True,
    ),
}


@pytest.mark.parametrize("inverted", [False, True])
@pytest.mark.parametrize("windowed", [False, True])
@pytest.mark.parametrize("name", PADDINGS)
def test_padding_is_black_and_counts_for_nothing(name: str, windowed: bool, inverted: bool) -> None:
    offset, tags, padding, signed = PADDINGS[name]
    values, truth = bordered(4095 - DEEP if inverted else DEEP, padding + offset)
    tags = tags | {"PhotometricInterpretation": "MONOCHROME1" if inverted else "MONOCHROME2"}
    if windowed:
        tags |= {"WindowCenter": 2048 - offset, "WindowWidth": 4096}
    pixels = (values - offset).astype(np.int16) if signed else words(values)
    dataset = radiograph(pixels, **{k: v for k, v in tags.items() if "Padding" not in k})
    for keyword in ("PixelPaddingValue", "PixelPaddingRangeLimit"):
        if keyword in tags:
            dataset.add_new(keyword, "SS" if tags[keyword] < 0 else "US", tags[keyword])
    assert_shows(decode_image(dicom_bytes(dataset)), truth, said="shown black", off=2)


def test_padding_that_does_not_occur_says_nothing() -> None:
    assert (
        decode(words(T), **TWELVE, WindowCenter=2048, WindowWidth=4096, PixelPaddingValue=65_535).warnings
        == ()
    )
    assert code_of(dicom_bytes(radiograph(np.zeros((64, 64), np.uint16), PixelPaddingValue=0))) == "constant"


# Photometric interpretations with one sample.


def with_palette(entries: Array, said: int, **tags: Any) -> Any:
    dataset = radiograph(**{"PhotometricInterpretation": "PALETTE COLOR", "Modality": "OT"} | tags)
    for colour, column in zip(("Red", "Green", "Blue"), np.atleast_2d(entries), strict=True):
        setattr(dataset, f"{colour}PaletteColorLookupTableDescriptor", [column.size % 65_536, 0, said])
        data = column.astype("<u2").tobytes() if said == 16 else column.astype(np.uint8).tobytes()
        dataset.add_new(f"{colour}PaletteColorLookupTableData", "OW", data)
    return dataset


def test_a_palette_is_applied_and_said() -> None:
    order = np.random.default_rng(0).permutation(256).astype(np.int64)
    indices = np.argsort(order)[G].astype(np.uint8)
    for entries, said in ((order * 257, 16), (order << 8, 16), (order, 16), (order, 8)):
        dataset = with_palette(np.stack([entries] * 3), said)
        dataset.PixelData = indices.tobytes()
        assert_shows(decode_image(dicom_bytes(dataset)), said="palette colours read as gray")


def test_a_coloured_palette_or_none_is_refused() -> None:
    rainbow = np.stack([np.arange(256), np.arange(256)[::-1], (np.arange(256) * 7) % 256])
    assert code_of(dicom_bytes(with_palette(rainbow, 8))) == "not_grayscale"
    assert code_of(dicom_bytes(radiograph(PhotometricInterpretation="PALETTE COLOR"))) == "corrupt"


@pytest.mark.parametrize(
    "kind", ["RGB", "YBR_FULL", "ARGB", "HSV", "CMYK", "MONOCHROME", "MONOCHROME3", "X-RAY"]
)
def test_other_interpretations_of_one_sample_are_refused(kind: str) -> None:
    assert code_of(dicom_bytes(radiograph(PhotometricInterpretation=kind))) == "not_grayscale"


def test_no_interpretation_is_refused_and_spellings_are_read() -> None:
    assert code_of(dicom_bytes(radiograph(PhotometricInterpretation=None))) == "corrupt"
    assert code_of(dicom_bytes(radiograph(PhotometricInterpretation=""))) == "corrupt"
    assert_shows(decode(255 - G, PhotometricInterpretation="monochrome1"), said="inverted")


# Colour spaces that the header gets wrong.


def test_a_gray_picture_is_gray_whatever_the_header_calls_its_colours() -> None:
    ycbcr, rgb = np.dstack([G, np.full_like(G, 128), np.full_like(G, 128)]), np.dstack([G] * 3)
    assert_shows(decode(ycbcr, PhotometricInterpretation="RGB"), said="read as YCbCr")
    assert_shows(decode(rgb, PhotometricInterpretation="YBR_FULL"), said="read as RGB")
    assert_shows(decode(rgb, PhotometricInterpretation="YBR_FULL_422"), said="read as RGB")
    assert decode(ycbcr, PhotometricInterpretation="YBR_FULL").warnings == ()
    coloured = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    for kind in ("RGB", "YBR_FULL"):
        assert code_of(dicom_bytes(radiograph(coloured, PhotometricInterpretation=kind))) == "not_grayscale"


def test_an_rgb_header_over_a_jpeg_without_markers() -> None:
    jpeg = encoded(np.dstack([G] * 3), ".jpg", cv2.IMWRITE_JPEG_QUALITY, 100)
    start = jpeg.index(b"\xff\xe0")
    length = int.from_bytes(jpeg[start + 2 : start + 4], "big")
    dataset = radiograph(np.dstack([G] * 3))
    dataset.PixelData = encapsulate([jpeg[:start] + jpeg[start + 2 + length :]])
    dataset["PixelData"].VR = "OB"
    dataset.file_meta.TransferSyntaxUID = uid.JPEGBaseline8Bit
    assert_shows(decode_image(dicom_bytes(dataset)), said="RGB in the header, YCbCr in the pixels", off=3)


# Where a file begins.


def bare(syntax: str, *, meta: bool = False, group_length: bool = False, drop: tuple[str, ...] = ()) -> bytes:
    """A data set without preamble, in a transfer syntax, with or without file meta information."""
    dataset = radiograph(words(T), **TWELVE)
    for name in drop:
        del dataset[name]
    buffer = pydicom.filebase.DicomBytesIO()
    buffer.is_little_endian, buffer.is_implicit_VR = syntax != "big", syntax == "implicit"
    if syntax == "big":
        dataset.PixelData = words(T).astype(">u2").tobytes()
    if group_length:
        order, explicit = (">" if syntax == "big" else "<"), syntax != "implicit"
        head = np.array([8, 0], order + "u2").tobytes()
        size = np.array([4], order + ("u2" if explicit else "u4")).tobytes()
        buffer.write(head + (b"UL" if explicit else b"") + size + np.array([0], order + "u4").tobytes())
    if meta:
        first = FileMetaDataset()
        kinds = {"implicit": uid.ImplicitVRLittleEndian, "explicit": uid.ExplicitVRLittleEndian}
        first.TransferSyntaxUID = kinds.get(syntax, uid.ExplicitVRBigEndian)
        inner = pydicom.filebase.DicomBytesIO()
        inner.is_little_endian, inner.is_implicit_VR = True, False
        pydicom.filewriter.write_dataset(inner, first)
        buffer.write(inner.getvalue())
    plain = Dataset()
    plain.update({element.tag: element for element in dataset})
    pydicom.filewriter.write_dataset(buffer, plain)
    return bytes(buffer.getvalue())


@pytest.mark.parametrize("syntax", ["implicit", "explicit", "big"])
@pytest.mark.parametrize("how", ["plain", "meta", "group length", "other tag first", "DICM", "zeros"])
def test_without_preamble(syntax: str, how: str) -> None:
    drop = ("SOPClassUID", "SOPInstanceUID") if how == "other tag first" else ()
    data = bare(syntax, meta=how == "meta", group_length=how == "group length", drop=drop)
    data = {"DICM": b"DICM", "zeros": b"\0" * 128}.get(how, b"") + data
    assert_shows(decode_image(data))


def test_other_bytes_are_no_dicom() -> None:
    for data in (b"", b"\x08\x00", encoded(G), encoded(G, ".jpg"), b"\x08\x00\x16\x00ZZ\xff\x7f" + b"x" * 90):
        assert dicom_start(data) is None
    assert code_of(b"\x02\x00\x10\x00UI\x08\x001.2.3.4\0") == "not_image"


# Transfer syntaxes that are missing or wrong.


def compressed(kind: str) -> tuple[Any, str]:
    if kind == "JPEG":
        dataset, stream = radiograph(), [encoded(G, ".jpg", cv2.IMWRITE_JPEG_QUALITY, 100)]
    elif kind == "progressive":
        options = (cv2.IMWRITE_JPEG_QUALITY, 100, cv2.IMWRITE_JPEG_PROGRESSIVE, 1)
        dataset, stream = radiograph(), [encoded(G, ".jpg", *options)]
    elif kind in ("JP2", "J2K"):
        data = encoded(G, ".jp2", cv2.IMWRITE_JPEG2000_COMPRESSION_X1000, 1000)
        dataset, stream = radiograph(), [data if kind == "JP2" else data[data.index(b"\xff\x4f\xff\x51") :]]
    else:
        dataset = radiograph()
        dataset.compress(uid.RLELossless)
        return dataset, "RLE"
    dataset.PixelData = encapsulate(stream)
    dataset["PixelData"].VR = "OB"
    dataset.file_meta.TransferSyntaxUID = uid.JPEGBaseline8Bit
    return dataset, "JPEG" if kind in ("JPEG", "progressive") else "JPEG 2000"


def without_syntax(dataset: Any) -> bytes:
    data = dicom_bytes(dataset)
    start = data.index(b"\x02\x00\x10\x00UI")
    length = int.from_bytes(data[start + 6 : start + 8], "little")
    return data[:start] + data[start + 8 + length :]


@pytest.mark.parametrize("kind", ["JPEG", "progressive", "J2K", "JP2", "RLE"])
def test_compressed_pixels_tell_their_own_syntax(kind: str) -> None:
    dataset, said = compressed(kind)
    assert_shows(decode_image(without_syntax(dataset)), said=f"read as {said}", off=3)


@pytest.mark.parametrize("kind", ["J2K", "RLE"])
def test_a_wrong_syntax_is_overruled(kind: str) -> None:
    dataset, said = compressed(kind)
    for wrong in (uid.JPEGLSLossless, uid.JPEGBaseline8Bit, uid.ExplicitVRLittleEndian):
        data = dicom_bytes(dataset)
        right = str(dataset.file_meta.TransferSyntaxUID).encode()
        start = data.index(b"\x02\x00\x10\x00UI")
        length = int.from_bytes(data[start + 6 : start + 8], "little")
        padded = str(wrong).encode() + b"\0" * (len(wrong) % 2)
        head = b"\x02\x00\x10\x00UI" + len(padded).to_bytes(2, "little")
        assert right in data
        data = data[:start] + head + padded + data[start + 8 + length :]
        assert_shows(decode_image(data), said=f"read as {said}", off=3)


def test_a_jpeg_in_place_of_pixels() -> None:
    dataset = radiograph()
    dataset.PixelData = encoded(G, ".jpg", cv2.IMWRITE_JPEG_QUALITY, 100)
    assert_shows(decode_image(dicom_bytes(dataset)), said="JPEG Baseline", off=3)


def test_unknown_streams_are_named() -> None:
    for frame, reason in ((b"\xff\x0a" + b"x" * 98, "JPEG XL"), (b"moov" * 25, "unknown way")):
        dataset, _ = compressed("JPEG")
        dataset.PixelData = encapsulate([frame])
        with pytest.raises(DecodeError, match=reason) as caught:
            decode_image(without_syntax(dataset))
        assert caught.value.code == "missing_codec"


# Bits.


@pytest.mark.parametrize(("bits", "high"), [(12, 15), (10, 15), (12, 13), (10, 11), (8, 15), (14, 15)])
@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("windowed", [False, True])
def test_values_lie_below_the_high_bit(bits: int, high: int, signed: bool, windowed: bool) -> None:
    half = 1 << (bits - 1) if signed else 0
    top = (1 << bits) - 1
    values = G.astype(np.int64) * top // 255 - half
    tags: dict[str, Any] = {"BitsStored": bits, "HighBit": high, "PixelRepresentation": int(signed)}
    if windowed:
        tags |= {"WindowCenter": (top + 1) / 2 - half, "WindowWidth": top + 1}
    decoded = decode(words(values << (high + 1 - bits)), **tags)
    assert_shows(decoded, said=f"values shifted by {high + 1 - bits} bits", off=1)


LIES: dict[str, tuple[Callable[[Array], Array], dict[str, Any], str]] = {
    "left, unsaid": (lambda t: t << 4, TWELVE, "shifted by 4 bits"),
    "right, said to be left": (lambda t: t, {"BitsStored": 12, "HighBit": 15}, "not shifted"),
    "twelve bits, said to be ten": (lambda t: t, {"BitsStored": 10, "HighBit": 9}, "all 16 were read"),
    "signed, said to be unsigned": (lambda t: t - 2048, TWELVE, "read as signed"),
    "high bit below the bits": (lambda t: t, {"BitsStored": 12, "HighBit": 7}, "high bit 7 does not fit"),
    "more bits than allocated": (lambda t: t, {"BitsStored": 24, "HighBit": 23}, "24 bits stored do not fit"),
}


@pytest.mark.parametrize("name", LIES)
def test_a_header_that_lies_about_bits(name: str) -> None:
    change, tags, said = LIES[name]
    assert_shows(decode(words(change(T)), **tags, PixelRepresentation=0), said=said)


def test_an_overlay_in_unused_bits_is_left_out() -> None:
    overlay = np.zeros(T.shape, np.int64)
    overlay[20:40, 30:90] = 1 << 13
    dataset = radiograph(words(T | overlay), **TWELVE)
    dataset.add_new(0x60000100, "US", 16)
    dataset.add_new(0x60000102, "US", 13)
    assert_shows(decode_image(dicom_bytes(dataset)), said="overlay in unused bits")


def test_signed_values_with_and_without_repeated_sign() -> None:
    for pixels in (words(T - 2048), words((T - 2048) & 0xFFF)):
        decoded = decode(pixels, **TWELVE, PixelRepresentation=1)
        assert_shows(decoded)
        assert not [said for said in decoded.warnings if "window" not in said]


# What is no film for viewing.


def test_detector_data_are_refused() -> None:
    for tags in (
        {"PresentationIntentType": "FOR PROCESSING"},
        {"PresentationIntentType": "for_processing"},
        {"SOPClassUID": uid.DigitalXRayImageStorageForProcessing},
    ):
        assert code_of(dicom_bytes(radiograph(**tags))) == "for_processing"
    assert decode(PresentationIntentType="FOR PRESENTATION").warnings == ()


def test_a_lut_shape_that_contradicts() -> None:
    for kind, shape in (("MONOCHROME2", "INVERSE"), ("MONOCHROME1", "IDENTITY")):
        decoded = decode(PhotometricInterpretation=kind, PresentationLUTShape=shape)
        assert "contradicts" in " ".join(decoded.warnings)
    assert decode(PresentationLUTShape="IDENTITY").warnings == ()


def viewed(code: str = "", meaning: str = "", **tags: Any) -> bytes:
    dataset = radiograph(**tags)
    item = Dataset()
    item.CodeValue, item.CodeMeaning, item.CodingSchemeDesignator = code, meaning, "SCT"
    if code or meaning:
        dataset.ViewCodeSequence = Sequence([item])
    return dicom_bytes(dataset)


LATERALS: list[dict[str, Any]] = [
    *(
        {"ViewPosition": word}
        for word in ("LL", "RL", "lateral", "LAT", "L-LAT", "LLAT", "Left Lateral", "LATERAL L")
    ),
    *({"ViewPosition": word} for word in ("CHEST_LAT", "PROFIL", "Latero-lateral")),
    *({"code": code} for code in ("R-10236", "R-10232", "399173006", "399198007", "399067008", "R-102CD")),
    *({"meaning": word} for word in ("left lateral", "Right Lateral", "lateral")),
    *(
        {"SeriesDescription": word}
        for word in ("CHEST LAT", "Thorax lateral", "W CHEST, LAT.", "chest_lateral_view")
    ),
    *({"ProtocolName": word} for word in ("CHESTLAT", "Thorax seitlich")),
    {"ViewPosition": "", "code": "399173006"},
]
FRONTALS: list[dict[str, Any]] = [
    *({"ViewPosition": word} for word in ("PA", "AP", "", "LLO", "free text", "bilateral")),
    *({"code": code} for code in ("399348003", "272479007", "R-10206", "1234")),
    *(
        {"SeriesDescription": word}
        for word in ("CHEST PA AND LAT", "Chest 2 views PA/LAT", "LATE PHASE", "bilateral")
    ),
    *({"SeriesDescription": word} for word in ("AP lateral decubitus", "CHEST", "LATEX", "Ipsilateral lung")),
    {"StudyDescription": "CHEST LATERAL"},
    {"ViewPosition": "PA", "SeriesDescription": "CHEST LAT"},
]


@pytest.mark.parametrize("tags", LATERALS)
def test_lateral_views_are_told(tags: dict[str, Any]) -> None:
    assert code_of(viewed(**tags)) == "lateral_view"
    assert decode_image(viewed(**tags), lateral=True).meta.view == "L"


@pytest.mark.parametrize("tags", FRONTALS)
def test_what_is_not_plainly_lateral_is_read(tags: dict[str, Any]) -> None:
    assert decode_image(viewed(**tags)).meta.view in ("", "PA", "AP")


def test_frontal_views_in_words() -> None:
    assert decode_image(viewed(meaning="postero-anterior")).meta.view == "PA"
    assert decode_image(viewed(meaning="antero-posterior")).meta.view == "AP"
    assert decode_image(viewed(SeriesDescription="CHEST PA")).meta.view == "PA"
    contradicting = decode_image(viewed(ViewPosition="PA", SeriesDescription="CHEST LAT"))
    assert "contradicts itself about the view" in " ".join(contradicting.warnings)


def located(part: str, meaning: str = "", **tags: Any) -> bytes:
    dataset = radiograph(BodyPartExamined=part, **tags)
    if meaning:
        item = Dataset()
        item.CodeMeaning = meaning
        dataset.AnatomicRegionSequence = Sequence([item])
    return dicom_bytes(dataset)


@pytest.mark.parametrize(
    "part",
    [
        *("KNEE", "knee", "HAND", "FOOT", "SKULL", "ABDOMEN", "PELVIS", "HIP", "TSPINE", "LSPINE", "CSPINE"),
        *("SHOULDER", "ANKLE", "BREAST", "WRIST_LEFT", "ELBOWS", "THORACIC SPINE"),
    ],
)
def test_other_parts_are_refused(part: str) -> None:
    assert code_of(located(part)) == "other_body_part"


@pytest.mark.parametrize(("part", "meaning"), [("", "Knee"), ("XYZ", "Lumbar spine"), ("", "Thoracic spine")])
def test_other_parts_by_their_region(part: str, meaning: str) -> None:
    assert code_of(located(part, meaning)) == "other_body_part"


@pytest.mark.parametrize(
    "part",
    ["CHEST", "chest", "THORAX", "LUNG", "CHESTABDOMEN", "CHEST_TO_PELVIS", "Torax", "RIB", "WHOLEBODY", ""],
)
def test_the_chest_is_read_without_a_word(part: str) -> None:
    assert decode_image(located(part)).warnings == ()


def test_an_unknown_part_is_a_warning() -> None:
    assert decode_image(located("GR1 BUCKY")).warnings == (
        "the header names a body part that is not known here",
    )
    assert decode_image(located("CHEST", "Knee")).warnings == ()
    assert code_of(located("", Modality="MG")) == "other_body_part"
    assert_shows(decode_image(located("CHEST", Modality="MG")))


# Found in public reports of other readers; docs/reliability.md names them.


def test_windows_that_are_no_numbers_are_ignored() -> None:
    for centre, width in ((b"NaN   ", b"4096.0"), (b"2048.5", b"AUTO  "), (b"2048,5", b"4096.0")):
        data = dicom_bytes(radiograph(words(T), **TWELVE, WindowCenter="2048.5", WindowWidth="4096.0"))
        data = data.replace(b"2048.5", centre).replace(b"4096.0", width)
        assert_shows(decode_image(data), said="unusable window ignored")


def test_windows_of_several_values_decimals_and_below_one() -> None:
    several = {"WindowCenter": ["02048", "00400"], "WindowWidth": ["04096", "00400"]}
    assert_shows(decode(words(T), **TWELVE, **several))
    tiny = {
        "RescaleSlope": "0.0001",
        "RescaleIntercept": "0",
        "WindowCenter": "0.20475",
        "WindowWidth": "0.4095",
    }
    assert_shows(decode(words(T), **TWELVE, **tiny), said="narrower than 1")
    assert_shows(decode(words(T), **TWELVE, **tiny, VOILUTFunction="LINEAR_EXACT"))


def test_a_picture_that_its_offset_table_cuts() -> None:
    dataset, _ = compressed("JPEG")
    frame = next(pydicom.encaps.generate_frames(dataset.PixelData, number_of_frames=1))
    half = len(frame) // 4 * 2
    parts = [frame[:half], frame[half:]]
    offsets = b"\0" * 4 + (8 + half).to_bytes(4, "little")
    chain = [b"\xfe\xff\x00\xe0" + len(part).to_bytes(4, "little") + part for part in (offsets, *parts)]
    dataset.PixelData = b"".join(chain) + b"\xfe\xff\xdd\xe0\0\0\0\0"
    dataset["PixelData"].VR = "OB"
    assert_shows(decode_image(dicom_bytes(dataset)), said="fragments were joined", off=3)


def test_a_signed_stream_under_an_unsigned_header_is_said() -> None:
    data = encoded(G, ".jp2", cv2.IMWRITE_JPEG2000_COMPRESSION_X1000, 1000)
    stream = bytearray(data[data.index(b"\xff\x4f\xff\x51") :])
    stream[42] |= 0x80
    dataset, _ = compressed("J2K")
    dataset.PixelData = encapsulate([bytes(stream)])
    dataset["PixelData"].VR = "OB"
    assert "signed in the compressed picture" in " ".join(decode_image(dicom_bytes(dataset)).warnings)


def test_a_compressed_picture_of_another_size_is_refused() -> None:
    dataset, _ = compressed("J2K")
    dataset.Rows, dataset.Columns = dataset.Columns, dataset.Rows
    assert code_of(dicom_bytes(dataset)) == "corrupt"


# The rebuilt inputs themselves.

SHOWN = {
    "01-voi-lut-16-but-12/lying.dcm": ("ref.dcm", "lookup table"),
    "03-pixel-padding/padded.dcm": ("ref.dcm", "shown black"),
    "04-palette-color/palette.dcm": ("ref.png", "palette"),
    "06-no-preamble-other-first-tag/explicit_big_endian.dcm": ("ref.dcm", ""),
    "06-no-preamble-other-first-tag/implicit_sopclass_first.dcm": ("ref.dcm", ""),
    "22-no-transfer-syntax/j2k.dcm": ("ref.dcm", "by its first bytes"),
    "27-high-bit-and-bits-stored/left_justified_highbit15.dcm": ("ref.dcm", "shifted"),
}
REFUSED = {
    "17-lateral-not-in-viewposition/viewcode_left_lateral.dcm": "lateral_view",
    "17-lateral-not-in-viewposition/bodypart_knee.dcm": "other_body_part",
    "29-for-processing-and-lut-shape/for_processing.dcm": "for_processing",
}


def rebuilt(name: str) -> Path:
    path = FIELDCASES / name
    if not path.exists():
        pytest.skip(f"{FIELDCASES} is missing: the rebuilt inputs live beside the checkout")
    return path


@pytest.mark.real
@pytest.mark.parametrize("name", SHOWN)
def test_rebuilt_inputs_show_what_they_should(name: str) -> None:
    reference, said = SHOWN[name]
    path = rebuilt(name)
    truth = decode_image((path.parent / reference).read_bytes()).pixels.astype(int)
    assert_shows(decode_image(path.read_bytes()), truth, said=said, off=1)


@pytest.mark.real
@pytest.mark.parametrize("name", REFUSED)
def test_rebuilt_inputs_that_are_refused(name: str) -> None:
    assert code_of(rebuilt(name).read_bytes()) == REFUSED[name]


@pytest.mark.real
def test_real_films_lose_nothing(shared_data: Path) -> None:
    for path in sorted((shared_data / "raw").glob("*.dcm")):
        decoded = decode_image(path.read_bytes())
        assert decoded.meta.view == "PA"
        assert set(decoded.warnings) <= {"MONOCHROME1 inverted"}
