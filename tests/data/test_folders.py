import csv
import os
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vireid.data import PersonImages, Record, RecordList, check_images, read_folders, read_image, read_table
from vireid.modality import Modality

PATTERN = r"(?P<identity>[^/]+)/.*_c(?P<camera>\d+)"


def write(folder, *names):
    for i, name in enumerate(names):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((4, 2, 3), i, np.uint8)).save(path)


@pytest.fixture
def home(tmp_path):
    """Two folders as a person with two cameras may have them."""
    write(tmp_path / "rgb", "anna/1_c1.png", "anna/2_c1.jpg", "ben/1_c1.PNG", "ben/deep/er/1_c2.png")
    write(tmp_path / "ir", "ben/1_c3.png", "anna/1_c3.png", "zoë/1_c3.bmp")
    return tmp_path


def fields(records, root):
    return [(r.path.relative_to(root).as_posix(), r.identity, r.camera, r.modality.value) for r in records]


def test_two_folders(home):
    records = read_folders(visible="rgb", infrared="ir", pattern=PATTERN, root=home)
    assert fields(records, home) == [
        ("rgb/anna/1_c1.png", 1, 1, "visible"),
        ("rgb/anna/2_c1.jpg", 1, 1, "visible"),
        ("rgb/ben/1_c1.PNG", 2, 1, "visible"),
        ("rgb/ben/deep/er/1_c2.png", 2, 2, "visible"),
        ("ir/anna/1_c3.png", 1, 3, "infrared"),
        ("ir/ben/1_c3.png", 2, 3, "infrared"),
        ("ir/zoë/1_c3.bmp", 3, 3, "infrared"),
    ]
    assert records.names == {1: "anna", 2: "ben", 3: "zoë"}
    assert records.camera_names == {1: "1", 2: "2", 3: "3"}
    assert records.splits == {}
    check_images(records)
    assert read_folders(visible=home / "rgb", infrared=home / "ir", pattern=re.compile(PATTERN)) == records


def test_paths_are_absolute_and_begin_in_the_current_folder(home, monkeypatch):
    monkeypatch.chdir(home / "ir")
    records = read_folders(visible="../rgb", infrared=".", pattern=PATTERN)
    assert records == read_folders(visible="rgb", infrared="ir", pattern=PATTERN, root=home)
    assert all(record.path.is_absolute() and ".." not in record.path.parts for record in records)


def test_numbers_keep_their_value_however_they_are_padded(tmp_path):
    write(tmp_path, "rgb/0007_c01.png", "rgb/0012_c01.png", "ir/7_c10.png")
    pattern = r"(?P<identity>\d+)_c(?P<camera>\d+)"
    records = read_folders(visible="rgb", infrared="ir", pattern=pattern, root=tmp_path)
    assert [(record.identity, record.camera) for record in records] == [(7, 1), (12, 1), (7, 10)]
    assert records.names == {7: "7", 12: "12"}
    assert records.camera_names == {1: "1", 10: "10"}


def test_numbers_beyond_64_bits_are_names(tmp_path):
    people = ["20261124194336000001", "20261124194336000000"]
    write(tmp_path, *(f"{folder}/{person}.png" for folder in ("rgb", "ir") for person in people))
    records = read_folders(visible="rgb", infrared="ir", pattern=r"(?P<identity>\d+)", root=tmp_path)
    assert records.names == {1: people[1], 2: people[0]}
    assert PersonImages(records)[0][1] == 1


def test_cameras_with_names(tmp_path):
    write(tmp_path, "rgb/1_gate.png", "rgb/1_lobby.png", "ir/1_2.png")
    pattern = r"(?P<identity>\d+)_(?P<camera>\w+)"
    records = read_folders(visible="rgb", infrared="ir", pattern=pattern, root=tmp_path)
    assert [record.camera for record in records] == [2, 3, 1]
    assert records.camera_names == {1: "2", 2: "gate", 3: "lobby"}


