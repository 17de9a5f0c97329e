"""The two models of the protocol over one detector: `detect` takes picture files, `yolov5` takes letterboxed tensors.

detect: input `image` BYTES [n]; its parameters are those of /v1/detect's query (conf, iou, max_det, agnostic, classes).

yolov5: input `images` FP32 [n, 3, h, w], RGB from 0 to 1, letterboxed as YOLOv5's own tools do; or, which they never
send, UINT8 [n, h, w, 3] BGR: the same frame at a quarter of the bytes.

`boxes_as_tensors`, `candidates_as_yolov5`: the layouts of the models' outputs.

detect, for n pictures of which the fullest has k boxes (the others are padded with zeros and empty labels, `count` says
how many are real, best first): count INT32 [n], boxes FP32 [n, k, 4] x1, y1, x2, y2 in pixels of the picture, scores
FP32 [n, k], classes INT32 [n, k], labels BYTES [n, k].

yolov5: output0 FP32 [n, k, 5 + classes]: cx, cy, w, h in input pixels, objectness, class scores, as YOLOv5's own NMS
reads it. The serving graph keeps the best k candidates of a frame and each one's best class, so rows are made up again:
objectness is the candidate's score, its class scores are 1 for its class and 0 for the others, whose product is the
score. Rows that are padding are zeros.

`metadata_of`, `config_of`: what the protocol tells of a model: its metadata, and its configuration in
Triton's words.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import msgspec
import numpy as np

from service.admission.visit import Visit
from service.engines import Candidates, EngineInfo
from service.errors import InvalidValue, RequestError, ServiceError
from service.pipeline.boxes import Boxes, Selection
from service.pipeline.detector import Detections, Detector, Wish
from service.pipeline.stages import Stages
from service.protocols.native.query import LONGEST_TIMEOUT_MS, read_selection
from service.protocols.oip import answers
from service.protocols.oip.request import InputTensor, Parameters
from service.protocols.oip.tensors import MAX_JSON_NUMBERS, Datatype, OutputTensor, read_frames, read_pictures

TRITON_TYPES: Mapping[Datatype, answers.TritonType] = MappingProxyType(
    {"INT32": "TYPE_INT32", "FP32": "TYPE_FP32", "BYTES": "TYPE_STRING"}
)
# Of the protocol's extensions for scheduling and sequences; harmless here, since no model has a state or a rank.
IGNORED = frozenset({"priority", "sequence_id", "sequence_start", "sequence_end"})
US_PER_MS = 1000
# Of pictures in JSON: the text, without its escapes, and as strings (measured).
PICTURE_COPIES = 4
# A number that is read from JSON, and one as it is kept.
JSON_NUMBER_BYTES, NUMBER_BYTES = 48, 8


@dataclass(frozen=True, slots=True)
class Limits:
    """What one request may ask for.

    `selection` holds where parameters are absent; `most` pictures or frames; `visit`: the request, in whose time the
    answer has to come.
    """

    selection: Selection
    most: int
    visit: Visit


@dataclass(frozen=True, slots=True)
class Answered:
    """The outputs of one inference, the slowest of each stage, and for each frame the size of the batch it ran in."""

    outputs: tuple[OutputTensor, ...]
    stages: Stages
    batch_sizes: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Model:
    """One model: its `name`, its tensors, and what `answer` makes of its input and the request's parameters."""

    name: str
    input: answers.OipTensor
    outputs: tuple[answers.OipTensor, ...]
    answer: Callable[[InputTensor, Parameters, Limits], Answered]

    def infer(self, tensor: InputTensor, parameters: Parameters, limits: Limits) -> Answered:
        """Answers one request.

        Raises:
            InvalidValue: the tensor has another name than the model's input; or what its reader finds wrong with it.
            ServiceError: it could not be inferred.
        """
        if tensor.name != self.input.name:
            raise InvalidValue(f"input {tensor.name!r}: no such input; send {self.input.name!r}")
        return self.answer(tensor, parameters, limits)


