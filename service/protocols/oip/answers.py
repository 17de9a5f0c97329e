"""What the protocol's paths answer, in the protocol's words; statistics and configurations are in Triton's.

`write_answer`: the answer to an inference request: JSON, and behind it what was asked for in binary form.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Final, Literal, get_args

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from framefleet.wire.answers import AtLeastOne, Count, Detail
from service.errors import InvalidValue
from service.openapi.shapes import Yes
from service.protocols.oip.request import MAX_NAME, InferRequest, RequestedOutput
from service.protocols.oip.tensors import Datatype, OutputTensor

VERSION: Final = "1"
Version = Literal["1"]
Extension = Literal["binary_tensor_data", "model_configuration", "model_repository", "parameters", "statistics"]
EXTENSIONS: tuple[Extension, ...] = get_args(Extension)
TritonType = Literal["TYPE_INT32", "TYPE_FP32", "TYPE_STRING"]
Shape = tuple[Annotated[int, Meta(ge=-1)], ...]


class OipServer(Struct, frozen=True, kw_only=True):
    """The server, in the protocol's words."""

    name: Literal["framefleet"] = "framefleet"
    version: Annotated[str, Meta(description="The release it runs.")]
    extensions: tuple[Extension, ...] = EXTENSIONS


class OipLive(Struct, frozen=True):
    """It is alive."""

    live: Yes = True


class OipReady(Struct, frozen=True):
    """It is ready."""

    ready: Yes = True


class OipIndexed(Struct, frozen=True):
    """One model."""

    name: str
    version: Version = VERSION
    state: Literal["READY"] = "READY"
    reason: Annotated[str, Meta(description="Empty.")] = ""


OipIndex = Annotated[
    list[OipIndexed], Meta(min_length=1, description="Every model; YOLOv5's own tools take the first.")
]


class OipTensor(Struct, frozen=True):
    """One tensor."""

    name: str
    datatype: Datatype
    shape: Shape


class OipModel(Struct, frozen=True):
    """A model, in the protocol's words; -1 is a size that varies."""

    name: str
    versions: Annotated[list[Version], Meta(min_length=1)]
    platform: str
    inputs: Annotated[list[OipTensor], Meta(min_length=1, description="Its tensors.")]
    outputs: Annotated[list[OipTensor], Meta(min_length=1, description="Its tensors.")]


class OipTensorConfig(Struct, frozen=True):
    """One tensor."""

    name: str
    data_type: TritonType
    dims: Shape


class OipText(Struct, frozen=True):
    """A text."""

    string_value: str


class OipModelParameters(Struct, frozen=True):
    """What else there is."""

    names: Annotated[OipText, Meta(description="The classes by id, as a JSON list.")]
    engine_max_batch: Annotated[OipText, Meta(description="Frames inferred at once at most.")]


class OipModelConfig(Struct, frozen=True, kw_only=True):
    """A model, in the words of Triton's configuration."""

    name: str
    platform: str
    # Frames of many requests still share a batch.
    max_batch_size: Annotated[Literal[0], Meta(description="Shapes are whole, batch and all.")] = 0
    input: Annotated[list[OipTensorConfig], Meta(min_length=1, description="Its tensors.")]
    output: Annotated[list[OipTensorConfig], Meta(min_length=1, description="Its tensors.")]
    parameters: OipModelParameters


class OipModelReady(Struct, frozen=True):
    """The model answers."""

    name: str
    ready: Yes = True


class OipSpent(Struct, frozen=True):
    """How often, and nanoseconds in all."""

    count: Count = 0
    ns: Count = 0


class OipInferenceStats(Struct, frozen=True):
    """What its requests spent where; nothing is cached, so `cache_hit` stays empty."""

    success: OipSpent
    fail: OipSpent
    queue: OipSpent
    compute_input: OipSpent
    compute_infer: OipSpent
    compute_output: OipSpent
    cache_hit: OipSpent


