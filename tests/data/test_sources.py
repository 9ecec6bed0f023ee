"""Files in folders and archives: all of them, in one order, and never more bytes than promised."""

import gzip
import io
import os
import tarfile
import zipfile

import pytest

from radfoundry.data.archives import escape, unescape
from radfoundry.data.foreign_formats import foreign_format
from radfoundry.data.image_files import read_image
from radfoundry.data.sources import Source, kind_of, open_source, read_bytes, walk
from radfoundry.data.traced import by_folder
from radfoundry.records import InputError

DICOM = bytes(128) + b"DICM" + b"\x02\x00\x00\x00UL\x04\x00\x00\x00\x00\x00"


def tar_bytes(files, mode="w:gz"):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode) as archive:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def zip_bytes(files):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return buffer.getvalue()


def test_every_file_once_in_one_order(tmp_path):
    names = ["b/2.dcm", "b/1.dcm", "a/x/y/z.dcm", "a.dcm"]
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(name.encode())
    (tmp_path / ".hidden").write_bytes(b"x")
    (tmp_path / "__MACOSX").mkdir()
    (tmp_path / "__MACOSX" / "junk").write_bytes(b"x")
    found = [source.path.removeprefix(f"{tmp_path}/") for source in walk([tmp_path])]
    assert found == ["a/x/y/z.dcm", "a.dcm", "b/1.dcm", "b/2.dcm"]
    assert found == [source.path.removeprefix(f"{tmp_path}/") for source in walk([tmp_path])]


def test_a_folder_linked_into_itself_is_walked_once(tmp_path):
    (tmp_path / "scan.dcm").write_bytes(DICOM)
    (tmp_path / "loop").symlink_to(tmp_path, target_is_directory=True)
    assert [source.name for source in walk([tmp_path])] == ["scan.dcm"]


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:bz2", "w:xz"])
def test_archives_inside_archives_are_opened_by_content(tmp_path, mode):
    suffix = {"w": "bin", "w:gz": "tgz", "w:bz2": "tar.bz2", "w:xz": "tar.xz"}[mode]
    inner = tar_bytes({"x/scan 1.dcm": DICOM, "note.txt": b"hello"}, mode)
    (tmp_path / "outer.data").write_bytes(zip_bytes({f"in.{suffix}": inner, "top.dcm": DICOM + b"top"}))
    sources = list(walk([tmp_path]))
    assert [source.member for source in sources] == [f"in.{suffix}!note.txt", f"in.{suffix}!x/scan 1.dcm", "top.dcm"]
    assert [read_bytes(source) for source in sources] == [b"hello", DICOM, DICOM + b"top"]
    assert [kind_of(source) for source in sources] == ["other", "dicom", "dicom"]


@pytest.mark.parametrize("name", ["a!b.dcm", "100%.dcm", "%21.dcm", "!", "plain.dcm"])
def test_names_with_marks_survive(tmp_path, name):
    assert unescape(escape(name)) == name
    (tmp_path / "a.zip").write_bytes(zip_bytes({f"folder/{name}": b"data"}))
    (source,) = walk([tmp_path])
    assert read_bytes(source) == b"data"


def test_a_name_that_leads_outside_writes_nothing(tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "evil.zip").write_bytes(zip_bytes({"../../escaped.txt": b"x", "/abs.txt": b"y"}))
    sources = list(walk([tmp_path / "in"]))
    assert sorted(read_bytes(source) for source in sources) == [b"x", b"y"]
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["evil.zip", "in"]


def test_links_and_devices_in_a_tar_are_no_files(tmp_path):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, kind in (("link", tarfile.SYMTYPE), ("hard", tarfile.LNKTYPE), ("pipe", tarfile.FIFOTYPE)):
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, "/etc/passwd"
            archive.addfile(info)
        info = tarfile.TarInfo("real.txt")
        info.size = 2
        archive.addfile(info, io.BytesIO(b"ok"))
    (tmp_path / "a.tar").write_bytes(buffer.getvalue())
    assert [source.member for source in walk([tmp_path])] == ["real.txt"]


def test_a_compression_bomb_is_refused_by_name(tmp_path, monkeypatch):
    monkeypatch.setattr("radfoundry.data.archives.MEMBER_LIMIT_BYTES", 1 << 20)
    (tmp_path / "bomb.zip").write_bytes(zip_bytes({"big.dcm": bytes(4 << 20)}))
    (source,) = walk([tmp_path])
    with pytest.raises(InputError, match="limit") as caught:
        read_bytes(source)
    assert caught.value.finding == "limit"


def test_a_member_longer_than_it_says_is_refused(tmp_path):
    data = bytearray(zip_bytes({"a.dcm": b"A" * 5000}))
    place = data.index(b"PK\x01\x02") + 24  # uncompressed size in the central directory
    data[place : place + 4] = (10).to_bytes(4, "little")
    (tmp_path / "lie.zip").write_bytes(bytes(data))
    (source,) = walk([tmp_path])
    with pytest.raises(InputError):
        read_bytes(source)


def test_archives_nest_to_a_depth_and_no_further(tmp_path):
    data = DICOM
    for level in range(8):
        data = zip_bytes({f"level{level}.bin": data})
    (tmp_path / "deep.zip").write_bytes(data)
    (source,) = walk([tmp_path])
    assert source.member.count("!") <= 3
    assert kind_of(source) == "archive"


@pytest.mark.parametrize("cut", [10, 60, -30])
def test_a_damaged_archive_is_one_file_with_a_reason(tmp_path, cut):
    whole = zip_bytes({"a.dcm": DICOM * 20})
    (tmp_path / "a.zip").write_bytes(whole[:cut])
    assert [str(source) for source in walk([tmp_path])] == [f"{tmp_path}/a.zip"]
    with pytest.raises(InputError) as caught:
        open_source(Source(f"{tmp_path}/a.zip", "a.dcm"))
    assert caught.value.finding == "truncated"


