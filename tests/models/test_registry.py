"""Every registered name: exact counts, logits, features, options; and errors that help."""

import csv
import functools
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jsep import create_model, list_models, model_info
from jsep.costs import count
from jsep.errors import UserError
from jsep.models import CIFAR10, parse_options, register
from jsep.models.earlier_options import modern_options

ZOO = Path(__file__).parents[3] / "shared" / "zoo.csv"


# a small one of each family; tracing all of them takes minutes
EVERYDAY = {
    "addressnet20",
    "antnet_g2",
    "densenet40_k12",
    "dicenet_x0_2",
    "dicenet_segmentation_x0_5",
    "keras_separable_cnn",
    "lraspp",
    "mixnet_s",
    "mobilenet_v1_shallow",
    "mobilenet_v2_050",
    "mobilenet_v3_small",
    "resnet18_wksc4",
    "resnet20",
    "shufflenet_v2_x0_5",
    "ssdlite320",
    "vgg16_wksc_ds4",
}
# of these, the ones that are traced in a second
LIGHT = EVERYDAY - {"antnet_g2", "densenet40_k12", "dicenet_x0_2", "mixnet_s"}


def later(*values):
    """A row of a table that only `make test-all` runs."""
    return pytest.param(*values, marks=pytest.mark.slow)


CLASSIFIERS = list_models(task="classification")
ALL = [name if name in EVERYDAY else later(name) for name in list_models()]


@pytest.mark.parametrize("name", ALL)
def test_the_counts_of_a_row_are_exact(name):
    info = model_info(name)
    table = count(create_model(name), info.input_shape)
    assert (table.params, table.macs) == (info.params, info.macs)
    assert table.unknown == ()


def test_counts_are_those_of_the_reference_table():
    """MACs in the table that end with three or more zeros are rounded, and compared to that precision."""
    if not ZOO.is_file():
        pytest.skip(f"{ZOO.name} is not beside the project")
    with ZOO.open() as file:
        rows = {row["name"]: row for row in csv.DictReader(file)}
    for name in list_models(task="classification"):
        row, info = rows[name], model_info(name)
        assert info.macs is not None
        assert row["params"] in ("", str(info.params)), name
        zeros = len(row["macs"]) - len(row["macs"].rstrip("0"))
        unit = 10**zeros if zeros >= 3 else 1
        assert not row["macs"] or abs(info.macs - int(row["macs"])) <= unit / 2, name


@pytest.mark.parametrize(
    ("separable", "dense", "printed"),
    [
        ("sresnet164", "resnet164", 53),
        ("sdensenet100_k12_bc", "densenet100_k12_bc", 75),
        ("spyramidnet164_a48", "pyramidnet164_a48", 59),
    ],
)
def test_separable_forms_have_the_printed_share_of_parameters(separable, dense, printed):
    """Ratios of sizes in millions with one decimal, as the thesis must have computed them."""
    millions = [round((model_info(name).params or 0) / 1e6, 1) for name in (separable, dense)]
    assert round(100 * millions[0] / millions[1]) == printed


@pytest.mark.parametrize("name", [name if name in LIGHT else later(name) for name in CLASSIFIERS])
def test_logits_and_features(name):
    info = model_info(name)
    model = create_model(name, num_classes=7, dtype=jnp.bfloat16)
    x = jax.ShapeDtypeStruct((2, *info.input_shape), jnp.float32)
    traced = jax.eval_shape(functools.partial(model.init_with_output, features=True), jax.random.key(0), x)
    (logits, features), variables = traced
    assert (logits.shape, logits.dtype) == ((2, 7), jnp.float32)
    strides = [stage.stride for stage in features.values()]
    assert strides == sorted(strides)
    for stage in features.values():
        # convolutions without padding shrink some maps, but never by half
        assert 0.55 < stage.maps.shape[1] * stage.stride / info.input_shape[0] <= 1.08
    assert {p.dtype for p in jax.tree.leaves(variables)} == {jnp.dtype(jnp.float32)}


BASE, READINGS = "BN-ReLU-Conv-BN-ReLU-Conv", (769_162, 568_714, 573_322)
OTHERS = (752_650, 552_202, 556_810)


@pytest.mark.parametrize(
    ("order", "params"),
    [
        later(BASE, READINGS),
        later("ReLU-Conv-BN-ReLU-Conv-BN", OTHERS),
        later("BN-Conv-BN-ReLU-Conv-BN", (770_314, 569_866, 574_474)),
        later("Conv-ReLU-BN-ReLU-Conv-BN", OTHERS),
        later("Conv-BN-ReLU-Conv-BN-ReLU", OTHERS),
        later("Conv-ReLU-BN-Conv-ReLU-BN", OTHERS),
    ],
)
def test_orders_of_a_dense_layer(order, params):
    for conv, expected in zip(("dense", "separable", "separable_bn"), params, strict=True):
        model = create_model("densenet100_k12_bc", order=order, conv=conv)
        assert count(model, (32, 32, 3)).params == expected


