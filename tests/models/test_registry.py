"""Every registered name: exact counts, logits, features, options; and errors that help."""

import csv
import functools
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jsep import create_model, list_models, model_info
from jsep.costs import count
from jsep.errors import UserError
from jsep.models import parse_options

ZOO = Path(__file__).parents[3] / "shared" / "zoo.csv"
# name: trainable parameters and MACs of the published network, exact
COUNTS = {
    "regular_cnn": (5_154_890, 2_911_937_152),
    "both_cnn": (2_410_442, 627_229_312),
    "separable_cnn": (1_094_373, 330_788_480),
    "keras_separable_cnn": (38_949, 20_317_676),
    "mobilenet_v1": (4_231_976, 568_740_352),
    "mobilenet_v1_075": (2_585_560, 325_400_448),
    "mobilenet_v1_050": (1_331_592, 149_497_088),
    "mobilenet_v1_025": (470_072, 41_030_272),
    "mobilenet_v1_full_conv": (29_294_088, 4_867_293_184),
    "mobilenet_v1_shallow": (2_887_976, 307_323_392),
    "densenet40_k12": (1_019_722, 264_812_928),
    "densenet100_k12": (6_979_642, 1_769_516_448),
    "densenet100_k12_bc": (769_162, 287_929_692),
    "densenet250_k24_bc": (15_324_406, 5_418_785_724),
    "densenet190_k40_bc": (25_624_430, 9_301_945_740),
    "inception_v3": (23_834_568, 5_713_216_096),
    "preresnet110": (1_730_522, 253_149_824),
    "preresnet164": (1_703_258, 247_646_720),
    "pyramidnet110_a270": (28_485_477, 4_717_983_724),
    "pyramidnet110_a48": (1_772_706, 403_813_504),
    "pyramidnet110_a84": (3_904_446, 772_168_168),
    "pyramidnet164_a270": (27_216_021, 4_569_837_040),
    "pyramidnet164_a48": (1_715_442, 388_433_920),
    "resnet110": (1_727_962, 252_887_680),
    "resnet164": (1_661_274, 242_403_840),
    "resnet20": (269_722, 40_551_040),
    "resnet32": (464_154, 68_862_592),
    "resnet44": (658_586, 97_174_144),
    "resnet56": (853_018, 125_485_696),
    "sdensenet100_k12_bc": (573_322, 198_128_988),
    "se_resnet110": (1_744_952, 253_161_920),
    "se_sdensenet100_k12_bc": (575_098, 198_130_140),
    "spyramidnet164_a48": (950_154, 212_975_104),
    "sresnet164": (909_306, 133_802_496),
    "vgg16_bn": (14_770_212, 313_247_744),
    "xception": (22_855_952, 8_357_403_496),
    "vgg16_ksc2": (7_415_844, 157_534_208),
    "vgg16_ksc4": (3_738_660, 79_677_440),
    "vgg16_wksc4": (3_742_372, 79_859_712),
    "vgg16_wksc8": (1_903_780, 40_931_328),
    "vgg16_wksc_ds4": (482_116, 11_063_808),
    "vgg16_ds": (1_729_188, 38_064_128),
    "resnet18": (11_689_512, 1_814_073_344),
    "resnet34": (21_797_672, 3_663_761_408),
    "resnet50": (25_557_032, 4_089_184_256),
    "resnet101": (44_549_160, 7_801_405_440),
    "resnet152": (60_192_808, 11_513_626_624),
    "resnet18_ksc4": (3_450_408, 556_863_488),
    "resnet18_wksc4": (3_453_800, 558_544_384),
    "resnet18_wksc8": (2_080_616, 349_009_408),
    "mobilenet_v1_wksc4": (1_841_328, 154_142_336),
    "eca_resnet18": (11_689_556, 1_814_085_760),
    "eca_resnet34": (21_797_744, 3_663_781_952),
    "eca_resnet50": (25_557_112, 4_089_270_528),
    "eca_resnet101": (44_549_317, 7_801_574_656),
    "eca_resnet152": (60_193_042, 11_513_868_544),
    "se_resnet18": (11_776_552, 1_814_160_384),
    "se_resnet50": (28_071_976, 4_091_699_200),
    "mobilenet_v2": (3_504_872, 300_774_272),
    "mobilenet_v2_140": (6_108_776, 582_195_824),
    "mobilenet_v2_050": (1_968_680, 97_131_840),
    "eca_mobilenet_v2": (3_504_903, 300_777_952),
    "se_mobilenet_v2": (3_561_800, 300_831_200),
    "antnet_g1": (3_828_039, 301_089_984),
    "antnet_g2": (3_346_439, 242_032_832),
    "addressnet20": (81_694, 11_121_696),
    "addressnet32": (139_654, 19_084_320),
    "addressnet44": (197_614, 27_046_944),
    "enhanced_addressnet20": (67_492, 8_799_264),
    "enhanced_addressnet32": (111_592, 14_771_232),
    "enhanced_addressnet44": (155_692, 20_743_200),
    "addressnet_imagenet": (1_841_968, 133_650_432),
    "mobilenet_v3_large": (5_483_032, 216_589_760),
    "mobilenet_v3_small": (2_542_856, 56_510_400),
    "shufflenet_v2_x0_5": (1_366_792, 40_476_448),
    "shufflenet_v2_x1_0": (2_278_604, 144_907_992),
    "shufflenet_v2_x1_5": (3_503_624, 295_759_392),
    "shufflenet_v2_x2_0": (7_393_996, 583_253_464),
    "shufflenet_v2_x0_5_expanded": (1_913_008, 107_296_768),
    "shufflenet_v2_x1_0_expanded": (5_492_120, 529_261_248),
    "mixnet_s": (4_134_606, 239_173_360),
    "mixnet_m": (5_014_382, 339_172_672),
    "mixnet_l": (7_329_252, 555_251_792),
    "dicenet_x0_2": (1_130_704, 14_902_464),
    "dicenet_x0_5": (1_214_120, 24_711_328),
    "dicenet_x0_75": (1_495_676, 46_825_936),
    "dicenet_x1_0": (1_805_604, 70_709_744),
    "dicenet_x1_5": (2_652_200, 135_479_200),
    "dicenet_x2_0": (3_979_044, 236_290_928),
    "dicenet_x3_0": (9_363_600, 553_824_512),
}


