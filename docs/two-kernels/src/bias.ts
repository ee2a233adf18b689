// A bias is a constant map, and every window of a constant map sums to the same number.
import { total } from "./grid.ts";
import type { Grid } from "./grid.ts";

/** b = b2 + Σ_m b1[m]·Σ_t B[m, t]: what the merged layer adds, for one output channel. */
export function merged(b1: number[], b: Grid[], b2: number): number {
  return b1.reduce((sum, bias, m) => sum + bias * total(b[m]), b2);
}