def test_without_cameras_and_without_people(home):
    nobody = read_folders(visible="rgb", infrared="ir", pattern="", root=home)
    assert {(record.identity, record.camera) for record in nobody} == {(-1, 0)}
    assert len(nobody) == 7
    assert nobody.names == nobody.camera_names == {}
    assert read_folders(visible="rgb", infrared="ir", root=home) == nobody
    records = read_folders(visible="rgb", infrared="ir", pattern=r"(?P<identity>\w+)/", root=home)
    assert {(record.identity, record.camera) for record in records} == {(1, 0), (2, 0), (3, 0)}


def test_some_images_are_unlabelled(tmp_path):
    write(tmp_path, "rgb/0_a.png", "rgb/_b.png", "rgb/-1_c.png", "rgb/d.png", "ir/0_e.png", "ir/_f.png")
    pattern = r"((?P<identity>-?\d*)_)?\w\."
    records = read_folders(visible="rgb", infrared="ir", pattern=pattern, root=tmp_path)
    identities = {record.path.name: record.identity for record in records}
    assert identities == {"0_a.png": 0, "_b.png": -1, "-1_c.png": -1, "d.png": -1, "0_e.png": 0, "_f.png": -1}
    assert records.names == {0: "0"}


def test_one_modality_may_be_unlabelled(tmp_path):
    write(tmp_path, "rgb/anna_1.png", "ir/1.png")
    records = read_folders(visible="rgb", infrared="ir", pattern=r"((?P<identity>[a-z]+)_)?", root=tmp_path)
    assert [record.identity for record in records] == [1, -1]


def test_globs_pick_folders_and_images(tmp_path):
    write(tmp_path, "p/1/rgb/D3/1.png", "p/1/ir/D4/1.png", "p/2/rgb/D3/6.png", "p/2/ir/D4/9.png", "p/2/notes/page.png")
    pattern = r"(?P<identity>\d+)/\w+/D(?P<camera>\d)/"
    records = read_folders(visible="p/*/rgb", infrared="p/*/ir", pattern=pattern, root=tmp_path)
    assert fields(records, tmp_path) == [
        ("p/1/rgb/D3/1.png", 1, 3, "visible"),
        ("p/2/rgb/D3/6.png", 2, 3, "visible"),
        ("p/1/ir/D4/1.png", 1, 4, "infrared"),
        ("p/2/ir/D4/9.png", 2, 4, "infrared"),
    ]
    same = read_folders(visible="**/rgb/**", infrared="p/[12]/ir/*/*.png", pattern=".*", root=tmp_path)
    assert [record.path for record in same] == [record.path for record in records]


def test_a_folder_may_be_named_like_a_glob(tmp_path):
    write(tmp_path, "rgb [old]/1.png", "ir*/1.png", "rgb o/2.png")
    records = read_folders(visible="rgb [old]", infrared="ir*", pattern=r"(?P<identity>\d)", root=tmp_path)
    assert fields(records, tmp_path) == [("rgb [old]/1.png", 1, 0, "visible"), ("ir*/1.png", 1, 0, "infrared")]


def test_synthetic_sysu_is_read_alike(made):
    pattern = r"cam(?P<camera>\d)/(?P<identity>\d+)/"
    records = read_folders(visible="cam[1245]", infrared="cam[36]", pattern=pattern, root=made)
    assert len(records) == 7 * 6 * 2
    for record in records:
        assert record.path == made / f"cam{record.camera}" / f"{record.identity:04d}" / record.path.name
        assert record.modality is (Modality.INFRARED if record.camera in {3, 6} else Modality.VISIBLE)


def test_deep_gray_images_of_a_thermal_camera(tmp_path):
    write(tmp_path, "rgb/1.png")
    (tmp_path / "ir").mkdir()
    Image.fromarray(np.array([[27315, 29315], [32315, 20000]], np.uint16)).save(tmp_path / "ir" / "1.tiff")
    records = read_folders(visible="rgb", infrared="ir", pattern=r"(?P<identity>\d)", root=tmp_path)
    check_images(records)
    image = PersonImages(records[1:], value_range=(27315, 32315))[0][0]
    assert image[0].tolist() == [[0, 102], [255, 0]]
    assert image.equal(read_image(records[1].path, value_range=(27315, 32315)))