def make_models(detector: Detector) -> dict[str, Model]:
    """Makes both models by name. `yolov5` comes first: YOLOv5's own tools take the first model of the index."""
    info = detector.batcher.info
    height, width = info.input_size
    models = (
        Model(
            "yolov5",
            # A concrete batch of 1, although more is taken: YOLOv5's tools send exactly the shape that stands here.
            answers.OipTensor("images", "FP32", (1, 3, height, width)),
            (answers.OipTensor("output0", "FP32", (-1, -1, 5 + len(info.classes))),),
            lambda tensor, parameters, limits: _infer_frames(detector, tensor, parameters, limits),
        ),
        Model(
            "detect",
            answers.OipTensor("image", "BYTES", (-1,)),
            (
                answers.OipTensor("count", "INT32", (-1,)),
                answers.OipTensor("boxes", "FP32", (-1, -1, 4)),
                answers.OipTensor("scores", "FP32", (-1, -1)),
                answers.OipTensor("classes", "INT32", (-1, -1)),
                answers.OipTensor("labels", "BYTES", (-1, -1)),
            ),
            lambda tensor, parameters, limits: _infer_pictures(detector, tensor, parameters, limits),
        ),
    )
    return {model.name: model for model in models}


def _infer_pictures(detector: Detector, tensor: InputTensor, parameters: Parameters, limits: Limits) -> Answered:
    info = detector.batcher.info
    wishes = _read_parameters(parameters, limits.visit)
    selection = read_selection(
        {name: _text(name, value) for name, value in wishes.items()}, limits.selection, info.classes
    )
    with limits.visit.working(PICTURE_COPIES * len(tensor.data)):
        pictures = read_pictures(tensor, limits.most)
    tensor.data.release()  # and the body with it
    found = _all_found(detector.detect(pictures, Wish(selection), limits.visit))
    return Answered(
        boxes_as_tensors([one.boxes for one in found], info.classes),
        _slowest([one.stages for one in found]),
        tuple(one.batch_size for one in found),
    )


def _infer_frames(detector: Detector, tensor: InputTensor, parameters: Parameters, limits: Limits) -> Answered:
    info = detector.batcher.info
    wishes = _read_parameters(parameters, limits.visit)
    if wishes:
        raise InvalidValue(
            f"parameters: {next(iter(wishes))[:40]!r}: this model has none of its own; filter its output"
        )
    part = limits.visit.part()
    if not tensor.binary:
        part.claim(JSON_NUMBER_BYTES * min(math.prod(tensor.shape), MAX_JSON_NUMBERS) + len(tensor.data))
    fills = read_frames(tensor, info.input_size, limits.most)
    part.keep(NUMBER_BYTES * math.prod(tensor.shape))
    inferred = detector.infer(fills, tensor.data, limits.visit)
    rows = candidates_as_yolov5(np.stack([one.candidates for one in inferred]), len(info.classes))
    return Answered(
        (OutputTensor("output0", "FP32", rows),),
        _slowest([one.stages for one in inferred]),
        tuple(one.batch_size for one in inferred),
    )


def _all_found(results: Sequence[Detections | ServiceError]) -> list[Detections]:
    """All answers; the protocol knows no picture that fails beside others, so the first failure is everybody's."""
    found = []
    for index, result in enumerate(results):
        if isinstance(result, RequestError):
            raise type(result)(f"data[{index}]: {result}")
        if isinstance(result, ServiceError):
            raise result
        found.append(result)
    return found


def _slowest(stages: Sequence[Stages]) -> Stages:
    """The frames of one request go through each stage side by side."""
    return Stages(
        decode_ms=max(stage.decode_ms for stage in stages),
        queue_ms=max(stage.queue_ms for stage in stages),
        infer_ms=max(stage.infer_ms for stage in stages),
        post_ms=max(stage.post_ms for stage in stages),
    )