# a small one of each family; tracing all of them takes minutes
EVERYDAY = {
    "addressnet20",
    "antnet_g2",
    "densenet40_k12",
    "dicenet_x0_2",
    "keras_separable_cnn",
    "mixnet_s",
    "mobilenet_v1_shallow",
    "mobilenet_v2_050",
    "mobilenet_v3_small",
    "resnet18_wksc4",
    "resnet20",
    "shufflenet_v2_x0_5",
    "vgg16_wksc_ds4",
}


def later(*values):
    """A row of a table that only `make test-all` runs."""
    return pytest.param(*values, marks=pytest.mark.slow)


ALL = [name if name in EVERYDAY else later(name) for name in COUNTS]


def test_no_network_is_without_exact_counts():
    assert list_models() == sorted(COUNTS)


@pytest.mark.parametrize("name", ALL)
def test_counts(name):
    table = count(create_model(name), model_info(name).input_shape)
    assert (table.params, table.macs) == COUNTS[name]
    assert table.unknown == ()


def test_counts_are_those_of_the_reference_table():
    """MACs with three or more zeros at the end are rounded to that place."""
    if not ZOO.is_file():
        pytest.skip(f"{ZOO.name} is not beside the project")
    with ZOO.open() as file:
        rows = {row["name"]: row for row in csv.DictReader(file)}
    for name, (params, macs) in COUNTS.items():
        row = rows[name]
        assert row["params"] in ("", str(params)), name
        zeros = len(row["macs"]) - len(row["macs"].rstrip("0"))
        unit = 10**zeros if zeros >= 3 else 1
        assert not row["macs"] or abs(macs - int(row["macs"])) <= unit / 2, name


@pytest.mark.parametrize(
    ("separable", "dense", "printed"),
    [
        ("sresnet164", "resnet164", 53),
        ("sdensenet100_k12_bc", "densenet100_k12_bc", 75),
        ("spyramidnet164_a48", "pyramidnet164_a48", 59),
    ],
)
def test_separable_forms_have_the_printed_share_of_parameters(separable, dense, printed):
    """Quotients of sizes in millions with one decimal, as the thesis must have taken them."""
    millions = [round(COUNTS[name][0] / 1e6, 1) for name in (separable, dense)]
    assert round(100 * millions[0] / millions[1]) == printed