def test_an_order_is_the_sequence_in_which_a_layer_works():
    """Orders with the same parameters are different networks, at least in training, where batch norm is no identity."""
    x = jnp.asarray(np.random.default_rng(0).normal(size=(2, 8, 8, 3)), jnp.float32)

    @functools.partial(jax.jit, static_argnums=0)
    def maps_of(model, x):
        variables = model.init(jax.random.key(1), x)
        (_, stages), _ = model.apply(variables, x, train=True, features=True, mutable=["batch_stats"])
        return stages["block1"].maps[..., -12:]

    def last_maps(order):
        return maps_of(create_model("densenet100_k12_bc", depth=10, order=order), x)

    default, base, first, second = map(last_maps, ["", BASE, "ReLU-Conv-BN-ReLU-Conv-BN", "Conv-ReLU-BN-ReLU-Conv-BN"])
    assert jnp.array_equal(default, base)
    assert not jnp.allclose(base, first, atol=1e-2)
    assert not jnp.allclose(first, second, atol=1e-2)


@pytest.mark.parametrize("order", ["BN-ReLU-Conv", "Conv-Conv-Conv", "Conv-GELU-Conv", "Conv Conv"])
def test_an_impossible_order_says_what_is_possible(order):
    with pytest.raises(UserError, match="it must be 2 times Conv, BN and ReLU, joined by dashes"):
        count(create_model("densenet100_k12_bc", order=order), (32, 32, 3))


@pytest.mark.parametrize(
    ("place", "params"),
    [
        later("growth", (570_490, 575_098)),
        later("mid", (584_986, 589_594)),
        later("trans", (585_677, 590_285)),
        later("block", (600_404, 605_012)),
        later("block+trans", (604_673, 609_281)),
        later("concat", (808_478, 813_086)),
    ],
)
def test_places_of_squeeze_and_excitation_in_densenet(place, params):
    for conv, expected in zip(("separable", "separable_bn"), params, strict=True):
        model = create_model("densenet100_k12_bc", attention="se", attention_at=place, conv=conv)
        assert count(model, (32, 32, 3)).params == expected


def test_squeeze_and_excitation_of_the_keras_densenet_has_no_biases():
    options = {"attention": "se", "attention_at": "block+trans", "se_bias": False, "conv": "separable"}
    assert count(create_model("densenet100_k12_bc", **options), (32, 32, 3)).params == 603_490


@pytest.mark.parametrize(("depth", "params"), [(34, 21_954_856), later(101, 49_292_328), later(152, 66_770_984)])
def test_squeeze_and_excitation_in_deeper_resnets(depth, params):
    assert count(create_model("resnet18", depth=depth, attention="se"), (224, 224, 3)).params == params


@pytest.mark.parametrize(
    ("width", "sharing", "params"), [(1.0, 2, 2_639_864), (2.0, 4, 5_251_448), later(2.0, 8, 3_668_016)]
)
def test_shared_kernels_in_mobilenet(width, sharing, params):
    model = create_model("mobilenet_v1", width=width, conv="wksc_separable", sharing=sharing)
    assert count(model, (224, 224, 3)).params == params


def test_sharing_that_does_not_divide_leaves_mobilenet_as_it_is():
    model = create_model("mobilenet_v1", conv="wksc_separable", sharing=5)
    with pytest.warns(UserWarning, match=r"sharing=5 does not divide its \d+ channels; no kernels are shared"):
        assert count(model, (224, 224, 3)).params == model_info("mobilenet_v1").params


CONVS = ("dense", "separable", "separable_bn", "separable_bn_relu", "ksc", "wksc", "wksc_separable", "dice")
SPATIAL = [
    ("resnet20", {"depth": 8}),
    later("preresnet110", {"depth": 11, "bottleneck": True}),
    ("densenet40_k12", {"depth": 7}),
    later("vgg16_bn", {"width": 0.125}),
    later("resnet18", {"width": 0.125, "input": "cifar"}),
]


