"""Real clients of the Open Inference Protocol against a real instance: every way gives the same boxes."""

import base64
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import requests
from numpy.testing import assert_allclose

from service.pictures.image import Frame, letterbox
from service.pipeline.boxes import Boxes, nms, unletterbox
from tests.instance import RunningInstance, running_instance

http = pytest.importorskip("tritonclient.http", reason="tritonclient is not installed; it is in the dev extra")
from tritonclient.utils import InferenceServerException, np_to_triton_dtype  # noqa: E402

SIZE = 320
CONF, IOU = 0.35, 0.4


@pytest.fixture(scope="module")
def instance(
    default_model: Path, free_port: Callable[[], int], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RunningInstance]:
    with running_instance(free_port(), default_model, tmp_path_factory.mktemp("oip") / "log") as instance:
        yield instance


@pytest.fixture
def client(instance: RunningInstance) -> Iterator[Any]:
    client = http.InferenceServerClient(instance.url.removeprefix("http://"))
    yield client
    client.close()


@pytest.fixture(scope="module")
def frame(sample_video: Path) -> np.ndarray:
    return np.asarray(cv2.VideoCapture(str(sample_video)).read()[1])


@pytest.fixture(scope="module")
def jpeg(frame: np.ndarray) -> bytes:
    return bytes(cv2.imencode(".jpg", frame)[1])


@pytest.fixture(scope="module")
def native(instance: RunningInstance, jpeg: bytes) -> tuple[list[float], float]:
    """Box and score of the one face, as the native route answers them."""
    (found,) = requests.post(f"{instance.url}/v1/detect", jpeg, timeout=30).json()["detections"]
    return found["box"], found["score"]


def ask(client: Any, model: str, name: str, values: np.ndarray, *, binary: bool = True, **options: Any) -> Any:
    tensor = http.InferInput(name, list(values.shape), np_to_triton_dtype(values.dtype))
    tensor.set_data_from_numpy(values, binary_data=binary)
    return client.infer(model, [tensor], **options)


def assert_native(result: Any, native: tuple[list[float], float], row: int = 0) -> None:
    box, score = native
    assert result.as_numpy("count")[row] == 1
    assert_allclose(result.as_numpy("boxes")[row], [box], atol=0.006)
    assert_allclose(result.as_numpy("scores")[row], [score], atol=6e-5)
    assert result.as_numpy("classes")[row].tolist() == [0]


def test_health_metadata_config_and_index_are_what_the_client_expects(client: Any) -> None:
    assert client.is_server_live() and client.is_server_ready()
    assert client.is_model_ready("detect") and client.is_model_ready("yolov5", "1")
    assert not client.is_model_ready("nothing") and not client.is_model_ready("detect", "2")
    assert client.get_server_metadata()["name"] == "framefleet"
    assert [model["name"] for model in client.get_model_repository_index()] == ["yolov5", "detect"]
    assert client.get_model_metadata("yolov5", "1")["inputs"][0]["shape"] == [1, 3, SIZE, SIZE]
    assert client.get_model_config("detect")["input"][0]["data_type"] == "TYPE_STRING"


@pytest.mark.parametrize("compression", [None, "gzip", "deflate"])
def test_a_picture_gives_the_native_boxes(
    client: Any, jpeg: bytes, native: tuple[list[float], float], compression: str | None
) -> None:
    result = ask(
        client, "detect", "image", np.array([jpeg], object), request_id="7", request_compression_algorithm=compression
    )
    assert_native(result, native)
    assert result.as_numpy("labels").tolist() == [[b"face"]]
    assert result.get_response()["id"] == "7"


def test_base64_in_json_and_chosen_json_outputs_give_the_native_boxes(
    client: Any, jpeg: bytes, native: tuple[list[float], float]
) -> None:
    wanted = [http.InferRequestedOutput(name, binary_data=False) for name in ("count", "boxes", "scores", "classes")]
    text = np.array([base64.b64encode(jpeg)], object)
    result = ask(client, "detect", "image", text, binary=False, outputs=wanted)
    assert_native(result, native)
    assert result.as_numpy("labels") is None


def test_pictures_of_one_request_keep_their_order(client: Any, jpeg: bytes, native: tuple[list[float], float]) -> None:
    empty = bytes(cv2.imencode(".jpg", np.full((144, 176, 3), 40, np.uint8))[1])
    result = ask(client, "detect", "image", np.array([[empty], [jpeg], [empty]], object))
    assert result.as_numpy("count").tolist() == [0, 1, 0]
    assert_native(result, native, row=1)
    assert result.as_numpy("boxes")[::2].tolist() == [[[0.0] * 4]] * 2


