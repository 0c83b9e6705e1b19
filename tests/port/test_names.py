"""Names of layers, and the options that they do not show."""

import re
import typing

import jax
import numpy as np
import pytest

from jsep.errors import UserError
from jsep.models import create_model, list_models, model_info
from jsep.port.names import SILENT, layouts
from jsep.trees import flatten

FAMILIES = {
    "resnet20": {"depth": 8},
    "resnet164": {"depth": 11},
    "preresnet110": {"depth": 8},
    "densenet100_k12_bc": {"depth": 10},
    "pyramidnet110_a48": {"depth": 8},
    "mobilenet_v1": {},
    "mobilenet_v2": {},
    "mobilenet_v3_small": {},
    "mixnet_s": {},
    "shufflenet_v2_x0_5": {},
    "dicenet_x0_2": {},
    "resnet18": {},
    "ssdlite320": {},
    "retinanet": {"backbone": "resnet18"},
    "inception_v3": {},
    "xception": {},
}


def test_options_that_shapes_do_not_show_follow_from_the_layout():
    """Weights without a name are taken for those of the first reference of their package."""
    for name in list_models():
        first: dict[str, dict] = {}
        for reference, options in model_info(name).references.items():
            first.setdefault(reference.partition(":")[0], dict(options))
        for package, options in first.items():
            (layout,) = [one for one in layouts(create_model(name, **options)) if package in one.source]
            silent = {key: value for key, value in options.items() if key in SILENT}
            assert silent.items() <= layout.implies.items(), (name, package)


@pytest.mark.slow
@pytest.mark.parametrize("name", FAMILIES)
def test_every_choice_that_shapes_do_not_show_is_known(name):
    """An option that changes what is computed, but no name and no shape, is one that `jsep port` settles or names."""
    image = jax.ShapeDtypeStruct((1, 96, 96, 3), np.float32)

    def traced(**options):
        """Return the shapes of the arrays, and the program."""
        model = create_model(name, **{**FAMILIES[name], **options})
        program, made = jax.make_jaxpr(model.init_with_output, return_shape=True)(jax.random.key(0), image)
        return {path: leaf.shape for path, leaf in flatten(made[1]).items()}, re.sub("0x[0-9a-f]+", "", str(program))

    assert layouts(create_model(name, **FAMILIES[name]))
    shapes, program = traced()
    for option, kind in model_info(name).options.items():
        choices = typing.get_args(kind) if typing.get_origin(kind) is typing.Literal else ()
        for value in (True, False) if kind is bool else choices:
            try:
                others, another = traced(**{option: value})
            except UserError:  # the options do not go together
                continue
            assert option in SILENT or others != shapes or another == program, option