@pytest.mark.parametrize(("name", "options"), SPATIAL)
def test_one_option_chooses_the_convolutions_of_every_family(name, options):
    """Count the layers of each choice. No two choices are equal, except for a ReLU, which is not a layer."""
    tables = {conv: count(create_model(name, conv=conv, **options), (32, 32, 3)) for conv in CONVS}
    assert all(not table.unknown for table in tables.values())
    assert len({(table.params, table.macs, len(table.rows)) for table in tables.values()}) == len(CONVS) - 1
    assert tables["dense"].params == count(create_model(name, **options), (32, 32, 3)).params
    assert max(table.params for table in tables.values()) == tables["dense"].params


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("resnet20", {"depth": 8}),
        ("densenet40_k12", {"depth": 7}),
        later("resnet18", {"width": 0.125, "input": "cifar"}),
        later("mobilenet_v2", {"width": 0.125, "input": "cifar"}),
    ],
)
def test_one_option_chooses_the_channel_attention_of_every_family(name, options):
    tables = {a: count(create_model(name, attention=a, **options), (32, 32, 3)) for a in ("none", "se", "eca")}
    assert tables["none"].params < tables["eca"].params < tables["se"].params
    for attention in ("se", "eca"):
        layer = {"se": "_se/reduce", "eca": "_eca/conv"}[attention]
        assert any(row.path.endswith(layer) for row in tables[attention].rows)
        assert not tables[attention].unknown


@pytest.mark.parametrize(("depth", "added"), [(20, 27), (32, 45), (44, 63), (56, 81)])
def test_efficient_channel_attention_costs_three_numbers_a_block_for_32x32_images(depth, added):
    """At 16, 32 and 64 channels the formula gives a kernel of 3: arXiv 1910.03151, section 3.2."""
    name = f"resnet{depth}"
    assert count(create_model(name, attention="eca"), (32, 32, 3)).params == model_info(name).params + added


@pytest.mark.parametrize(
    ("width", "groups", "params"), [later(0.35, 2, 1_660_272), later(0.75, 2, 2_549_624), (1.4, 1, 6_740_185)]
)
def test_widths_of_antnet(width, groups, params):
    assert count(create_model("antnet_g1", width=width, groups=groups), (224, 224, 3)).params == params


# as timm's builder has them
@pytest.mark.parametrize(
    ("size", "width", "params"),
    [
        ("small", 0.35, 1_358_808),
        ("small", 0.5, 1_593_224),
        ("small", 0.6, 1_736_336),
        later("small", 0.7, 1_888_848),
        later("small", 0.9, 2_360_312),
        later("large", 0.35, 2_132_216),
        later("large", 0.5, 2_689_904),
        ("large", 0.6, 3_097_016),
        later("large", 0.7, 3_652_352),
        later("large", 0.9, 4_876_032),
    ],
)
def test_narrow_mobilenet_v3(size, width, params):
    """The head is scaled, then rounded; the stem keeps its 16 features below three quarters of the width."""
    model = create_model("mobilenet_v3_large", size=size, width=width)
    assert count(model, (64, 64, 3)).params == params


@pytest.mark.parametrize(
    ("size", "params", "macs"), [later("large", 3_993_528, 154_560_624), ("small", 2_041_872, 43_399_344)]
)
def test_mobilenet_v3_at_three_quarters_of_the_width(size, params, macs):
    table = count(create_model("mobilenet_v3_large", size=size, width=0.75), (224, 224, 3))
    assert (table.params, table.macs) == (params, macs)


def test_shufflenet_v2_as_its_authors_have_it():
    """The 24 features of the stem pass through the shortcut of the first unit, and 92 through its branch."""
    assert count(create_model("shufflenet_v2_x1_0", units="authors"), (224, 224, 3)).params == 2_279_760


@pytest.mark.parametrize(
    ("width", "params", "macs"),
    [(0.1, 548_984, 6_486_496), later(1.25, 2_162_888, 98_114_272), later(2.4, 5_113_628, 297_941_296)],
)
def test_widths_of_dicenet(width, params, macs):
    table = count(create_model("dicenet_x1_0", width=width), (224, 224, 3))
    assert (table.params, table.macs) == (params, macs)


@pytest.mark.parametrize("name", ["mobilenet_v1", later("resnet18"), later("shufflenet_v2_x1_0")])
def test_dice_units_take_the_place_of_other_convolutions(name):
    """Fewer parameters than even the separable ones; known to the counter."""
    plain, dice = (count(model, (224, 224, 3)) for model in (create_model(name), create_model(name, conv="dice")))
    assert dice.params < plain.params
    assert not dice.unknown
    assert {row.kind for row in dice.rows if row.path.endswith("/height")} == {"ExchangedConv"}


