"""Forms as browsers, scripts, cameras and mail libraries build them: taken apart, or refused for what is wrong."""

import base64
import quopri
from collections.abc import Iterable

import pytest

from service.errors import InvalidValue, MalformedBody, RequestError
from service.pictures.form import Form, read_form

JPEG = b"\xff\xd8\xffrest"
TYPE = "multipart/form-data; boundary=xyz"
FILE = b'Content-Disposition: form-data; name="image"; filename="a.jpg"'
EMPTY = b'Content-Disposition: form-data; name="mask"; filename=""\r\nContent-Type: application/octet-stream\r\n\r\n'


def form(*parts: bytes, boundary: bytes = b"xyz") -> bytes:
    return b"".join(b"--" + boundary + b"\r\n" + part + b"\r\n" for part in parts) + b"--" + boundary + b"--\r\n"


def file(data: bytes = b"one", head: bytes = FILE) -> bytes:
    return head + b"\r\n\r\n" + data


def disposed(disposition: bytes, data: bytes = b"one") -> bytes:
    return b"Content-Disposition: form-data; " + disposition + b"\r\n\r\n" + data


def named(files: Iterable[tuple[str, bytes, str]], found: Form) -> bool:
    return [(upload.name, upload.data, upload.field) for upload in found.files] == list(files)


ONE = form(file())
# What each body holds: the names, contents and fields of its files, whether or not a header names its boundary.
WHOLE: dict[str, tuple[bytes, list[tuple[str, bytes, str]]]] = {
    "files in order, fields skipped": (
        form(file(), disposed(b'name="min"', b"0.4"), disposed(b'name="x"; filename="b.png"', b"\r\n--two")),
        [("a.jpg", b"one", "image"), ("b.png", b"\r\n--two", "x")],
    ),
    "no file name, but a picture": (form(disposed(b'name="image"', JPEG)), [("image", JPEG, "image")]),
    "no file name, but a picture's type": (
        form(b'Content-Type: image/webp\r\nContent-Disposition: form-data; name="image"\r\n\r\nRIFF'),
        [("image", b"RIFF", "image")],
    ),
    "an empty file field": (form(file(), EMPTY), [("a.jpg", b"one", "image")]),
    "empty file fields first": (form(EMPTY, EMPTY, file()), [("a.jpg", b"one", "image")]),
    "an empty field whose line break is its boundary's": (
        b"--xyz\r\n" + EMPTY + b"--xyz\r\n" + file() + b"\r\n--xyz--",
        [("a.jpg", b"one", "image")],
    ),
    "an empty file that has a name": (
        form(file(), disposed(b'name="x"; filename="b"', b"")),
        [
            ("a.jpg", b"one", "image"),
            ("b", b"", "x"),
        ],
    ),
    "a file without a name": (form(disposed(b'name="image"; filename=""')), [("image", b"one", "image")]),
    "epilogue": (ONE + b"and so on\r\n--xyz\r\nnothing", [("a.jpg", b"one", "image")]),
    "no line break at the end": (ONE.rstrip(), [("a.jpg", b"one", "image")]),
    "LF alone": (ONE.replace(b"\r\n", b"\n"), [("a.jpg", b"one", "image")]),
    "CR alone": (ONE.replace(b"\r\n", b"\r"), [("a.jpg", b"one", "image")]),
    "LF alone around CR LF in the file": (
        form(file(b"\r\none\r\n")).replace(b"\r\n", b"\n").replace(b"\none\n", b"\r\none\r\n"),
        [("a.jpg", b"\r\none\r\n", "image")],
    ),
    "LF between the headers alone": (
        b'--xyz\r\nContent-Type: image/jpeg\nContent-Disposition: form-data; name="a"; filename="b"\n\none\r\n--xyz--',
        [("b", b"one", "a")],
    ),
    "a line break before it": (b"\r\n" + ONE, [("a.jpg", b"one", "image")]),
    "line breaks before it": (b"\n\r\n\n" + ONE, [("a.jpg", b"one", "image")]),
    "blanks behind its boundaries": (
        ONE.replace(b"--xyz\r", b"--xyz \t\r").replace(b"xyz--", b"xyz--  "),
        [("a.jpg", b"one", "image")],
    ),
    "its boundary inside of a line": (
        form(file(b"1 --xyz\r\n--xyzz\r\n")),
        [("a.jpg", b"1 --xyz\r\n--xyzz\r\n", "image")],
    ),
    "no Content-Disposition": (form(b"Content-Type: image/jpeg\r\nContent-Length: 7\r\n\r\n" + JPEG), [("", JPEG, "")]),
    "no header at all": (form(b"\r\n" + JPEG), [("", JPEG, "")]),
    "another part without Content-Disposition": (
        form(b"Content-Type: application/json\r\n\r\n{}", file()),
        [("a.jpg", b"one", "image")],
    ),
    "headers in small letters, blanks and other headers": (
        form(b'X-Camera: 7\r\ncontent-disposition :form-data;name="image";filename="a.jpg"\r\n\r\none'),
        [("a.jpg", b"one", "image")],
    ),
    "a header over two lines": (
        form(b'Content-Disposition: form-data; name="image";\r\n\tfilename="a.jpg"\r\n\r\none'),
        [("a.jpg", b"one", "image")],
    ),
    "base64 as mail has it": (
        form(FILE + b"\r\nContent-Transfer-Encoding: base64\r\n\r\n" + base64.encodebytes(JPEG * 30)),
        [("a.jpg", JPEG * 30, "image")],
    ),
    "quoted-printable as mail has it": (
        form(FILE + b"\r\nContent-Transfer-Encoding: Quoted-Printable\r\n\r\n" + quopri.encodestring(JPEG * 30)),
        [("a.jpg", JPEG * 30, "image")],
    ),
    "a picture that is called base64": (
        form(FILE + b"\r\nContent-Transfer-Encoding: base64\r\n\r\n" + JPEG),
        [("a.jpg", JPEG, "image")],
    ),
    "binary, as the standard calls it": (
        form(FILE + b"\r\nContent-Transfer-Encoding: binary\r\n\r\nQUFB"),
        [("a.jpg", b"QUFB", "image")],
    ),
    "several files in one field": (
        form(
            disposed(b'name="min"', b"0.4"),
            b'Content-Disposition: form-data; name="files"\r\nContent-Type: multipart/mixed; boundary=in\r\n\r\n'
            b'--in\r\nContent-Disposition: file; filename="a"\r\n\r\none\r\n'
            b'--in\r\nContent-Disposition: attachment; filename="b"\r\n\r\ntwo\r\n--in--',
        ),
        [("a", b"one", "files"), ("b", b"two", "files")],
    ),
}


