/** What went wrong, in words for the person at the page. */
export class Failure extends Error {
  /**
   * @param {string} title what happened, one short sentence.
   * @param {string} detail why, and what to do.
   * @param {{footnote?: string, retry?: boolean, retryAfterS?: number, wantsKey?: boolean}} [more] `footnote`: for a
   *   support request; `retry`: whether the same call may succeed later; `retryAfterS`: when the service says so;
   *   `wantsKey`: whether another API key would help.
   */
  constructor(title, detail, { footnote = "", retry = false, retryAfterS, wantsKey = false } = {}) {
    super(title);
    Object.assign(this, { title, detail, footnote, retry, retryAfterS, wantsKey });
  }
}

/** Any error in words; one that nobody foresaw goes to the console in full. */
export function asFailure(error) {
  if (error instanceof Failure) return error;
  console.error(error);
  return new Failure("This page made a mistake", "Reload it and try again.");
}

const KEY_REFUSED = ["The service does not know this key", "Look whether it is complete, or ask for another one."];
const SHORTEST_WAIT_S = 1;
const LONGEST_WAIT_S = 30;

const TITLES = {
  401: "The service asks for a key",
  403: "This page may not call the service",
  404: "The service is not at this address",
  413: "The picture is too large",
  415: "The service does not read this kind of picture",
  429: "Too many requests from here",
  500: "The service could not answer",
  502: "No instance is up",
  503: "The service is busy",
  504: "The answer took too long",
};

const DETAILS = {
  401: "It only answers callers that bring an API key. Whoever runs it gives you one.",
  404: "Reload the page; if that does not help, ask whoever runs the service.",
  413: "Choose a smaller one.",
  429: "The limit for one client is reached.",
  502: "The balancer is there, but no detector behind it.",
  503: "Every place is taken.",
};

/** Words for an answer that is not 200; `hadKey` says whether the request brought an API key. */
export function failureOf(response, text, hadKey) {
  const { status, headers } = response;
  const problem = problemIn(text);
  const retry = [429, 502, 503, 504].includes(status);
  const title = TITLES[status] ?? (status < 500 ? "The service could not use this picture" : TITLES[500]);
  const known = status === 503 && problem.code !== "overloaded" ? undefined : DETAILS[status];
  // The service's own words say what, where and the fix; where it is only busy, ours are shorter.
  const detail = (retry && known) || sentence(problem.detail) || known || `It answered with status ${status}.`;
  return new Failure(...wordsFor(status, hadKey, title, detail), {
    retry,
    wantsKey: status === 401 || problem.code === "wrong_scope",
    retryAfterS: retry ? seconds(headers.get("Retry-After")) : undefined,
    footnote: footnote(problem.request_id ?? headers.get("X-Request-ID"), headers.get("X-Instance")),
  });
}

/** About keys the service's words are for programs. */
function wordsFor(status, hadKey, title, detail) {
  if (status !== 401) return [title, detail];
  return hadKey ? KEY_REFUSED : [title, DETAILS[401]];
}

/** Words for no answer at all. */
export function noAnswer(timedOut) {
  const detail = timedOut
    ? "The connection is open, but nothing came back."
    : `Check the connection to ${location.host}; the service may be down.`;
  return new Failure("No answer from the service", detail, { retry: true });
}

function problemIn(text) {
  try {
    const problem = JSON.parse(text);
    return problem !== null && typeof problem === "object" ? problem : {};
  } catch {
    return {}; // a proxy's own page: nothing in it is meant for people
  }
}

function sentence(detail) {
  if (typeof detail !== "string" || detail === "") return "";
  const begun = detail[0].toUpperCase() + detail.slice(1);
  return /[.!?]$/.test(begun) ? begun : `${begun}.`;
}

function seconds(header) {
  if (!header) return undefined;
  const given = /^\d+$/.test(header) ? Number(header) : (Date.parse(header) - Date.now()) / 1000;
  return Number.isFinite(given) ? Math.min(LONGEST_WAIT_S, Math.max(SHORTEST_WAIT_S, given)) : undefined;
}

function footnote(requestId, instance) {
  return [requestId && `Request ${requestId}`, instance && `instance ${instance}`].filter(Boolean).join(", ");
}