def test_importing_the_registry_imports_no_jax():
    code = (
        "import sys, jsep\n"
        "assert len(jsep.list_models(task='classification')) == 90 and jsep.model_info('resnet20').params == 269_722\n"
        "print({name.split('.')[0] for name in sys.modules} & {'jax', 'flax', 'numpy'})"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout == "set()\n"


def test_a_name_is_registered_once():
    info = model_info("resnet20")
    with pytest.raises(ValueError, match="resnet20 is registered twice"):
        register("resnet20", info.family, "", paper="", data=CIFAR10, certainty="certain")


def test_wildcards():
    assert list_models("*separable*") == ["keras_separable_cnn", "separable_cnn"]
    assert list_models("nothing*") == []
    assert list_models("resnet18*", task="detection") == []
    assert list_models("ssd*", task="detection") == ["ssd300", "ssd300_vgg16", "ssdlite320"]


def test_a_wrong_name_suggests_the_nearest():
    with pytest.raises(UserError, match="did you mean regular_cnn"):
        create_model("regular_cn")


def test_a_wrong_option_suggests_the_nearest():
    with pytest.raises(UserError, match="no option 'widht'; did you mean width"):
        create_model("regular_cnn", widht=0.5)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"width": 0}, "greater than 0 and at most 100"),
        ({"width": float("nan")}, "greater than 0"),
        ({"width": 1e9}, "at most 100"),
        ({"width": "wide"}, "a number"),
        ({"padding": "same"}, "TORCH or SAME"),
        ({"padding": []}, "TORCH or SAME"),
        ({"act": "tanh"}, "relu or relu6 or leaky_relu"),
        ({"shallow": 1}, "True or False"),
        ({"epsilon": 0}, "greater than 0 and at most 1"),
        ({"num_classes": 0}, "a whole number, at least 1"),
        ({"num_classes": -3}, "a whole number, at least 1"),
        ({"num_classes": 2.5}, "a whole number, at least 1"),
        ({"num_classes": "10"}, "a whole number, at least 1"),
        ({"dtype": "int32"}, "a floating-point type"),
        ({"dtype": "bfloat17"}, "a floating-point type"),
    ],
)
def test_an_impossible_option_says_what_is_possible(options, sentence):
    with pytest.raises(UserError, match=sentence):
        create_model("mobilenet_v1", **options)


def test_numbers_of_numpy_are_whole_numbers():
    classes = np.array([0, 6]).max() + 1
    assert create_model("mobilenet_v1_wksc4", num_classes=classes, sharing=np.int32(2)).num_classes == 7


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"dropout": 1}, "at least 0 and less than 1"),
        ({"stem": 1.5}, "a whole number"),
        ({"growth": 0}, "a whole number, at least 1 and at most 10,000"),
        ({"growth": True}, "a whole number"),
        ({"depth": 10**9}, "at most 10,000"),
        ({"compression": 1.5}, "greater than 0 and at most 1"),
        ({"order": 5}, "a string"),
        ({"se_ratio": 0}, "a whole number, at least 1"),
    ],
)
def test_impossible_numbers(options, sentence):
    with pytest.raises(UserError, match=sentence):
        create_model("densenet40_k12", **options)


def test_dropout_may_be_off():
    assert create_model("xception", dropout=0).dropout == 0


@pytest.mark.parametrize("items", [["width"], ["=1"], "width=1", [5], [None], 5, None])
def test_options_are_written_as_name_and_value(items):
    with pytest.raises(UserError, match="name=value"):
        parse_options(items)


@pytest.mark.parametrize("value", ["[" * 3000, "{[]: 1}", "1" * 5000, "x y", "\x00"])
def test_what_is_no_literal_is_a_text(value):
    assert parse_options([f"act={value}"]) == {"act": value}


@pytest.mark.parametrize("call", [create_model, model_info, list_models])
@pytest.mark.parametrize("name", [5, None, ["resnet20"], b"resnet20"])
def test_a_name_is_a_text(call, name):
    with pytest.raises(UserError, match="it must be "):
        call(name)


def test_a_name_fixes_an_option_that_a_user_may_still_change():
    assert create_model("mobilenet_v1_050").width == 0.5
    assert create_model("mobilenet_v1_050", width=0.35).width == 0.35


def test_sharing_without_shared_kernels_is_refused():
    with pytest.raises(UserError, match=r"sharing=4 has no effect on mobilenet_v1 .*conv=wksc_separable"):
        create_model("mobilenet_v1", sharing=4)


@pytest.mark.parametrize("name", ["regular_cnn", "keras_separable_cnn"])
def test_images_too_small_are_refused(name):
    with pytest.raises(UserError, match="at least"):
        count(create_model(name), (7, 7, 3))


