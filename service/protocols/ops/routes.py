"""Routes for people and tools that watch an instance: alive, ready, status."""

import os
import time
from dataclasses import asdict

from flask import Blueprint, Response

from service.pipeline.detector import Detector
from service.pipeline.metrics import CONTENT_TYPE
from service.protocols.exchange import json_answer
from service.protocols.ops.recent import Recent
from service.settings import Settings


def ops_routes(detector: Detector, settings: Settings, recent: Recent) -> Blueprint:
    """Makes `/livez`, `/readyz`, `/status` and `/metrics`.

    The socket only listens while the instance can answer, so a refused connection is the real "not ready"; these
    routes tell who answers.
    """
    routes = Blueprint("ops", __name__)
    began = time.monotonic()

    @routes.get("/livez")
    def livez() -> Response:
        return json_answer({"status": "alive", "instance": settings.instance})

    @routes.get("/readyz")
    def readyz() -> Response:
        return json_answer({"status": "ready", "instance": settings.instance, "release": settings.release})

    @routes.get("/status")
    def status() -> Response:
        who = {"instance": settings.instance, "release": settings.release, "pid": os.getpid()}
        uptime_s = round(time.monotonic() - began, 1)
        return json_answer({**who, "uptime_s": uptime_s, **_doings(detector), "recent": asdict(recent.figures())})

    @routes.get("/metrics")
    def metrics() -> Response:
        return Response(detector.metrics.text(), content_type=CONTENT_TYPE)

    return routes


def _doings(detector: Detector) -> dict[str, object]:
    """What an instance runs, and how it is doing."""
    batcher = detector.batcher
    info, queue = batcher.info, batcher.queue
    return {
        "model": {"name": info.model, "input": info.input_size, "classes": info.classes},
        "engine": {
            "kind": info.kind,
            "device": info.device,
            "precision": info.precision,
            "max_batch": info.max_batch,
            "note": info.note,
        },
        "queue": {"admitted": queue.admitted, "limit": queue.size},
        "gpus": [asdict(gpu) for gpu in detector.gpus.snapshot()] if detector.gpus else [],
        "counts": {**asdict(batcher.counts), "shed": queue.shed},
    }