@pytest.mark.parametrize("name", ALL)
def test_logits_and_features(name):
    info = model_info(name)
    model = create_model(name, num_classes=7, dtype=jnp.bfloat16)
    x = jax.ShapeDtypeStruct((2, *info.input_shape), jnp.float32)
    variables = jax.eval_shape(model.init, jax.random.key(0), x)
    logits, features = jax.eval_shape(lambda v, x: model.apply(v, x, features=True), variables, x)
    assert (logits.shape, logits.dtype) == ((2, 7), jnp.float32)
    strides = [stage.stride for stage in features.values()]
    assert strides == sorted(strides)
    for stage in features.values():
        # convolutions without padding make some maps smaller, but never by half
        assert 0.55 < stage.maps.shape[1] * stage.stride / info.input_shape[0] <= 1.08
    assert {p.dtype for p in jax.tree.leaves(variables)} == {jnp.dtype(jnp.float32)}


BASE, READINGS = "BN-ReLU-Conv-BN-ReLU-Conv", (769_162, 568_714, 573_322)
OTHERS = (752_650, 552_202, 556_810)


@pytest.mark.parametrize(
    ("order", "params"),
    [
        (BASE, READINGS),
        ("ReLU-Conv-BN-ReLU-Conv-BN", OTHERS),
        later("BN-Conv-BN-ReLU-Conv-BN", (770_314, 569_866, 574_474)),
        later("Conv-ReLU-BN-ReLU-Conv-BN", OTHERS),
        later("Conv-BN-ReLU-Conv-BN-ReLU", OTHERS),
        later("Conv-ReLU-BN-Conv-ReLU-BN", OTHERS),
    ],
)
def test_orders_of_a_dense_layer(order, params):
    for separable, expected in zip(("none", "sep", "sep_bn"), params, strict=True):
        model = create_model("densenet100_k12_bc", order=order, separable=separable)
        assert count(model, (32, 32, 3)).params == expected


@pytest.mark.slow
def test_an_order_is_the_sequence_in_which_a_layer_works():
    """Orders with the same parameters are different networks; in training, where batch norm is no identity."""
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
    ("se", "params"),
    [
        ("growth", (570_490, 575_098)),
        later("mid", (584_986, 589_594)),
        later("trans", (585_677, 590_285)),
        later("block", (600_404, 605_012)),
        later("block+trans", (604_673, 609_281)),
        ("concat", (808_478, 813_086)),
    ],
)
def test_places_of_squeeze_and_excitation_in_densenet(se, params):
    for separable, expected in zip(("sep", "sep_bn"), params, strict=True):
        model = create_model("densenet100_k12_bc", se=se, separable=separable)
        assert count(model, (32, 32, 3)).params == expected


def test_squeeze_and_excitation_of_the_keras_densenet_has_no_biases():
    model = create_model("densenet100_k12_bc", se="block+trans", se_bias=False, separable="sep")
    assert count(model, (32, 32, 3)).params == 603_490


@pytest.mark.parametrize(("depth", "params"), [(34, 21_954_856), later(101, 49_292_328), later(152, 66_770_984)])
def test_squeeze_and_excitation_in_deeper_resnets(depth, params):
    assert count(create_model("resnet18", depth=depth, attention="se"), (224, 224, 3)).params == params


@pytest.mark.parametrize(
    ("width", "sharing", "params"), [(1.0, 2, 2_639_864), (2.0, 4, 5_251_448), later(2.0, 8, 3_668_016)]
)
def test_shared_kernels_in_mobilenet(width, sharing, params):
    assert count(create_model("mobilenet_v1", width=width, sharing=sharing), (224, 224, 3)).params == params


def test_sharing_that_does_not_divide_leaves_mobilenet_as_it_is():
    with pytest.warns(UserWarning, match=r"sharing=5 does not divide its \d+ channels; it stays plain"):
        assert count(create_model("mobilenet_v1", sharing=5), (224, 224, 3)).params == COUNTS["mobilenet_v1"][0]


