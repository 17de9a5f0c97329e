"""YOLOv5 in torch, its parameters named as in YOLOv5's own state dict, so that `yolo.yolo_weights` fits in."""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

STRIDES = (8, 16, 32)
ANCHORS_PX = (((10, 13), (16, 30), (33, 23)), ((30, 61), (62, 45), (59, 119)), ((116, 90), (156, 198), (373, 326)))


class Conv(nn.Module):
    """A convolution that has absorbed its batch norm, and SiLU."""

    def __init__(self, narrow: int, wide: int, kernel: int = 1, stride: int = 1, pad: int | None = None) -> None:
        super().__init__()
        self.conv = nn.Conv2d(narrow, wide, kernel, stride, kernel // 2 if pad is None else pad)

    def forward(self, x: Tensor) -> Tensor:
        out = self.conv(x)
        return out * torch.sigmoid(out)


class Bottleneck(nn.Module):
    def __init__(self, wide: int, shortcut: bool) -> None:
        super().__init__()
        self.cv1, self.cv2, self.shortcut = Conv(wide, wide), Conv(wide, wide, 3), shortcut

    def forward(self, x: Tensor) -> Tensor:
        out = self.cv2(self.cv1(x))
        return x + out if self.shortcut else out


class C3(nn.Module):
    def __init__(self, narrow: int, wide: int, deep: int, shortcut: bool = True) -> None:
        super().__init__()
        inner = wide // 2
        self.cv1, self.cv2, self.cv3 = Conv(narrow, inner), Conv(narrow, inner), Conv(2 * inner, wide)
        self.m = nn.Sequential(*(Bottleneck(inner, shortcut) for _ in range(deep)))

    def forward(self, x: Tensor) -> Tensor:
        return self.cv3(torch.cat((self.m(self.cv1(x)), self.cv2(x)), 1))


class Sppf(nn.Module):
    def __init__(self, narrow: int, wide: int) -> None:
        super().__init__()
        self.cv1, self.cv2 = Conv(narrow, narrow // 2), Conv(narrow // 2 * 4, wide)
        self.pool = nn.MaxPool2d(5, 1, 2)

    def forward(self, x: Tensor) -> Tensor:
        parts = [self.cv1(x)]
        for _ in range(3):
            parts.append(self.pool(parts[-1]))
        return self.cv2(torch.cat(parts, 1))


class Detect(nn.Module):
    """YOLOv5's head with its decoding: rows [n, anchors, 5 + classes] in pixels of the input.

    The grid is made once for one size. A trace holds it as a constant, as it does in YOLOv5's own exports.
    """

    def __init__(self, wides: Iterable[int], classes: int, size: tuple[int, int]) -> None:
        super().__init__()
        self.columns = 5 + classes
        self.m = nn.ModuleList(nn.Conv2d(wide, 3 * self.columns, 1) for wide in wides)
        self.grids = [_grid(size[0] // stride, size[1] // stride) for stride in STRIDES]
        self.anchors = [torch.tensor(sides, dtype=torch.float32).view(1, 3, 1, 1, 2) for sides in ANCHORS_PX]

    def forward(self, levels: list[Tensor]) -> Tensor:
        return torch.cat([self._rows(level, maps) for level, maps in enumerate(levels)], 1)

    def _rows(self, level: int, maps: Tensor) -> Tensor:
        logits = self.m[level](maps)
        count, _, rows, columns = logits.shape
        unit = logits.view(count, 3, self.columns, rows, columns).permute(0, 1, 3, 4, 2).contiguous().sigmoid()
        centre = (unit[..., :2] * 2 + self.grids[level] - 0.5) * STRIDES[level]
        size = (unit[..., 2:4] * 2) ** 2 * self.anchors[level]
        return torch.cat((centre, size, unit[..., 4:]), -1).view(count, -1, self.columns)


def _grid(rows: int, columns: int) -> Tensor:
    y, x = np.mgrid[0:rows, 0:columns].astype(np.float32)
    return torch.from_numpy(np.stack((x, y), -1))


class Yolo(nn.Module):
    """YOLOv5, release 6 and later.

    Args:
        width: its width multiple; 0.25 for n, 0.5 for s.
        depth: its depth multiple; 0.33 for n and s.
        classes: class scores per row.
        size: height and width of the input in px, multiples of 32.
    """

    def __init__(
        self, width: float = 0.25, depth: float = 0.33, classes: int = 80, size: tuple[int, int] = (640, 640)
    ) -> None:
        super().__init__()
        c1, c2, c3, c4, c5 = (int(np.ceil(channels * width / 8)) * 8 for channels in (64, 128, 256, 512, 1024))
        d3, d6, d9 = (max(round(repeats * depth), 1) for repeats in (3, 6, 9))
        layers = {
            0: Conv(3, c1, 6, 2, 2),
            1: Conv(c1, c2, 3, 2),
            2: C3(c2, c2, d3),
            3: Conv(c2, c3, 3, 2),
            4: C3(c3, c3, d6),
            5: Conv(c3, c4, 3, 2),
            6: C3(c4, c4, d9),
            7: Conv(c4, c5, 3, 2),
            8: C3(c5, c5, d3),
            9: Sppf(c5, c5),
            10: Conv(c5, c4),
            13: C3(2 * c4, c4, d3, shortcut=False),
            14: Conv(c4, c3),
            17: C3(2 * c3, c3, d3, shortcut=False),
            18: Conv(c3, c3, 3, 2),
            20: C3(2 * c3, c4, d3, shortcut=False),
            21: Conv(c4, c4, 3, 2),
            23: C3(2 * c4, c5, d3, shortcut=False),
            24: Detect((c3, c4, c5), classes, size),
        }
        self.model = nn.ModuleDict({str(number): layer for number, layer in layers.items()})
        self.up = nn.Upsample(scale_factor=2, mode="nearest")

    def forward(self, images: Tensor) -> Tensor:
        layer = self.model
        x = layer["2"](layer["1"](layer["0"](images)))
        fine = layer["4"](layer["3"](x))
        middle = layer["6"](layer["5"](fine))
        top = layer["10"](layer["9"](layer["8"](layer["7"](middle))))
        side = layer["14"](layer["13"](torch.cat((self.up(top), middle), 1)))
        small = layer["17"](torch.cat((self.up(side), fine), 1))
        medium = layer["20"](torch.cat((layer["18"](small), side), 1))
        large = layer["23"](torch.cat((layer["21"](medium), top), 1))
        rows: Tensor = layer["24"]([small, medium, large])
        return rows


def load(network: Yolo, weights: Mapping[str, npt.NDArray[Any]]) -> Yolo:
    """Puts every weight of an ONNX builder in its place."""
    network.load_state_dict({name: torch.from_numpy(value) for name, value in weights.items()})
    return network.eval()


def randomise(network: Yolo, seed: int = 5) -> Yolo:
    """Gives a network random weights with which its answers neither vanish nor overflow, and most anchors see nothing.

    Each convolution is normalised over pictures of blocks, as batch norm does in training, and absorbs its norm.
    """
    random = torch.Generator().manual_seed(seed)
    handles = [
        layer.register_forward_hook(
            _Normaliser(random, layer in list(network.model["24"].m), network.model["24"].columns)
        )
        for layer in network.modules()
        if isinstance(layer, nn.Conv2d)
    ]
    for parameter in network.parameters():
        parameter.data.normal_(0, 0.05, generator=random)
    height, width = (int(side * STRIDES[0]) for side in network.model["24"].grids[0].shape[:2])
    # Fewer pictures leave the coarsest maps too few cells, and what is off there grows from layer to layer.
    coarse = torch.rand(16, 3, height // 8, width // 8, generator=random)
    with torch.no_grad():
        network(nn.functional.interpolate(coarse, (height, width)))
    for handle in handles:
        handle.remove()
    return network.eval()


class _Normaliser:
    """Rescales a convolution after its first run so that each channel has a mean and a spread of our choice."""

    def __init__(self, random: torch.Generator, is_head: bool, columns: int) -> None:
        self._random, self._is_head, self._columns = random, is_head, columns

    def __call__(self, layer: nn.Conv2d, _inputs: object, out: Tensor) -> Tensor:
        mean, std = out.mean((0, 2, 3)), out.std((0, 2, 3)) + 1e-6
        spread = 2.0 if self._is_head else 1.0
        centre = torch.randn(len(mean), generator=self._random) * 0.3
        if self._is_head:
            centre = torch.zeros(3, self._columns)
            centre[:, 4] = -6  # objectness
            centre = centre.flatten()
        layer.weight.data *= (spread / std)[:, None, None, None]
        assert layer.bias is not None
        layer.bias.data = (layer.bias.data - mean) * spread / std + centre
        return (out - mean[:, None, None]) * (spread / std)[:, None, None] + centre[:, None, None]
