/** The sliders and class boxes: what a detection is asked with. */

const SLIDERS = ["conf", "iou", "max_det"];

export class Controls {
  #form;
  #sliders;
  #boxes;
  #onChange;

  /** @param {HTMLFormElement} form @param {() => void} onChange called after every change. */
  constructor(form, onChange) {
    this.#form = form;
    this.#onChange = onChange;
    this.#sliders = SLIDERS.map((name) => form.elements.namedItem(name));
    this.#boxes = [...form.querySelectorAll("#classes input")];
    form.addEventListener("submit", (event) => event.preventDefault());
    form.addEventListener("input", (event) => {
      if (event.target.id === "class-search") this.#search(event.target.value);
      else this.#changed();
    });
    form.querySelector("#defaults").addEventListener("click", () => this.#reset());
    this.#write();
  }

  /** The parameters of the request; `max_det` and `classes` only where they differ from the service's defaults. */
  parameters() {
    const [conf, iou, maxDet] = this.#sliders;
    const given = { conf: Number(conf.value), iou: Number(iou.value) };
    if (maxDet.value !== maxDet.defaultValue) given.max_det = Number(maxDet.value);
    const chosen = this.#boxes.filter((box) => box.checked).map(classWord);
    if (chosen.length) given.classes = chosen.join(",");
    return given;
  }

  query() {
    return new URLSearchParams(this.parameters());
  }

  #changed() {
    this.#write();
    this.#onChange();
  }

  #write() {
    for (const slider of this.#sliders) {
      const shown = slider.step === "1" ? slider.value : Number(slider.value).toFixed(2);
      this.#form.querySelector(`#${slider.name}-value`).textContent = shown;
    }
  }

  #search(words) {
    const wanted = words.trim().toLowerCase();
    for (const box of this.#boxes) box.closest("li").hidden = !box.dataset.label.toLowerCase().includes(wanted);
  }

  #reset() {
    this.#form.reset();
    this.#search("");
    this.#changed();
  }
}

/** A class by its name; by its number where the name cannot stand in a list. */
function classWord(box) {
  const name = box.dataset.label;
  return name === "" || name !== name.trim() || name.includes(",") ? box.value : name;
}
