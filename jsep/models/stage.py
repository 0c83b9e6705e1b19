"""A stage of a network, as `features=True` returns it."""

from flax import struct
from jaxtyping import Array, Float


@struct.dataclass
class Stage:
    """The maps at the end of a stage.

    Attributes:
        maps: the maps.
        stride: distance in pixels of the input between two neighbouring positions of the maps.
        expanded: what the first block of the stage expanded its input to, of the stride before, in MobileNet V2 and V3.
            Detectors read it: see section 6.2 of Sandler et al., arXiv 1801.04381.

    >>> model = create_model("resnet20")
    >>> x = jnp.ones((2, 32, 32, 3))
    >>> _, stages = model.apply(model.init(jax.random.key(0), x), x, features=True)
    >>> {name: (stage.maps.shape, stage.stride) for name, stage in stages.items()}
    {'stage1': ((2, 32, 32, 16), 1), 'stage2': ((2, 16, 16, 32), 2), 'stage3': ((2, 8, 8, 64), 4)}
    """

    maps: Float[Array, "n h w c"]
    stride: int = struct.field(pytree_node=False)
    expanded: Float[Array, "n h2 w2 c2"] | None = None
