// Branches that are added, each with its batch norm: one kernel and one bias.
import { grid, plus } from "./grid.ts";
import type { Grid } from "./grid.ts";

export type Norm = { gamma: number; beta: number; mean: number; variance: number; eps: number };

/** g = γ / √(σ² + ε): what a batch norm in eval mode multiplies by. */
export function scale({ gamma, variance, eps }: Norm): number {
  return gamma / Math.sqrt(variance + eps);
}

/** A kernel without bias, then a batch norm: kernel g·K, bias β − g·μ. */
export function folded(kernel: Grid, norm: Norm): { kernel: Grid; bias: number } {
  const g = scale(norm);
  return { kernel: kernel.map((row) => row.map((v) => g * v)), bias: norm.beta - g * norm.mean };
}

/** The same kernel in the middle of zeros, of an odd size: with `size`/2 of padding it computes the same. */
export function centred(kernel: Grid, size: number): Grid {
  const shift = (size - kernel.length) / 2;
  return grid(size, size, (r, c) => kernel[r - shift]?.[c - shift] ?? 0);
}

/** Parallel branches add: K = ΣK_n, b = Σb_n. */
export function sum(parts: { kernel: Grid; bias: number }[], size: number): { kernel: Grid; bias: number } {
  return parts.reduce((all, part) => ({ kernel: plus(all.kernel, part.kernel), bias: all.bias + part.bias }), {
    kernel: grid(size, size),
    bias: 0,
  });
}
