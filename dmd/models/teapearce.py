"""The conditional network of TeaPearce/Conditional_Diffusion_MNIST, for images in [-1, 1].

This file travels with the weights and needs diffusers alone. The layers carry the names of the published checkpoint.

The public network was trained on images y0 in [0, 1] with `y_s = a_s y0 + b_s eps`, s = 1 … T, a² + b² = 1. With
x0 = 2 y0 - 1 that is `2 y_s - a_s = a_s x0 + 2 b_s eps`: twice the noise for the same signal. Divided by
`n_s = sqrt(a_s² + 4 b_s²)` it is variance preserving again:

    x_t = (2 y_s - a_s) / n_s = alpha_t x0 + sigma_t eps,   alpha_t = a_s / n_s,   sigma_t = 2 b_s / n_s,   s = t + 1.

The noise eps is the same in both, so the network's output stays: `eps(x_t, t) = F((n_s x_t + a_s) / 2, s / T)`.
"""

import torch
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from diffusers.models.unets.unet_2d import UNet2DOutput
from torch import Tensor, nn

GROUPS = 8
SIDE = 28
POOL = 7


class TeaPearceUNet(ModelMixin, ConfigMixin):
    """Epsilon at (x_t, t, label), x_t of the schedule `trained_betas`; 6,585,601 parameters at width 128.

    Label K (the last of `num_class_embeds`) means none: guidance's null class.
    """

    @register_to_config
    def __init__(
        self,
        sample_size: int = SIDE,
        in_channels: int = 1,
        out_channels: int = 1,
        num_class_embeds: int = 11,
        width: int = 128,
        num_train_timesteps: int = 400,
        beta_start: float = 1e-4,
        beta_end: float = 2e-2,
    ) -> None:
        """Build the layers.

        Args:
            sample_size: height and width; 28, as the pooling asks for.
            in_channels: of the images.
            out_channels: the same.
            num_class_embeds: classes and the null class.
            width: F, a multiple of 8.
            num_train_timesteps: T.
            beta_start: beta of s = 0, which the public code counts though it never draws s = 0.
            beta_end: beta of s = T.

        Raises:
            ValueError: the size is not 28, or the channels in and out differ.
        """
        super().__init__()
        if sample_size != SIDE:
            raise ValueError(f"sample_size {sample_size}: this network takes 28 by 28 images; set dataset.image_shape")
        if in_channels != out_channels:
            raise ValueError(f"out_channels {out_channels} must equal in_channels {in_channels}")
        self.nn_model = ContextUnet(in_channels, width, num_class_embeds - 1)
        for name, table in schedule_tables(num_train_timesteps, beta_start, beta_end).items():
            self.register_buffer(name, table.float())

    def forward(
        self, sample: Tensor, timestep: Tensor | int, class_labels: Tensor | None = None, return_dict: bool = True
    ) -> UNet2DOutput | tuple[Tensor]:
        """Epsilon [B, C, 28, 28] at `sample` x_t, timesteps 0 … T-1 and labels 0 … K, K for none.

        Raises:
            ValueError: there are no labels.
        """
        if class_labels is None:
            raise ValueError("this network needs class_labels; the last class means none")
        steps = torch.as_tensor(timestep, device=sample.device).long().expand(sample.shape[0]) + 1
        signal, noise = (table[steps].to(sample.dtype)[:, None, None, None] for table in (self.sqrtab, self.sqrtmab))
        y = ((signal.square() + 4 * noise.square()).sqrt() * sample + signal) / 2
        time = steps.to(sample.dtype) / self.config["num_train_timesteps"]
        output = self.nn_model(y, self._context(class_labels, sample.dtype), time)
        return UNet2DOutput(sample=output) if return_dict else (output,)

    def _context(self, labels: Tensor, dtype: torch.dtype) -> Tensor:
        """-1 at a label's class and 0 elsewhere; all 0 for the null class: the public code's sign."""
        classes = self.config["num_class_embeds"] - 1
        return -nn.functional.one_hot(labels, classes + 1)[:, :classes].to(dtype)


def schedule_tables(num_train_timesteps: int, beta_start: float, beta_end: float) -> dict[str, Tensor]:
    """The seven float64 tables [T + 1] of the public checkpoint, by its names; index s = 0 … T, betas linear in s."""
    beta = beta_start + (beta_end - beta_start) * torch.arange(num_train_timesteps + 1).double() / num_train_timesteps
    alpha_bar = torch.cumsum((1 - beta).log(), 0).exp()
    return {
        "alpha_t": 1 - beta,
        "oneover_sqrta": (1 - beta).rsqrt(),
        "sqrt_beta_t": beta.sqrt(),
        "alphabar_t": alpha_bar,
        "sqrtab": alpha_bar.sqrt(),
        "sqrtmab": (1 - alpha_bar).sqrt(),
        "mab_over_sqrtmab": beta / (1 - alpha_bar).sqrt(),
    }


