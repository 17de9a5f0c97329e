"""Routes for people and tools that watch an instance: alive, ready, status.

`ops_paths`, `ops_schemas`: `/livez`, `/readyz`, `/status`, `/metrics` and `/openapi.json` in the OpenAPI document.
"""

import os
import time
from dataclasses import asdict, fields

from flask import Blueprint, Response

from service.engines import EngineInfo
from service.openapi.headers import headers
from service.openapi.problems import any_problems
from service.openapi.shapes import COUNT, INPUT_SIZE, TEXT, Json, record, ref, said
from service.pipeline.batcher import BatcherCounts
from service.pipeline.detector import Detector
from service.pipeline.gpu import GpuFigures
from service.pipeline.metrics import CONTENT_TYPE
from service.protocols.exchange import json_answer
from service.protocols.native.openapi import get_sample
from service.protocols.ops.recent import Recent, RecentFigures
from service.settings import Settings

INSTANCE = said(TEXT, "The instance's name.")
RELEASE = said(TEXT, "The release it runs.")


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


def ops_paths(settings: Settings, info: EngineInfo, url: str) -> Json:
    """The routes for people and tools that watch an instance."""
    listens = "An instance listens only while it can answer: a refused connection is the real answer no."
    document = "The document that `/docs` is made of."
    text = {CONTENT_TYPE: {"schema": TEXT}}
    return {
        "/livez": _get("livez", "Is the process alive?", listens, url, _json("Alive")),
        "/readyz": _get("readyz", "Which release answers?", listens, url, _json("Ready")),
        "/status": _get("status", "What it runs and how full it is", "As it is now.", url, _json("Status")),
        "/metrics": _get("metrics", "Figures for Prometheus", "In Prometheus' text format.", url, text),
        "/openapi.json": _get("openapi.json", "This document", document, url, _json("OpenApi")),
    }


def ops_schemas(settings: Settings, info: EngineInfo) -> Json:
    """What these routes answer, by name."""
    return {
        "Alive": record("It is alive.", {"status": {"type": "string", "enum": ["alive"]}, "instance": INSTANCE}),
        "Ready": record(
            "It is ready.",
            {"status": {"type": "string", "enum": ["ready"]}, "instance": INSTANCE, "release": RELEASE},
        ),
        "Status": _status(),
        "OpenApi": {
            "type": "object",
            "description": "An OpenAPI document.",
            "required": ["openapi", "info", "paths"],
            "properties": {"openapi": TEXT, "info": {"type": "object"}, "paths": {"type": "object"}},
        },
    }


def _status() -> Json:
    counts = {**{field.name: COUNT for field in fields(BatcherCounts)}, "shed": COUNT}
    return record(
        "What an instance runs and how it is doing.",
        {
            "instance": INSTANCE,
            "release": RELEASE,
            "pid": {"type": "integer", "minimum": 1},
            "uptime_s": {"type": "number", "minimum": 0},
            "model": record(
                "The model.", {"name": TEXT, "input": INPUT_SIZE, "classes": {"type": "array", "items": TEXT}}
            ),
            "engine": record(
                "What runs it.",
                {
                    "kind": said(TEXT, "The runtime."),
                    "device": said(TEXT, "Where it runs."),
                    "precision": said(TEXT, "fp32, fp16 or int8; empty where unknown."),
                    "max_batch": {"type": "integer", "minimum": 1, "description": "Frames inferred at once at most."},
                    "note": said(TEXT, "A word for people; empty where there is nothing to say."),
                },
            ),
            "gpus": {"type": "array", "items": _gpu(), "description": "The GPUs it may use, as NVML tells."},
            "recent": record("Answers to POST requests in the last minute.", _recent()),
            "queue": record("Requests in the instance.", {"admitted": COUNT, "limit": COUNT}),
            "counts": record("Since start.", counts),
        },
    )


def _gpu() -> Json:
    figures: Json = {
        field.name: {
            "type": "number",
            "minimum": 0,
            "nullable": True,
            "description": "null where the GPU does not tell.",
        }
        for field in fields(GpuFigures)
    }
    return record("A GPU.", {**figures, "uuid": said(TEXT, "As `nvidia-smi -L` shows it.")})


def _recent() -> Json:
    figure = {"type": "number", "minimum": 0}
    time_ms = {**figure, "nullable": True, "description": "Of good answers, ms; null without any."}
    kinds = {"requests": COUNT, "failed": COUNT, "shed": COUNT, "p50_ms": time_ms, "p95_ms": time_ms}
    return {field.name: kinds.get(field.name, figure) for field in fields(RecentFigures)}


def _get(name: str, summary: str, answer: str, url: str, content: Json) -> Json:
    operation = {
        "tags": ["Instance"],
        "operationId": name.partition(".")[0],
        "summary": summary,
        "responses": {"200": {"description": answer, "headers": headers(), "content": content}, **any_problems()},
        "x-codeSamples": get_sample(url, f"/{name}"),
    }
    return {"get": operation}


def _json(schema: str) -> Json:
    return {"application/json": {"schema": ref(schema)}}
