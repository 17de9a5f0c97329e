/** Asks the balancer, and through it every host, what the fleet is doing. */

const PATIENCE_MS = 3000;

/**
 * @typedef {object} Program
 * @property {string} name
 * @property {string} state supervisor's word, or UNREACHABLE
 * @property {number} uptime_s
 * @property {number} restarts
 * @property {?object} status the instance's own `/status`; null for other programs and where it does not answer
 */

/** @returns {Promise<{sloMs: number, hosts: {name: string, error: string, programs: Program[]}[]}>} */
export async function lookAtFleet() {
  const fleet = await ask("_fleet.json");
  if (fleet === null) return { sloMs: Infinity, hosts: [await lookAtOneInstance()] };
  return { sloMs: fleet.slo_ms, hosts: await Promise.all(fleet.hosts.map(lookAtHost)) };
}

async function lookAtHost({ name, path }) {
  let listed;
  try {
    listed = await ask(`${path}/_programs.json`);
  } catch (error) {
    return { name, error: error.message, programs: [] };
  }
  if (listed === null) return { name, error: "its balancer shows this page nothing", programs: [] };
  const programs = listed.programs.map(async (program) => {
    const { instance } = program;
    const status = instance ? await ask(`${path}/_instances/${program.name}/status`).catch(() => null) : null;
    return { ...program, status, isInstance: instance };
  });
  return { name, error: "", programs: await Promise.all(programs) };
}

/** Without a balancer in front there is only the instance that sent this page. */
async function lookAtOneInstance() {
  const status = await ask("status");
  const { instance: name, uptime_s } = status;
  return { name, error: "", programs: [{ name, state: "RUNNING", uptime_s, restarts: 0, status, isInstance: true }] };
}

/** The JSON at an address; null if there is nothing. */
async function ask(address) {
  const answer = await fetch(address, { signal: AbortSignal.timeout(PATIENCE_MS), cache: "no-store" });
  if (answer.status === 404) return null;
  if (!answer.ok) throw new Error(`answers ${answer.status}`);
  return answer.json();
}
