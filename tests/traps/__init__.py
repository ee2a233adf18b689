"""The bugs this field is known for, one test or more each: what is here fails if convfold has them too.

| trap | test |
|---|---|
| a convolution used on two paths is changed for both | `test_sharing` |
| weights shared by two operations: copy on write | `test_sharing` |
| grouped ConvTranspose + BN scales the wrong axis; groups 1, C_in = C_out along dim 0 | `test_transposed` |
| 1×1 with a bias before a zero-padded k×k: wrong ring | `test_border` |
| strided first convolution: padding is p1 + s1·p2 | `test_border` |
| non-square kernels padded in the wrong axis order | `test_border` |
| even-sized kernels, asymmetric padding; negative pads | `test_border` |
| average pool with count_include_pad=False or ceil_mode | `test_border` |
| batch norm in training mode; eps; affine=False; track_running_stats=False | `test_batch_norm` |
| a bias created by folding: requires_grad, dtype, device | `test_parameters` |
| folding twice; bias name collision; half precision | `test_parameters` |
| in-place operations; shape-only operands; x + 0, x * 1, sum([...]) | `test_graph` |
| computed weights: weight standardisation, parametrisations, LoRA | `test_computed_weights` |
| a file that carries a pickle, in any member, of any name | `test_files` |
| a program that says code: sizes, names, operators, containers | `test_file_words` |
| files damaged, cut short, zipped otherwise, or no files | `test_damaged_files` |
| a split or slice left with no channels; a map empty at the least size | `test_empty` |
| infinite masks and bounds; weights that are NaN | `test_infinities` |
| rows chosen by a mask; quantised or complex weights: verified, saved, written as ONNX | `test_other_types` |
| a branch on a value, named with its line; TorchScript; weights without numbers | `frontends.torch.test_untraceable` |
| dataclasses in and out; text that torch writes and cannot read | `frontends.torch.test_containers` |
| torch's graphs, logs and warnings on standard error | `frontends.torch.test_quiet`, `cli.test_noise` |
| folded recurrent layers that do not pickle or change type; hooks lost in copies | `test_copies` |
| a failed check that passes; a misspelt option ignored; merged and slower | `test_judgement` |

Left for the ONNX reader: zero bias hidden behind CastLike → Expand (onnxslim 0.1.98), negative pads of ONNX Conv
(onnxscript#2838; ours are `test_border`'s), `--model-check` that exits 0 (onnxslim; ours are `test_judgement`'s).
"""
