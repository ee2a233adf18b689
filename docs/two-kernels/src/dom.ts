// Elements, and the controls every station is made of. Each works by pointer and by keyboard.
import { text } from "./numbers.ts";

type Attributes = { [name: string]: string | number | boolean | undefined | ((event: any) => void) };
type Child = Node | string | null;

function fill<T extends Element>(element: T, attributes: Attributes, children: Child[]): T {
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") element.addEventListener(name, value);
    else if (value !== undefined && value !== false) element.setAttribute(name, value === true ? "" : String(value));
  }
  element.append(...children.filter((child): child is Node | string => child !== null));
  return element;
}

/** An HTML element; functions among its attributes listen to the event of that name. */
export function h(tag: string, attributes: Attributes = {}, ...children: Child[]): HTMLElement {
  return fill(document.createElement(tag), attributes, children);
}

/** An SVG element. */
export function svg(tag: string, attributes: Attributes = {}, ...children: Child[]): SVGElement {
  return fill(document.createElementNS("http://www.w3.org/2000/svg", tag) as SVGElement, attributes, children);
}

let ids = 0;

/** An id that nothing else has. */
export function newId(): string {
  return `id${++ids}`;
}

export type Slider = { root: HTMLElement; value: () => number; set: (v: number) => void };

/** A labelled <input type="range">. `name` finds it in tests and scripts. */
export function slider(
  name: string, label: string, [least, most, step]: [number, number, number], value: number,
  changed: () => void, say: (v: number) => string = text,
): Slider {
  const id = newId();
  const shown = h("span", { class: "value", "aria-hidden": "true" });
  const input = h("input", { id, type: "range", min: least, max: most, step, value, "data-name": name }) as HTMLInputElement;
  const show = (): void => {
    shown.textContent = say(Number(input.value));
    input.setAttribute("aria-valuetext", say(Number(input.value)));
    input.style.setProperty("--at", `${(100 * (Number(input.value) - least)) / (most - least)}%`);
  };
  input.addEventListener("input", () => (show(), changed()));
  show();
  return {
    root: h("div", { class: "slider" }, h("label", { for: id }, label), input, shown),
    value: () => Number(input.value),
    set: (v) => ((input.value = String(v)), show()),
  };
}

/** A labelled check box. */
export function check(name: string, label: string, on: boolean, changed: (on: boolean) => void): HTMLElement {
  const input = h("input", { type: "checkbox", checked: on, "data-name": name }) as HTMLInputElement;
  input.addEventListener("change", () => changed(input.checked));
  return h("label", { class: "check" }, input, h("span", {}, label));
}

export function button(name: string, label: string, pressed: () => void): HTMLElement {
  return h("button", { type: "button", class: "button", "data-name": name, click: pressed }, label);
}

/** What a station says: the number to watch. Read out when it changes. */
export function says(name: string): { root: HTMLElement; set: (...children: Child[]) => void } {
  const root = h("p", { class: "says", role: "status", "data-name": name });
  return {
    root,
    set: (...children) => {
      const next = h("p", {}, ...children);
      if (next.innerHTML !== root.innerHTML) root.replaceChildren(...next.childNodes);
    },
  };
}

/** A number for tests and scripts in full, for people in two decimals. */
export function number(v: number, name: string, digits = 2): HTMLElement {
  return h("b", { class: "number", "data-name": name, "data-value": v }, text(v, digits));
}

/** Tone and strength of a value: its sign and its size relative to `most`. */
export function tone(element: Element, v: number, most: number): void {
  element.classList.toggle("pos", v > 0);
  element.classList.toggle("neg", v < 0);
  (element as HTMLElement).style.setProperty("--m", String(Math.min(1, Math.abs(v) / most) ** 0.75));
}

/** Dragging up and down: `changed` gets the number of steps since the pointer went down, one per `pixels`. */
export function draggable(element: Element, begin: () => void, changed: (steps: number) => void, pixels: number): void {
  element.addEventListener("pointerdown", (event) => {
    const { pointerId, clientY, button } = event as PointerEvent;
    if (button !== 0) return;
    event.preventDefault();
    (element as HTMLElement).focus({ preventScroll: true });
    element.setPointerCapture(pointerId);
    element.classList.add("dragged");
    begin();
    let last = 0;
    const move = (e: Event): void => {
      const steps = Math.round((clientY - (e as PointerEvent).clientY) / pixels);
      if (steps !== last) changed((last = steps));
    };
    const stop = (): void => {
      element.classList.remove("dragged");
      element.removeEventListener("pointermove", move);
    };
    element.addEventListener("pointermove", move);
    for (const name of ["pointerup", "pointercancel", "lostpointercapture"])
      element.addEventListener(name, stop, { once: true });
  });
}

/** One Tab stop for many elements: ← and → (and Home, End) move among them. */
export function roving(elements: (HTMLElement | SVGElement)[]): void {
  elements.forEach((element, n) => {
    element.setAttribute("tabindex", n === 0 ? "0" : "-1");
    element.addEventListener("keydown", (event) => {
      const by: { [key: string]: number } = { ArrowLeft: n - 1, ArrowRight: n + 1, Home: 0, End: elements.length - 1 };
      const to = elements[by[(event as KeyboardEvent).key]];
      if (by[(event as KeyboardEvent).key] === undefined) return;
      event.preventDefault();
      to?.focus();
    });
    element.addEventListener("focus", () =>
      elements.forEach((other) => other.setAttribute("tabindex", other === element ? "0" : "-1")),
    );
  });
}
