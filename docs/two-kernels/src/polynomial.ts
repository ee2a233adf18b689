// One channel, one dimension, no stride, no padding: kernels as polynomials.

/** K[t] = Σ_{i+j=t} A[i]·B[j]: the full convolution, of A.length + B.length − 1 taps. */
export function product(a: number[], b: number[]): number[] {
  const k: number[] = new Array(a.length + b.length - 1).fill(0);
  a.forEach((x, i) => b.forEach((y, j) => (k[i + j] += x * y)));
  return k;
}

/** The pairs (i, j) with i + j = t: those whose products make K[t]. */
export function pairs(t: number, taps1: number, taps2: number): [number, number][] {
  const found: [number, number][] = [];
  for (let i = 0; i < taps1; i++) if (t - i >= 0 && t - i < taps2) found.push([i, t - i]);
  return found;
}

/** C[t] = Σ_i A[i]·B[i − t + k2 − 1]: B slid along A without the flip. It is K with B reversed, not K. */
export function unflipped(a: number[], b: number[]): number[] {
  return product(a, [...b].reverse());
}

/** y[n] = Σ_t K[t]·x[n + t]: a layer, as PyTorch's Conv1d without bias. */
export function correlate(x: number[], k: number[]): number[] {
  const y: number[] = [];
  for (let n = 0; n + k.length <= x.length; n++) y.push(k.reduce((sum, v, t) => sum + v * x[n + t], 0));
  return y;
}

/** max |a − b|; infinite where the lengths differ. */
export function difference(a: number[], b: number[]): number {
  if (a.length !== b.length) return Infinity;
  return a.reduce((most, v, n) => Math.max(most, Math.abs(v - b[n])), 0);
}
