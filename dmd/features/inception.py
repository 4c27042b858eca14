"""FID's Inception network as a feature net, with the resizing and the weights of the original.

Szegedy et al. 2015, arXiv 1512.00567, in the variant of 2015-12-05 that FID was defined with (Heusel et al. 2017). The
blocks, and the resizing that imitates TensorFlow 1's, are torch-fidelity's; so `fid` here is FID as torch-fidelity
defines it. clean-fid resizes otherwise (bicubic, anti-aliased): its numbers differ.
"""

from collections import OrderedDict

from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from torch import nn
from torch_fidelity import feature_extractor_inceptionv3 as blocks
from torch_fidelity.interpolate_compat_tensorflow import interpolate_bilinear_2d_like_tensorflow1x

from dmd.features.channels import three_channels
from dmd.types import Features, Images

SIZE = 299


class InceptionV3(ModelMixin, ConfigMixin):
    """2048 features: the last average pooling. Layers have the names that the weights' file gives them."""

    @register_to_config
    def __init__(self) -> None:
        """Build the layers, without the classifier."""
        super().__init__()
        layers = OrderedDict(
            Conv2d_1a_3x3=blocks.BasicConv2d(3, 32, kernel_size=3, stride=2),
            Conv2d_2a_3x3=blocks.BasicConv2d(32, 32, kernel_size=3),
            Conv2d_2b_3x3=blocks.BasicConv2d(32, 64, kernel_size=3, padding=1),
            MaxPool_1=nn.MaxPool2d(kernel_size=3, stride=2),
            Conv2d_3b_1x1=blocks.BasicConv2d(64, 80, kernel_size=1),
            Conv2d_4a_3x3=blocks.BasicConv2d(80, 192, kernel_size=3),
            MaxPool_2=nn.MaxPool2d(kernel_size=3, stride=2),
            Mixed_5b=blocks.InceptionA(192, pool_features=32),
            Mixed_5c=blocks.InceptionA(256, pool_features=64),
            Mixed_5d=blocks.InceptionA(288, pool_features=64),
            Mixed_6a=blocks.InceptionB(288),
            Mixed_6b=blocks.InceptionC(768, channels_7x7=128),
            Mixed_6c=blocks.InceptionC(768, channels_7x7=160),
            Mixed_6d=blocks.InceptionC(768, channels_7x7=160),
            Mixed_6e=blocks.InceptionC(768, channels_7x7=192),
            Mixed_7a=blocks.InceptionD(768),
            Mixed_7b=blocks.InceptionE_1(1280),
            Mixed_7c=blocks.InceptionE_2(2048),
            AvgPool=nn.AdaptiveAvgPool2d(output_size=(1, 1)),
        )
        self.body = nn.Sequential(layers)

    def forward(self, images: Images) -> tuple[Features, None]:
        """Features [B, 2048] of images in [-1, 1] with 1 or 3 channels; it knows no classes of the dataset.

        Images are rounded to 0 … 255, as in a picture file, and resized to 299 × 299 as TensorFlow 1 does; the network
        sees (pixel - 128) / 128.

        Raises:
            ValueError: neither 1 nor 3 channels.
        """
        pixels = ((three_channels(images) + 1) * 127.5).round().clamp(0, 255)
        x = interpolate_bilinear_2d_like_tensorflow1x(pixels, size=(SIZE, SIZE), align_corners=False)
        return self.body((x - 128) / 128).flatten(1), None