def test_hidden_files_are_ignored_and_others_told(home):
    write(home / "rgb", ".hidden/x.png", "anna/._1_c1.png")
    for name in ("anna/Thumbs.db", "anna/.DS_Store"):
        (home / "rgb" / name).write_bytes(b"")
    read_folders(visible="rgb", infrared="ir", pattern=PATTERN, root=home)  # a warning would be an error
    for name in ("anna/1_c1.json", "ben/1_c1.json", "README"):
        (home / "rgb" / name).write_bytes(b"")
    with pytest.warns(
        UserWarning, match=r"visible holds .* not named as images and are ignored: 2 \.json, 1 README\.$"
    ):
        records = read_folders(visible="rgb", infrared="ir", pattern=PATTERN, root=home)
    assert len(records) == 7


def test_links_are_followed_once(home):
    (home / "linked").mkdir()
    (home / "linked" / "people").symlink_to(home / "rgb")
    (home / "rgb" / "anna" / "loop").symlink_to(home / "rgb")
    records = read_folders(visible="linked", infrared="ir", pattern=r".*?(?P<identity>\w+)/\w+_c", root=home)
    assert len(records) == 7


def test_names_that_are_not_utf8(tmp_path):
    write(tmp_path, "rgb/1.png", "ir/1.png")
    (tmp_path / "rgb" / "1.png").rename(tmp_path / "rgb" / os.fsdecode(b"caf\xe9.png"))
    (tmp_path / "ir" / "1.png").rename(tmp_path / "ir" / os.fsdecode(b"caf\xe9.png"))
    records = read_folders(visible="rgb", infrared="ir", pattern=r"(?P<identity>\w+)", root=tmp_path)
    assert [record.identity for record in records] == [1, 1]


def test_what_the_pattern_misses_is_shown(home):
    write(home / "rgb", *(f"x/{i}.png" for i in range(5)))
    expected = (
        f"pattern must match the path of every image below {home / 'rgb'}, got ['x/0.png', 'x/1.png', 'x/2.png']. "
        "It matches 4 of 9 images, from the start of the path. To keep the others as images of unknown people, make it "
        f"optional: (?:{PATTERN})?"
    )
    with pytest.raises(ValueError, match=f"^{re.escape(expected)}$"):
        read_folders(visible="rgb", infrared="ir", pattern=PATTERN, root=home)
    unlabelled = [
        record.path
        for record in read_folders(visible="rgb", infrared="ir", pattern=f"(?:{PATTERN})?", root=home)
        if record.identity == -1
    ]
    assert unlabelled == [home / "rgb" / "x" / f"{i}.png" for i in range(5)]


def test_a_folder_that_is_missing_is_answered_with_those_that_are_there(home):
    (home / ".hidden").mkdir()
    rule = (
        "infrared must be a folder, or a glob below one, got 'thermo'. It begins in .*, which has the folders ir, rgb."
    )
    with pytest.raises(FileNotFoundError, match=f"^{rule}$"):
        read_folders(visible="rgb", infrared="thermo", root=home)


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ("(", r"pattern must be a regular expression .*, got '\('. It is none: "),
        (r"(?P<id>\d+)", r"pattern must be .*\(\?P<identity>…\).*, got \['id'\]"),
        (r"(\d+)_", r"pattern must be .* Its groups have no names\."),
    ],
)
def test_patterns_that_are_none(home, pattern, message):
    with pytest.raises(ValueError, match=message):
        read_folders(visible="rgb", infrared="ir", pattern=pattern, root=home)


def test_modalities_without_a_common_person(tmp_path):
    write(tmp_path, "rgb/1.png", "rgb/2.png", "ir/a1.png")
    expected = r"pattern must name a person in both modalities, got \{'visible': \['1', '2'\], 'infrared': \['a1'\]\}"
    with pytest.raises(ValueError, match=expected):
        read_folders(visible="rgb", infrared="ir", pattern=r"(?P<identity>\w+)", root=tmp_path)