@pytest.mark.parametrize("content_type", [TYPE, "", "application/x-www-form-urlencoded", "image/jpeg"])
@pytest.mark.parametrize(("body", "files"), WHOLE.values(), ids=WHOLE)
def test_a_form_gives_its_files(body: bytes, files: list[tuple[str, bytes, str]], content_type: str) -> None:
    assert named(files, read_form(body, content_type, 4))


NAMES = {
    "UTF-8": ('filename="Küche 台所.jpg"'.encode(), "Küche 台所.jpg"),
    "Latin-1": ('filename="Küche.jpg"'.encode("latin-1"), "Küche.jpg"),
    "Shift-JIS": ('filename="台所.jpg"'.encode("shift-jis"), None),
    "Shift-JIS that ends in a backslash": ('filename="表"'.encode("shift-jis"), None),
    "GBK": ('filename="厨房.jpg"'.encode("gbk"), None),
    "no encoding at all": (b'filename="\xff\xfe\x80.jpg"', None),
    "a quote as browsers write it": (b'filename="a %22b%22.jpg"', 'a "b".jpg'),
    "a quote with a backslash": (b'filename="a \\"b\\".jpg"', 'a "b".jpg'),
    "a path of Windows": (rb'filename="C:\\Users\\me\\a.jpg"', r"C:\Users\me\a.jpg"),
    "a path of old Windows": (rb'filename="C:\Users\me\a.jpg"', None),
    "a semicolon": (b'filename="a; name=b;.jpg"', "a; name=b;.jpg"),
    "no quotes": (b"filename=a.jpg", "a.jpg"),
    "no quotes, not ASCII": ("filename=Küche.jpg".encode(), None),
    "RFC 5987": (b"filename*=UTF-8''K%C3%BCche.jpg", "Küche.jpg"),
    "RFC 5987, Latin-1": (b"filename*=iso-8859-1'de'K%FCche.jpg", "Küche.jpg"),
    "RFC 5987, another encoding": (b"filename*=gbk''%B3%F8.jpg", None),
    "RFC 5987, not UTF-8": (b"filename*=UTF-8''%FF%FE.jpg", None),
    "both": (b"filename=\"Kuche.jpg\"; filename*=UTF-8''K%C3%BCche.jpg", "Küche.jpg"),
    "RFC 2231": (b'filename*0="a"; filename*1="b.jpg"', "ab.jpg"),
    "long": (b'filename="' + b"x" * 4000 + b'.jpg"', "x" * 255),
    "never closed": (b'filename="a.jpg', None),
    "empty": (b'filename=""', "image"),
    "a line break": (b'filename="a\r\n b.jpg"', "a b.jpg"),
    "a zero": (b'filename="a\0.jpg"', "a\0.jpg"),
}


