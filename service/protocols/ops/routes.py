"""Routes for people and tools that watch an instance: alive, ready, status.

`ops_paths`, `ops_schemas`: `/livez`, `/readyz`, `/status`, `/metrics` and `/openapi.json` in the OpenAPI document.
"""

import os
import time
from typing import Annotated, Literal

from flask import Blueprint, Response
from msgspec import Meta, Struct

from framefleet.wire.answers import AtLeastOne, Count, Figure, ModelName
from service.engines import EngineInfo
from service.openapi.examples import get_sample
from service.openapi.headers import headers
from service.openapi.problems import any_problems
from service.openapi.shapes import TEXT, Json, record, ref, schemas_of
from service.pipeline.detector import Detector
from service.pipeline.gpu import GpuFigures
from service.pipeline.metrics import CONTENT_TYPE
from service.protocols.exchange import json_answer
from service.protocols.ops.recent import Recent, RecentFigures
from service.settings import Settings

Instance = Annotated[str, Meta(description="The instance's name.")]
Release = Annotated[str, Meta(description="The release it runs.")]


class Alive(Struct, frozen=True):
    """It is alive."""

    status: Literal["alive"]
    instance: Instance


class Ready(Struct, frozen=True):
    """It is ready."""

    status: Literal["ready"]
    instance: Instance
    release: Release


class ModelStatus(ModelName, frozen=True):
    """The model."""

    classes: tuple[str, ...]


class EngineStatus(Struct, frozen=True):
    """What runs it."""

    kind: Annotated[str, Meta(description="The runtime.")]
    device: Annotated[str, Meta(description="Where it runs.")]
    precision: Annotated[str, Meta(description="fp32, fp16 or int8; empty where unknown.")]
    max_batch: Annotated[AtLeastOne, Meta(description="Frames inferred at once at most.")]
    note: Annotated[str, Meta(description="A word for people; empty where there is nothing to say.")]


class QueueStatus(Struct, frozen=True):
    """Requests in the instance."""

    admitted: Count
    limit: Count


class Counts(Struct, frozen=True):
    """Since start."""

    batches: Count
    frames: Count
    expired: Count
    self_tests: Count
    shed: Count


class Status(Struct, frozen=True):
    """What an instance runs and how it is doing."""

    instance: Instance
    release: Release
    pid: AtLeastOne
    uptime_s: Figure
    model: ModelStatus
    engine: EngineStatus
    queue: QueueStatus
    gpus: Annotated[tuple[GpuFigures, ...], Meta(description="The GPUs it may use, as NVML tells.")]
    counts: Counts
    recent: RecentFigures


def ops_routes(detector: Detector, settings: Settings, recent: Recent) -> Blueprint:
    """Makes `/livez`, `/readyz`, `/status` and `/metrics`.

    The socket only listens while the instance can answer, so a refused connection is the real "not ready"; these
    routes tell who answers.
    """
    routes = Blueprint("ops", __name__)
    began = time.monotonic()

    @routes.get("/livez")
    def livez() -> Response:
        return json_answer(Alive("alive", settings.instance))

    @routes.get("/readyz")
    def readyz() -> Response:
        return json_answer(Ready("ready", settings.instance, settings.release))

    @routes.get("/status")
    def status() -> Response:
        uptime_s = round(time.monotonic() - began, 1)
        return json_answer(instance_status(detector, settings, uptime_s, recent.figures()))

    @routes.get("/metrics")
    def metrics() -> Response:
        return Response(detector.metrics.text(), content_type=CONTENT_TYPE)

    return routes


def instance_status(detector: Detector, settings: Settings, uptime_s: float, recent: RecentFigures) -> Status:
    """What an instance runs, and how it is doing."""
    batcher = detector.batcher
    info, queue, counts = batcher.info, batcher.queue, batcher.counts
    return Status(
        instance=settings.instance,
        release=settings.release,
        pid=os.getpid(),
        uptime_s=uptime_s,
        model=ModelStatus(info.model, info.input_size, info.classes),
        engine=EngineStatus(info.kind, info.device, info.precision, info.max_batch, info.note),
        queue=QueueStatus(queue.admitted, queue.size),
        gpus=tuple(detector.gpus.snapshot()) if detector.gpus else (),
        counts=Counts(counts.batches, counts.frames, counts.expired, counts.self_tests, queue.shed),
        recent=recent,
    )


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
    document = {"openapi": TEXT, "info": {"type": "object"}, "paths": {"type": "object"}}
    # An OpenAPI document has more members than these.
    return {**schemas_of(Alive, Ready, Status), "OpenApi": record("An OpenAPI document.", document)}


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
