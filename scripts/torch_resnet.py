"""The peer of bench_vision.py: a residual network for small images in plain eager PyTorch, channels last."""

import torch
import torch.nn.functional as F
from torch import nn


class Block(nn.Module):
    """Two 3x3 convolutions and the way around them."""

    def __init__(self, before: int, width: int, stride: int):
        super().__init__()
        self.conv_1 = nn.Conv2d(before, width, 3, stride, 1, bias=False)
        self.norm_1 = nn.BatchNorm2d(width)
        self.conv_2 = nn.Conv2d(width, width, 3, 1, 1, bias=False)
        self.norm_2 = nn.BatchNorm2d(width)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or before != width:
            self.shortcut = nn.Sequential(nn.Conv2d(before, width, 1, stride, bias=False), nn.BatchNorm2d(width))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Apply the block."""
        y = F.relu(self.norm_1(self.conv_1(x)))
        return F.relu(self.norm_2(self.conv_2(y)) + self.shortcut(x))


class TorchResNet(nn.Module):
    """Images [b, 3, h, w] to logits [b, classes]."""

    def __init__(self, classes: int, stages: tuple[int, ...], width: int):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, width, 3, 1, 1, bias=False), nn.BatchNorm2d(width)
        blocks: list[nn.Module] = []
        self.places = [(stage, number) for stage, depth in enumerate(stages) for number in range(depth)]
        before = width
        for stage, number in self.places:
            blocks.append(Block(before, width * 2**stage, 2 if stage and not number else 1))
            before = width * 2**stage
        self.blocks, self.fc = nn.Sequential(*blocks), nn.Linear(before, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the logits."""
        x = self.blocks(F.relu(self.bn1(self.conv1(x))))
        return self.fc(x.mean((2, 3)))
