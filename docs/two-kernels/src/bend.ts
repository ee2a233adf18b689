// What a non-linearity does to the argument: f(t·x) is no straight line in t any more.
import { correlate } from "./polynomial.ts";

/** v where v ≥ 0, slope·v below: ReLU at slope 0, nothing at slope 1. */
export function leaky(v: number, slope: number): number {
  return v >= 0 ? v : slope * v;
}

/** One output of: kernel A and bias b1, the bend, kernel B; on the window x of A.length + B.length − 1 samples. */
export function bent(x: number[], a: number[], b1: number, slope: number, b: number[]): number {
  const h = correlate(x, a).map((v) => leaky(v + b1, slope));
  return correlate(h, b)[0];
}

/** f(0) + t·(f(x) − f(0)): the only values an affine f could have at t·x. */
export function straight(atZero: number, atOne: number, t: number): number {
  return atZero + t * (atOne - atZero);
}
