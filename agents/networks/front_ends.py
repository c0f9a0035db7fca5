"""Convolutional front ends by name: from an image to features, before a plastic network; a class and a row each."""

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from agents.construct import construct_module
from plastic_envs.utils.checks import check_int, plain
from plastic_envs.utils.errors import UsageError
from plastic_envs.utils.registry import Registry, Row, parse_spec

FRONT_ENDS = Registry(
    "front end",
    {
        "strided": Row("agents.networks.front_ends:Strided", "four 3×3 convolutions with stride 2, and tanh (Miconi)"),
        "conv4": Row(
            "agents.networks.front_ends:Conv4", "four blocks of convolution, batch normalisation, ReLU and pooling"
        ),
        "resnet12": Row(
            "agents.networks.front_ends:ResNet12", "four residual blocks of three convolutions, pooled globally"
        ),
    },
)


class FrontEnd(nn.Module):
    """From images (N, C, H, W) to features (N, `features`); it has no plasticity.

    One of your own is any `nn.Module` with `features` that is made as `Name(image_shape=(C, H, W))`, with options as
    further keywords; its `forward` maps images (N, C, H, W) to (N, `features`). It goes by `module:Name`.

    Batch normalisation is torch's own. Agents are made in evaluation mode, where running averages count, so that what
    an agent does with an image does not depend on the images beside it: single steps, rollouts, populations and
    evaluations agree. In training mode, in which backpropagation holds the parts that it searches, the statistics are
    those of all images of a rollout, and the averages move once for each rollout.
    """

    features: int
    image_shape: tuple[int, int, int]


