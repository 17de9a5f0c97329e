/** Shows the fleet: the verdict, the totals, and a table per host whose rows stay in place. */

import { judge } from "./fleet_verdict.js";
import { drawSparkline, makeSparkline } from "./sparkline.js";

const COLUMNS = ["name", "state", "release", "rate", "p50", "p95", "queue", "device", "up", "restarts"];
const KEPT = 60; // looks, one every two seconds

export class FleetView {
  #tables = new Map();
  #rows = new Map();
  #curves = new Map();

  /** @param {Awaited<ReturnType<import("./fleet_data.js").lookAtFleet>>} fleet */
  show(fleet) {
    this.#showVerdict(judge(fleet));
    this.#showTotals(fleet.hosts.flatMap((host) => host.programs).flatMap((program) => program.status ?? []));
    for (const host of fleet.hosts) this.#showHost(host, fleet.sloMs);
  }

  /** The balancer itself does not answer. */
  showUnreachable(message) {
    this.#showVerdict({ state: "bad", headline: "The fleet does not answer", details: message });
  }

  #showVerdict({ state, headline, details }) {
    const verdict = document.getElementById("verdict");
    verdict.dataset.state = state;
    setText(document.getElementById("headline"), headline);
    setText(document.getElementById("details"), details);
  }

  #showTotals(statuses) {
    const recent = statuses.map((status) => status.recent);
    const sum = (name) => recent.reduce((total, figures) => total + figures[name], 0);
    const slowest = Math.max(...recent.map((figures) => figures.p95_ms ?? -1));
    setText(document.getElementById("rate"), sum("rate").toFixed(1));
    setText(document.getElementById("p95"), slowest < 0 ? "–" : slowest.toFixed(1));
    setText(document.getElementById("shed"), String(sum("shed")));
    setText(document.getElementById("failed"), String(sum("failed")));
  }

  #showHost(host, sloMs) {
    const body = this.#tables.get(host.name) ?? this.#addTable(host.name);
    if (host.error) return;
    const names = new Set(host.programs.map((program) => `${host.name}/${program.name}`));
    for (const program of host.programs) this.#showProgram(body, `${host.name}/${program.name}`, program, sloMs);
    for (const row of [...body.rows]) if (!names.has(row.dataset.key)) this.#forget(row);
  }

  #addTable(name) {
    const section = document.getElementById("host").content.cloneNode(true);
    section.querySelector("h2").textContent = name;
    section.querySelector(".scroll").setAttribute("aria-label", `Programs of ${name}`);
    const body = section.querySelector("tbody");
    document.getElementById("hosts").append(section);
    this.#tables.set(name, body);
    return body;
  }

  #showProgram(body, key, program, sloMs) {
    const row = this.#rows.get(key) ?? this.#addRow(body, key, program.isInstance);
    const { status } = program;
    const state = status || !program.isInstance ? program.state : `${program.state}, no answer`;
    row.dataset.state = stateOf(program);
    const recent = status?.recent;
    const texts = {
      name: program.name,
      state: state.toLowerCase(),
      release: status?.release ?? "",
      rate: recent ? recent.rate.toFixed(1) : "",
      p50: number(recent?.p50_ms),
      p95: number(recent?.p95_ms),
      queue: status ? `${status.queue.admitted} of ${status.queue.limit}` : "",
      device: status ? deviceOf(status) : "",
      up: duration(program.uptime_s),
      restarts: String(program.restarts),
    };
    for (const name of COLUMNS) setText(row.querySelector(`.${name} span`), texts[name]);
    row.querySelector(".p95").classList.toggle("over", (recent?.p95_ms ?? 0) > sloMs);
    if (program.isInstance) this.#draw(key, row, recent?.rate ?? 0);
  }

  #addRow(body, key, isInstance) {
    const row = body.insertRow();
    row.dataset.key = key;
    for (const name of COLUMNS) {
      const cell = document.createElement(name === "name" ? "th" : "td");
      if (name === "name") cell.scope = "row";
      cell.className = name;
      cell.append(document.createElement("span"));
      if (name === "rate" && isInstance) cell.append(makeSparkline());
      row.append(cell);
    }
    this.#rows.set(key, row);
    return row;
  }

  #draw(key, row, rate) {
    const curve = [...(this.#curves.get(key) ?? []), rate].slice(-KEPT);
    this.#curves.set(key, curve);
    drawSparkline(row.querySelector("svg"), curve, KEPT);
  }

  #forget(row) {
    this.#rows.delete(row.dataset.key);
    this.#curves.delete(row.dataset.key);
    row.remove();
  }
}

function stateOf(program) {
  if (program.isInstance && program.status === null) return "bad";
  return ["RUNNING", "STARTING"].includes(program.state) ? "good" : "bad";
}

function deviceOf(status) {
  const gpu = status.gpus?.[0];
  if (!gpu) return status.engine.device;
  const share = gpu.utilization === null ? "" : ` ${Math.round(gpu.utilization * 100)} %`;
  return `GPU${share}${gpu.temperature_c === null ? "" : `, ${gpu.temperature_c} °C`}`;
}

function number(value) {
  return value === null || value === undefined ? "" : value.toFixed(1);
}

function duration(seconds) {
  if (seconds < 120) return `${Math.round(seconds)} s`;
  if (seconds < 7200) return `${Math.round(seconds / 60)} min`;
  return seconds < 172800 ? `${Math.round(seconds / 3600)} h` : `${Math.round(seconds / 86400)} d`;
}

/** Leaves an element alone that says it already, so that screen readers are not told again. */
function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}
