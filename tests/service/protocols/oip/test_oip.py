"""The Open Inference Protocol as its text says, over an engine whose answers the test knows."""

import base64
import gzip
import zlib
from typing import Any

import numpy as np
import pytest
from flask.testing import FlaskClient
from numpy.testing import assert_array_equal

from tests.service.fakes import SIZE, ScriptedEngine
from tests.service.scripted import BOX, PICTURE, binary_infer, element, json_infer, outputs_of, png

IMAGE = {"name": "image", "datatype": "BYTES", "shape": [1]}
FRAME_FP32 = (PICTURE[..., ::-1].transpose(2, 0, 1)[None] / np.float32(255)).astype(np.float32)
IMAGES_FP32 = {"name": "images", "datatype": "FP32", "shape": [1, 3, SIZE, SIZE]}
IMAGES_UINT8 = {"name": "images", "datatype": "UINT8", "shape": [1, SIZE, SIZE, 3]}
# cx, cy, w, h of the box 0, 0, 30, 20; its score; 0 for class "thing", 1 for class "other".
YOLO_ROW = np.array([[[15, 10, 30, 20, 0.9, 0, 1]]], np.float32)


def text(picture: bytes) -> str:
    return base64.b64encode(picture).decode()


def test_the_server_describes_itself(client: FlaskClient) -> None:
    assert client.get("/v2").get_json() == client.get("/v2/").get_json()
    assert client.get("/v2").get_json() == {
        "name": "framefleet",
        "version": "r1",
        "extensions": ["binary_tensor_data", "model_configuration", "model_repository", "parameters", "statistics"],
    }
    assert client.get("/v2/health/live").get_json() == {"live": True}
    assert client.get("/v2/health/ready").get_json() == {"ready": True}


def test_yolov5_is_the_first_model_of_the_index_because_its_own_tools_take_the_first(client: FlaskClient) -> None:
    assert client.post("/v2/repository/index").get_json() == [
        {"name": "yolov5", "version": "1", "state": "READY", "reason": ""},
        {"name": "detect", "version": "1", "state": "READY", "reason": ""},
    ]
    assert client.post("/v2/repository/index", json={"ready": True}).status_code == 200


@pytest.mark.parametrize("path", ["/v2/models/yolov5", "/v2/models/yolov5/versions/1"])
def test_yolov5_has_one_input_of_a_concrete_shape(client: FlaskClient, path: str) -> None:
    assert client.get(path).get_json() == {
        "name": "yolov5",
        "versions": ["1"],
        "platform": "framefleet_scripted",
        "inputs": [IMAGES_FP32],
        "outputs": [{"name": "output0", "datatype": "FP32", "shape": [-1, -1, 7]}],
    }
    assert client.get(f"{path}/ready").get_json() == {"name": "yolov5", "ready": True}


def test_detect_says_what_it_takes_and_gives(client: FlaskClient) -> None:
    metadata = client.get("/v2/models/detect").get_json()
    assert metadata["inputs"] == [{"name": "image", "datatype": "BYTES", "shape": [-1]}]
    assert {output["name"]: (output["datatype"], output["shape"]) for output in metadata["outputs"]} == {
        "count": ("INT32", [-1]),
        "boxes": ("FP32", [-1, -1, 4]),
        "scores": ("FP32", [-1, -1]),
        "classes": ("INT32", [-1, -1]),
        "labels": ("BYTES", [-1, -1]),
    }


def test_configurations_use_tritons_words(client: FlaskClient) -> None:
    config = client.get("/v2/models/detect/versions/1/config").get_json()
    assert (config["max_batch_size"], config["input"]) == (
        0,
        [{"name": "image", "data_type": "TYPE_STRING", "dims": [-1]}],
    )
    assert config["parameters"]["names"] == {"string_value": '["thing","other"]'}
    assert client.get("/v2/models/yolov5/config").get_json()["input"][0]["data_type"] == "TYPE_FP32"


def assert_one_box(outputs: dict[str, Any]) -> None:
    assert outputs["count"].tolist() == [1]
    assert outputs["boxes"].tolist() == [[BOX]]
    assert outputs["scores"].tolist() == [[pytest.approx(0.9)]]
    assert outputs["classes"].tolist() == [[1]]
    assert outputs["labels"] == ["other"]


@pytest.mark.parametrize("shape", [[1], [1, 1]], ids=["[n]", "[n, 1]"])
def test_detect_takes_a_picture_in_binary_form(client: FlaskClient, shape: list[int]) -> None:
    assert_one_box(outputs_of(binary_infer(client, "detect", {**IMAGE, "shape": shape}, element(png()))))


