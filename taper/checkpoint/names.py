"""PyTorch's names for what taper saves, and back.

A checkpoint names classes and functions by module and name. taper writes PyTorch's names, so that
PyTorch reads its files, and finds its own objects under PyTorch's names when it reads. Public
names are the same in both; the tables hold the private modules in which PyTorch keeps them.
"""

from __future__ import annotations

import sys
from typing import Any

# Where PyTorch defines the public classes of torch.nn, by module below torch.nn.modules.
_NN_MODULES = {
    "activation": "CELU ELU GELU GLU Hardshrink Hardsigmoid Hardswish Hardtanh LeakyReLU "
    "LogSigmoid LogSoftmax Mish MultiheadAttention PReLU ReLU ReLU6 RReLU SELU SiLU Sigmoid "
    "Softmax Softmax2d Softmin Softplus Softshrink Softsign Tanh Tanhshrink Threshold",
    "adaptive": "AdaptiveLogSoftmaxWithLoss",
    "batchnorm": "BatchNorm1d BatchNorm2d BatchNorm3d LazyBatchNorm1d LazyBatchNorm2d "
    "LazyBatchNorm3d SyncBatchNorm",
    "channelshuffle": "ChannelShuffle",
    "container": "Container ModuleDict ModuleList ParameterDict ParameterList Sequential",
    "conv": "Conv1d Conv2d Conv3d ConvTranspose1d ConvTranspose2d ConvTranspose3d LazyConv1d "
    "LazyConv2d LazyConv3d LazyConvTranspose1d LazyConvTranspose2d LazyConvTranspose3d",
    "distance": "CosineSimilarity PairwiseDistance",
    "dropout": "AlphaDropout Dropout Dropout1d Dropout2d Dropout3d FeatureAlphaDropout",
    "flatten": "Flatten Unflatten",
    "fold": "Fold Unfold",
    "instancenorm": "InstanceNorm1d InstanceNorm2d InstanceNorm3d LazyInstanceNorm1d "
    "LazyInstanceNorm2d LazyInstanceNorm3d",
    "linear": "Bilinear Identity LazyLinear Linear NonDynamicallyQuantizableLinear",
    "loss": "BCELoss BCEWithLogitsLoss CTCLoss CosineEmbeddingLoss CrossEntropyLoss "
    "GaussianNLLLoss HingeEmbeddingLoss HuberLoss KLDivLoss L1Loss MSELoss MarginRankingLoss "
    "MultiLabelMarginLoss MultiLabelSoftMarginLoss MultiMarginLoss NLLLoss NLLLoss2d "
    "PoissonNLLLoss SmoothL1Loss SoftMarginLoss TripletMarginLoss "
    "TripletMarginWithDistanceLoss",
    "module": "Module",
    "normalization": "CrossMapLRN2d GroupNorm LayerNorm LocalResponseNorm RMSNorm",
    "padding": "CircularPad1d CircularPad2d CircularPad3d ConstantPad1d ConstantPad2d "
    "ConstantPad3d ReflectionPad1d ReflectionPad2d ReflectionPad3d ReplicationPad1d "
    "ReplicationPad2d ReplicationPad3d ZeroPad1d ZeroPad2d ZeroPad3d",
    "pixelshuffle": "PixelShuffle PixelUnshuffle",
    "pooling": "AdaptiveAvgPool1d AdaptiveAvgPool2d AdaptiveAvgPool3d AdaptiveMaxPool1d "
    "AdaptiveMaxPool2d AdaptiveMaxPool3d AvgPool1d AvgPool2d AvgPool3d FractionalMaxPool2d "
    "FractionalMaxPool3d LPPool1d LPPool2d LPPool3d MaxPool1d MaxPool2d MaxPool3d MaxUnpool1d "
    "MaxUnpool2d MaxUnpool3d",
    "rnn": "GRU GRUCell LSTM LSTMCell RNN RNNBase RNNCell RNNCellBase",
    "sparse": "Embedding EmbeddingBag",
    "transformer": "Transformer TransformerDecoder TransformerDecoderLayer TransformerEncoder "
    "TransformerEncoderLayer",
    "upsampling": "Upsample UpsamplingBilinear2d UpsamplingNearest2d",
}

_DATA_MODULES = {
    "dataset": "ChainDataset ConcatDataset Dataset IterableDataset StackDataset Subset "
    "TensorDataset",
    "sampler": "BatchSampler RandomSampler Sampler SequentialSampler SubsetRandomSampler "
    "WeightedRandomSampler",
    "dataloader": "DataLoader",
}


def _homes() -> dict[tuple[str, str], str]:
    """(public namespace, name) -> PyTorch's module, for what PyTorch defines elsewhere."""
    homes = {("nn", "Parameter"): "torch.nn.parameter"}
    for prefix, table in (("nn", _NN_MODULES), ("utils.data", _DATA_MODULES)):
        inner = "torch.nn.modules." if prefix == "nn" else "torch.utils.data."
        for module, names in table.items():
            homes.update({(prefix, name): inner + module for name in names.split()})
    return homes


_PUBLIC = ("nn", "nn.functional", "optim", "optim.lr_scheduler", "utils.data", "distributions", "")


def torch_name(found: Any, name: str) -> tuple[str, str] | None:
    """Module and name under which PyTorch knows a class or function of taper; None for others."""
    module = getattr(found, "__module__", None) or ""
    package = __name__.partition(".")[0]
    if module.partition(".")[0] == "torch":
        return module, name
    if module.partition(".")[0] != package:
        return None
    for space in _PUBLIC:
        holder = sys.modules.get(f"{package}.{space}".rstrip("."))
        if holder is None or getattr(holder, name, None) is not found:
            continue
        home = _homes().get((space, name))
        if home is None and space == "optim":
            home = f"torch.optim.{name.lower()}"
        return home or f"torch.{space}".rstrip("."), name
    return None


def own_object(module: str, name: str) -> Any:
    """taper's object that PyTorch calls `module.name`, where the module begins with torch.

    Looks in the module of the same name and then in the packages around it, where PyTorch shows
    its public names. Raises AttributeError if taper has no such thing.
    """
    import importlib

    package = __name__.partition(".")[0]
    path = module.split(".")[1:]
    for length in range(len(path), -1, -1):
        try:
            holder: Any = importlib.import_module(".".join([package, *path[:length]]))
        except ModuleNotFoundError:
            continue
        try:
            for part in name.split("."):
                holder = getattr(holder, part)
        except AttributeError:
            continue
        return holder
    raise AttributeError(f"taper has no {module}.{name}")
