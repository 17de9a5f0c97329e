"""Takes a form apart, from browsers, scripts and cameras of every age: body -> parts -> [Form] of files and texts."""

import binascii
import codecs
import re
from collections.abc import Iterator
from dataclasses import dataclass

import pybase64
from werkzeug.http import parse_options_header

from service.errors import InvalidValue, MalformedBody
from service.pictures.kinds import HEAD_BYTES
from service.pictures.picture import is_picture

# Forms may carry a few text fields beside their files; most protocols here read none of them.
MAX_FORM_PARTS = 64
MAX_FIELD_BYTES = 65_536
MAX_PART_HEAD_BYTES = 8192
MAX_BOUNDARY_BYTES = 200  # RFC 2046 allows 70, but some clients write a few more
MAX_NAME_CHARACTERS = 255
# Where it ends no part, a boundary stands by chance, if at all: looking at each takes a thousand times as long.
MAX_FALSE_BOUNDARIES = 1024

_MAX_NESTING = 2  # a part may hold several files of one field, as RFC 2388 had it
_WIDEST_LINE_BREAK = 2
# CR LF by the standard; scripts write LF, and old machines CR.
_LINE_BREAK = re.compile(rb"\r\n|\n|\r")
_LINE_BREAK_BEFORE = re.compile(rb"(?:\r\n|\n|\r)\Z")
_BLANK_LINE = re.compile(rb"\r\n\r\n|\n\r?\n|\r\r")
_REST_OF_BOUNDARY_LINE = re.compile(rb"[ \t]*(?=[\r\n])")
# A boundary that no header names, behind a preamble: the line before a part's own headers.
_FIRST_BOUNDARY = re.compile(rb"[\r\n]--([^\r\n]+)(?:\r\n|\n|\r)content-", re.IGNORECASE)
_CONTINUED_LINE = re.compile(r"(?:\r\n|\n|\r)[ \t]+")
# By its own rule, not as other parameters: Java's boundaries hold "=" and ":" and stand without quotes.
_BOUNDARY = re.compile(r';[ \t]*boundary[ \t]*=[ \t]*(?:"((?:[^"\\]|\\.)*)"|([^;]*))', re.IGNORECASE)
_FILE_NAME = re.compile(r";\s*filename\*?\s*=", re.IGNORECASE)
# Asked for by name, as Python remembers every name it was ever asked for, and some encodings take very long.
_TEXT_ENCODING = re.compile(
    r"utf_?8|utf_?16(_?[lb]e)?|(us_)?ascii|iso_?8859_?\d\d?|latin_?\d|windows_?12\d\d|cp\d{3,4}|gbk|gb_?2312|gb18030|"
    r"big5|shift_?jis|s_?jis|euc_?(jp|kr)|iso_?2022_?(jp|kr)|koi8_?[ru]|mac(intosh|_?roman)|tis_?620"
)


@dataclass(frozen=True, slots=True)
class Upload:
    """One picture file of a request: its `name` (empty outside forms), its bytes, and the form's `field` it came in."""

    name: str
    data: bytes | memoryview
    field: str = ""


@dataclass(frozen=True, slots=True)
class Form:
    """A body taken apart: its `files`, and the texts beside them by their names (none outside forms)."""

    files: list[Upload]
    texts: dict[str, str]


@dataclass(frozen=True, slots=True)
class _Part:
    """Headers by lower-case name, the disposition's parameters (None without that header), and the content."""

    headers: dict[str, str]
    parameters: dict[str, str] | None
    content: bytes


def read_form(body: bytes | memoryview, content_type: str, max_files: int) -> Form:
    """Takes a body apart: the files and texts of a form, or one file that is the body itself.

    A file field that was left empty, as browsers send it, is no file.

    Args:
        body: the request's body.
        content_type: the request's header, empty without one. It counts for its boundary alone: many clients send
            plain files under a form's type, and forms under none.
        max_files: files of a form at most.

    Raises:
        MalformedBody: a form that breaks off, is not built as one, or holds no file.
        InvalidValue: more files or parts than allowed, or one of them is too long.
    """
    if is_one_file(body, content_type):
        return Form([Upload("", body)], {})
    body = bytes(body)
    boundary = _boundary(body, content_type)
    if boundary is None:
        return Form([Upload("", body)], {})
    parts = list(_parts(body, boundary))
    if len(parts) > MAX_FORM_PARTS:
        raise InvalidValue(f"form: more than {MAX_FORM_PARTS} parts; send fewer")
    form = Form([], {})
    encoding = next((part.content for part in parts if (part.parameters or {}).get("name") == "_charset_"), b"")
    for part in parts:
        _keep(form, part, _text_encoding(encoding[:40].decode("latin-1")))
    if not form.files:
        raise MalformedBody(f"form: {_without_a_file(parts)}; send the picture as a file (curl -F image=@picture.jpg)")
    if len(form.files) > max_files:
        raise InvalidValue(f"form: {len(form.files)} files, at most {max_files} are taken; send the rest separately")
    return form


