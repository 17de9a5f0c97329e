"""The serving graph that an engine is built from: what it says of itself, and which precisions it allows."""

import json
from dataclasses import dataclass
from pathlib import Path

import onnx

from framefleet.whole_file import sha256
from framefleet.wire.errors import ModelError
from service.models.convert.fp16 import is_half, is_quantised

PRECISIONS = ("auto", "fp32", "fp16", "int8")


@dataclass(frozen=True, slots=True)
class ServingGraph:
    """A serving graph and its own account of itself.

    Attributes:
        model: the graph.
        sha256: hash of its file.
        name: the model's name.
        names: one per class.
        input_size: height and width in px.
        batch: frames per run where the graph fixes it, else None.
    """

    model: onnx.ModelProto
    sha256: str
    name: str
    names: tuple[str, ...]
    input_size: tuple[int, int]
    batch: int | None

    def precision(self, asked: str) -> str:
        """Chooses the precision to build.

        Args:
            asked: one of `PRECISIONS`.

        Raises:
            ModelError: the graph does not allow what was asked for.
        """
        quantised, half = is_quantised(self.model), is_half(self.model)
        natural = "int8" if quantised else "fp16"
        if asked in ("auto", natural):
            return natural
        if asked == "int8":
            raise ModelError(
                "--precision int8: the graph has no quantisation nodes (Q/DQ); quantise the network first, for "
                "example with onnxruntime.quantization.quantize_static(..., quant_format=QuantFormat.QDQ)"
            )
        if quantised or half:
            kind = "is quantised" if quantised else "is FP16 already"
            raise ModelError(f"--precision {asked}: the graph {kind}; use --precision {natural}, or export it again")
        return asked


def read_graph(path: Path) -> ServingGraph:
    """Reads a serving graph.

    Raises:
        ModelError: the file is missing, no ONNX model, or no serving graph.
    """
    try:
        data = path.read_bytes()
        model = onnx.load_model_from_string(data)
    except PermissionError:  # whose it is, is said where every command ends
        raise
    except OSError as error:
        raise ModelError(f"{path}: cannot be read ({error.strerror}); name a serving graph from var/models") from error
    except Exception as error:  # protobuf's DecodeError; its package has no types
        raise ModelError(f"{path}: is no ONNX model; `make model MODEL=...` writes serving graphs") from error
    properties = {entry.key: entry.value for entry in model.metadata_props}
    if properties.get("framefleet.serving") != "1":
        raise ModelError(f"{path}: is no serving graph; `make model MODEL={path}` makes one of it")
    batch, height, width, _ = (int(dim.dim_value) for dim in model.graph.input[0].type.tensor_type.shape.dim)
    return ServingGraph(
        model=model,
        sha256=sha256(data),
        name=properties["framefleet.name"],
        names=tuple(json.loads(properties["framefleet.names"])),
        input_size=(height, width),
        batch=batch or None,
    )
