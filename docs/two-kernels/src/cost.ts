// Multiply-adds, which decide whether two layers should be one.

/** out · (in / groups) · Πkernel · Πsize multiply-adds of a convolution with an output of this size. */
export function macs(inputs: number, outputs: number, kernel: number[], size: number[], groups = 1): number {
  return [...kernel, ...size].reduce((all, n) => all * n, (inputs / groups) * outputs);
}

/** Two square kernels on maps of `size`², kept at that size: I → M → O channels, apart and as one. */
export function compared(i: number, m: number, o: number, k1: number, k2: number, size: number): [number, number] {
  const [map, k] = [[size, size], k1 + k2 - 1];
  const apart = macs(i, m, [k1, k1], map) + macs(m, o, [k2, k2], map);
  return [apart, macs(i, o, [k, k], map)];
}

/** M* = I·O·(k1 + k2 − 1)² / (I·k1² + O·k2²): with more middle channels than this, one layer is cheaper. */
export function breakEven(i: number, o: number, k1: number, k2: number): number {
  return (i * o * (k1 + k2 - 1) ** 2) / (i * k1 ** 2 + o * k2 ** 2);
}