@pytest.mark.parametrize(
    ("shape", "nest"), [([1], lambda x: [x]), ([1, 1], lambda x: [[x]]), ([1, 1], lambda x: [x])], ids=str
)
def test_detect_takes_base64_in_json_flat_or_nested(client: FlaskClient, shape: list[int], nest: Any) -> None:
    assert_one_box(outputs_of(json_infer(client, "detect", {**IMAGE, "shape": shape, "data": nest(text(png()))})))


def test_base64_is_taken_in_binary_form_too(client: FlaskClient) -> None:
    assert_one_box(outputs_of(binary_infer(client, "detect", IMAGE, element(text(png()).encode()))))


def test_several_pictures_are_padded_to_the_fullest(client: FlaskClient) -> None:
    other = np.full((SIZE, SIZE, 3), (12, 8, 0), np.uint8)
    data = element(png()) + element(png(other))
    tensor = {**IMAGE, "shape": [2]}
    outputs = outputs_of(binary_infer(client, "detect", tensor, data))
    assert outputs["count"].tolist() == [1, 1]
    assert outputs["boxes"].tolist() == [[BOX], [[0, 0, 12, 8]]]
    assert outputs["labels"] == ["other", "thing"]
    fewer = outputs_of(binary_infer(client, "detect", tensor, data, parameters={"classes": "thing"}))
    assert fewer["count"].tolist() == [0, 1]
    assert fewer["boxes"].tolist() == [[[0, 0, 0, 0]], [[0, 0, 12, 8]]]
    assert fewer["labels"] == ["", "thing"]


@pytest.mark.parametrize("binary", [True, False])
def test_no_detection_is_an_empty_second_dimension(client: FlaskClient, binary: bool) -> None:
    parameters = {"conf": 0.95, "binary_data_output": binary}
    outputs = outputs_of(binary_infer(client, "detect", IMAGE, element(png()), parameters=parameters))
    assert (outputs["boxes"].shape, outputs["scores"].shape, outputs["labels"]) == ((1, 0, 4), (1, 0), [])
    assert outputs["count"].tolist() == [0]


@pytest.mark.parametrize(
    ("parameters", "count"),
    [
        ({"conf": 0.95}, 0),
        ({"conf": "0.95"}, 0),
        ({"classes": "thing"}, 0),
        ({"classes": "other", "agnostic": True, "iou": 0.5, "max_det": 1}, 1),
        ({"priority": 1, "sequence_id": 7, "sequence_start": True, "sequence_end": True, "timeout": 4_000_000}, 1),
        ({"timeout": 10**400}, 1),
    ],
    ids=str,
)
def test_parameters_are_those_of_the_native_route_and_the_protocols_own(
    client: FlaskClient, parameters: dict[str, Any], count: int
) -> None:
    answer = binary_infer(client, "detect", IMAGE, element(png()), parameters=parameters)
    assert outputs_of(answer)["count"].tolist() == [count]


def test_a_binary_request_for_all_outputs_is_answered_in_binary(client: FlaskClient) -> None:
    answer = binary_infer(client, "detect", IMAGE, element(png()), id="42", parameters={"binary_data_output": True})
    assert answer.content_type == "application/octet-stream"
    assert "decode;dur=" in answer.headers["Server-Timing"]
    assert_one_box(outputs_of(answer))


def test_outputs_come_as_asked_for_each_in_its_own_form(client: FlaskClient) -> None:
    wanted = [{"name": "labels", "parameters": {"binary_data": True}}, {"name": "count"}]
    answer = binary_infer(client, "detect", IMAGE, element(png()), outputs=wanted)
    length = int(answer.headers["Inference-Header-Content-Length"])
    assert answer.data[length:] == element(b"other")
    head = answer.data[:length]
    assert head == (
        b'{"model_name":"detect","model_version":"1","outputs":['
        b'{"name":"labels","datatype":"BYTES","shape":[1,1],"parameters":{"binary_data_size":9}},'
        b'{"name":"count","datatype":"INT32","shape":[1],"data":[1]}]}'
    )


def test_one_outputs_form_overrides_that_of_all(client: FlaskClient) -> None:
    answer = binary_infer(
        client,
        "detect",
        IMAGE,
        element(png()),
        parameters={"binary_data_output": True},
        outputs=[{"name": "count", "parameters": {"binary_data": False}}, {"name": "labels"}],
    )
    assert b'"data":[1]' in answer.data
    assert answer.data.endswith(element(b"other"))


@pytest.mark.parametrize("given", ["42", "", "µ"])
def test_an_id_is_given_back(client: FlaskClient, given: str) -> None:
    assert binary_infer(client, "detect", IMAGE, element(png()), id=given).get_json()["id"] == given
    assert "id" not in binary_infer(client, "detect", IMAGE, element(png())).get_json()


