"""`merge` and `Convolution.of` on what people build: blocks, hooks, changed attributes; and the check on the result."""
