"""The published weights that jsep is known to load: tags by the name of a network in timm and in torchvision.

Others of these networks load as well; the tables help to find a name and to correct a mistyped one.
"""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from jsep.models import list_models, model_info

# the tags of timm 1.0.31 that are on Hugging Face's hub and have a classifier
TIMM = {
    "mobilenetv1_100": "ra4_e3600_r224_in1k",
    "mobilenetv1_125": "ra4_e3600_r224_in1k",
    "mobilenetv2_050": "lamb_in1k",
    "mobilenetv2_100": "ra_in1k",
    "mobilenetv2_140": "ra_in1k",
    "mobilenetv3_large_100": "ra_in1k ra4_e3600_r224_in1k miil_in21k_ft_in1k miil_in21k",
    "mobilenetv3_small_050": "lamb_in1k",
    "mobilenetv3_small_075": "lamb_in1k",
    "mobilenetv3_small_100": "lamb_in1k",
    "tf_mobilenetv3_large_075": "in1k",
    "tf_mobilenetv3_large_100": "in1k",
    "tf_mobilenetv3_small_075": "in1k",
    "tf_mobilenetv3_small_100": "in1k",
    "mixnet_s": "ft_in1k",
    "mixnet_m": "ft_in1k",
    "mixnet_l": "ft_in1k",
    "tf_mixnet_s": "in1k",
    "tf_mixnet_m": "in1k",
    "tf_mixnet_l": "in1k",
    "resnet18": "a1_in1k a2_in1k a3_in1k fb_ssl_yfcc100m_ft_in1k fb_swsl_ig1b_ft_in1k gluon_in1k tv_in1k",
    "resnet34": "a1_in1k a2_in1k a3_in1k bt_in1k gluon_in1k ra4_e3600_r224_in1k tv_in1k",
    "resnet50": "a1_in1k a1h_in1k a2_in1k a3_in1k am_in1k b1k_in1k b2k_in1k bt_in1k c1_in1k c2_in1k d_in1k "
    "fb_ssl_yfcc100m_ft_in1k fb_swsl_ig1b_ft_in1k gluon_in1k ra_in1k ram_in1k tv2_in1k tv_in1k",
    "resnet101": "a1_in1k a1h_in1k a2_in1k a3_in1k gluon_in1k tv2_in1k tv_in1k",
    "resnet152": "a1_in1k a1h_in1k a2_in1k a3_in1k gluon_in1k tv2_in1k tv_in1k",
    "seresnet50": "a1_in1k a2_in1k a3_in1k ra2_in1k",
    "inception_v3": "gluon_in1k tf_adv_in1k tf_in1k tv_in1k",
}
TORCHVISION = {
    "mobilenet_v2": "IMAGENET1K_V1 IMAGENET1K_V2",
    "mobilenet_v3_large": "IMAGENET1K_V1 IMAGENET1K_V2",
    "mobilenet_v3_small": "IMAGENET1K_V1",
    "resnet18": "IMAGENET1K_V1",
    "resnet34": "IMAGENET1K_V1",
    "resnet50": "IMAGENET1K_V1 IMAGENET1K_V2",
    "resnet101": "IMAGENET1K_V1 IMAGENET1K_V2",
    "resnet152": "IMAGENET1K_V1 IMAGENET1K_V2",
    "shufflenet_v2_x0_5": "IMAGENET1K_V1",
    "shufflenet_v2_x1_0": "IMAGENET1K_V1",
    "shufflenet_v2_x1_5": "IMAGENET1K_V1",
    "shufflenet_v2_x2_0": "IMAGENET1K_V1",
    "inception_v3": "IMAGENET1K_V1",
    "ssdlite320_mobilenet_v3_large": "COCO_V1",
    "ssd300_vgg16": "COCO_V1",
    "retinanet_resnet50_fpn": "COCO_V1",
    "retinanet_resnet50_fpn_v2": "COCO_V1",
    "lraspp_mobilenet_v3_large": "COCO_WITH_VOC_LABELS_V1",
    "deeplabv3_resnet50": "COCO_WITH_VOC_LABELS_V1",
    "deeplabv3_mobilenet_v3_large": "COCO_WITH_VOC_LABELS_V1",
    "fcn_resnet50": "COCO_WITH_VOC_LABELS_V1",
}
# options that weights of a tag need besides those of the network: torchvision sets this epsilon when it loads them
OPTIONS: dict[str, dict[str, Any]] = {"retinanet_resnet50_fpn.COCO_V1": {"zero_epsilon": True}}


class Tagged(NamedTuple):
    """Published weights of a network.

    Attributes:
        model: registered name of the network.
        options: options that make it that of the weights.
        name: name of the weights, such as timm/resnet50.a1_in1k.
    """

    model: str
    options: Mapping[str, Any]
    name: str


def known_weights(pattern: str = "*") -> Iterator[Tagged]:
    """Yield the published weights of the networks that match a shell wildcard.

    >>> [found.name for found in known_weights("mobilenet_v3_small")][:2]
    ['torchvision/mobilenet_v3_small.IMAGENET1K_V1', 'timm/mobilenetv3_small_100.lamb_in1k']
    """
    tables = {"timm": TIMM, "torchvision": TORCHVISION}
    for model in list_models(pattern):
        for reference, options in model_info(model).references.items():
            package, _, name = reference.partition(":")
            for tag in tables.get(package, {}).get(name, "").split():
                tagged = f"{name}.{tag}"
                yield Tagged(model, {**options, **OPTIONS.get(tagged, {})}, f"{package}/{tagged}")
