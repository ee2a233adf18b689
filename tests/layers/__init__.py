"""Every affine layer in both spellings: as a module through `Convolution.of` and `merge`, as ATen calls through `fold`.

Mirrors `convfold.layers`. Each file is a table of small nets, a layer beside a neighbour; one fold takes the table.
"""