@pytest.mark.parametrize("content_type", [TYPE, ""])
@pytest.mark.parametrize(("parameter", "expected"), NAMES.values(), ids=NAMES)
def test_no_file_name_harms_a_form(parameter: bytes, expected: str | None, content_type: str) -> None:
    found = read_form(form(disposed(b'name="image"; ' + parameter), disposed(b'name="k"', b"v")), content_type, 1)

    assert [(upload.data, upload.field) for upload in found.files] == [(b"one", "image")]
    assert found.texts == {"k": "v"}
    assert expected in (None, found.files[0].name)
    assert found.files[0].name.encode(), "it can be answered as JSON"


def test_a_forms_encoding_reads_its_names_and_texts() -> None:
    parts = [
        disposed(b'name="_charset_"', b"shift_jis"),
        disposed('name="部屋"'.encode("shift-jis"), "台所".encode("shift-jis")),
        disposed('name="image"; filename="台所.jpg"'.encode("shift-jis")),
        b'Content-Disposition: form-data; name="note"\r\nContent-Type: text/plain; charset=iso-8859-1\r\n\r\nK\xfcche',
    ]
    found = read_form(form(*parts), TYPE, 1)
    assert named([("台所.jpg", b"one", "image")], found)
    assert found.texts == {"_charset_": "shift_jis", "部屋": "台所", "note": "Küche"}


@pytest.mark.parametrize("encoding", [b"punycode", b"zlib", b"no such", b"", b"\0", b"utf-7", b"rot13", b"x" * 5000])
def test_an_encoding_that_is_none_for_forms_is_ignored(encoding: bytes) -> None:
    body = form(disposed(b'name="_charset_"', encoding), disposed(b'name="k"', b"caf\xc3\xa9"), file())
    assert read_form(body, TYPE, 1).texts["k"] == "café"


@pytest.mark.parametrize(
    ("content_type", "boundary"),
    [
        ('multipart/form-data; boundary="x y:z=?/"', b"x y:z=?/"),
        ("multipart/form-data; charset=utf-8; BOUNDARY=xyz; x=y", b"xyz"),
        ("Multipart/Mixed;boundary=----=_Part_4_701508.1145579811786", b"----=_Part_4_701508.1145579811786"),
        ('multipart/form-data; boundary="a\\"b"', b'a"b'),
        ("multipart/form-data; boundary=a+b.c*(d)[e]", b"a+b.c*(d)[e]"),
        (f"multipart/form-data; boundary={'b' * 200}", b"b" * 200),
    ],
)
def test_the_headers_boundary_finds_a_form_behind_a_preamble(content_type: str, boundary: bytes) -> None:
    body = b"This is a message with parts.\r\n--no boundary\r\n" + form(file(), boundary=boundary)
    assert named([("a.jpg", b"one", "image")], read_form(body, content_type, 1))


@pytest.mark.parametrize("content_type", ["", "multipart/form-data", "application/x-www-form-urlencoded"])
@pytest.mark.parametrize("preamble", [b"A message.\r\n", b"A message.\n-- \n\n", b"{ not JSON\r\n\r\n"])
@pytest.mark.parametrize("first", [b"", b"Content-Type: image/jpeg\r\n"])
def test_a_boundary_behind_a_preamble_is_found_without_a_header(
    content_type: str, preamble: bytes, first: bytes
) -> None:
    body = preamble + form(first + file()).replace(b"xyz\r", b"xyz \r")
    assert named([("a.jpg", b"one", "image")], read_form(body, content_type, 1))


