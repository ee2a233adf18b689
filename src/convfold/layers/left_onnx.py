"""Every operator of the standard domain of ONNX that no layer file reads, and why."""

from __future__ import annotations

_CURVED = "not affine: a curve of every number by itself"
_CHOSEN = "not affine: which numbers it takes depends on them"
_NORM = "not affine: divides by what it computes of the signal, and has no scale or shift of its own"
_PRODUCT = "not affine: multiplies signals with each other"
_STATE = "not affine: carries a state from step to step through curves"
_WHOLE = "computes whole numbers or truths, no signal"
_CONSTANT = "computes constants or random numbers, of no signal"
_CONTAINER = "holds tensors, or asks for one: computes no numbers"
_INNER = "runs graphs of its own, whose calls are read one by one"
_QUANTISED = "not affine: rounds to few numbers, or computes in them"
_TEXT = "computes no numbers: text or pictures"
_POSITIONS = "affine where its other inputs are constant, but another map at every position"
_CHANGED = "affine where its index is constant, but writes into a part of a constant or of the signal"
_COMPLEX = "linear, but of complex numbers"

_KINDS = {
    _CURVED: """Abs Acos Acosh Asin Asinh Atan Atanh Ceil Celu Clip Cos Cosh Elu Erf Exp Floor Gelu HardSigmoid
        HardSwish LeakyRelu Log Mish PRelu Pow Reciprocal Relu Round Selu Shrink Sigmoid Sign Sin Sinh Softplus Softsign
        Sqrt Swish Tan Tanh ThresholdedRelu Mod""",
    _CHOSEN: """GlobalMaxPool Hardmax Max MaxPool MaxRoiPool MaxUnpool Min NonMaxSuppression ReduceMax ReduceMin TopK
        Unique""",
    _NORM: "LRN LogSoftmax LpNormalization MeanVarianceNormalization Softmax",
    _PRODUCT: """Attention CumProd Det LinearAttention ReduceProd ReduceSumSquare SwiGLU""",
    _STATE: "GRU LSTM RNN",
    _WHOLE: """And ArgMax ArgMin BitShift BitwiseAnd BitwiseNot BitwiseOr BitwiseXor Equal Greater GreaterOrEqual IsInf
        IsNaN Less LessOrEqual NonZero Not Or Shape Size Xor""",
    _CONSTANT: """Bernoulli BlackmanWindow Constant ConstantOfShape EyeLike HammingWindow HannWindow MelWeightMatrix
        Multinomial OneHot RandomNormal RandomNormalLike RandomUniform RandomUniformLike Range""",
    _CONTAINER: """ConcatFromSequence Optional OptionalGetElement OptionalHasElement SequenceAt SequenceConstruct
        SequenceEmpty SequenceErase SequenceInsert SequenceLength SplitToSequence""",
    _INNER: "If Loop Scan SequenceMap",
    _QUANTISED: """ConvInteger DequantizeLinear DynamicQuantizeLinear MatMulInteger QLinearConv QLinearMatMul
        QuantizeLinear""",
    _TEXT: "ImageDecoder RegexFullMatch StringConcat StringNormalizer StringSplit TfIdfVectorizer",
    _POSITIONS: "AffineGrid DeformConv GridSample ReverseSequence RoiAlign RotaryEmbedding",
    _CHANGED: "Scatter ScatterElements TensorScatter",
    _COMPLEX: "DFT STFT",
    "not affine: the logarithm, the root or the size of a sum": """GlobalLpPool LpPool NegativeLogLikelihoodLoss
        ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp SoftmaxCrossEntropyLoss""",
    "affine, but reads the bits of numbers as others": "BitCast",
    "affine, but a cut to what a condition says, whose length is known at run time": "Compress",
    "affine, but adds what overlaps: no convolution is written so": "Col2Im",
    "affine, but hands on a state beside its signal": "CausalConvWithState",
}

LEFT: dict[str, str] = {name: why for why, names in _KINDS.items() for name in names.split()}
