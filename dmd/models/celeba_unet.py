"""The small network of the talk's CelebA model: 426,691 parameters, 64,000 of them a fixed table of times.

This file travels with the weights and needs diffusers alone. Three levels of 16, 32 and 64 channels, one block
each, self-attention at the lowest and in the middle. Its quirks are kept, since they are the model: a block adds the
time to its input in place, so that skip connections see it; blocks have no shortcut; the attention's norm is not used;
the cosines of the time table go on from the sines' last frequency.
"""

import torch
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from diffusers.models.unets.unet_2d import UNet2DOutput
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention, silu

GROUPS = 8
LEVELS = 3


class CelebAUNet(ModelMixin, ConfigMixin):
    """Epsilon, or whatever it is trained to predict, at (x_t, t); unconditional."""

    @register_to_config
    def __init__(
        self,
        sample_size: int = 32,
        in_channels: int = 3,
        out_channels: int = 3,
        num_class_embeds: int | None = None,
        width: int = 16,
        time_width: int = 64,
        num_train_timesteps: int = 1000,
    ) -> None:
        """Build the layers.

        Args:
            sample_size: height and width; a multiple of 4.
            in_channels: of the images.
            out_channels: of what is predicted.
            num_class_embeds: none; it has no classes.
            width: channels at full resolution, a multiple of 8.
            time_width: of the time table.
            num_train_timesteps: T, rows of the time table.

        Raises:
            ValueError: classes are asked for, or the size cannot be halved twice.
        """
        super().__init__()
        if num_class_embeds is not None:
            raise ValueError("this network has no classes; set dataset.num_classes to null")
        if sample_size % 2 ** (LEVELS - 1):
            raise ValueError(f"sample_size {sample_size} must be a multiple of 4")
        low, mid, high = width, 2 * width, 4 * width
        self.time_embed = nn.Embedding.from_pretrained(time_table(num_train_timesteps, time_width), freeze=True)
        self.conv1 = nn.Conv2d(in_channels, low, 3, padding=1)
        self.down = _levels_down(low, mid, high, time_width)
        self.middle = Middle(high, time_width)
        self.up = _levels_up(low, mid, high, time_width)
        self.norm = nn.GroupNorm(GROUPS, low)
        self.last = nn.Conv2d(low, out_channels, 3, padding=1)

    def forward(
        self, sample: Tensor, timestep: Tensor | int, class_labels: Tensor | None = None, return_dict: bool = True
    ) -> UNet2DOutput | tuple[Tensor]:
        """The prediction [B, C, H, W] at `sample` x_t and timesteps 0 … T-1.

        Raises:
            ValueError: there are labels.
        """
        if class_labels is not None:
            raise ValueError("this network has no classes; leave class_labels away")
        steps = torch.as_tensor(timestep, device=sample.device).long().expand(sample.shape[0])
        time = silu(self.time_embed(steps).to(sample.dtype))
        h = self.conv1(sample)
        skips = [h]
        for layer in self.down:
            if isinstance(layer, DownBlock):
                skips[-1] = layer.res.add_time(h, time)
                h = layer(skips[-1])
            else:
                h = layer(h)
            skips.append(h)
        skips[-1] = self.middle.res1.add_time(h, time)
        h = self.middle(skips[-1], time)
        for layer in self.up:
            h = layer(torch.cat([h, skips.pop()], dim=1), time) if isinstance(layer, UpBlock) else layer(h)
        output = self.last(silu(self.norm(h)))
        return UNet2DOutput(sample=output) if return_dict else (output,)


