"""EfficientNet-Lite0 as a feature net: ImageNet features that can be had from a package registry.

Tan & Le 2019, arXiv 1905.11946, in the Lite variant: no squeeze-and-excitation, ReLU6. The network is timm's
`tf_efficientnet_lite0`, which pads as TensorFlow does; the weights are those that `fetch` brings.
"""

import timm
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from torch.nn import functional

from dmd.features.channels import three_channels
from dmd.types import Features, Images

SIZE = 224


class EfficientNetLite0(ModelMixin, ConfigMixin):
    """1280 features: the network's last layer, averaged over the image."""

    @register_to_config
    def __init__(self) -> None:
        """Build the layers, without the classifier."""
        super().__init__()
        self.body = timm.create_model("tf_efficientnet_lite0", pretrained=False, num_classes=0)

    def forward(self, images: Images) -> tuple[Features, None]:
        """Features [B, 1280] of images in [-1, 1] with 1 or 3 channels; it knows no classes of the dataset.

        Images are resized to 224 × 224, bilinearly without anti-aliasing; the network sees (pixel - 127) / 128.

        Raises:
            ValueError: neither 1 nor 3 channels.
        """
        x = functional.interpolate(three_channels(images), (SIZE, SIZE), mode="bilinear", align_corners=False)
        return self.body(((x + 1) * 127.5 - 127) / 128), None
