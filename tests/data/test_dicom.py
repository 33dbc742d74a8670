"""DICOM: grayscale display order, transfer syntaxes, refusals, and no header text anywhere."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from pictures import dicom_bytes, gradient, radiograph
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import JPEG2000Lossless, RLELossless

from magsd_cli.data.decode import Decoded, DecodeError, decode_image

G = gradient()
WIDE = G.astype(np.uint16)
SECRET = "Planted^Jane"


def decode(pixels: Any = None, **tags: Any) -> Decoded:
    return decode_image(dicom_bytes(radiograph(pixels, **tags)))


def code_of(pixels: Any = None, **tags: Any) -> str:
    with pytest.raises(DecodeError) as caught:
        decode(pixels, **tags)
    return caught.value.code


def test_eight_bits_as_they_are() -> None:
    decoded = decode()
    np.testing.assert_array_equal(decoded.pixels, G)
    assert decoded.warnings == ()


def test_monochrome1_is_inverted() -> None:
    decoded = decode(255 - G, PhotometricInterpretation="MONOCHROME1")
    np.testing.assert_array_equal(decoded.pixels, G)
    assert decoded.warnings == ("MONOCHROME1 inverted",)


def test_twelve_bits() -> None:
    decoded = decode(WIDE * 16 + 8, BitsStored=12, HighBit=11)
    np.testing.assert_allclose(decoded.pixels.astype(int), G, atol=1)
    # 12 bits in use where 16 are declared
    np.testing.assert_allclose(decode(WIDE * 16 + 8).pixels.astype(int), G, atol=1)


def test_window_linear() -> None:
    """PS3.3 C.11.2.1.2.1 by hand: c=1024, w=513 shows 768 as black and 1280 as white."""
    values = np.full((20, 20), 1024, np.uint16)
    values[0, :4] = (0, 768, 1280, 4000)
    decoded = decode(values, BitsStored=12, HighBit=11, WindowCenter=1024.5, WindowWidth=513)
    assert decoded.pixels[0, :5].tolist() == [0, 0, 255, 255, 128]


def test_window_exact_and_sigmoid() -> None:
    values = np.full((20, 20), 1000, np.uint16)
    values[0, :2] = (500, 1500)
    window = {"BitsStored": 12, "HighBit": 11, "WindowCenter": 1000, "WindowWidth": 1000}
    assert decode(values, **window, VOILUTFunction="LINEAR_EXACT").pixels[0, :3].tolist() == [0, 255, 128]
    sigmoid = decode(values, **window, VOILUTFunction="SIGMOID").pixels[0, :3].tolist()
    # 255 / (1 + exp(2)) = 30.4, 255 / (1 + exp(-2)) = 224.6
    assert sigmoid == [30, 225, 128]


def test_rescale_comes_before_the_window() -> None:
    values = np.full((20, 20), 100, np.int16)
    values[0, :2] = (0, 200)
    decoded = decode(
        values, RescaleSlope=2, RescaleIntercept=-1000, WindowCenter=-799.5, WindowWidth=401, BitsStored=16
    )
    assert decoded.pixels[0, :3].tolist() == [0, 255, 128]


def test_voi_lut_sequence() -> None:
    item = Dataset()
    item.LUTDescriptor = [256, 0, 8]
    item.LUTData = bytes(range(255, -1, -1))
    item["LUTData"].VR = "OW"
    decoded = decode(G, VOILUTSequence=Sequence([item]))
    np.testing.assert_array_equal(decoded.pixels, 255 - G)


@pytest.mark.parametrize("window", [(100, 0), (100, -5), (90_000, 10)])
def test_a_window_that_cannot_be_is_ignored(window: tuple[int, int]) -> None:
    decoded = decode(G, WindowCenter=window[0], WindowWidth=window[1])
    np.testing.assert_array_equal(decoded.pixels, G)
    assert "window" in decoded.warnings[0]


@pytest.mark.parametrize("syntax", [RLELossless, JPEG2000Lossless])
def test_compressed(syntax: str) -> None:
    dataset = radiograph()
    try:
        dataset.compress(syntax)
    except (NotImplementedError, RuntimeError):
        pytest.skip("no encoder for this syntax here")
    np.testing.assert_array_equal(decode_image(dicom_bytes(dataset)).pixels, G)


@pytest.mark.parametrize(
    "syntax",
    [
        "JPEGBaselineProcess1",
        "JPEGLosslessProcess14",
        "JPEGLosslessProcess14_1",
        "JPEGLSLossless",
        "JPEGLSNearLossless",
        "JPEG2000",
        "RLELossless",
        "ExplicitVRBigEndian",
    ],
)
@pytest.mark.parametrize("bits", [8, 12])
def test_transfer_syntaxes_of_hospitals(syntax: str, bits: int, tmp_path: Path) -> None:
    if (syntax, bits) == ("JPEGBaselineProcess1", 12):
        pytest.skip("JPEG baseline has 8 bits")
    gdcm = pytest.importorskip("gdcm")
    pixels = G if bits == 8 else WIDE * 16 + 8
    source, target = tmp_path / "a.dcm", tmp_path / "b.dcm"
    source.write_bytes(dicom_bytes(radiograph(pixels, BitsStored=bits, HighBit=bits - 1)))
    reader, change, writer = gdcm.ImageReader(), gdcm.ImageChangeTransferSyntax(), gdcm.ImageWriter()
    reader.SetFileName(str(source))
    assert reader.Read()
    change.SetTransferSyntax(gdcm.TransferSyntax(getattr(gdcm.TransferSyntax, syntax)))
    change.SetInput(reader.GetImage())
    assert change.Change()
    writer.SetFileName(str(target))
    writer.SetFile(reader.GetFile())
    writer.SetImage(change.GetOutput())
    assert writer.Write()
    np.testing.assert_allclose(decode_image(target.read_bytes()).pixels.astype(int), G, atol=2)


def test_a_missing_codec_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    from magsd_cli.data.dicom import stream as dicom_stream

    class Nothing:
        available_plugins = ()

    monkeypatch.setattr(dicom_stream, "get_decoder", lambda _syntax: Nothing)
    dataset = radiograph()
    dataset.compress(RLELossless)
    with pytest.raises(DecodeError, match="RLE Lossless here; `pip install python-gdcm`") as caught:
        decode_image(dicom_bytes(dataset))
    assert caught.value.code == "missing_codec"


def test_other_uncompressed_syntaxes() -> None:
    for syntax in (
        pydicom.uid.ImplicitVRLittleEndian,
        pydicom.uid.DeflatedExplicitVRLittleEndian,
    ):
        dataset = radiograph()
        dataset.file_meta.TransferSyntaxUID = syntax
        np.testing.assert_array_equal(decode_image(dicom_bytes(dataset)).pixels, G)


def test_header_facts() -> None:
    meta = decode(PatientID="123", PatientSex="f", PatientAge="055Y", ViewPosition="ap").meta
    assert (meta.patient_id, meta.sex, meta.age, meta.view) == ("123", "F", "55", "AP")
    assert decode(PatientAge="018M").meta.age == "1"
    assert decode(PatientSex="Jane Doe", ViewPosition="free text").meta.view == ""


def test_colour_secondary_capture() -> None:
    np.testing.assert_array_equal(decode(np.dstack([G] * 3)).pixels, G)
    colours = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    assert code_of(colours) == "not_grayscale"


def test_refusals() -> None:
    assert code_of(Modality="CT") == "ct_slice"
    assert code_of(Modality="US") == "not_xray"
    assert code_of(ViewPosition="LL") == "lateral_view"
    assert code_of(np.stack([G, G]), NumberOfFrames=2) == "multi_frame"
    assert code_of(PixelData=None) == "no_pixels"
    assert code_of(PixelData=G.tobytes()[:5000]) == "truncated"
    assert code_of(Rows=20_000, Columns=20_000) == "too_large"
    assert code_of(Rows=0) == "corrupt"
    assert code_of(np.full((64, 64), 3, np.uint8)) == "constant"


def test_lateral_views_may_be_allowed() -> None:
    data = dicom_bytes(radiograph(ViewPosition="LL"))
    assert decode_image(data, lateral=True).meta.view == "L"


def test_more_pixels_than_a_frame() -> None:
    decoded = decode(PixelData=G.tobytes() * 2)
    np.testing.assert_array_equal(decoded.pixels, G)
    assert "more pixel data" in decoded.warnings[0]


def test_unknown_syntax_names_itself() -> None:
    dataset = radiograph()
    data = dicom_bytes(dataset).replace(b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.1.2.77")
    with pytest.raises(DecodeError) as caught:
        decode_image(data)
    assert caught.value.code == "missing_codec"


@pytest.mark.parametrize(
    "tags",
    [
        {"Modality": "CT"},
        {"ViewPosition": SECRET},
        {"PixelData": b"\0" * 10},
        {"Rows": 0},
        {"WindowCenter": 1, "WindowWidth": 0},
        {"PhotometricInterpretation": SECRET},
        {"PhotometricInterpretation": "PALETTE COLOR"},
        {"BodyPartExamined": SECRET, "SeriesDescription": SECRET, "ProtocolName": SECRET},
        {"PresentationIntentType": SECRET, "PresentationLUTShape": SECRET},
        {"HighBit": 99, "BitsStored": 77},
        {"SamplesPerPixel": 2},
        {"BitsAllocated": 7},
    ],
)
def test_no_header_text_comes_out(
    tags: dict[str, Any], capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    planted = {
        "PatientName": SECRET,
        "PatientComments": SECRET,
        "StudyDescription": SECRET,
        "PatientAge": "Jane",
    }
    data = dicom_bytes(radiograph(**planted | tags))
    caplog.clear()
    try:
        decoded = decode_image(data)
        said = " ".join(decoded.warnings) + decoded.meta.view + decoded.meta.age + repr(decoded)
    except DecodeError as error:
        said = f"{error} {error.code} {error!r} {error.__cause__!r}"
    out = capfd.readouterr()
    assert "Jane" not in said + out.out + out.err + caplog.text


def test_a_cut_jpeg_inside() -> None:
    from pictures import encoded
    from pydicom.encaps import encapsulate

    whole = encoded(G, ".jpg")
    for frame, code in ((whole, "ok"), (whole[: len(whole) // 2], "truncated")):
        dataset = radiograph()
        dataset.PixelData = encapsulate([frame])
        dataset["PixelData"].VR = "OB"
        dataset.file_meta.TransferSyntaxUID = pydicom.uid.JPEGBaseline8Bit
        if code == "ok":
            np.testing.assert_allclose(decode_image(dicom_bytes(dataset)).pixels.astype(int), G, atol=12)
        else:
            with pytest.raises(DecodeError) as caught:
                decode_image(dicom_bytes(dataset))
            assert caught.value.code == code
