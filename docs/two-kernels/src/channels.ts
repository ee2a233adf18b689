// Many channels, one dimension: kernels as matrices of polynomials.
import { product } from "./polynomial.ts";

/** [out][in][tap], PyTorch's layout. */
export type Kernel = number[][][];

/** K[o, i] = Σ_m B[o, m] * A[m, i], a product of matrices whose entries are kernels, multiplied as polynomials. */
export function multiply(b: Kernel, a: Kernel): Kernel {
  return b.map((row) =>
    a[0].map((_, i) => {
      const terms = row.map((entry, m) => product(entry, a[m][i]));
      return terms.reduce((sum, term) => sum.map((v, t) => v + term[t]));
    }),
  );
}