def is_one_file(body: bytes | memoryview, content_type: str) -> bool:
    """Whether a body is no form by its first bytes, whatever follows them: it is taken as it is, without a copy."""
    head = bytes(body[:MAX_PART_HEAD_BYTES])
    if _named_boundary(content_type) or head.lstrip(b"\r\n").startswith(b"--"):
        return False
    return b"--" not in head or is_picture(head) or _FIRST_BOUNDARY.search(head) is None


def _boundary(body: bytes, content_type: str) -> bytes | None:
    """The boundary that stands in the body: the header's, else that of the body's first line, or of its first part.

    None outside forms.
    """
    named = _named_boundary(content_type)
    if named and next(_boundary_lines(body, named), None):
        return named
    start = body[:MAX_BOUNDARY_BYTES].lstrip(b"\r\n")  # some clients begin with the line break of a boundary
    if not start.startswith(b"--"):
        if is_picture(body):
            return None
        if not named and (first := _FIRST_BOUNDARY.search(body, 0, MAX_PART_HEAD_BYTES)):
            return first[1].rstrip(b" \t")
        if named and b"content-disposition:" in body[:MAX_PART_HEAD_BYTES].lower():
            raise MalformedBody(
                f"form: {_shown(named)}, the boundary of its Content-Type, is nowhere in it; let the client library "
                "set Content-Type"
            )
        return None
    at = body.index(b"--") + 2
    end = _LINE_BREAK.search(body, at, at + MAX_BOUNDARY_BYTES + _WIDEST_LINE_BREAK)
    line = body[at : end.start()].rstrip(b" \t") if end else b""
    if line.endswith(b"--") and body.count(line, at) == 1:  # a form without parts ends where it begins
        line = line[:-2]
    if not 0 < len(line) <= MAX_BOUNDARY_BYTES:
        raise MalformedBody(
            f"form: its first line is no boundary of 1 to {MAX_BOUNDARY_BYTES} bytes; send multipart/form-data with "
            "CRLF line ends"
        )
    return line


def _named_boundary(content_type: str) -> bytes:
    """The boundary that a multipart header names, as bytes; empty without one."""
    found = _BOUNDARY.search(content_type)
    if found is None or not content_type.lower().lstrip().startswith("multipart/"):
        return b""
    quoted, plain = found.groups()
    text = re.sub(r"\\(.)", r"\1", quoted) if quoted is not None else plain.strip()
    boundary = text.encode("latin-1", "replace")  # as the gateway decoded it
    return boundary if len(boundary) <= MAX_BOUNDARY_BYTES else b""


@dataclass(frozen=True, slots=True)
class _BoundaryLine:
    """Where a boundary's line starts, where it ends before its line break, and whether it is the last one."""

    start: int
    end: int
    last: bool


def _boundary_lines(body: bytes, boundary: bytes, at: int = 0, stop: int | None = None) -> Iterator[_BoundaryLine]:
    """The boundary's lines between two places of the body.

    Raises:
        MalformedBody: the boundary is nearly everywhere.
    """
    mark = b"--" + boundary
    start, false = body.find(mark, at, stop), 0
    while start >= 0:
        end = start + len(mark)
        begins = start == at or body[start - 1] in b"\r\n"
        if begins and body.startswith(b"--", end):
            yield _BoundaryLine(start, end, last=True)
            return
        if begins and (rest := _REST_OF_BOUNDARY_LINE.match(body, end)):
            yield _BoundaryLine(start, rest.end(), last=False)
        else:
            false += 1
            if false > MAX_FALSE_BOUNDARIES:
                raise MalformedBody(
                    f"form: its boundary, {_shown(boundary)}, stands over {MAX_FALSE_BOUNDARIES} times in it where no "
                    "part ends; choose a longer one"
                )
        start = body.find(mark, end, stop)


def _parts(body: bytes, boundary: bytes, nesting: int = 1, at: int = 0, stop: int | None = None) -> Iterator[_Part]:
    """Splits at the boundaries; what stands before the first one and behind the last one is nobody's."""
    lines = _boundary_lines(body, boundary, at, stop)
    here = next(lines, None)
    number = 0
    while here and not here.last:
        following = next(lines, None)
        if following is None:
            raise MalformedBody(f"form: {_unfinished(body, boundary, here)}")
        number += 1
        if number > MAX_FORM_PARTS:
            raise InvalidValue(f"form: more than {MAX_FORM_PARTS} parts; send fewer")
        headers, parameters, begin, end = _part_head(body, here.end, following.start, number)
        inner = _named_boundary(headers.get("content-type", ""))
        if inner and nesting < _MAX_NESTING:
            for each in _parts(body, inner, nesting + 1, begin, end):
                field = (parameters or {}).get("name", "")
                yield _Part(each.headers, {"name": field, **(each.parameters or {})}, each.content)
        else:
            yield _Part(headers, parameters, _plain(body, begin, end, headers, number))
        here = following


