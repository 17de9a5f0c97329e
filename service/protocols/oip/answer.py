"""Writes the answer to an inference request: JSON, and behind it what was asked for in binary form."""

from collections.abc import Sequence
from dataclasses import dataclass

import msgspec

from service.errors import InvalidValue
from service.protocols.oip.models import VERSION
from service.protocols.oip.request import InferRequest, RequestedOutput
from service.protocols.oip.tensors import OutputTensor


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
    described: list[dict[str, object]] = []
    binary: list[bytes] = []
    for wanted in chosen:
        output = by_name[wanted.name]
        entry = {"name": output.name, "datatype": output.datatype, "shape": output.values.shape}
        if wanted.binary:
            binary.append(output.to_bytes())
            # No other output may have parameters: perf_analyzer takes them for a sign of binary data.
            described.append({**entry, "parameters": {"binary_data_size": len(binary[-1])}})
        else:
            described.append({**entry, "data": output.to_json()})
    named = {} if request_id is None else {"id": request_id}
    text = msgspec.json.encode({"model_name": model, "model_version": VERSION, **named, "outputs": described})
    return InferAnswer(b"".join([text, *binary]), len(text) if binary else None)