def test_parameters_and_no_detection(client: Any, jpeg: bytes) -> None:
    result = ask(client, "detect", "image", np.array([jpeg], object), parameters={"conf": 0.99}, timeout=5_000_000)
    assert result.as_numpy("count").tolist() == [0]
    assert result.as_numpy("boxes").shape == (1, 0, 4)


def test_errors_reach_the_client_in_words(client: Any) -> None:
    with pytest.raises(InferenceServerException, match="neither a JPEG, PNG, WebP or BMP"):
        ask(client, "detect", "image", np.array([b"no picture"], object))
    with pytest.raises(InferenceServerException, match="not served here") as caught:
        client.get_model_metadata("nothing")
    assert caught.value.status() == "404"
    with pytest.raises(InferenceServerException, match="not found"):
        client.load_model("detect")


def test_statistics_grow(client: Any, jpeg: bytes) -> None:
    before = client.get_inference_statistics("detect")["model_stats"][0]["inference_count"]
    ask(client, "detect", "image", np.array([jpeg, jpeg], object))
    assert client.get_inference_statistics("detect")["model_stats"][0]["inference_count"] == before + 2
    assert len(client.get_inference_statistics()["model_stats"]) == 2


def yolov5_remote_model(client: Any, tensor: np.ndarray) -> np.ndarray:
    """The steps YOLOv5's own Triton client takes: first model, inputs as described, first output."""
    name = client.get_model_repository_index()[0]["name"]
    metadata = client.get_model_metadata(name)
    (described,) = metadata["inputs"]
    assert not metadata["platform"].startswith("tensorflow")  # it would send NHWC
    tensor_in = http.InferInput(described["name"], [int(side) for side in described["shape"]], described["datatype"])
    tensor_in.set_data_from_numpy(tensor)
    result = client.infer(name, [tensor_in])
    return np.asarray(result.as_numpy(metadata["outputs"][0]["name"]))


def yolov5_nms(rows: np.ndarray) -> np.ndarray:
    """What YOLOv5 makes of its rows: float32 [n, 6] corners, confidence, class."""
    kept = rows[rows[:, 4] > CONF]
    confidences = kept[:, 5:] * kept[:, 4:5]
    best = confidences.argmax(1)
    corners = np.concatenate([kept[:, :2] - kept[:, 2:4] / 2, kept[:, :2] + kept[:, 2:4] / 2], 1)
    found = np.concatenate([corners, confidences.max(1, keepdims=True), best[:, None]], 1).astype(np.float32)
    found = found[found[:, 4] > CONF]
    found = found[np.argsort(-found[:, 4])]
    return found[nms(found, IOU, agnostic=False)]


@pytest.mark.parametrize("kind", ["FP32", "UINT8"])
def test_a_letterboxed_frame_gives_the_native_boxes_through_yolov5s_own_post_processing(
    client: Any, jpeg: bytes, native: tuple[list[float], float], kind: str
) -> None:
    decoded = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)
    slot = np.empty((SIZE, SIZE, 3), np.uint8)
    placed = letterbox(Frame(np.asarray(decoded, np.uint8), 176, 144), slot)
    if kind == "FP32":
        floats = np.ascontiguousarray(slot[..., ::-1].transpose(2, 0, 1)[None].astype(np.float32) / 255)
        rows = yolov5_remote_model(client, floats)
    else:
        rows = np.asarray(ask(client, "yolov5", "images", slot[None]).as_numpy("output0"))
    assert (rows.shape, rows.dtype) == ((1, 300, 6), np.float32)
    (found,) = yolov5_nms(rows[0])
    boxes = unletterbox(Boxes(found[None, :4], found[None, 4], np.zeros(1, np.int64)), placed, clip=True)
    assert_allclose(boxes.corners, [native[0]], atol=0.006)
    assert_allclose(boxes.scores, [native[1]], atol=6e-5)


def test_yolov5s_own_letterbox_gives_the_native_boxes_within_a_cell(
    client: Any, jpeg: bytes, native: tuple[list[float], float]
) -> None:
    """It rounds the scaled side where ours truncates, and pads with 114 where ours pads with 128: the face is found
    from the next cell of the network's output, 4 input pixels away."""
    decoded = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)
    scale = min(SIZE / 176, SIZE / 144)
    width, height = round(176 * scale), round(144 * scale)
    top = round((SIZE - height) / 2 - 0.1)
    canvas = np.full((SIZE, SIZE, 3), 114, np.uint8)
    canvas[top : top + height, :width] = cv2.resize(decoded, (width, height), interpolation=cv2.INTER_LINEAR)
    floats = np.ascontiguousarray(canvas[..., ::-1].transpose(2, 0, 1)[None].astype(np.float32) / 255)
    (found,) = yolov5_nms(yolov5_remote_model(client, floats)[0])
    assert_allclose((found[:4] - [0, top, 0, top]) / scale, native[0], atol=4)
    assert found[4] == pytest.approx(native[1], abs=0.05)
