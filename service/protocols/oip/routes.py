"""`/v2`: the Open Inference Protocol (KServe v2) with the binary tensor data, statistics and index extensions.

`inflater`: undoes the compression of a request body, piece by piece, and never further than a body may be long.
"""

import time
import zlib
from collections.abc import Callable, Iterator, Mapping

from flask import Blueprint, Response, request
from werkzeug.exceptions import NotFound

from framefleet.wire.answers import Problem
from service.engines import EngineInfo
from service.errors import BodyTooLarge, MalformedBody, ServiceError, UnsupportedBody
from service.pipeline.detector import Detector
from service.protocols.exchange import json_answer, read_body, reception
from service.protocols.native.routes import default_selection, max_files
from service.protocols.oip import answers
from service.protocols.oip.models import Answered, Limits, Model, config_of, make_models, metadata_of
from service.protocols.oip.request import read_request
from service.protocols.oip.stats import ModelStats
from service.settings import Settings

MODEL = "/models/<name>"
VERSIONED = "/models/<name>/versions/<version>"
HEADER_LENGTH = "Inference-Header-Content-Length"
# What zlib is told about the container; HTTP's "deflate" is zlib's own.
PIECE_BYTES = 2**18
WINDOW_BITS = {"gzip": 16 + zlib.MAX_WBITS, "x-gzip": 16 + zlib.MAX_WBITS, "deflate": zlib.MAX_WBITS}


def oip_problem(problem: Problem) -> answers.OipProblem:
    """Writes a problem the protocol's way: its clients read nothing else, whatever went wrong."""
    return answers.OipProblem(problem.detail)


def oip_routes(detector: Detector, settings: Settings, clock: Callable[[], float] = time.monotonic) -> Blueprint:
    """Makes the protocol's paths.

    Args:
        detector: started.
        settings: the instance's settings.
        clock: seconds, monotonic.
    """
    routes = Blueprint("oip", __name__, url_prefix="/v2")
    models = make_models(detector)
    stats = {name: ModelStats() for name in models}
    _server_routes(routes, settings, stats)
    _model_routes(routes, models, stats, detector.batcher.info)
    _infer_routes(routes, models, stats, _inference(detector, settings), clock)
    return routes


def _server_routes(routes: Blueprint, settings: Settings, stats: Mapping[str, ModelStats]) -> None:
    @routes.get("", strict_slashes=False)
    def server_metadata() -> Response:
        return json_answer(answers.OipServer(version=settings.release))

    @routes.get("/health/live")
    def live() -> Response:
        return json_answer(answers.OipLive())

    # An instance listens only while it can answer, so whoever gets here has models that are ready.
    @routes.get("/health/ready")
    def ready() -> Response:
        return json_answer(answers.OipReady())

    @routes.post("/repository/index")
    def index() -> Response:
        return json_answer([answers.OipIndexed(name) for name in stats])

    @routes.get("/models/stats")
    def all_stats() -> Response:
        return json_answer(answers.OipModelStats([stats[name].document(name) for name in stats]))


def _model_routes(
    routes: Blueprint, models: Mapping[str, Model], stats: Mapping[str, ModelStats], info: EngineInfo
) -> None:
    @routes.get(MODEL)
    @routes.get(VERSIONED)
    def model_metadata(name: str, version: str = answers.VERSION) -> Response:
        return json_answer(metadata_of(_named(models, name, version), info))

    @routes.get(f"{MODEL}/config")
    @routes.get(f"{VERSIONED}/config")
    def model_config(name: str, version: str = answers.VERSION) -> Response:
        return json_answer(config_of(_named(models, name, version), info))

    @routes.get(f"{MODEL}/ready")
    @routes.get(f"{VERSIONED}/ready")
    def model_ready(name: str, version: str = answers.VERSION) -> Response:
        return json_answer(answers.OipModelReady(_named(models, name, version).name))

    @routes.get(f"{MODEL}/stats")
    @routes.get(f"{VERSIONED}/stats")
    def model_stats(name: str, version: str = answers.VERSION) -> Response:
        model = _named(models, name, version)
        return json_answer(answers.OipModelStats([stats[model.name].document(model.name)]))