def _part_head(
    body: bytes, start: int, stop: int, number: int
) -> tuple[dict[str, str], dict[str, str] | None, int, int]:
    """Reads what stands between two boundaries, from the line break of the first to that of the second.

    Returns:
        Its headers, the parameters of its disposition, and where its content begins and ends.
    """
    blank = _BLANK_LINE.search(body, start, min(stop, start + MAX_PART_HEAD_BYTES + _WIDEST_LINE_BREAK))
    if blank is None and stop - start > MAX_PART_HEAD_BYTES:
        raise InvalidValue(f"form: a part with over {MAX_PART_HEAD_BYTES} bytes of headers; send shorter ones")
    if blank is None:
        raise MalformedBody(f"form: part {number} has no blank line between its headers and its content; add one")
    # Names are in whatever encoding the client's machine has; bytes that are not UTF-8 wait as surrogates.
    head = _CONTINUED_LINE.sub(" ", body[start : blank.start()].decode("utf-8", "surrogateescape"))
    headers: dict[str, str] = {}
    for line in re.split(r"\r\n|\n|\r", head):
        name, _, value = line.partition(":")
        headers.setdefault(name.strip().lower(), value.strip())
    disposition = headers.get("content-disposition")
    parameters = None if disposition is None else parse_options_header(disposition)[1]
    end = _LINE_BREAK_BEFORE.search(body, max(start, stop - _WIDEST_LINE_BREAK), stop)
    return headers, parameters, blank.end(), max(blank.end(), end.start() if end else stop)


def _plain(body: bytes, begin: int, end: int, headers: dict[str, str], number: int) -> bytes:
    """Undoes the transfer encoding of mail, which some libraries apply to forms; pictures sent as they are stay so."""
    encoding = headers.get("content-transfer-encoding", "").lower()
    if encoding not in ("base64", "quoted-printable") or is_picture(body[begin : min(end, begin + HEAD_BYTES)]):
        return body[begin:end]
    if encoding == "quoted-printable":
        return binascii.a2b_qp(body[begin:end])
    try:
        return pybase64.b64decode(body[begin:end].translate(None, b" \t\r\n"), validate=True)
    except binascii.Error as error:
        raise MalformedBody(
            f"form: part {number} says base64 and is not ({error}); send its bytes as they are"
        ) from None


def _unfinished(body: bytes, boundary: bytes, last: _BoundaryLine) -> str:
    """Why no last boundary was found."""
    closing = b"--" + boundary + b"--"
    if body.find(closing, last.end) >= 0:
        return f"its last boundary, {_shown(closing)}, does not begin a line; put CR LF before it"
    if not body[last.end : last.end + MAX_PART_HEAD_BYTES].strip():
        return f"it ends at a boundary without two hyphens behind it; end it with {_shown(closing)}"
    return "it breaks off before its last boundary; send it again whole"


def _keep(form: Form, part: _Part, encoding: str) -> None:
    parameters = part.parameters or {}
    field, name = (_readable(parameters.get(key, ""), encoding) for key in ("name", "filename"))
    if _is_file(part):
        if name or part.content:
            form.files.append(Upload(name or field, part.content, field))
    elif part.parameters is None:
        pass  # whatever it is, nothing here asks for it
    elif len(part.content) > MAX_FIELD_BYTES:
        raise InvalidValue(
            f"form: field {field[:40]!r} has {len(part.content)} bytes, at most {MAX_FIELD_BYTES} are taken; "
            "leave it out"
        )
    else:
        own = _named_encoding(part.headers.get("content-type", ""))
        form.texts[field] = part.content.decode(own or encoding or "utf-8", "replace")


def _is_file(part: _Part) -> bool:
    """A file name is usual, but neither required (RFC 7578, 4.2) nor always readable."""
    return (
        "filename" in (part.parameters or {})
        or _FILE_NAME.search(part.headers.get("content-disposition", "")) is not None
        or is_picture(part.content)
        or part.headers.get("content-type", "").lower().startswith("image/")
    )


def _without_a_file(parts: list[_Part]) -> str:
    if any(part.parameters is None for part in parts):
        return "no file in it, and a part without Content-Disposition"
    return "no file was chosen in it" if any(_is_file(part) for part in parts) else "no file in it"


def _readable(text: str, encoding: str) -> str:
    """Text of a header, cut to a name's length: UTF-8, else as the form's `_charset_` says, else Latin-1."""
    try:
        text.encode()
    except UnicodeEncodeError:
        text = text.encode("utf-8", "surrogateescape").decode(encoding or "latin-1", "replace")
    return text[:MAX_NAME_CHARACTERS]


def _named_encoding(content_type: str) -> str:
    return _text_encoding(parse_options_header(content_type)[1].get("charset", ""))


def _text_encoding(name: str) -> str:
    """Python's name of a text encoding, empty where it is none that forms have."""
    asked = name.strip().lower().replace("-", "_")
    try:
        return codecs.lookup(asked).name if _TEXT_ENCODING.fullmatch(asked) else ""
    except LookupError:
        return ""


def _shown(boundary: bytes) -> str:
    return repr(boundary[:MAX_BOUNDARY_BYTES].decode("latin-1"))