@pytest.mark.parametrize("content_type", ["", TYPE])
def test_a_picture_that_mentions_a_form_is_none(content_type: str) -> None:
    body = JPEG + b"\r\n--other\r\nContent-Disposition: form-data"
    assert named([("", body, "")], read_form(body, content_type, 1))


@pytest.mark.parametrize("length", [1, 70, 71, 200])
def test_boundaries_may_be_longer_than_the_standard_allows(length: int) -> None:
    assert named([("a.jpg", b"one", "image")], read_form(form(file(), boundary=b"b" * length), "", 1))


@pytest.mark.parametrize("content_type", ["multipart/form-data; boundary=other", "multipart/form-data", "multipart/"])
def test_a_header_that_names_another_boundary_or_none_changes_nothing(content_type: str) -> None:
    assert named([("a.jpg", b"one", "image")], read_form(ONE, content_type, 1))


@pytest.mark.parametrize("content_type", ["", TYPE, "multipart/form-data"])
@pytest.mark.parametrize("body", [JPEG, b"{}", b"", b"no picture"])
def test_a_body_that_is_no_form_is_one_upload_whatever_its_header_says(body: bytes, content_type: str) -> None:
    assert named([("", body, "")], read_form(body, content_type, 1))


BAD: dict[str, tuple[bytes, type[RequestError], str]] = {
    "too many files": (form(file(), file()), InvalidValue, "2 files, at most 1"),
    "too many parts": (form(*[disposed(b'name="a"')] * 65), InvalidValue, "more than 64 parts"),
    "too many parts in parts": (
        form(*[b"Content-Type: multipart/mixed; boundary=in\r\n\r\n" + form(b"\r\n", boundary=b"in") * 9] * 65),
        InvalidValue,
        "more than 64 parts",
    ),
    "fields only": (form(disposed(b'name="a"')), MalformedBody, "form: no file in it"),
    "nothing chosen": (form(EMPTY), MalformedBody, "no file was chosen"),
    "no parts": (form(), MalformedBody, "no file in it"),
    "no disposition and no picture": (
        form(b"Content-Type: x/y\r\n\r\n1"),
        MalformedBody,
        "without Content-Disposition",
    ),
    "cut in a part": (ONE[:-20], MalformedBody, "breaks off before its last boundary"),
    "cut in the last boundary": (ONE[:-4], MalformedBody, "breaks off before its last boundary"),
    "no hyphens at the end": (
        ONE[:-4] + b"\r\n",
        MalformedBody,
        "without two hyphens behind it; end it with '--xyz--'",
    ),
    "last boundary behind the file": (
        ONE.replace(b"\r\n--xyz--", b"--xyz--"),
        MalformedBody,
        "'--xyz--', does not begin a line",
    ),
    "no blank line": (b"--xyz\r\n" + FILE + b"\r\n--xyz--", MalformedBody, "part 1 has no blank line"),
    "long head": (b"--xyz\r\n" + b"x" * 9000 + b"\r\n\r\n\r\n--xyz--", InvalidValue, "8192 bytes of headers"),
    "long field": (form(disposed(b'name="note"', b"x" * 70_000), file()), InvalidValue, "field 'note' has 70000 bytes"),
    "not base64": (
        form(FILE + b"\r\nContent-Transfer-Encoding: base64\r\n\r\n*"),
        MalformedBody,
        "part 1 says base64 and is not",
    ),
    "boundary everywhere": (b"z" + b"--xyz" * 1100, MalformedBody, "stands over 1024 times"),
    "boundary on every line": (ONE[:-6] + b"\n--xyza" * 1100, MalformedBody, "stands over 1024 times"),
    "dashes": (b"--", MalformedBody, "no boundary"),
    "long boundary": (b"--" + b"x" * 300 + b"\r\n", MalformedBody, "no boundary"),
    "no header": (b"--xyz\r\nno header", MalformedBody, "form"),
    "another boundary behind a preamble": (
        b"A message.\r\n" + form(file(), boundary=b"other"),
        MalformedBody,
        "'xyz', the boundary of its Content-Type, is nowhere in it",
    ),
}


@pytest.mark.parametrize(("body", "kind", "words"), BAD.values(), ids=BAD)
def test_a_bad_form_is_refused_for_what_is_wrong(body: bytes, kind: type[RequestError], words: str) -> None:
    with pytest.raises(RequestError) as caught:
        read_form(body, TYPE, 1)
    assert (type(caught.value), words in str(caught.value)) == (kind, True), str(caught.value)
