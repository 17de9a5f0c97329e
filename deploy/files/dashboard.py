"""Makes the Grafana dashboard: one table of panels, laid out two a row."""

import json
from dataclasses import dataclass

from deploy.fleet import Monitoring

WIDTH, HEIGHT = 12, 8


@dataclass(frozen=True, slots=True)
class Panel:
    """One graph.

    Attributes:
        title: what it shows.
        unit: Grafana's id of the unit.
        queries: PromQL by legend.
        threshold: value above which it is red; None for none.
    """

    title: str
    unit: str
    queries: dict[str, str]
    threshold: float | None = None


def panels(monitoring: Monitoring) -> tuple[Panel, ...]:
    """Every graph, the most urgent first."""
    slo_s = monitoring.slo_ms / 1000
    quantiles = {
        f"p{share} {{{{host}}}}": (
            f"histogram_quantile(0.{share}, sum by (host, le) (rate(framefleet_request_seconds_bucket[1m])))"
        )
        for share in (50, 95, 99)
    }
    stage = "rate(framefleet_stage_seconds_sum[1m])"
    count = "rate(framefleet_stage_seconds_count[1m])"
    batch = (
        "sum by (host) (rate(framefleet_batch_size_sum[1m])) / sum by (host) (rate(framefleet_batch_size_count[1m]))"
    )
    shed = "sum by (host) (rate(framefleet_shed_total[1m]))"
    failed = 'sum by (host, status) (rate(framefleet_requests_total{status=~"5.."}[1m]))'
    return (
        Panel("Instances that answer", "short", {"{{host}}": 'sum by (host) (up{job="framefleet"})'}),
        Panel("Frames a second", "reqps", {"{{host}}": "sum by (host) (rate(framefleet_frames_total[1m]))"}),
        Panel("Time of an answer", "s", quantiles, slo_s),
        Panel("Mean time of each stage", "s", {"{{stage}}": f"sum by (stage) ({stage}) / sum by (stage) ({count})"}),
        Panel("Refused and failed", "reqps", {"shed {{host}}": shed, "{{status}} {{host}}": failed}),
        Panel("Requests in the instance", "short", {"{{instance}}": "framefleet_admitted"}),
        Panel("Frames inferred together", "short", {"{{host}}": batch}),
        Panel("Engine busy", "percentunit", {"{{instance}}": 'rate(framefleet_stage_seconds_sum{stage="infer"}[1m])'}),
        Panel("GPU busy", "percentunit", {"{{gpu_uuid}}": "max by (gpu_uuid) (nv_gpu_utilization)"}),
        Panel("GPU temperature", "celsius", {"{{gpu_uuid}}": "max by (gpu_uuid) (nv_gpu_temperature_celsius)"}, 85),
        Panel(
            "GPU memory",
            "percentunit",
            {"{{gpu_uuid}}": "max by (gpu_uuid) (nv_gpu_memory_used_bytes / nv_gpu_memory_total_bytes)"},
            0.95,
        ),
        Panel(
            "Restarts in 15 minutes",
            "short",
            {"{{host}} {{program}}": "increase(framefleet_program_restarts_total[15m])"},
            3,
        ),
    )


def dashboard_json(monitoring: Monitoring) -> str:
    """Writes the dashboard as Grafana imports it; it asks for the data source once."""
    source = {"type": "prometheus", "uid": "${source}"}
    board = {
        "title": "Framefleet",
        "uid": "framefleet",
        "schemaVersion": 39,
        "refresh": "10s",
        "time": {"from": "now-1h", "to": "now"},
        "templating": {
            "list": [{"name": "source", "label": "Prometheus", "type": "datasource", "query": "prometheus"}]
        },
        "panels": [_panel(number, panel, source) for number, panel in enumerate(panels(monitoring))],
    }
    return json.dumps(board, indent=1) + "\n"


def _panel(number: int, panel: Panel, source: dict[str, str]) -> dict[str, object]:
    steps: list[dict[str, object]] = [{"color": "green", "value": None}]
    if panel.threshold is not None:
        steps.append({"color": "red", "value": panel.threshold})
    shown = {"mode": "off" if panel.threshold is None else "line"}
    return {
        "id": number + 1,
        "title": panel.title,
        "type": "timeseries",
        "datasource": source,
        "gridPos": {"x": number % 2 * WIDTH, "y": number // 2 * HEIGHT, "w": WIDTH, "h": HEIGHT},
        "fieldConfig": {
            "defaults": {
                "unit": panel.unit,
                "min": 0,
                "thresholds": {"mode": "absolute", "steps": steps},
                "custom": {"thresholdsStyle": shown},
            },
            "overrides": [],
        },
        "targets": [
            {"refId": chr(ord("A") + index), "datasource": source, "expr": expression, "legendFormat": legend}
            for index, (legend, expression) in enumerate(panel.queries.items())
        ],
    }
