"""Which files a line of inputs means: all of them, in order, each once."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from magsd_cli.errors import UsageError
from magsd_cli.inference import inputs
from magsd_cli.inference.inputs import Inputs, list_inputs, read_list
from magsd_cli.settings import REPORT_MARK


def _touch(*paths: Path) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def test_a_folder_means_every_file_under_it_sorted(tmp_path: Path) -> None:
    names = ["b.png", "a/z.dcm", "a/b/c.jpg", "notes.txt", "a.png", "\n odd \u202e.png", "noname"]
    _touch(*(tmp_path / name for name in names))
    found = [str(path.relative_to(tmp_path)) for path in list_inputs([tmp_path])]
    assert found == ["\n odd \u202e.png", "a/b/c.jpg", "a/z.dcm", "a.png", "b.png", "noname", "notes.txt"]


def test_companions_and_clutter_are_left_out(tmp_path: Path) -> None:
    names = [".hidden.png", "Thumbs.db", "x.png.sha256", "metadata.csv", "boxes.csv", ".git/x.png", "x.png"]
    _touch(*(tmp_path / name for name in names))
    assert list_inputs([tmp_path]) == [tmp_path / "x.png"]


def test_files_of_systems_are_left_out_and_counted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    thumbs = ["@eaDir/x.png/T.jpg", "sub/@eaDir/y.png/T.jpg", "#recycle/z.png", "$RECYCLE.BIN/S/a.png"]
    _touch(*(tmp_path / name for name in [*thumbs, "lost+found/b.png", "x.lnk", "~$a.docx", "x.png"]))
    assert list_inputs([tmp_path]) == [tmp_path / "x.png"]
    assert capsys.readouterr().err == "left out: 5 files of system folders, 2 system files\n"
    assert list_inputs([tmp_path / "#recycle"]) == [tmp_path / "#recycle" / "z.png"]  # named: read


def test_a_name_is_found_in_its_other_unicode_form(tmp_path: Path) -> None:
    _touch(tmp_path / "nin\u0303o.png")
    assert list_inputs([tmp_path / "ni\u00f1o.png"]) == [tmp_path / "nin\u0303o.png"]


def test_what_is_named_is_an_input_whatever_it_is(tmp_path: Path) -> None:
    _touch(tmp_path / ".hidden.png", tmp_path / "metadata.csv")
    named = [tmp_path / "metadata.csv", tmp_path / "missing.png", tmp_path / ".hidden.png"]
    assert list_inputs(named) == named


def test_a_file_reached_twice_is_one_input(tmp_path: Path) -> None:
    _touch(tmp_path / "x.png", tmp_path / "y.png")
    found = list_inputs([tmp_path / "y.png", tmp_path, tmp_path / "." / "x.png"])
    assert found == [tmp_path / "y.png", tmp_path / "x.png"]


def test_special_entries_get_their_row(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo.png")
    (tmp_path / "folder.png").mkdir()
    _touch(tmp_path / "folder.png" / "inside.png", tmp_path / "real" / "x.png")
    (tmp_path / "dangling.png").symlink_to("nowhere")
    (tmp_path / "loop.png").symlink_to("loop.png")
    (tmp_path / "link").symlink_to("real")
    found = [str(path.relative_to(tmp_path)) for path in list_inputs([tmp_path])]
    assert found == [
        "dangling.png", "fifo.png", "folder.png", "folder.png/inside.png", "link", "loop.png", "real/x.png",
    ]  # fmt: skip


def test_an_empty_folder_named_like_an_image_is_an_input(tmp_path: Path) -> None:
    (tmp_path / "x.png").mkdir()
    (tmp_path / "empty").mkdir()
    assert list_inputs([tmp_path / "x.png", tmp_path / "empty"]) == [tmp_path / "x.png"]


def test_a_folder_that_cannot_be_listed_is_an_input(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _touch(tmp_path / "closed" / "x.png", tmp_path / "open" / "y.png")
    scandir = os.scandir

    def refuse(path: Path) -> object:
        if Path(path).name == "closed":
            raise PermissionError(13, "Permission denied", os.fspath(path))
        return scandir(path)

    with monkeypatch.context() as patched:  # pytest itself lists folders, to remove them
        patched.setattr(os, "scandir", refuse)
        found = list_inputs([tmp_path])
    assert found == [tmp_path / "closed", tmp_path / "open" / "y.png"]


def test_names_that_are_not_utf8(tmp_path: Path) -> None:
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.png"))
    _touch(path)
    assert list_inputs([tmp_path]) == [path]


def test_outputs_of_this_tool_are_left_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    own = ["runs/cache/x-1.h5", "runs/demo/x.png", "r/recipe.json", "r/folds.parquet", "r/figures/roc.png"]
    own += ["l/localization.parquet", "l/overlays/x.png", "cron.log", "cron.log.1", "cron.log-20261125.gz"]
    own += ["m.magsd", "t.PARQUET", "figures/roc.png", "report.html", "model_card.md", "two/roc.png"]
    _touch(*(tmp_path / name for name in [*own, "x.png", "roc.png", "notes.md"]))
    (tmp_path / "report.md").write_text(f"# Report\n{REPORT_MARK}\n")
    (tmp_path / "two.md").write_text(f"# Report\n{REPORT_MARK}\n")
    found = [path.name for path in list_inputs([tmp_path])]
    assert found == ["notes.md", "roc.png", "x.png"]
    assert capsys.readouterr().err == "left out: 14 outputs of magsd\n"


def test_what_a_command_writes_to_is_no_input(tmp_path: Path) -> None:
    _touch(tmp_path / "x.png", tmp_path / "table.bin", tmp_path / "work" / "y.png")
    outputs = [tmp_path / "table.bin", tmp_path / "work", None]
    assert list_inputs([tmp_path], outputs) == [tmp_path / "x.png"]
    assert list_inputs([tmp_path / "table.bin", tmp_path / "x.png"], outputs) == [tmp_path / "x.png"]


def test_the_file_behind_standard_output_is_no_input(tmp_path: Path) -> None:
    _touch(tmp_path / "x.png")
    script = f"from magsd_cli.inference.inputs import *\nprint(*list_inputs([Path({str(tmp_path)!r})]))"
    with (tmp_path / "out").open("w") as out, (tmp_path / "err").open("w") as err:
        subprocess.run([sys.executable, "-c", script], stdout=out, stderr=err, check=True)
    assert (tmp_path / "out").read_text() == f"{tmp_path / 'x.png'}\n"


def test_a_file_named_again_is_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _touch(tmp_path / "x.png", tmp_path / "y.png")
    list_inputs([tmp_path / "x.png", tmp_path / "x.png"])
    list_inputs([tmp_path, tmp_path])
    err = capsys.readouterr().err.splitlines()
    assert err == [
        "left out: 1 input that had been reached before; each file has one row",
        "left out: 2 inputs that had been reached before; each file has one row",
    ]


@pytest.mark.parametrize(
    ("data", "null", "names"),
    [
        (b"a.png\nsub/b.png\n", False, ["a.png", "sub/b.png"]),
        (b"a.png\r\n\r\n b .png \r\nlast.png", False, ["a.png", " b .png ", "last.png"]),
        (b"\xef\xbb\xbfa.png\n", False, ["a.png"]),
        (b"caf\xe9.png\n", False, ["caf\udce9.png"]),
        (b"a\nb.png\0c.png\0", True, ["a\nb.png", "c.png"]),
        (b"", False, []),
    ],
)
def test_a_list_names_paths_from_its_own_folder(
    data: bytes, null: bool, names: list[str], tmp_path: Path
) -> None:
    (tmp_path / "list.txt").write_bytes(data)
    assert list(read_list(tmp_path / "list.txt", null)) == [tmp_path / name for name in names]


def test_absolute_paths_of_a_list_stay(tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text("/films/a.png\n")
    assert list(read_list(tmp_path / "list.txt")) == [Path("/films/a.png")]


@pytest.mark.parametrize(
    ("data", "words"),
    [("a.png\n".encode("utf-16"), "is UTF-16"), (b"a.png\0b.png\0", "add -0"), (None, "No such file")],
)
def test_a_list_that_cannot_be_read(data: bytes | None, words: str, tmp_path: Path) -> None:
    if data is not None:
        (tmp_path / "list.txt").write_bytes(data)
    with pytest.raises(UsageError, match=words):
        list(read_list(tmp_path / "list.txt"))


def test_the_order_is_by_the_parts_of_a_path(tmp_path: Path) -> None:
    """The same order as sorting all paths by their parts."""
    names = [
        "a",
        "a.png",
        "a-b/x.png",
        "a/../z.png",
        "A.png",
        "b/c.png",
        "b.png/inside.png",
        "b/c/d.png",
        "\u00e9.png",
    ]
    _touch(*(tmp_path / name for name in names if name != "a"))
    _touch(tmp_path / "a" / "1.png")
    found = list_inputs([tmp_path])
    assert found == sorted(found, key=lambda path: [os.fsencode(part) for part in path.parts])
    assert len(found) == 10  # with the folder b.png, which has a row


def test_files_beyond_the_first_are_listed_as_they_are_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inputs, "AHEAD", 2)
    given = iter([Path(f"{number}") for number in range(9)])
    found = Inputs(given)
    assert found.total is None
    assert next(given) == Path("3")
    assert list(found) == [Path(f"{number}") for number in (0, 1, 2, 4, 5, 6, 7, 8)]
    assert Inputs([Path("0"), Path("1")]).total == 2