@pytest.mark.parametrize(
    ("tensor", "data"),
    [(IMAGES_FP32, FRAME_FP32.tobytes()), (IMAGES_UINT8, PICTURE.tobytes())],
    ids=["FP32 NCHW RGB", "UINT8 NHWC BGR"],
)
def test_yolov5_takes_both_kinds_of_frames_in_both_forms(
    client: FlaskClient, tensor: dict[str, Any], data: bytes
) -> None:
    dtype = "<f4" if tensor["datatype"] == "FP32" else "u1"
    values = np.frombuffer(data, dtype).reshape(tensor["shape"])
    assert_array_equal(outputs_of(binary_infer(client, "yolov5", tensor, data))["output0"], YOLO_ROW)
    for listed in (values.ravel().tolist(), values.tolist()):
        answer = json_infer(client, "yolov5", {**tensor, "data": listed})
        assert_array_equal(outputs_of(answer)["output0"], YOLO_ROW)


def test_yolov5_takes_several_frames(client: FlaskClient) -> None:
    tensor = {**IMAGES_UINT8, "shape": [2, SIZE, SIZE, 3]}
    other = np.full((SIZE, SIZE, 3), (12, 8, 0), np.uint8)
    outputs = outputs_of(binary_infer(client, "yolov5", tensor, PICTURE.tobytes() + other.tobytes()))
    expected = np.concatenate([YOLO_ROW, np.array([[[6, 4, 12, 8, 0.9, 1, 0]]], np.float32)])
    assert_array_equal(outputs["output0"], expected)


def test_every_level_survives_the_way_through_floats(client: FlaskClient, engine: ScriptedEngine) -> None:
    seen: list[np.ndarray] = []
    infer = engine.infer
    engine.infer = lambda frames: (seen.append(frames.copy()), infer(frames))[1]  # type: ignore[method-assign]
    levels = np.arange(SIZE * SIZE * 3, dtype=np.uint8).reshape(SIZE, SIZE, 3)
    floats = (levels[..., ::-1].transpose(2, 0, 1) / np.float32(255)).astype(np.float32)
    assert binary_infer(client, "yolov5", IMAGES_FP32, floats.tobytes()).status_code == 200
    assert_array_equal(seen[-1][0], levels)


@pytest.mark.parametrize(
    ("encoding", "compress"), [("gzip", gzip.compress), ("deflate", zlib.compress), ("identity", bytes)], ids=str
)
def test_compressed_bodies_are_read(client: FlaskClient, encoding: str, compress: Any) -> None:
    head = b'{"inputs":[{"name":"image","datatype":"BYTES","shape":[1],"parameters":{"binary_data_size":%d}}]}'
    data = element(png())
    head %= len(data)
    answer = client.post(
        "/v2/models/detect/infer",
        data=compress(head + data),
        headers={"Content-Encoding": encoding, "Inference-Header-Content-Length": str(len(head))},
    )
    assert_one_box(outputs_of(answer))


@pytest.mark.parametrize(
    "content_type", [None, "application/x-www-form-urlencoded", "multipart/form-data", "text/html"]
)
def test_the_claimed_type_is_not_asked(client: FlaskClient, content_type: str | None) -> None:
    body = b'{"inputs":[{"name":"image","datatype":"BYTES","shape":[1],"data":["%s"]}]}' % text(png()).encode()
    assert_one_box(outputs_of(client.post("/v2/models/detect/infer", data=body, content_type=content_type)))


def test_statistics_count_requests_frames_and_times(client: FlaskClient) -> None:
    data = element(png())
    binary_infer(client, "detect", IMAGE, data)
    binary_infer(client, "detect", {**IMAGE, "shape": [2]}, data + data)
    binary_infer(client, "detect", IMAGE, element(b"no picture"))
    (stats,) = client.get("/v2/models/detect/stats").get_json()["model_stats"]
    assert (stats["name"], stats["version"], stats["inference_count"]) == ("detect", "1", 3)
    assert 2 <= stats["execution_count"] <= 3
    assert sum(batch["compute_infer"]["count"] for batch in stats["batch_stats"]) == stats["execution_count"]
    counts = {name: spent["count"] for name, spent in stats["inference_stats"].items()}
    assert counts == {
        "success": 2,
        "fail": 1,
        "queue": 2,
        "compute_input": 2,
        "compute_infer": 2,
        "compute_output": 2,
        "cache_hit": 0,
    }
    assert all(stats["inference_stats"][name]["ns"] > 0 for name, count in counts.items() if count)
    both = client.get("/v2/models/stats").get_json()["model_stats"]
    assert [(one["name"], one["inference_count"]) for one in both] == [("yolov5", 0), ("detect", 3)]
