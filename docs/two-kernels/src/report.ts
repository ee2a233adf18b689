// What `convfold explain MODEL --json` wrote, read and put in order.

export type Totals = { macs: number; params: number; ops: number; layers: number; batch_norms: number };
export type Applied = { where: string; before: string; after: string; macs_before: number; macs_after: number };
export type Refused = { code: string; where: string; detail: string };
export type Report = { before: Totals; after: Totals; applied: Applied[]; refused: Refused[] };

const TOTALS = ["macs", "params", "ops", "layers", "batch_norms"];

/** The report in a file's text; throws an Error with one line that says what is wrong and what to do. */
export function read(text: string): Report {
  const ask = "write one with: convfold explain MODEL --json > report.json";
  let data;
  try {
    data = JSON.parse(text);
  } catch {
    throw new Error(`The file is not JSON; ${ask}`);
  }
  if (Array.isArray(data)) throw new Error(`The file holds a list of ${data.length}, not one report; ${ask}`);
  for (const key of ["before", "after"])
    for (const name of TOTALS)
      if (typeof data?.[key]?.[name] !== "number") throw new Error(`The file has no number ${key}.${name}; ${ask}`);
  for (const key of ["applied", "refused"])
    if (!Array.isArray(data[key])) throw new Error(`The file has no list "${key}"; ${ask}`);
  for (const row of data.applied)
    if (typeof row?.macs_before !== "number" || typeof row.macs_after !== "number")
      throw new Error(`A row of "applied" has no multiply-adds; ${ask}`);
  for (const row of data.refused)
    if (typeof row?.code !== "string") throw new Error(`A row of "refused" has no code; ${ask}`);
  return data;
}

/** Stretches, the one that saves most first. */
export function bySaving(report: Report): Applied[] {
  const saved = (row: Applied): number => row.macs_before - row.macs_after;
  return [...report.applied].sort((p, q) => saved(q) - saved(p));
}

/** Refusals by their reason, the most frequent first. */
export function byReason(report: Report): [string, Refused[]][] {
  const found = new Map<string, Refused[]>();
  for (const row of report.refused) found.set(row.code, [...(found.get(row.code) ?? []), row]);
  return [...found].sort((p, q) => q[1].length - p[1].length);
}

/** Every reason in words: `convfold.errors.REASONS`. */
export const REASONS: { [code: string]: string } = {
  "channels-differ": "the first's output channels are not the second's input channels",
  "crosses-module": "the layers lie in different modules, which are kept apart",
  "dimensions-differ": "the operands have different numbers of space axes",
  "does-not-pay": "the folded form would cost more than the original",
  "excluded": "left alone because the configuration excludes it",
  "ghost-depends-on-data": "the second reads, as zeros, positions where the first alone would have data",
  "ghost-is-constant": "the second reads, as zeros, positions where the first alone would have its bias",
  "layout-mixes-channels": "a view or permute between the two does not keep the channel axis whole",
  "no-module": "no single torch.nn module computes this",
  "not-affine": "the layer is not affine",
  "not-exported": "torch.export cannot follow the module, called as it is",
  "not-verified": "the module's folded form differs by more than its own rounding error, or cannot be compared",
  "padding-mode": "padding that copies data is not a convolution",
  "partition-differs": "channel groups do not line up with the parts of the concat or split",
  "quantised": "the weight is stored in eight bits; composed with others it would be stored wide",
  "sizes-differ": "the branches have different output sizes",
  "size-depends-on-remainder": "the output size depends on a remainder, unknown while the size is free",
  "slower-here": "the model was timed with it folded and without, in the target's runtime, and is faster without",
  "stride-upsample": "upsampling after a stride with a common factor cannot be one convolution",
  "too-large": "the folded kernel would exceed the memory limit",
  "training-mode": "batch statistics change with the batch",
  "window-not-uniform": "the pool divides by a different number of values at the border",
};
