"""What the Open Inference Protocol's paths take and answer, by name."""

from types import SimpleNamespace
from typing import Any

from service.engines import EngineInfo
from service.openapi.shapes import COUNT, TEXT, record, said
from service.protocols.oip.metadata import platform
from service.protocols.oip.models import VERSION, Model, make_models
from service.protocols.oip.openapi_infer import infer_answer, infer_input, infer_output, infer_request, schema_name
from service.protocols.oip.routes import EXTENSIONS
from service.protocols.oip.stats import ModelStats
from service.settings import Settings

Json = dict[str, Any]


def oip_schemas(settings: Settings, info: EngineInfo) -> Json:
    """What the protocol's paths take and answer, by name."""
    models = described_models(info)
    name = {"type": "string", "enum": list(models)}
    version = {"type": "string", "enum": [VERSION]}
    schemas = {
        "OipServer": record(
            "The server, in the protocol's words.",
            {
                "name": {"type": "string", "enum": ["framefleet"]},
                "version": said(TEXT, "The release it runs."),
                "extensions": {"type": "array", "items": {"type": "string", "enum": list(EXTENSIONS)}},
            },
        ),
        "OipLive": record("It is alive.", {"live": {"type": "boolean", "enum": [True]}}),
        "OipReady": record("It is ready.", {"ready": {"type": "boolean", "enum": [True]}}),
        "OipIndex": _list_of(
            "Every model; YOLOv5's own tools take the first.",
            record(
                "One model.",
                {
                    "name": name,
                    "version": version,
                    "state": {"type": "string", "enum": ["READY"]},
                    "reason": said(TEXT, "Empty."),
                },
            ),
        ),
        "OipModel": _metadata(name, version, info),
        "OipModelConfig": _config(name, info),
        "OipModelReady": record("The model answers.", {"name": name, "ready": {"type": "boolean", "enum": [True]}}),
        "OipModelStats": _stats(name, version),
        "OipProblem": record(
            "What went wrong, as the protocol's clients read it.",
            {"error": {"type": "string", "minLength": 1, "description": "Where, what, and how to put it right."}},
        ),
    }
    for model in models.values():
        schemas[schema_name(model, "Request")] = infer_request(model, settings, info)
        schemas[schema_name(model, "Input")] = infer_input(model, settings, info)
        schemas[schema_name(model, "Answer")] = infer_answer(model, info)
        schemas[schema_name(model, "Output")] = infer_output(model)
    return schemas


def described_models(info: EngineInfo) -> dict[str, Model]:
    """The protocol's models by name, for what they say of themselves."""
    # Only what they say of themselves is asked of these models, and for that they read no more of a detector.
    describing = SimpleNamespace(batcher=SimpleNamespace(info=info))
    return make_models(describing)  # type: ignore[arg-type]


def _metadata(name: Json, version: Json, info: EngineInfo) -> Json:
    tensors = _list_of("Its tensors.", _tensor("datatype", "shape", "INT32", "FP32", "BYTES"))
    return record(
        "A model, in the protocol's words; -1 is a size that varies.",
        {
            "name": name,
            "versions": {"type": "array", "minItems": 1, "items": version},
            "platform": {"type": "string", "enum": [platform(info)]},
            "inputs": tensors,
            "outputs": tensors,
        },
    )


def _config(name: Json, info: EngineInfo) -> Json:
    tensors = _list_of("Its tensors.", _tensor("data_type", "dims", "TYPE_INT32", "TYPE_FP32", "TYPE_STRING"))
    text = record("A text.", {"string_value": TEXT})
    return record(
        "A model, in the words of Triton's configuration.",
        {
            "name": name,
            "platform": {"type": "string", "enum": [platform(info)]},
            "max_batch_size": {"type": "integer", "enum": [0], "description": "Shapes are whole, batch and all."},
            "input": tensors,
            "output": tensors,
            "parameters": record(
                "What else there is.",
                {
                    "names": said(text, "The classes by id, as a JSON list."),
                    "engine_max_batch": said(text, "Frames inferred at once at most."),
                },
            ),
        },
    )


def _tensor(kind: str, shape: str, *kinds: str) -> Json:
    side = {"type": "integer", "minimum": -1}
    return record(
        "One tensor.",
        {"name": TEXT, kind: {"type": "string", "enum": list(kinds)}, shape: {"type": "array", "items": side}},
    )


def _stats(name: Json, version: Json) -> Json:
    spent = record("How often, and nanoseconds in all.", {"count": COUNT, "ns": COUNT})
    stages = list(ModelStats().document("", VERSION)["inference_stats"])  # type: ignore[call-overload]
    computed = dict.fromkeys(("compute_input", "compute_infer", "compute_output"), spent)
    batches = record("Batches of one size.", {"batch_size": {"type": "integer", "minimum": 1}, **computed})
    one = record(
        "One model since start.",
        {
            "name": name,
            "version": version,
            "last_inference": said(COUNT, "Milliseconds since 1970; 0 where there was none."),
            "inference_count": said(COUNT, "Frames."),
            "execution_count": said(COUNT, "Batches; a frame is its share of one."),
            "inference_stats": record("What its requests spent where.", dict.fromkeys(stages, spent)),
            "batch_stats": {"type": "array", "items": batches},
        },
    )
    return record("What the models did.", {"model_stats": _list_of("One for each model.", one)})


def _list_of(description: str, item: Json) -> Json:
    return {"type": "array", "description": description, "minItems": 1, "items": item}