def trained_betas(num_train_timesteps: int, beta_start: float, beta_end: float) -> list[float]:
    """Betas [T] of the schedule of images in [-1, 1]: alpha_t² = A / (4 - 3 A), A the public alpha-bar at s = t + 1."""
    public = schedule_tables(num_train_timesteps, beta_start, beta_end)["alphabar_t"][1:]
    alpha_bar = public / (4 - 3 * public)
    return (1 - alpha_bar / torch.cat([torch.ones(1).double(), alpha_bar[:-1]])).tolist()


class ContextUnet(nn.Module):
    """Two levels down to a vector and two up again; the label scales, the time is added: c · h + t."""

    def __init__(self, channels: int, width: int, classes: int) -> None:
        """F is `width`: F channels, then 2F."""
        super().__init__()
        self.init_conv = ConvBlock(channels, width, residual=True)
        self.down1 = Down(width, width)
        self.down2 = Down(width, 2 * width)
        self.timeembed1, self.timeembed2 = Embedding(1, 2 * width), Embedding(1, width)
        self.contextembed1, self.contextembed2 = Embedding(classes, 2 * width), Embedding(classes, width)
        self.up0 = nn.Sequential(
            nn.ConvTranspose2d(2 * width, 2 * width, POOL, POOL), nn.GroupNorm(GROUPS, 2 * width), nn.ReLU()
        )
        self.up1, self.up2 = Up(4 * width, width), Up(2 * width, width)
        self.out = nn.Sequential(
            nn.Conv2d(2 * width, width, 3, padding=1),
            nn.GroupNorm(GROUPS, width),
            nn.ReLU(),
            nn.Conv2d(width, channels, 3, padding=1),
        )

    def forward(self, y: Tensor, context: Tensor, time: Tensor) -> Tensor:
        """Epsilon at noisy images y [B, C, 28, 28], contexts [B, K] and times in (0, 1], [B]."""
        first = self.init_conv(y)
        half = self.down1(first)
        quarter = self.down2(half)
        h = self.up0(nn.functional.gelu(nn.functional.avg_pool2d(quarter, POOL)))
        h = self.up1(self.contextembed1(context) * h + self.timeembed1(time[:, None]), quarter)
        h = self.up2(self.contextembed2(context) * h + self.timeembed2(time[:, None]), half)
        return self.out(torch.cat([h, first], dim=1))


class ConvBlock(nn.Module):
    """Two convolutions with BatchNorm and GELU; a residual block adds their outputs and divides by 1.414 (sic)."""

    def __init__(self, channels: int, width: int, residual: bool = False) -> None:
        super().__init__()
        self.residual = residual
        self.conv1, self.conv2 = _convolution(channels, width), _convolution(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """[B, channels, H, W] to [B, width, H, W]."""
        first = self.conv1(x)
        second = self.conv2(first)
        return (first + second) / 1.414 if self.residual else second


class Down(nn.Module):
    """A block, then half the height and width."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.model = nn.Sequential(ConvBlock(channels, width), nn.MaxPool2d(2))

    def forward(self, x: Tensor) -> Tensor:
        """[B, channels, H, W] to [B, width, H / 2, W / 2]."""
        return self.model(x)


class Up(nn.Module):
    """Twice the height and width of the input beside its skip connection, then two blocks."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        upsample = nn.ConvTranspose2d(channels, width, 2, 2)
        self.model = nn.Sequential(upsample, ConvBlock(width, width), ConvBlock(width, width))

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        """Both [B, channels / 2, H, W], to [B, width, 2 H, 2 W]."""
        return self.model(torch.cat([x, skip], dim=1))


class Embedding(nn.Module):
    """Two linear layers with a GELU between, as a feature map of one pixel."""

    def __init__(self, inputs: int, width: int) -> None:
        super().__init__()
        self.model = nn.Sequential(nn.Linear(inputs, width), nn.GELU(), nn.Linear(width, width))

    def forward(self, x: Tensor) -> Tensor:
        """[B, inputs] to [B, width, 1, 1]."""
        return self.model(x)[:, :, None, None]


def _convolution(channels: int, width: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(channels, width, 3, padding=1), nn.BatchNorm2d(width), nn.GELU())
