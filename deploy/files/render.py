"""Turns a fleet into the text of its configuration files; nothing is written here.

Flow: [Fleet] -> templates in deploy/supervisor, deploy/nginx and deploy/systemd -> [RenderedFile...] -> check -> run.

`dashboard_json`: makes the Grafana dashboard: one table of panels, laid out two a row.
"""

import json
import re
import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from deploy.describe.inventory import Inventory
from deploy.describe.monitoring import host_url, page_json, targets_json
from deploy.files.record import to_json
from deploy.fleet import REVIVER, Fleet, Monitoring
from deploy.rendered_file import RenderedFile

WIDTH, HEIGHT = 12, 8
TEMPLATES = Path(__file__).resolve().parents[1]
# What means nothing to systemd.
PLAIN = re.compile(r"[A-Za-z0-9/._=:@+-]*")
# Templates that only some fleets have use for.
OPTIONAL: Mapping[str, Callable[[Fleet], bool]] = {
    "nginx/snippets/tls.conf.j2": lambda fleet: fleet.balancer.tls is not None,
    "nginx/snippets/redirect.conf.j2": lambda fleet: fleet.redirects,
    "nginx/snippets/limit-zones.conf.j2": lambda fleet: fleet.balancer.allowance.limited,
    "nginx/snippets/limits.conf.j2": lambda fleet: fleet.balancer.allowance.limited,
    "nginx/snippets/key-first.conf.j2": lambda fleet: fleet.balancer.by_key,
    "nginx/snippets/key-check.conf.j2": lambda fleet: fleet.balancer.by_key,
    "nginx/snippets/keys.conf.j2": lambda fleet: fleet.balancer.by_key,
}


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


def render(fleet: Fleet) -> tuple[RenderedFile, ...]:
    """Renders every file of a fleet.

    Raises:
        jinja2.UndefinedError: a template names something the fleet does not have.
    """
    templates = _templates()
    values = {"fleet": fleet, "paths": fleet.paths, "open_files": fleet.machine.open_files}

    def file(template: str, target: str, **more: object) -> RenderedFile:
        text = templates.get_template(template).render(**values, **more)
        return RenderedFile(PurePosixPath(target), text)

    nginx = [name for name in sorted(templates.list_templates(["j2"])) if name.startswith("nginx/")]
    left_out = {name for name, wanted in OPTIONAL.items() if not wanted(fleet)}
    programs = "supervisor/programs"
    return (
        RenderedFile(PurePosixPath("fleet.json"), to_json(fleet)),
        file("supervisor/supervisord.conf.j2", "supervisor/supervisord.conf"),
        file("supervisor/balancer.conf.j2", f"{programs}/{fleet.balancer.name}.conf"),
        file("supervisor/reviver.conf.j2", f"{programs}/{REVIVER}.conf"),
        RenderedFile(PurePosixPath("monitoring/fleet.json"), page_json(fleet)),
        RenderedFile(PurePosixPath("monitoring/targets.json"), targets_json(fleet)),
        *(file("supervisor/instance.conf.j2", f"{programs}/{i.name}.conf", instance=i) for i in fleet.instances),
        *(file(name, name.removesuffix(".j2")) for name in nginx if name not in left_out),
        *(file("systemd/framefleet.service.j2", f"systemd/{unit.name}") for unit in (fleet.unit,) if unit),
    )


def render_monitoring(inventory: Inventory) -> tuple[RenderedFile, ...]:
    """Renders what Prometheus and Grafana are given: how to find the hosts, rules, and a dashboard.

    Raises:
        jinja2.UndefinedError: a template names something the inventory does not have.
    """
    templates = _templates()
    urls = [host_url(inventory, host) for host in inventory.hosts]
    values = {"monitoring": inventory.monitoring, "urls": urls, "https": any(url.startswith("https:") for url in urls)}
    texts = {
        name: templates.get_template(f"monitoring/{name}.j2").render(values) for name in ("scrape.yml", "rules.yml")
    }
    texts["dashboard.json"] = dashboard_json(inventory.monitoring)
    return tuple(RenderedFile(PurePosixPath(name), text) for name, text in texts.items())


def _templates() -> Environment:
    templates = Environment(
        loader=FileSystemLoader(TEMPLATES),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,  # configuration text, not HTML
    )
    templates.filters |= {
        "supervisor": double_percent,
        # Names of programs' log files are expanded twice.
        "logfile": lambda value: double_percent(double_percent(value)),
        "argument": lambda value: double_percent(shlex.quote(str(value))),
        "environment": supervisor_environment,
        "percent": double_percent,
        "systemd": systemd_word,
        "nginx": lambda value: f'"{value}"',
    }
    return templates


def double_percent(value: object) -> str:
    """Writes a value for supervisor or systemd, which take a single % as the start of a substitution."""
    return str(value).replace("%", "%%")


def systemd_word(value: object) -> str:
    """Writes one word of a systemd directive; on hosts, names need no quotes."""
    text = double_percent(value)
    if PLAIN.fullmatch(text):
        return text
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def supervisor_environment(environment: Mapping[str, str]) -> str:
    """Writes variables as supervisor's `environment` option reads them, one a line."""
    return ",\n    ".join(f'{name}="{double_percent(value)}"' for name, value in environment.items())


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