def test_folders_that_overlap_or_hold_nothing(home):
    with pytest.raises(ValueError, match=r"infrared must hold other images than visible, got \['.*anna/1_c3.png"):
        read_folders(visible=".", infrared="ir", pattern=".*", root=home)
    with pytest.raises(FileNotFoundError, match=r"infrared must be a folder, or a glob below one, got 'IR'. It begins"):
        read_folders(visible="rgb", infrared="IR", pattern=".*", root=home)
    with pytest.raises(FileNotFoundError, match=r"infrared must hold images, in .*, got 'no file'"):
        read_folders(visible="rgb", infrared="IR*", pattern=".*", root=home)
    (home / "raw").mkdir()
    (home / "raw" / "1.npy").write_bytes(b"")
    with pytest.raises(FileNotFoundError, match=r"infrared must hold images.*got '1 other files'.* end in \.bmp, "):
        read_folders(visible="rgb", infrared="raw", pattern=".*", root=home)


def test_copies_under_one_name_are_told(tmp_path):
    write(tmp_path, "rgb/1.png", "rgb/2.png", "ir/1.png")
    (tmp_path / "ir" / "2.png").write_bytes((tmp_path / "rgb" / "2.png").read_bytes())
    expected = rf"infrared must hold other images than visible, got \['{tmp_path / 'ir' / '2.png'}'\]"
    with pytest.raises(ValueError, match=expected):
        read_folders(visible="rgb", infrared="ir", pattern=r"(?P<identity>\d)", root=tmp_path)


def test_a_list_of_records_keeps_what_it_is_given():
    record = Record("a.png", 1, 2, "visible")
    records = RecordList([record], names={1: "anna"}, camera_names={2: "gate"}, splits={record.path: "train"})
    assert records == [record]
    assert (records.names, records.camera_names, records.splits) == ({1: "anna"}, {2: "gate"}, {Path("a.png"): "train"})
    assert (RecordList([]).names, RecordList([]).splits) == ({}, {})
    with pytest.raises(TypeError, match=r"records\[1\] must be a Record, got 'str'"):
        RecordList([record, "b.png"])


def save(folder, *lines, name="people.csv"):
    (folder / name).write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder / name


def test_table(home):
    table = save(
        home,
        "path,modality,identity,camera,split",
        "ir/anna/1_c3.png,infrared,anna,gate,train",
        "rgb/anna/1_c1.png,visible,anna,lobby,train",
        "rgb/ben/1_c1.PNG, Visible ,ben,,test".replace("Visible", "visible"),
        "",
        f"{home / 'ir' / 'ben' / '1_c3.png'},infrared,ben,gate,test",
        "ir/zoë/1_c3.bmp,infrared,,gate,",
    )
    records = read_table(table)
    assert fields(records, home) == [
        ("ir/anna/1_c3.png", 1, 1, "infrared"),
        ("rgb/anna/1_c1.png", 1, 2, "visible"),
        ("rgb/ben/1_c1.PNG", 2, 0, "visible"),
        ("ir/ben/1_c3.png", 2, 1, "infrared"),
        ("ir/zoë/1_c3.bmp", -1, 1, "infrared"),
    ]
    assert (records.names, records.camera_names) == ({1: "anna", 2: "ben"}, {1: "gate", 2: "lobby"})
    splits = ["train", "train", "test", "test"]
    assert records.splits == dict(zip([record.path for record in records[:4]], splits, strict=True))


def test_table_equals_folders(home, tmp_path):
    expected = read_folders(visible="rgb", infrared="ir", pattern=PATTERN, root=home)
    (home / "lists").mkdir()
    table = home / "lists" / "people.csv"
    with table.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["path", "modality", "identity", "camera"])
        for r in expected:
            name = r.path.relative_to(home)
            writer.writerow([name, r.modality.value, expected.names[r.identity], r.camera])
    records = read_table(table, root=home)
    assert (records, records.names, records.splits) == (expected, expected.names, {})