def test_an_encrypted_member_says_so(tmp_path):
    data = bytearray(zip_bytes({"a.dcm": DICOM}))
    for mark, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        data[data.index(mark) + offset] |= 1
    (tmp_path / "locked.zip").write_bytes(bytes(data))
    (source,) = walk([tmp_path])
    with pytest.raises(InputError, match="encrypted"):
        read_bytes(source)


def test_missing_paths_and_limits_are_named(tmp_path):
    with pytest.raises(InputError) as caught:
        list(walk([tmp_path / "nothing"]))
    assert caught.value.finding == "missing-file"
    (tmp_path / "big").write_bytes(bytes(100))
    with pytest.raises(InputError) as caught:
        read_bytes(Source(str(tmp_path / "big")), limit=99)
    assert caught.value.finding == "limit"
    assert len(read_bytes(Source(str(tmp_path / "big")), limit=100)) == 100


def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    assert list(walk([tmp_path])) == []
    (source,) = walk([tmp_path / "pipe"])
    with pytest.raises(InputError, match="not a file"):
        open_source(source)


NIFTI = b"\x5c\x01\x00\x00" + bytes(340) + b"n+1\0" + bytes(8)


@pytest.mark.parametrize(
    ("name", "data", "kind"),
    [
        ("IM0001", DICOM, "dicom"),
        ("old.ima", b"\x08\x00\x05\x00CS\x0a\x00ISO_IR 100", "dicom"),
        ("old", b"\x08\x00\x00\x00\x04\x00\x00\x00\x80\x00\x00\x00", "other"),  # too short for an image
        ("renamed.dcm", b"just some text", "dicom"),
        ("brain.nii", NIFTI, "nifti"),
        ("brain", gzip.compress(NIFTI, mtime=0), "nifti"),
        ("brain.nii.gz", b"\x1f\x8b broken", "nifti"),
        ("scan.nrrd", b"NRRD0005\ntype: short\n", "itk"),
        ("scan.mha", b"ObjectType = Image\nNDims = 3\n", "itk"),
        ("x", b"\x89PNG\r\n\x1a\n", "picture"),
        ("x.jpeg", b"\xff\xd8\xff\xe0", "picture"),
        ("side", b' {"EchoTime": 0.03}', "json"),
        ("labels.csv", b"patient,label\n", "table"),
        ("labels.tsv", b"patient\tlabel\n", "table"),
        ("notes.gz", gzip.compress(b"hello", mtime=0), "other"),
        ("readme", b"hello", "other"),
        ("empty", b"", "other"),
        ("archive", zip_bytes({"a": b"b"}), "archive"),
        ("archive.npz", zip_bytes({"a.npy": b"b"}), "other"),
    ],
)
def test_kinds_come_from_content_first(tmp_path, name, data, kind):
    (tmp_path / name).write_bytes(data)
    assert kind_of(Source(str(tmp_path / name))) == kind


def test_pixel_files_of_a_header_are_companions(tmp_path):
    for name in ("a.hdr", "a.img", "b.mhd", "b.raw", "lonely.img"):
        (tmp_path / name).write_bytes(NIFTI if name == "a.hdr" else b"NDims = 3\n" if name == "b.mhd" else bytes(8))
    kinds = {source.name: kind_of(source) for source in walk([tmp_path])}
    assert kinds == {
        "a.hdr": "nifti",
        "a.img": "companion",
        "b.mhd": "itk",
        "b.raw": "companion",
        "lonely.img": "other",
    }


def test_reading_many_members_of_a_compressed_tar_is_not_quadratic(tmp_path):
    files = {f"{index:04d}.dcm": DICOM + bytes([index % 256]) * 2000 for index in range(1500)}
    (tmp_path / "many.tar.gz").write_bytes(tar_bytes(files))
    sources = list(walk([tmp_path]))
    assert len(sources) == 1500
    for source in reversed(sources):
        assert read_bytes(source) == files[source.member]


@pytest.mark.slow
def test_a_hundred_thousand_files(tmp_path):
    for index in range(100_000):
        (tmp_path / f"{index:06d}").touch()
    found = [source.path for source in walk([tmp_path])]
    assert len(found) == 100_000
    assert found == sorted(found)


@pytest.mark.parametrize("mode", ["tif", "bmp", "gif", "webp", "jp2"])
def test_a_picture_that_is_not_read_is_named(tmp_path, mode):
    from PIL import Image

    place = tmp_path / "film"
    Image.new("L", (12, 9), 80).save(place, format={"tif": "TIFF", "jp2": "JPEG2000"}.get(mode, mode.upper()))
    called = {"tif": "TIFF", "webp": "WebP", "jp2": "JPEG 2000"}.get(mode, mode.upper())
    assert foreign_format(place.read_bytes()) == called
    with pytest.raises(InputError, match=f"not read: {called}"):
        read_image(place)


def test_what_is_read_is_never_called_foreign():
    for head in (DICOM, b"NRRD0004", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"a note", b"sub,age\n1,2\n"):
        assert foreign_format(head, name="x.txt") is None


def test_files_of_one_folder_with_one_reason_are_one_line():
    rows = [("a/1.dcm", "gap", "r"), ("b/1.dcm", "gap", "r"), ("a/2.dcm", "gap", "r"), ("a/3.dcm", "tilt", "r")]
    assert [path for path, *_ in by_folder(rows)] == ["a/1.dcm … 2.dcm (2 files)", "b/1.dcm", "a/3.dcm"]
