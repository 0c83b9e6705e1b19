"""The static optimizer by receptive fields on two small networks, with every move that it makes.

Source     Wang et al., arXiv 2009.05236. We could read only the abstract (up to 65.38 % fewer parameters, up to 5.47 %
           more accuracy): metric and optimizer are reconstructed, and no figure of the paper belongs to the output.
Command    python studies/receptive_field.py
Hardware   Any; seconds.
"""

from rich.console import Console

from jsep.compress.receptive_optimizer import Conv, Stage, optimize_kernels, optimize_stages, score

WIDTHS = {"ResNet-18": (64, 128, 256, 512), "MobileNet V1": (64, 128, 256, 512, 1024)}


def basic(channels: int, features: int) -> tuple[Conv, ...]:
    shortcut = (Conv(1, channels, features, shortcut=True),) if channels != features else ()
    return (Conv(3, channels, features), Conv(3, features, features), *shortcut)


def separable(channels: int, features: int) -> tuple[Conv, ...]:
    return (Conv(3, channels, channels, depthwise=True), Conv(1, channels, features))


def stages(name: str) -> list[Stage]:
    """Return the stages of a network for images of 32x32."""
    block, blocks = (basic, (2, 2, 2, 2)) if name == "ResNet-18" else (separable, (1, 2, 2, 6, 2))
    found, side, channels = [], 32, 64 if name == "ResNet-18" else 32
    for number, (width, count) in enumerate(zip(WIDTHS[name], blocks, strict=True)):
        stride = 1 if number == 0 else 2
        found.append(Stage(side, stride, block(channels, width), block(width, width), count))
        side, channels = side // stride, width
    return found


def main() -> None:
    """Print the moves between stages, and the kernels of a ResNet's stages."""
    console = Console(width=110, highlight=False)
    for name, tolerance in (("ResNet-18", 0.0), ("MobileNet V1", 0.1)):
        before = stages(name)
        after, moves = optimize_stages(before, tolerance)
        params = sum(s.params() for s in before)
        console.print(f"{name}, MACs at most {1 + tolerance:.0%} of the original's: score {score(before):.4f}")
        for move in moves:
            console.print(
                f"  a block of stage {move.giver} to stage {move.taker}: score {move.score:.4f}, "
                f"{move.params:,} parameters, {move.macs:,} MACs"
            )
        now = sum(s.params() for s in after)
        console.print(
            f"  blocks {[s.blocks for s in before]} -> {[s.blocks for s in after]}, {now / params - 1:+.1%}\n"
        )
    console.print("ResNet-18, the cheapest kernels (kind, groups, overlap) with which a stage sees all channels:")
    for stage in stages("ResNet-18"):
        convs = [conv for conv in (*stage.first, *stage.other) if not conv.shortcut]
        chosen = optimize_kernels(convs)
        names = [f"{k.kind} {k.groups} {k.overlap}" if k.groups > 1 else k.kind for k in chosen]
        dense, cheap = sum(c.params for c in convs), sum(k.params(c) for k, c in zip(chosen, convs, strict=True))
        console.print(
            f"ResNet-18, {convs[-1].features} features: {', '.join(names)}: {dense:,} -> {cheap:,} parameters"
        )


if __name__ == "__main__":
    main()
