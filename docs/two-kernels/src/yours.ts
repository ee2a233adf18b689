// At last: your own layers, and your own report.
import { button, h, slider } from "./dom.ts";
import { answer } from "./layers.ts";
import { change, count } from "./numbers.ts";
import { byReason, bySaving, read, REASONS } from "./report.ts";

const EXAMPLE = `nn.Sequential(
    nn.Conv2d(3, 32, 3, padding=1, bias=False),
    nn.BatchNorm2d(32),
    nn.Conv2d(32, 16, 1),
    nn.ReLU(),
    nn.Conv2d(16, 48, 3, padding=1),
    nn.Conv2d(48, 4, 3, padding=1),
)`;

export function layersOf(root: HTMLElement): void {
  const input = h("textarea", { id: "paste", rows: 9, spellcheck: "false", autocapitalize: "off", "data-name": "paste" }) as HTMLTextAreaElement;
  input.value = EXAMPLE;
  const size = slider("paste-size", "Input, size × size", [8, 256, 8], 64, draw);
  const result = h("div", { class: "result", role: "status", "data-name": "paste-result" });

  function draw(): void {
    try {
      const { before, after, code, notes } = answer(input.value, size.value());
      const copy = button("paste-copy", "Copy", () => {
        navigator.clipboard?.writeText(code).then(() => (copy.textContent = "Copied"), () => (copy.textContent = "Select it and copy"));
      });
      result.replaceChildren(
        h("p", { class: "says" }, "Multiply-adds: ", h("b", { class: "number", "data-name": "paste-before", "data-value": before }, count(before)), " → ",
          h("b", { class: "number", "data-name": "paste-after", "data-value": after }, count(after)), ` ${change(before, after)}`),
        h("div", { class: "code" }, h("pre", { tabindex: 0, role: "region", "aria-label": "PyTorch code" }, h("code", { "data-name": "paste-code" }, code)), copy),
        h("ul", { class: "notes" }, ...notes.map((note) => h("li", {}, note))),
      );
    } catch (error) {
      result.replaceChildren(h("p", { class: "says wrong" }, (error as Error).message));
    }
  }

  input.addEventListener("input", draw);
  root.append(h("label", { for: "paste" }, "Your layers, as PyTorch text"), input, h("div", { class: "controls" }, size.root), result);
  draw();
}

export function reportOf(root: HTMLElement): void {
  const input = h("input", { id: "report", type: "file", accept: ".json,application/json", "data-name": "report" }) as HTMLInputElement;
  const result = h("div", { class: "result", role: "status", "data-name": "report-result" });
  const head = (...names: string[]): HTMLElement => h("tr", {}, ...names.map((name) => h("th", { scope: "col" }, name)));
  const table = (caption: string, ...rows: HTMLElement[]): HTMLElement =>
    h("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": caption }, h("table", { class: "facts" }, h("caption", {}, caption), ...rows));

  input.addEventListener("click", () => (input.value = "")); // the same file again, when it has changed
  input.addEventListener("change", async () => {
    const file = input.files?.[0];
    if (!file) return;
    try {
      const report = read(await file.text());
      const { before, after } = report;
      const totals: [string, number, number][] = [
        ["multiply-adds", before.macs, after.macs], ["parameters", before.params, after.params], ["operations", before.ops, after.ops],
        ["convolutions + linears", before.layers, after.layers], ["batch norms", before.batch_norms, after.batch_norms],
      ];
      const stretches = bySaving(report).map((row) =>
        h("tr", {}, h("th", { scope: "row" }, row.where), h("td", { class: "words" }, row.before), h("td", { class: "words" }, row.after),
          h("td", {}, count(row.macs_before)), h("td", {}, count(row.macs_after)), h("td", {}, change(row.macs_before, row.macs_after))));
      const refusals = byReason(report).map(([code, rows]) =>
        h("details", { class: "refusal" }, h("summary", {}, `${rows.length} × ${code}: ${REASONS[code] ?? "a reason this page does not know"}`),
          h("ul", {}, ...rows.map((row) => h("li", {}, `${row.where}: ${row.detail}`)))));
      result.replaceChildren(
        table(`${file.name}: totals`, head("", "before", "after", "change"),
          ...totals.map(([name, p, q]) => h("tr", {}, h("th", { scope: "row" }, name), h("td", { "data-value": p }, count(p)), h("td", { "data-value": q }, count(q)), h("td", {}, change(p, q))))),
        stretches.length ? table("What was folded, the largest saving first", head("where", "from", "to", "before", "after", "change"), ...stretches) : h("p", {}, "Nothing was folded."),
        h("h4", {}, refusals.length ? "What was left, by reason" : "Nothing was left."), ...refusals,
      );
    } catch (error) {
      result.replaceChildren(h("p", { class: "says wrong" }, (error as Error).message));
    }
  });
  root.append(h("label", { for: "report" }, "A report, from ", h("code", {}, "convfold explain MODEL --json > report.json")), input, result);
}
