// 2: the flip.
import { check, h, number, says, slider, tone } from "./dom.ts";
import { text } from "./numbers.ts";
import { product, unflipped } from "./polynomial.ts";
import { two, watch } from "./shared.ts";

export function flip(root: HTMLElement): void {
  let flipped = true;
  const table = h("table", { class: "slide" });
  const result = h("table", { class: "slide" });
  const said = says("flip-said");
  const where = h("div");
  let place = slider("flip-t", "Slide B to t", [0, 4, 1], 1, draw);
  where.append(place.root);

  function cell(v: number | null, mark = false): HTMLElement {
    const one = h("td", { class: `cell${mark ? " marked" : ""}` }, v === null ? "" : text(v));
    if (v !== null) {
      one.dataset.value = String(v);
      tone(one, v, 3);
    } else one.classList.add("empty");
    return one;
  }

  function draw(): void {
    const { a, b } = two;
    const [whole, other] = [product(a, b), unflipped(a, b)];
    const t = Math.min(place.value(), whole.length - 1);
    const margin = b.length - 1;
    const columns = Array.from({ length: a.length + 2 * margin }, (_, n) => n - margin);
    const low = t - margin; // where the first of B's places is
    const sits = (i: number): number | null => (i < low || i > t ? null : flipped ? b[t - i] : b[i - low]);
    const row = (label: string, values: (number | null)[], mark = (_: number): boolean => false): HTMLElement =>
      h("tr", {}, h("th", { scope: "row" }, label), ...values.map((v, n) => cell(v, mark(n))));
    const under = columns.map((i) => (a[i] !== undefined && sits(i) !== null ? a[i] * (sits(i) ?? 0) : null));
    table.replaceChildren(
      h("caption", { class: "unseen" }, "A, B slid along it, and their products"),
      row("A", columns.map((i) => a[i] ?? null)),
      row(flipped ? "B, flipped" : "B, as it is", columns.map(sits)),
      row("products", under),
    );
    const sum = under.reduce<number>((s, v) => s + (v ?? 0), 0);
    said.set(`The products add up to `, number(sum, "flip-sum"), `. K[${t}] is `, number(whole[t], "flip-k"),
      Math.abs(sum - whole[t]) < 1e-12 ? ": the same." : ": not the same. Without the flip, this is another kernel.");
    result.replaceChildren(
      h("caption", { class: "unseen" }, "What sliding gives at every t, and K"),
      h("tr", {}, h("th", { scope: "row" }, "t"), ...whole.map((_, n) => h("th", { scope: "col" }, String(n)))),
      row(flipped ? "slid, flipped" : "slid, not flipped", flipped ? whole : other, (n) => n === t),
      row("K", whole, (n) => n === t),
    );
    result.dataset.values = JSON.stringify(flipped ? whole : other);
  }

  root.append(
    h("div", { class: "controls" }, where, check("flip", "Flip B", true, (on) => ((flipped = on), draw()))),
    h("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": "B slid along A" }, table),
    said.root,
    h("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": "The results at every t" }, result),
  );
  watch(() => {
    const most = two.a.length + two.b.length - 2;
    if (Number(where.querySelector("input")?.max) !== most) {
      place = slider("flip-t", "Slide B to t", [0, Math.max(most, 1), 1], Math.min(place.value(), most), draw);
      where.replaceChildren(place.root);
    }
    draw();
  });
}
