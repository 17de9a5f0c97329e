/** The same call for other programs, kept in step with the page, and copied with one click. */

import { address } from "./api.js";

const SHOWN_MS = 2000;

/** The call as a shell command; the key itself is never shown. */
export function curlSnippet(query, fileName, hasKey) {
  const url = address(query).href;
  const key = hasKey ? '-H "Authorization: Bearer $FLEET_API_KEY" ' : "";
  return `curl ${key}--data-binary ${shellWord(`@${fileName}`)} \\\n  ${shellWord(url)}`;
}

/** The call as a Python program; the key itself is never shown. */
export function pythonSnippet(parameters, fileName, hasKey) {
  const url = address("");
  url.search = "";
  const imports = hasKey ? "import os\n\nimport requests" : "import requests";
  const key = hasKey ? '\n        headers={"Authorization": "Bearer " + os.environ["FLEET_API_KEY"]},' : "";
  return `${imports}

with open(${JSON.stringify(fileName)}, "rb") as picture:
    answer = requests.post(
        ${JSON.stringify(url.href)},
        params=${pythonDict(parameters)},
        data=picture,${key}
        timeout=10,
    )
answer.raise_for_status()
for found in answer.json()["detections"]:
    print(found["label"], found["score"], found["box"])`;
}

function shellWord(text) {
  return /^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", `'\\''`)}'`;
}

function pythonDict(values) {
  const pairs = Object.entries(values).map(([name, value]) => `"${name}": ${JSON.stringify(value)}`);
  return `{${pairs.join(", ")}}`;
}

/**
 * Makes a button copy a text.
 * @param {HTMLButtonElement} button
 * @param {HTMLElement} source holds the text.
 * @param {(line: string) => void} say tells screen readers.
 */
export function copyButton(button, source, say) {
  const label = button.textContent;
  let timer = 0;
  button.addEventListener("click", async () => {
    const isCopied = await copy(source);
    button.textContent = isCopied ? "Copied" : "Press Ctrl+C";
    say(isCopied ? "Copied" : "The snippet is selected. Copy it with the keyboard.");
    clearTimeout(timer);
    timer = setTimeout(() => { button.textContent = label; }, SHOWN_MS);
  });
}

/** Copies with the browser's leave, without it, or selects the text for the person to copy. */
async function copy(source) {
  try {
    await navigator.clipboard.writeText(source.textContent);
    return true;
  } catch { // not allowed, or not offered: pages without https have no clipboard
    getSelection().selectAllChildren(source);
    return document.execCommand("copy");
  }
}
