"""Recognises a body by its first bytes and takes it apart: one picture, or a form with several files."""

import re
from dataclasses import dataclass

from werkzeug.exceptions import RequestEntityTooLarge
from werkzeug.sansio.multipart import Data, Epilogue, Event, Field, File, MultipartDecoder, NeedData, State

from service.errors import InvalidValue, MalformedBody, RequestError
from service.image import Frame, ImageLimits
from service.kinds import TAKEN
from service.observe import log_event
from service.picture import decode_picture, is_picture
from service.raw_frame import decode_raw_frame

# Forms may carry a few text fields beside their files; most protocols here read none of them.
MAX_FORM_PARTS = 64
MAX_FIELD_BYTES = 65_536
MAX_PART_HEAD_BYTES = 8192  # the decoder itself would take a head as long as the body
MAX_BOUNDARY_BYTES = 200  # RFC 2046 allows 70, but some clients write a few more
END_OF_HEAD = re.compile(rb"\r\n\r\n|\r\r|\n\n")  # as the decoder reads it
MAX_NAME_CHARACTERS = 255


@dataclass(frozen=True, slots=True)
class Upload:
    """One picture file of a request: its `name` (empty outside forms), its bytes, and the form's `field` it came in."""

    name: str
    data: bytes
    field: str = ""


@dataclass(frozen=True, slots=True)
class Form:
    """A body taken apart: its `files`, and the texts beside them by their names (none outside forms)."""

    files: list[Upload]
    texts: dict[str, str]


def decode(data: bytes, limits: ImageLimits) -> Frame:
    """Decodes one picture of any kind the service takes; blanks before it are passed over.

    Args:
        data: a JPEG, PNG, WebP or BMP file, or the first server's JSON.
        limits: the largest picture to decode.

    Raises:
        RequestError: one of its kinds, saying what is wrong with the body and how to fix it.
    """
    data = data.lstrip()
    if not data:
        raise MalformedBody(f"body: empty; send a {TAKEN} file, or JSON with height, width and image")
    try:
        return decode_raw_frame(data, limits) if data.startswith((b"{", b"[")) else decode_picture(data, limits)
    except RequestError:
        raise
    except Exception as error:  # whatever a decoder trips over is the fault of this picture, and of no other
        name = type(error).__name__
        log_event("decoder_failed", error=name)
        raise MalformedBody(f"image: its decoder gave up ({name}); save it anew and send that") from error


def uploads(body: bytes, max_files: int) -> list[Upload]:
    """Lists the pictures of a body; see `read_form`."""
    return read_form(body, max_files).files


def read_form(body: bytes, max_files: int) -> Form:
    """Takes a body apart: the files and texts of a form, or one file that is the body itself.

    Args:
        body: the request's body.
        max_files: files of a form at most.

    Raises:
        MalformedBody: a form that breaks off or holds no file.
        InvalidValue: more files or parts than allowed, or one of them is too long.
    """
    if not body.startswith((b"--", b"\r\n--")):  # some clients begin with the line break that belongs to a boundary
        return Form([Upload("", body)], {})
    start = body.index(b"--") + 2
    boundary, end, _ = body[start : start + MAX_BOUNDARY_BYTES + 2].partition(b"\r\n")
    if not boundary or not end:
        raise MalformedBody(
            f"form: its first line is no boundary of 1 to {MAX_BOUNDARY_BYTES} bytes; send multipart/form-data with "
            "CRLF line ends"
        )
    form = _parts(MultipartDecoder(boundary, max_parts=MAX_FORM_PARTS), body)
    if not form.files:
        raise MalformedBody("form: no file in it; send the picture as a file (curl -F image=@picture.jpg)")
    if len(form.files) > max_files:
        raise InvalidValue(f"form: {len(form.files)} files, at most {max_files} are taken; send the rest separately")
    return form


def _parts(decoder: MultipartDecoder, body: bytes) -> Form:
    form = Form([], {})
    part: File | Field | None = None
    content: list[bytes] = []
    decoder.receive_data(body)
    decoder.receive_data(None)
    try:
        while not isinstance(event := _next(decoder), Epilogue):
            if isinstance(event, File | Field):
                part, content = event, []
            elif isinstance(event, Data) and part is not None:
                content.append(event.data)
                if not event.more_data:
                    _keep(form, part, b"".join(content))
    except RequestEntityTooLarge:
        raise InvalidValue(f"form: more than {MAX_FORM_PARTS} parts; send fewer") from None
    except ValueError:  # the decoder's words are about its own states
        raise MalformedBody("form: it breaks off before its last boundary; send it again whole") from None
    return form


def _keep(form: Form, part: File | Field, content: bytes) -> None:
    name = (part.name or "")[:MAX_NAME_CHARACTERS]  # a damaged header may lack it
    if isinstance(part, File):
        form.files.append(Upload(part.filename[:MAX_NAME_CHARACTERS], content, name))
    elif is_picture(content):  # a file name is usual, but not required (RFC 7578, 4.2)
        form.files.append(Upload(name, content, name))
    elif len(content) > MAX_FIELD_BYTES:
        raise InvalidValue(
            f"form: field {name[:40]!r} has {len(content)} bytes, at most {MAX_FIELD_BYTES} are taken; leave it out"
        )
    else:
        form.texts[name] = content.decode("utf-8", "replace")


def _next(decoder: MultipartDecoder) -> Event:
    if decoder.state is State.PART:
        head = END_OF_HEAD.search(decoder.buffer, 0, MAX_PART_HEAD_BYTES)
        if head is None and len(decoder.buffer) >= MAX_PART_HEAD_BYTES:
            raise InvalidValue(f"form: a part with over {MAX_PART_HEAD_BYTES} bytes of headers; send shorter ones")
    event = decoder.next_event()
    if isinstance(event, NeedData):
        raise ValueError("more data wanted, but there is none")
    return event