def time_table(num_train_timesteps: int, width: int) -> Tensor:
    """[T, D]: sin(t f_i) for i < D / 2 and cos(t f_i) for the others, f_i = 10000^(-2 i / D)."""
    columns = torch.arange(width).double()
    angles = torch.arange(num_train_timesteps).double()[:, None] * 10000 ** (-2 * columns / width)
    return torch.where(columns < width // 2, angles.sin(), angles.cos()).float()


class Block(nn.Module):
    """Norm, x·sigmoid(x) and a convolution of an input that already has the time added."""

    def __init__(self, channels: int, width: int, time_width: int) -> None:
        super().__init__()
        self.norm1 = nn.GroupNorm(GROUPS, channels)
        self.conv1 = nn.Conv2d(channels, width, 3, padding=1)
        self.time_fc = nn.Linear(time_width, channels)

    def add_time(self, x: Tensor, time: Tensor) -> Tensor:
        """x [B, channels, H, W] plus the projected time [B, D]."""
        return x + self.time_fc(time)[:, :, None, None]

    def forward(self, x: Tensor) -> Tensor:
        """[B, channels, H, W] to [B, width, H, W]."""
        return self.conv1(silu(self.norm1(x)))


class Attention(nn.Module):
    """Single-head self-attention of all pixels, with a shortcut; `norm` is in the checkpoint and unused."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(GROUPS, width)
        self.norm.requires_grad_(False)
        self.fc = nn.Linear(width, 3 * width)
        self.last_fc = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """[B, width, H, W] to the same."""
        parts = self.fc(x.flatten(2).transpose(1, 2)).unsqueeze(1).chunk(3, dim=-1)  # one head: ONNX wants its axis
        mixed = scaled_dot_product_attention(*parts).squeeze(1)
        return x + self.last_fc(mixed).transpose(1, 2).reshape(x.shape)


class DownBlock(nn.Module):
    """A block, and attention where it `attends`."""

    def __init__(self, channels: int, width: int, time_width: int, attends: bool = False) -> None:
        super().__init__()
        self.res = Block(channels, width, time_width)
        if attends:
            self.attn = Attention(width)
        self.attends = attends

    def forward(self, x: Tensor) -> Tensor:
        """From an input with the time added."""
        h = self.res(x)
        return self.attn(h) if self.attends else h


class Middle(nn.Module):
    """Block, attention, block."""

    def __init__(self, width: int, time_width: int) -> None:
        super().__init__()
        self.res1, self.attn = Block(width, width, time_width), Attention(width)
        self.res2 = Block(width, width, time_width)

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        """From an input with the first block's time added."""
        return self.res2(self.res2.add_time(self.attn(self.res1(x)), time))


class UpBlock(nn.Module):
    """A block that adds its own time, and attention where it `attends`."""

    def __init__(self, channels: int, width: int, time_width: int, attends: bool = False) -> None:
        super().__init__()
        self.res_blk = Block(channels, width, time_width)
        if attends:
            self.attn = Attention(width)
        self.attends = attends

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        """From the input beside its skip connection."""
        h = self.res_blk(self.res_blk.add_time(x, time))
        return self.attn(h) if self.attends else h


def _levels_down(low: int, mid: int, high: int, time_width: int) -> nn.ModuleList:
    """Blocks of the three levels, with convolutions of stride 2 between."""
    return nn.ModuleList(
        [
            DownBlock(low, low, time_width),
            nn.Conv2d(low, low, 3, 2, 1),
            DownBlock(low, mid, time_width),
            nn.Conv2d(mid, mid, 3, 2, 1),
            DownBlock(mid, high, time_width, attends=True),
        ]
    )


def _levels_up(low: int, mid: int, high: int, time_width: int) -> nn.ModuleList:
    """Two blocks a level, each beside a skip connection, with transposed convolutions between."""
    return nn.ModuleList(
        [
            UpBlock(2 * high, high, time_width, attends=True),
            UpBlock(high + mid, mid, time_width, attends=True),
            nn.ConvTranspose2d(mid, mid, 4, 2, 1),
            UpBlock(2 * mid, mid, time_width),
            UpBlock(mid + low, low, time_width),
            nn.ConvTranspose2d(low, low, 4, 2, 1),
            UpBlock(2 * low, low, time_width),
            UpBlock(2 * low, low, time_width),
        ]
    )