class Strided(FrontEnd):
    """Four convolutions 3×3 with stride 2 and without padding, tanh after each: 31×31 pixels to 64 features.

    Source: Miconi, Clune and Stanley 2018, "Differentiable plasticity: training plastic neural networks with
    backpropagation", section 4.4.

    Raises:
        UsageError: the images have fewer than 31 pixels a side.
    """

    def __init__(self, image_shape: tuple[int, int, int]) -> None:
        super().__init__()
        check_side("strided", image_shape, 31)
        sides: tuple[int, ...] = image_shape[1:]
        for _ in range(4):
            sides = tuple((side - 3) // 2 + 1 for side in sides)
        widths = [image_shape[0], 64, 64, 64, 64]
        self.convolutions = nn.ModuleList(nn.Conv2d(a, b, 3, stride=2) for a, b in pairwise(widths))
        self.features = 64 * sides[0] * sides[1]

    def forward(self, image: Tensor) -> Tensor:
        """Features (N, F)."""
        for convolution in self.convolutions:
            image = convolution(image).tanh()
        return image.flatten(1)


class Conv4(FrontEnd):
    """Four blocks of a 3×3 convolution to 64 channels, batch normalisation, ReLU, and 2×2 maximum pooling.

    A block whose image has a side of one pixel does not pool it: of the 8×8 digits 64 features are left, of 31×31
    pixels 64, of 84×84 1,600.

    Args:
        image_shape: (C, H, W).
        channels: 64, or 32 as in Finn et al. 2017, "Model-agnostic meta-learning", section 5.2.

    Source: Vinyals et al. 2016, "Matching networks for one shot learning", section 4.1.
    """

    def __init__(self, image_shape: tuple[int, int, int], channels: int = 64) -> None:
        super().__init__()
        widths = [image_shape[0], *[check_int("channels", channels, low=1)] * 4]
        self.convolutions = nn.ModuleList(nn.Conv2d(a, b, 3, padding=1, bias=False) for a, b in pairwise(widths))
        self.norms = nn.ModuleList(nn.BatchNorm2d(channels) for _ in range(4))
        sides: tuple[int, ...] = image_shape[1:]
        for _ in range(4):
            sides = tuple(side // 2 for side in sides) if min(sides) >= 2 else sides
        self.features = channels * sides[0] * sides[1]

    def forward(self, image: Tensor) -> Tensor:
        """Features (N, F)."""
        for convolution, norm in zip(self.convolutions, self.norms, strict=True):
            image = norm(convolution(image)).relu()
            if min(image.shape[-2:]) >= 2:
                image = functional.max_pool2d(image, 2)
        return image.flatten(1)


class ResNet12(FrontEnd):
    """Four residual blocks of three 3×3 convolutions with 64, 160, 320 and 640 channels, and a mean over the pixels.

    Source: Lee et al. 2019, "Meta-learning with differentiable convex optimization", section 4.1, without DropBlock.

    Raises:
        UsageError: the images have fewer than 16 pixels a side.
    """

    def __init__(self, image_shape: tuple[int, int, int]) -> None:
        super().__init__()
        check_side("resnet12", image_shape, 16)
        widths = [image_shape[0], 64, 160, 320, 640]
        self.blocks = nn.ModuleList(_Residual(a, b) for a, b in pairwise(widths))
        self.features = widths[-1]

    def forward(self, image: Tensor) -> Tensor:
        """Features (N, 640)."""
        for block in self.blocks:
            image = block(image)
        return image.mean((-2, -1))


class _Residual(nn.Module):
    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        widths = [inputs, *[outputs] * 3]
        self.convolutions = nn.ModuleList(nn.Conv2d(a, b, 3, padding=1, bias=False) for a, b in pairwise(widths))
        self.norms = nn.ModuleList(nn.BatchNorm2d(outputs) for _ in range(3))
        self.shortcut, self.shortcut_norm = nn.Conv2d(inputs, outputs, 1, bias=False), nn.BatchNorm2d(outputs)

    def forward(self, image: Tensor) -> Tensor:
        found = image
        for number, (convolution, norm) in enumerate(zip(self.convolutions, self.norms, strict=True)):
            found = norm(convolution(found))
            if number < 2:
                found = functional.leaky_relu(found, 0.1)
        total = found + self.shortcut_norm(self.shortcut(image))
        return functional.max_pool2d(functional.leaky_relu(total, 0.1), 2)


def check_side(name: str, image_shape: tuple[int, int, int], least: int) -> None:
    """Refuse images that are too small.

    Raises:
        UsageError: a side has fewer than `least` pixels.
    """
    if min(image_shape[1:]) < least:
        height, width = image_shape[1:]
        raise UsageError(f"front end {name!r} takes images of at least {least}×{least} pixels, not {height}×{width}")


def checked_image_shape(given: Sequence[int] | None, observation_size: int) -> tuple[int, ...] | None:
    """A shape (H, W) or (C, H, W) as a tuple, or None.

    Raises:
        UsageError: it is not of this form, or an observation does not hold such an image.
    """
    if given is None:
        return None
    given = tuple(map(plain, given)) if isinstance(given, list | tuple) else given
    allowed = isinstance(given, list | tuple) and len(given) in (2, 3) and all(type(size) is int for size in given)
    if not allowed or min(given) < 1 or math.prod(given) > observation_size:
        raise UsageError(
            f"image_shape={given!r} must be (H, W) or (C, H, W), of no more than the observation's {observation_size} "
            "numbers"
        )
    return tuple(given)


def make_front_end(spec: str, image_shape: tuple[int, ...] | None, seed: int) -> FrontEnd:
    """A front end by name, with weights as torch draws them, from a seed.

    Args:
        spec: a name of `FRONT_ENDS` or `module:Name`, with options as in "conv4,channels=32".
        image_shape: (H, W) or (C, H, W); None if the observation begins with no image.
        seed: of the weights.

    Raises:
        UsageError: there is no image, it is too small, the name is unknown, or what it stands for has no `features`,
            or makes others of an image.
    """
    if image_shape is None:
        raise UsageError(
            f"front_end={spec} needs observations that begin with an image: a slice named 'image', or image_shape"
        )
    whole: Any = (1, *image_shape) if len(image_shape) == 2 else image_shape
    name, options = parse_spec(spec)
    make = FRONT_ENDS.load_class(name, nn.Module)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        made: FrontEnd = construct_module("front end", name, make, {"image_shape": whole, **options})
    check_int(f"features of front end {name!r}", getattr(made, "features", None), low=1)
    made.image_shape = whole
    with torch.no_grad():
        shape = tuple(made.eval()(torch.zeros(1, *whole)).shape)
    if shape != (1, made.features):
        raise UsageError(
            f"front end {name!r} says features={made.features}, and makes {shape} of an image: it must be "
            f"(1, {made.features})"
        )
    return made.train()


def perceived_size(observation_size: int, spec: str, image_shape: tuple[int, ...] | None) -> int:
    """How many numbers are left of an observation when its image is replaced by features.

    Raises:
        UsageError: as `make_front_end`.
    """
    front_end = make_front_end(spec, image_shape, seed=0)
    return observation_size - math.prod(front_end.image_shape) + front_end.features
