/** Every way a file reaches the page: chosen, dropped or pasted. */

/**
 * @param {{choose: HTMLButtonElement, file: HTMLInputElement, stage: HTMLElement}} elements
 * @param {(file: File | undefined) => void} onFile undefined where something else than a file was dropped.
 */
export function listenForFiles({ choose, file, stage }, onFile) {
  choose.addEventListener("click", () => file.click());
  stage.addEventListener("click", () => { if (stage.dataset.state === "empty") file.click(); });
  file.addEventListener("change", () => {
    if (file.files.length) onFile(file.files[0]);
    file.value = ""; // so that the same file can be chosen again
  });
  document.addEventListener("paste", (event) => {
    if (event.clipboardData.files.length) onFile(event.clipboardData.files[0]);
  });
  listenForDrops(stage, onFile);
}

/** The whole window takes a drop: missing the stage must not replace the page by the picture. */
function listenForDrops(stage, onFile) {
  const mark = (isOver) => stage.classList.toggle("over", isOver);
  addEventListener("dragover", (event) => {
    event.preventDefault();
    mark(true);
  });
  addEventListener("dragleave", (event) => { if (event.relatedTarget === null) mark(false); });
  addEventListener("drop", (event) => {
    event.preventDefault();
    mark(false);
    onFile(event.dataTransfer.files[0]);
  });
}