@pytest.mark.parametrize(
    ("width", "groups", "params"), [(0.35, 2, 1_660_272), later(0.75, 2, 2_549_624), (1.4, 1, 6_740_185)]
)
def test_widths_of_antnet(width, groups, params):
    assert count(create_model("antnet_g1", width=width, groups=groups), (224, 224, 3)).params == params


@pytest.mark.parametrize(
    ("size", "params", "macs"), [later("large", 3_993_528, 154_560_624), ("small", 2_041_872, 43_399_344)]
)
def test_mobilenet_v3_at_three_quarters_of_the_width(size, params, macs):
    table = count(create_model("mobilenet_v3_large", size=size, width=0.75), (224, 224, 3))
    assert (table.params, table.macs) == (params, macs)


def test_shufflenet_v2_as_its_authors_have_it():
    """24 features of the stem pass the first unit's shortcut, 92 its branch."""
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
    assert "DepthwiseConv" in {row.kind for row in dice.rows if row.path.endswith("/height")}


def test_wildcards():
    assert list_models("*separable*") == ["keras_separable_cnn", "separable_cnn"]
    assert list_models("nothing*") == []


def test_a_wrong_name_suggests_the_nearest():
    with pytest.raises(UserError, match="did you mean regular_cnn"):
        create_model("regular_cn")


def test_a_wrong_option_suggests_the_nearest():
    with pytest.raises(UserError, match="no option 'widht'; did you mean width"):
        create_model("regular_cnn", widht=0.5)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"width": 0}, "greater than 0"),
        ({"padding": "same"}, "TORCH or SAME"),
        ({"act": "tanh"}, "relu or relu6"),
        ({"shallow": 1}, "True or False"),
    ],
)
def test_an_impossible_option_says_what_is_possible(options, sentence):
    with pytest.raises(UserError, match=sentence):
        create_model("mobilenet_v1", **options)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"dropout": 1}, "at least 0 and less than 1"),
        ({"stem": 1.5}, "a whole number"),
        ({"growth": 0}, "a whole number, at least 1"),
        ({"se_ratio": 0}, "a whole number, at least 1"),
    ],
)
def test_impossible_numbers(options, sentence):
    with pytest.raises(UserError, match=sentence):
        create_model("densenet40_k12", **options)


def test_dropout_may_be_off():
    assert create_model("xception", dropout=0).dropout == 0


def test_options_are_written_as_name_and_value():
    with pytest.raises(UserError, match="name=value"):
        parse_options(["width"])


def test_a_name_fixes_an_option_that_a_user_may_still_change():
    assert create_model("mobilenet_v1_050").width == 0.5
    assert create_model("mobilenet_v1_050", width=0.35).width == 0.35


@pytest.mark.parametrize("name", ["regular_cnn", "keras_separable_cnn"])
def test_images_too_small_are_refused(name):
    with pytest.raises(UserError, match="at least"):
        count(create_model(name), (7, 7, 3))


@pytest.mark.parametrize(
    ("name", "options", "sentence"),
    [
        ("addressnet20", {"depth": 21}, "depth=21: it must be 2 plus a multiple of 6"),
        ("addressnet20", {"width": 16}, "twice the groups must divide the width"),
        ("antnet_g2", {"groups": 3}, "groups=3: it must divide all features"),
        ("resnet18", {"depth": 20}, "depth=20: it must be one of 18, 34, 50, 101, 152"),
        ("densenet40_k12", {"depth": 41}, "depth=41: it must be 4 plus a multiple of 3"),
        ("resnet164", {"depth": 21}, "depth=21: it must be 2 plus a multiple of 9"),
        ("pyramidnet110_a48", {"depth": 111}, "depth=111: it must be 2 plus a multiple of 6"),
        ("shufflenet_v2_x0_5", {"width": 0.75}, "width=0.75: it must be one of 0.5, 1.0, 1.5, 2.0"),
    ],
)
def test_sizes_that_a_family_does_not_have_are_refused(name, options, sentence):
    with pytest.raises(UserError, match=sentence):
        count(create_model(name, **options), model_info(name).input_shape)
