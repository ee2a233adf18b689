// 1: two polynomials.
import { button, h, number, says } from "./dom.ts";
import { quarters, text, tiny } from "./numbers.ts";
import { correlate, difference, pairs, product } from "./polynomial.ts";
import { changed, two, watch } from "./shared.ts";
import { taps } from "./taps.ts";

const SUPERSCRIPT = ["", "z", "z²", "z³", "z⁴", "z⁵", "z⁶", "z⁷", "z⁸"];

function polynomial(k: number[]): string {
  const terms = k.flatMap((v, n) => (v === 0 ? [] : [{ v, z: SUPERSCRIPT[n] }]));
  if (!terms.length) return "0";
  return terms
    .map(({ v, z }, n) => {
      const size = Math.abs(v) === 1 && z ? "" : text(Math.abs(v));
      return `${n ? (v < 0 ? " − " : " + ") : v < 0 ? "−" : ""}${size}${z}`;
    })
    .join("");
}

export function product1(root: HTMLElement): void {
  let picked = 2;
  const pick = (t: number): void => {
    picked = t;
    draw();
  };
  const edit = (of: "a" | "b") => (n: number, v: number): void => {
    two[of] = two[of].map((old, m) => (m === n ? v : old));
    changed();
  };
  const a = taps("A", two.a, { edit: edit("a"), most: 3 });
  const b = taps("B", two.b, { edit: edit("b"), most: 3 });
  const k = taps("K", product(two.a, two.b), { pick, most: 3 });
  const table = h("table", { class: "scheme" });
  const made = says("product-pairs");
  const check = says("product-check");
  const written = h("p", { class: "written" });
  const length = (of: "a" | "b", by: number): void => {
    const list = two[of];
    if (by > 0 && list.length < 5) two[of] = [...list, 1];
    if (by < 0 && list.length > 1) two[of] = list.slice(0, -1);
    changed();
  };
  const next = quarters(7);
  const signal = Array.from({ length: 32 }, () => next());

  function draw(): void {
    const whole = product(two.a, two.b);
    picked = Math.min(picked, whole.length - 1);
    const from = pairs(picked, two.a.length, two.b.length);
    a.set(two.a);
    b.set(two.b);
    k.set(whole);
    a.mark((n) => from.some(([i]) => i === n));
    b.mark((n) => from.some(([, j]) => j === n));
    k.mark((n) => n === picked);
    table.replaceChildren(
      h("caption", {}, "Every product A[i]·B[j]. Those of one diagonal are added."),
      h("tr", {}, h("td"), ...two.a.map((v, i) => h("th", { scope: "col" }, `A[${i}] = ${text(v)}`))),
      ...two.b.map((w, j) =>
        h(
          "tr", {},
          h("th", { scope: "row" }, `B[${j}] = ${text(w)}`),
          ...two.a.map((v, i) => h("td", { class: i + j === picked ? "marked" : "" }, text(v * w))),
        ),
      ),
    );
    const terms = from.map(([i, j]) => `A[${i}]·B[${j}]`).join(" + ");
    const numbers = from.map(([i, j]) => `(${text(two.a[i] * two.b[j])})`).join(" + ");
    made.set(`K[${picked}] = ${terms} = ${from.length > 1 ? `${numbers} = ` : ""}`, number(whole[picked], "picked"));
    written.textContent = `(${polynomial(two.a)}) · (${polynomial(two.b)}) = ${polynomial(whole)}`;
    const off = difference(correlate(correlate(signal, two.a), two.b), correlate(signal, whole));
    check.set("A, then B, on a signal of 32 numbers, against K alone: largest difference ", h("b", { "data-name": "product-off", "data-value": off }, tiny(off)), ".");
  }

  const both = (of: "a" | "b"): HTMLElement =>
    h("div", { class: "buttons" },
      button(`${of}-longer`, "+ tap", () => length(of, 1)),
      button(`${of}-shorter`, "− tap", () => length(of, -1)));
  root.append(
    h("div", { class: "row equation top" },
      h("div", {}, a.root, both("a")), h("span", { class: "sign", "aria-hidden": "true" }, "∗"),
      h("div", {}, b.root, both("b")), h("span", { class: "sign", "aria-hidden": "true" }, "="),
      k.root),
    written,
    h("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": "Table of products" }, table),
    made.root,
    check.root,
  );
  watch(draw);
}