def _read_parameters(parameters: Parameters, visit: Visit) -> Parameters:
    """Takes the protocol's own parameters out, of which the timeout holds from now on; what is left for the model."""
    timeout_us = parameters.get("timeout", 0)
    if type(timeout_us) is not int or timeout_us < 0:
        raise InvalidValue(f"parameters: timeout: {str(timeout_us)[:40]} is not a whole number of microseconds")
    # Compared as whole numbers: JSON's may be longer than a float can be. 0 stands for the default.
    longest_us = LONGEST_TIMEOUT_MS * US_PER_MS
    visit.shorten(min(timeout_us or longest_us, longest_us) / US_PER_MS)
    return {name: value for name, value in parameters.items() if name not in IGNORED | {"timeout"}}


def _text(name: str, value: object) -> str:
    if isinstance(value, str | int | float):
        return str(value)
    raise InvalidValue(f"parameters: {name[:40]}: {str(value)[:40]} is not a number, a text, true or false")


def boxes_as_tensors(found: Sequence[Boxes], classes: tuple[str, ...]) -> tuple[OutputTensor, ...]:
    """Pads the boxes of n pictures to the fullest one."""
    shape = (len(found), max(len(boxes) for boxes in found))
    corners, scores = np.zeros((*shape, 4), np.float32), np.zeros(shape, np.float32)
    class_ids, labels = np.zeros(shape, np.int32), np.full(shape, "", object)
    for row, boxes in enumerate(found):
        corners[row, : len(boxes)] = boxes.corners
        scores[row, : len(boxes)] = boxes.scores
        class_ids[row, : len(boxes)] = boxes.class_ids
        labels[row, : len(boxes)] = [classes[class_id] for class_id in boxes.class_ids]
    return (
        OutputTensor("count", "INT32", np.array([len(boxes) for boxes in found], np.int32)),
        OutputTensor("boxes", "FP32", corners),
        OutputTensor("scores", "FP32", scores),
        OutputTensor("classes", "INT32", class_ids),
        OutputTensor("labels", "BYTES", labels),
    )


def candidates_as_yolov5(candidates: Candidates, classes: int) -> Candidates:
    """Makes YOLOv5 rows of candidates.

    Args:
        candidates: float32 [n, k, 6] x1, y1, x2, y2, score, class; padded with score 0.
        classes: how many classes the model has.

    Returns:
        float32 [n, k, 5 + classes].
    """
    rows = np.zeros((*candidates.shape[:2], 5 + classes), np.float32)
    rows[..., :2] = (candidates[..., :2] + candidates[..., 2:4]) / 2
    rows[..., 2:4] = candidates[..., 2:4] - candidates[..., :2]
    rows[..., 4] = candidates[..., 4]
    np.put_along_axis(rows[..., 5:], candidates[..., 5:].astype(np.intp), 1, axis=2)
    rows[candidates[..., 4] == 0] = 0
    return rows


def metadata_of(model: Model, info: EngineInfo) -> answers.OipModel:
    """The model's metadata."""
    return answers.OipModel(model.name, [answers.VERSION], platform(info), [model.input], list(model.outputs))


def config_of(model: Model, info: EngineInfo) -> answers.OipModelConfig:
    """The model's configuration."""
    return answers.OipModelConfig(
        name=model.name,
        platform=platform(info),
        input=[_configuration(model.input)],
        output=[_configuration(output) for output in model.outputs],
        parameters=answers.OipModelParameters(
            names=answers.OipText(msgspec.json.encode(info.classes).decode()),
            engine_max_batch=answers.OipText(str(info.max_batch)),
        ),
    )


def platform(info: EngineInfo) -> str:
    """What runs the model, as the protocol names platforms: project, underscore, format."""
    return f"framefleet_{info.kind}"


def _configuration(tensor: answers.OipTensor) -> answers.OipTensorConfig:
    return answers.OipTensorConfig(tensor.name, TRITON_TYPES[tensor.datatype], tensor.shape)
