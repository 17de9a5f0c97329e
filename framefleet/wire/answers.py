"""What the native API answers, as records: instances write them, clients read them, and OpenAPI's schemas are theirs.

What a schema promises beyond a type is only said here (`extra_json_schema`): how strict to be is each reader's own.
"""

from typing import Annotated, Any

from msgspec import Meta, Struct

RequestId = Annotated[str, Meta(description="The id under which the log knows the request.")]
AtLeastOne = Annotated[int, Meta(extra_json_schema={"minimum": 1})]
Count = Annotated[int, Meta(extra_json_schema={"minimum": 0})]
Figure = Annotated[float, Meta(extra_json_schema={"minimum": 0})]
Detail = Annotated[str, Meta(description="Where, what, and how to put it right.", extra_json_schema={"minLength": 1})]
BOX = "x1, y1, x2, y2 in pixels of the picture as it is stored; inside it."


class Detection(Struct, frozen=True):
    """One object."""

    label: Annotated[str, Meta(description="The class by name.")]
    class_id: Count
    score: Annotated[float, Meta(extra_json_schema={"minimum": 0, "maximum": 1})]
    box: Annotated[tuple[float, float, float, float], Meta(description=BOX)]


class PictureSize(Struct, frozen=True):
    """The picture's size in pixels."""

    width: AtLeastOne
    height: AtLeastOne


class Timings(Struct, frozen=True):
    """What each stage took, ms."""

    decode: Figure
    queue: Figure
    infer: Figure
    post: Figure


class ModelName(Struct, frozen=True):
    """What answered."""

    name: str
    input: Annotated[tuple[AtLeastOne, AtLeastOne], Meta(description="The model's input: height and width in pixels.")]


class Detections(Struct, frozen=True):
    """The answer to one picture."""

    detections: Annotated[tuple[Detection, ...], Meta(description="Highest score first.")]
    image: PictureSize
    timings_ms: Timings
    model: ModelName
    request_id: RequestId


FileName = Annotated[str, Meta(description="The file's name in the form.")]


class NamedDetections(Detections, frozen=True):
    """The answer to one file of a form."""

    name: FileName


class Problem(Struct, frozen=True):
    """What went wrong (RFC 9457)."""

    type: Annotated[str, Meta(description="Always `about:blank`: the code says more.")]
    title: Annotated[str, Meta(description="The code in words.", extra_json_schema={"minLength": 1})]
    status: Annotated[int, Meta(description="The HTTP status.", extra_json_schema={"minimum": 400, "maximum": 599})]
    code: Annotated[str, Meta(description="What to program against.")]
    detail: Detail
    request_id: RequestId


class NamedProblem(Problem, frozen=True):
    """A file of a form that could not be answered; the others still are."""

    name: FileName


class SeveralDetections(Struct, frozen=True):
    """The answer to a form with several files."""

    # Which of the two it is shows in its members: to msgspec, which would have a tag in them, that is anything.
    results: Annotated[
        list[Any], Meta(description="One for each file, in the form's order.", extra_json_schema={"minItems": 1})
    ]
    request_id: RequestId


_CORNERS_AND_SCORE = Meta(
    description="x1, y1, x2, y2 in whole pixels, then the score.", extra_json_schema={"minItems": 5, "maxItems": 5}
)
_ONE_CLASS = Meta(
    description="Its one key is the class id.", extra_json_schema={"minProperties": 1, "maxProperties": 1}
)
FirstServerDetections = Annotated[
    list[Annotated[dict[str, Annotated[list[float], _CORNERS_AND_SCORE]], _ONE_CLASS]],
    Meta(description="One object for each box, highest score first."),
]
"""What the first server answered, and `/predict` still does."""
