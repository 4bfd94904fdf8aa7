"""A network of LaMa's shape and size (arXiv 2109.07161: "big", 18 blocks, 51 million numbers) with random weights.

Its pictures mean nothing; its time and memory are those of the real one, which need not be downloaded for that.
"""

from __future__ import annotations

import warnings
from pathlib import Path

import torch
from torch import Tensor, nn

GLOBAL = 0.75  # the share of channels that see the whole picture at once


def _conv(inputs: int, outputs: int, kernel: int) -> nn.Module:
    return nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, padding_mode="reflect", bias=False)


def _then(conv: nn.Module, channels: int) -> nn.Module:
    return nn.Sequential(conv, nn.BatchNorm2d(channels), nn.ReLU(inplace=True))


class Spectral(nn.Module):
    """A convolution of the spectrum: every pixel sees every other."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        half = channels // 2
        self.first = _then(nn.Conv2d(channels, half, 1, bias=False), half)
        self.spectrum = _then(nn.Conv2d(2 * half, 2 * half, 1, bias=False), 2 * half)
        self.last = nn.Conv2d(half, channels, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        count, channels, height, width = x.shape
        waves = torch.view_as_real(torch.fft.rfft2(x, norm="ortho"))
        flat = waves.permute(0, 1, 4, 2, 3).reshape(count, 2 * channels, height, -1)
        mixed = self.spectrum(flat).reshape(count, channels, 2, height, -1).permute(0, 1, 3, 4, 2)
        back = torch.fft.irfft2(torch.view_as_complex(mixed.contiguous()), s=[height, width], norm="ortho")
        return self.last(x + back)


class Fourier(nn.Module):
    """A fast Fourier convolution: local and global channels, each told of the other."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.far = int(channels * GLOBAL)
        self.near = channels - self.far
        self.near_near, self.near_far = _conv(self.near, self.near, 3), _conv(self.near, self.far, 3)
        self.far_near, self.far_far = _conv(self.far, self.near, 3), Spectral(self.far)
        self.norm_near, self.norm_far = nn.BatchNorm2d(self.near), nn.BatchNorm2d(self.far)

    def forward(self, x: Tensor) -> Tensor:
        near, far = x[:, : self.near], x[:, self.near :]
        a = torch.relu(self.norm_near(self.near_near(near) + self.far_near(far)))
        b = torch.relu(self.norm_far(self.near_far(near) + self.far_far(far)))
        return torch.cat([a, b], dim=1)


class Block(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first, self.second = Fourier(channels), Fourier(channels)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.second(self.first(x))


class Shape(nn.Module):
    """Picture (n, 3, h, w) in 0..1 and mask (n, 1, h, w), sides divisible by 8 → the picture without holes."""

    def __init__(self, width: int = 64, blocks: int = 18) -> None:
        super().__init__()
        layers = [_then(_conv(4, width, 7), width)]
        for level in (1, 2, 4):
            down = nn.Conv2d(width * level, 2 * width * level, 3, 2, 1, padding_mode="reflect", bias=False)
            layers.append(_then(down, 2 * width * level))
        layers += [Block(8 * width) for _ in range(blocks)]
        for level in (4, 2, 1):
            up = nn.ConvTranspose2d(2 * width * level, width * level, 3, 2, 1, output_padding=1)
            layers.append(_then(up, width * level))
        self.layers = nn.Sequential(*layers, _conv(width, 3, 7))

    def forward(self, image: Tensor, mask: Tensor) -> Tensor:
        seen = torch.cat([image * (1 - mask), mask], dim=1)
        return mask * torch.sigmoid(self.layers(seen)) + (1 - mask) * image


def save(file: Path, width: int = 64, blocks: int = 18) -> int:
    """The network as TorchScript at `file`; how many numbers it has."""
    torch.manual_seed(0)
    shape = Shape(width, blocks).eval()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # TorchScript is what there is of LaMa
        torch.jit.script(shape).save(str(file))
    return sum(one.numel() for one in shape.parameters())
