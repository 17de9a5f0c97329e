/** Says in one line whether a person has to do something. */

/** @returns {{state: "good" | "warning" | "bad", headline: string, details: string}} */
export function judge({ sloMs, hosts }) {
  const where = (host) => (hosts.length > 1 ? ` on ${host.name}` : ""); // hosts have programs of the same names
  const programs = hosts.flatMap((host) =>
    host.programs.map((program) => ({ ...program, title: program.name + where(host) })),
  );
  const instances = programs.filter((program) => program.isInstance);
  const ready = instances.filter((program) => program.status !== null);
  const lost = hosts.filter((host) => host.error);
  const down = instances.filter((program) => program.status === null);
  const broken = programs.filter(({ isInstance, state }) => !isInstance && !["RUNNING", "STARTING"].includes(state));
  const slow = ready.filter((program) => program.status.recent.p95_ms > sloMs);
  const full = ready.filter((program) => program.status.recent.shed > 0);
  const details = [
    ...lost.map((host) => `host ${host.name}: ${host.error}`),
    ...down.map(({ title, state }) => `${title} is ${state}, no answer`),
    ...broken.map(({ title, state }) => `${title} is ${state}`),
    ...slow.map((program) => `${program.title}: p95 ${program.status.recent.p95_ms} ms is over ${sloMs} ms`),
    ...full.map((program) => `${program.title} refused ${program.status.recent.shed} requests`),
  ].join(" · ");
  if (!ready.length) return { state: "bad", headline: "No instance answers", details };
  const count = `${ready.length} of ${instances.length} ${instances.length === 1 ? "instance answers" : "instances answer"}`;
  if (lost.length || down.length || broken.length) return { state: "bad", headline: count, details };
  if (slow.length || full.length) return { state: "warning", headline: `${count}, but not all in time`, details };
  return { state: "good", headline: count, details: "Nothing to do." };
}
