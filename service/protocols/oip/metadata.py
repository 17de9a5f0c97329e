"""What the protocol tells of a model: its metadata, and its configuration in the words of Triton's."""

from collections.abc import Mapping

import msgspec

from service.engines import EngineInfo
from service.protocols.oip.models import VERSION, Model, TensorInfo


def describe(model: Model, info: EngineInfo) -> dict[str, object]:
    """The model's metadata."""
    return {
        "name": model.name,
        "versions": [VERSION],
        "platform": platform(info),
        "inputs": [_metadata(model.input)],
        "outputs": [_metadata(output) for output in model.outputs],
    }


def configure(model: Model, info: EngineInfo) -> dict[str, object]:
    """The model's configuration."""
    return {
        "name": model.name,
        "platform": platform(info),
        # Shapes below are whole, batch and all; frames of many requests still share a batch.
        "max_batch_size": 0,
        "input": [_configuration(model.input)],
        "output": [_configuration(output) for output in model.outputs],
        "parameters": {
            "names": {"string_value": msgspec.json.encode(info.classes).decode()},
            "engine_max_batch": {"string_value": str(info.max_batch)},
        },
    }


def platform(info: EngineInfo) -> str:
    """What runs the model, as the protocol names platforms: project, underscore, format."""
    return f"framefleet_{info.kind}"


def _metadata(tensor: TensorInfo) -> Mapping[str, object]:
    return {"name": tensor.name, "datatype": tensor.datatype, "shape": tensor.shape}


def _configuration(tensor: TensorInfo) -> Mapping[str, object]:
    kind = "STRING" if tensor.datatype == "BYTES" else tensor.datatype
    return {"name": tensor.name, "data_type": f"TYPE_{kind}", "dims": tensor.shape}
