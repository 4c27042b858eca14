"""LeNet: the feature net of small grey images."""

from collections.abc import Sequence

from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from torch import nn

from dmd.types import Features, Images, Logits


class LeNet(ModelMixin, ConfigMixin):
    """Two 5x5 convolutions with pooling, then two linear layers: LeCun et al. 1998, with ReLU and max pooling.

    28x28 → 24x24 → 12x12 → 8x8 → 4x4 → `feature_dim` → `num_classes`. The features are the penultimate layer after its
    ReLU. The net was trained on MNIST's training split by `tools/train_feature_net.py`.
    """

    @register_to_config
    def __init__(
        self,
        in_channels: int = 1,
        image_size: int = 28,
        block_out_channels: Sequence[int] = (20, 50),
        feature_dim: int = 128,
        num_classes: int = 10,
        dropout: float = 0.0,
    ) -> None:
        """Build the layers; `image_size` is the height and width of the images, `dropout` acts on the features.

        Raises:
            ValueError: `image_size` cannot pass two convolutions and two poolings without a remainder.
        """
        super().__init__()
        if image_size < 16 or image_size % 4:
            raise ValueError(f"image_size {image_size} of LeNet must be a multiple of 4, at least 16")
        first, second = block_out_channels
        side = ((image_size - 4) // 2 - 4) // 2
        self.body = nn.Sequential(
            nn.Conv2d(in_channels, first, 5),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(first, second, 5),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Flatten(),
            nn.Linear(second * side * side, feature_dim),
            nn.ReLU(),
        )
        self.head = nn.Sequential(nn.Dropout(dropout), nn.Linear(feature_dim, num_classes))

    def forward(self, images: Images) -> tuple[Features, Logits]:
        """Features [B, D] and logits [B, K] of images in [-1, 1].

        Raises:
            ValueError: the images have another number of channels or another size than the net was built for.
        """
        expected = (self.config["in_channels"], self.config["image_size"], self.config["image_size"])
        if tuple(images.shape[1:]) != expected:
            raise ValueError(f"LeNet takes images of shape {expected}, got {tuple(images.shape[1:])}")
        features = self.body(images)
        return features, self.head(features)