class OipBatchStats(Struct, frozen=True, kw_only=True):
    """Batches of one size."""

    batch_size: AtLeastOne
    compute_input: OipSpent = OipSpent()
    compute_infer: OipSpent
    compute_output: OipSpent = OipSpent()


class OipOneModelStats(Struct, frozen=True, kw_only=True):
    """One model since start."""

    name: str
    version: Version = VERSION
    last_inference: Annotated[Count, Meta(description="Milliseconds since 1970; 0 where there was none.")]
    inference_count: Annotated[Count, Meta(description="Frames.")]
    execution_count: Annotated[Count, Meta(description="Batches; a frame is its share of one.")]
    inference_stats: OipInferenceStats
    batch_stats: list[OipBatchStats]


class OipModelStats(Struct, frozen=True):
    """What the models did."""

    model_stats: Annotated[list[OipOneModelStats], Meta(min_length=1, description="One for each model.")]


class OipSent(Struct, frozen=True):
    """One tensor of an answer, without its values."""

    name: str
    datatype: Datatype
    shape: Annotated[tuple[Count, ...], Meta(min_length=1)]


class OipOutput(OipSent, frozen=True):
    """One tensor of an answer in JSON."""

    data: Annotated[list[Any], Meta(description="Its values, row by row in one flat list.")]


class OipBinarySize(Struct, frozen=True):
    """How many of the bytes behind the JSON are a tensor's."""

    binary_data_size: Count


class OipBinaryOutput(OipSent, frozen=True):
    """One tensor of an answer, whose values come behind the JSON."""

    # Only these have parameters: perf_analyzer takes them for a sign of binary data.
    parameters: OipBinarySize


class OipAnswer(Struct, frozen=True, kw_only=True):
    """The answer to an inference request."""

    model_name: str
    model_version: Version = VERSION
    id: Annotated[str, Meta(max_length=MAX_NAME, description="The request's, where it had one.")] | UnsetType = UNSET
    outputs: Annotated[list[OipSent], Meta(min_length=1, description="The ones asked for, else all.")]


class OipProblem(Struct, frozen=True):
    """What went wrong, as the protocol's clients read it."""

    error: Detail


@dataclass(frozen=True, slots=True)
class InferAnswer:
    """The bytes of an answer; `json_bytes` of them are JSON where others follow, else None."""

    body: bytes
    json_bytes: int | None


def chosen_outputs(request: InferRequest, names: Sequence[str]) -> list[RequestedOutput]:
    """Says which outputs to send in which form: the ones asked for, in that order, else all.

    Raises:
        InvalidValue: one is not the model's, or is asked for twice.
    """
    if not request.outputs:
        return [RequestedOutput(name, request.binary_output) for name in names]
    asked = [output.name for output in request.outputs]
    for name in asked:
        if name not in names or asked.count(name) > 1:
            what = "asked for twice" if name in names else "no such output"
            raise InvalidValue(f"outputs: {name[:40]!r}: {what}; there are {', '.join(names)}, each once")
    return list(request.outputs)


def write_answer(
    model: str, request_id: str | None, chosen: Sequence[RequestedOutput], outputs: Sequence[OutputTensor]
) -> InferAnswer:
    """Writes the answer.

    Args:
        model: its name.
        request_id: as the client gave it.
        chosen: outputs to send.
        outputs: all there are.
    """
    by_name = {output.name: output for output in outputs}
    described: list[OipSent] = []
    binary: list[bytes] = []
    for wanted in chosen:
        output = by_name[wanted.name]
        if wanted.binary:
            binary.append(output.to_bytes())
            size = OipBinarySize(len(binary[-1]))
            described.append(OipBinaryOutput(output.name, output.datatype, output.values.shape, size))
        else:
            described.append(OipOutput(output.name, output.datatype, output.values.shape, output.to_json()))
    answer = OipAnswer(model_name=model, id=UNSET if request_id is None else request_id, outputs=described)
    text = msgspec.json.encode(answer)
    return InferAnswer(b"".join([text, *binary]), len(text) if binary else None)