def _infer_routes(
    routes: Blueprint,
    models: Mapping[str, Model],
    stats: Mapping[str, ModelStats],
    infer_now: Callable[[Model], tuple[answers.InferAnswer, Answered]],
    clock: Callable[[], float],
) -> None:
    @routes.post(f"{MODEL}/infer")
    @routes.post(f"{VERSIONED}/infer")
    def infer(name: str, version: str = answers.VERSION) -> Response:
        model = _named(models, name, version)
        began = clock()
        try:
            answer, answered = infer_now(model)
        except ServiceError:
            stats[name].fail((clock() - began) * 1000)
            raise
        stats[name].succeed((clock() - began) * 1000, answered.stages, answered.batch_sizes)
        return _response(answer, answered)


def _named(models: Mapping[str, Model], name: str, version: str) -> Model:
    if name not in models or version != answers.VERSION:
        raise NotFound(
            f"model {name[:40]!r} version {version[:40]!r}: not served here; there are {', '.join(models)}, each at "
            f"version {answers.VERSION}"
        )
    return models[name]


def _inference(detector: Detector, settings: Settings) -> Callable[[Model], tuple[answers.InferAnswer, Answered]]:
    take_in, selection, most = reception(detector, settings), default_selection(settings), max_files(settings)

    def infer_now(model: Model) -> tuple[answers.InferAnswer, Answered]:
        with take_in() as visit:
            inflate = inflater(request.headers.get("Content-Encoding", ""), settings.max_body_bytes)
            asked = read_request(read_body(visit, inflate), request.headers.get(HEADER_LENGTH))
            chosen = answers.chosen_outputs(asked, [output.name for output in model.outputs])
            answered = model.infer(asked.tensor, asked.parameters, Limits(selection, most, visit))
            return answers.write_answer(model.name, asked.request_id, chosen, answered.outputs), answered

    return infer_now


def _response(answer: answers.InferAnswer, answered: Answered) -> Response:
    response = Response(answer.body, content_type="application/json")
    if answer.json_bytes is not None:
        response.content_type = "application/octet-stream"
        response.headers[HEADER_LENGTH] = str(answer.json_bytes)
    response.headers["Server-Timing"] = answered.stages.server_timing()
    return response


def inflater(encoding: str, limit: int) -> Callable[[bytes], Iterator[bytes]] | None:
    """Makes what undoes a compression.

    Args:
        encoding: the header `Content-Encoding`, empty where there is none.
        limit: bytes at most, once decompressed.

    Returns:
        A function of one piece after the other, and of b"" behind the last one, which gives pieces too: else the
        largest body would be there twice. None without compression. It raises MalformedBody: damaged, cut off, or
        followed by something else; BodyTooLarge: it holds more than `limit` bytes.

    Raises:
        UnsupportedBody: another compression than gzip or deflate.
    """
    name = encoding.strip().lower()
    if name in ("", "identity"):
        return None
    if name not in WINDOW_BITS:
        raise UnsupportedBody(f"Content-Encoding: {name[:40]!r} is not known; send gzip, deflate or no compression")
    stream = zlib.decompressobj(WINDOW_BITS[name])
    left = limit

    def inflate(piece: bytes) -> Iterator[bytes]:
        nonlocal left
        rest, full = piece, False
        while rest or full:
            try:
                data = stream.decompress(rest, PIECE_BYTES)
            except zlib.error as error:
                raise MalformedBody(f"body: not readable as {name} ({error}); send it whole, or uncompressed") from None
            left -= len(data)
            if left < 0:
                raise BodyTooLarge(f"body: over the limit of {limit} bytes once decompressed; send less at once")
            yield data
            rest, full = stream.unconsumed_tail, len(data) == PIECE_BYTES
        if stream.unused_data or not (piece or stream.eof):
            raise MalformedBody(f"body: its {name} data breaks off or goes on after its end; send it whole")

    return inflate