@pytest.mark.parametrize(
    ("name", "options", "sentence"),
    [
        ("addressnet20", {"depth": 21}, "depth=21: it must be 2 plus a multiple of 6"),
        ("addressnet20", {"width": 16}, "twice the groups must divide the width, and four"),
        ("antnet_g2", {"groups": 3}, "groups=3: it must divide all features"),
        ("resnet18", {"depth": 20}, "depth=20: it must be one of 18, 34, 50, 101, 152"),
        ("densenet40_k12", {"depth": 41}, "depth=41: it must be 4 plus a multiple of 3"),
        ("resnet164", {"depth": 21}, "depth=21: it must be 2 plus a multiple of 9"),
        ("pyramidnet110_a48", {"depth": 111}, "depth=111: it must be 2 plus a multiple of 6"),
        ("shufflenet_v2_x0_5", {"width": 0.75}, "width=0.75: it must be one of 0.5, 1.0, 1.5, 2.0"),
        ("vgg16_bn", {"width": 0.001}, "width=0.001: it leaves none of the 64 features"),
        ("densenet40_k12", {"compression": 0.001}, "compression=0.001: it leaves none of 160 maps"),
        ("vgg16_bn", {"width": 0.05, "conv": "dice"}, "a DiCE unit needs at least 4 channels, not 3"),
        ("antnet_g2", {"groups": 16}, "groups=16: it must divide all features"),
        ("addressnet_imagenet", {"groups": 7}, "the groups must divide 24 and a quarter of the features of each stage"),
    ],
)
def test_sizes_that_a_family_does_not_have_are_refused(name, options, sentence):
    with pytest.raises(UserError, match=sentence):
        count(create_model(name, **options), model_info(name).input_shape)


@pytest.mark.parametrize(
    ("name", "before", "today"),
    [
        ("resnet20", {"separable": "none", "se": False}, {"conv": "dense", "attention": "none"}),
        ("resnet20", {"separable": "sep", "depth": 8}, {"conv": "separable", "depth": 8}),
        ("resnet20", {"se": True}, {"attention": "se"}),
        ("sresnet164", {"separable": "sep_bn"}, {"conv": "separable_bn"}),
        ("densenet40_k12", {"separable": "sep_bn_relu"}, {"conv": "separable_bn_relu"}),
        ("densenet40_k12", {"se": "none"}, {"attention": "none"}),
        ("densenet40_k12", {"se": "block+trans"}, {"attention": "se", "attention_at": "block+trans"}),
        ("se_sdensenet100_k12_bc", {"se": "mid"}, {"attention": "se", "attention_at": "mid"}),
        ("pyramidnet110_a48", {"separable": "sep_bn_relu", "alpha": 6}, {"conv": "separable_bn_relu", "alpha": 6}),
        ("vgg16_bn", {"conv": "ds"}, {"conv": "separable"}),
        ("vgg16_ksc4", {"conv": "wksc_ds", "sharing": 2}, {"conv": "wksc_separable", "sharing": 2}),
        ("vgg16_bn", {"conv": "ksc"}, {"conv": "ksc"}),
        ("vgg16_bn", {"sharing": 2}, {}),
        ("resnet18", {"conv": "ds", "attention": "eca"}, {"conv": "separable", "attention": "eca"}),
        ("resnet18", {"conv": "dice"}, {"conv": "dice"}),
        ("mobilenet_v1", {}, {}),
        ("mobilenet_v1", {"sharing": 0}, {}),
        ("mobilenet_v1", {"sharing": 0, "conv": "separable"}, {"conv": "separable"}),
        ("mobilenet_v1", {"sharing": 4}, {"conv": "wksc_separable", "sharing": 4}),
        ("mobilenet_v1", {"sharing": 2, "conv": "separable"}, {"conv": "wksc_separable", "sharing": 2}),
        ("mobilenet_v1", {"sharing": 4, "conv": "dice"}, {"conv": "dice"}),
        ("mobilenet_v1_full_conv", {"sharing": 0}, {}),
        ("mobilenet_v1_wksc4", {}, {}),
        ("mobilenet_v1_wksc4", {"sharing": 8}, {"sharing": 8}),
        ("mobilenet_v1_wksc4", {"sharing": 0}, {"conv": "separable"}),
        ("mobilenet_v1_wksc4", {"conv": "separable"}, {"conv": "wksc_separable"}),
        ("mobilenet_v1_wksc4", {"conv": "dense"}, {"conv": "dense"}),
        ("shufflenet_v2_x0_5", {"conv": "dice"}, {"conv": "dice"}),
        ("separable_cnn", {"width": 0.25}, {"width": 0.25}),
    ],
)
def test_options_of_earlier_run_folders(name, before, today):
    assert modern_options(name, before) == today
    create_model(name, **today)