@pytest.mark.parametrize(("delimiter", "mark", "encoding"), [(";", "\\", "utf-8-sig"), ("\t", "/", "utf-8")])
def test_tables_of_spreadsheets(home, delimiter, mark, encoding):
    rows = [["Modality", "PATH", "Remark"], ["visible", f"rgb{mark}anna{mark}1_c1.png", '"a, b"']]
    content = "\r\n".join(delimiter.join(row) for row in rows)
    (home / "people.csv").write_bytes(content.encode(encoding))
    assert fields(read_table(home / "people.csv"), home) == [("rgb/anna/1_c1.png", -1, 0, "visible")]


HEADER = "path,modality,identity,camera,split"


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (
            ["path,identity", "a.png,1"],
            r"people.csv must have the columns path and modality.*got \['path', 'identity'\]",
        ),
        (["path,modality,camera_id"], r"people.csv must have the columns.* Did you mean 'camera' by 'camera_id'\?"),
        (["path,modality,path"], r"people.csv must have each column once, got \['path'\]"),
        ([""], r"people.csv must have the columns"),
        ([HEADER], r"people.csv must list an image, got 'a header only'"),
        (
            [HEADER, "rgb/anna/1_c1.png,visible,1"],
            r"must have 5 values on every line, like its first, got \['line 2: 3",
        ),
        ([HEADER, ",visible,1,1,train"], r"must have a path on every line, got \['line 2'\]"),
        (
            [HEADER, *["rgb/anna/1_c1.png,rgb,1,1,train"] * 5],
            r"must have visible or infrared as modality, got \['line 2: rgb', 'line 3: rgb', 'line 4: rgb'\]. 5 of 5",
        ),
        (
            [HEADER, "rgb/anna/1_c1.png,visible,1,1,val"],
            r"must have train or test or query or gallery as split, got \['line 2: val'\]",
        ),
        (
            [HEADER, "rgb/anna/1_c1.png,visible,1,1,"],
            r"must have train or test or query or gallery as split, got \['line 2: '\]",
        ),
        (
            [HEADER, "rgb/anna/1_c1.png,visible,1,1,train", "rgb/./anna/1_c1.png,visible,2,1,train"],
            r"people.csv must list an image once, got \['lines 2, 3: rgb/anna/1_c1.png'\]",
        ),
        (
            [HEADER, "rgb/anna/1_c1.png,visible,1,1,train", "ir/anna/1_c3.png,infrared,01a,1,train"],
            r"people.csv must name a person in both modalities, got \{'visible': \['1'\], 'infrared': \['01a'\]\}",
        ),
        ([HEADER, '"' + "a" * 200_000 + '"'], "people.csv must be a CSV file, got 'line 2: field larger"),
    ],
)
def test_tables_that_cannot_be_read(home, lines, message):
    with pytest.raises(ValueError, match=message):
        read_table(save(home, *lines))


def test_tables_and_images_that_are_missing(home):
    with pytest.raises(FileNotFoundError, match=r"path must be a table, got .*no\.csv"):
        read_table(home / "no.csv")
    table = save(home, "path,modality", "rgb/anna/1_c1.png,visible", "rgb/none.png,visible")
    expected = (
        r"people.csv must list images that exist, got \['rgb/none.png'\]. 1 of 2 listed images are missing below "
    )
    with pytest.raises(FileNotFoundError, match=expected):
        read_table(table)
    with pytest.raises(FileNotFoundError, match="root must be a folder"):
        read_table(table, root=home / "nowhere")


def test_the_pattern_begins_with_the_path(tmp_path):
    write(tmp_path, "rgb/x7/1.png", "ir/x7/2.png")
    with pytest.raises(ValueError, match=r"pattern must match .*, got \['x7/1.png'\]. It matches 0 of 1 images"):
        read_folders(visible="rgb", infrared="ir", pattern=r"(?P<identity>\d+)/", root=tmp_path)


def test_images_of_one_size_and_time_are_no_copies(tmp_path):
    write(tmp_path, "rgb/1.bmp", "ir/1.bmp")
    for path in tmp_path.glob("*/1.bmp"):
        os.utime(path, (0, 0))
    assert len(read_folders(visible="rgb", infrared="ir", pattern="", root=tmp_path)) == 2
