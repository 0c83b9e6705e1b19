"""Instructions of a compiled program and their shares, from a short text of the form that XLA writes."""

import dataclasses

import pytest

from jsep.tpu.bundles import Work
from jsep.tpu.chips import Chip
from jsep.tpu.program import (
    CALLS,
    COPIES,
    ELEMENTS,
    GATHERS,
    GROUPED,
    OTHER,
    PRODUCTS,
    RELAYOUT,
    WINDOWS,
    Share,
    instructions,
    shares,
)

STEP = """
HloModule step

%c.1 (p: bf16[4,8], q: f32[8]) -> (bf16[4,8], pred[4]) {
  %p = bf16[4,8]{1,0} parameter(0)
  %convolution.1 = bf16[4,8]{1,0} convolution(%p, %p), dim_labels=bf_io->bf, feature_group_count=1
}

%c.2 (p: bf16[4,8]) -> bf16[4,8] {
  %p.2 = bf16[4,8]{1,0} parameter(0)
  ROOT %multiply.2 = bf16[4,8]{1,0} multiply(%p.2, %p.2), metadata={op_name="a"}
}

%c.3 (p: bf16[4,8]) -> bf16[4,8] {
  %p.3 = bf16[4,8]{1,0} parameter(0)
  ROOT %multiply.3 = bf16[4,8]{1,0} multiply(%p.3, %p.3), metadata={op_name="b"}
}

ENTRY %main (p0: bf16[4,8], p1: f32[8]) -> bf16[4,8] {
  %p0 = bf16[4,8]{1,0:T(8,128)} parameter(0)
  %p1 = f32[8]{0:T(256)} parameter(1)
  %copy-start.1 = (f32[8]{0:T(256)S(1)}, f32[8]{0:T(256)}, u32[]{:S(2)}) copy-start(%p1), cross_program_prefetch_index=0
  %copy-done.1 = f32[8]{0:T(256)S(1)} copy-done(%copy-start.1)
  %fusion.1 = (bf16[4,8]{1,0:T(8,128)(2,1)}, pred[4]{0:S(1)}) fusion(%p0, %copy-done.1), kind=kLoop, calls=%c.1, \
metadata={op_name="jit(_fun)/shard_map/jvp(Net)/conv1/pointwise/dot_general"}, \
backend_config={"window_config":{"estimated_cycles":"70"}}
  %get-tuple-element.1 = bf16[4,8]{1,0:T(8,128)(2,1)} get-tuple-element(%fusion.1), index=0
  %fusion.2 = bf16[4,8]{1,0:T(8,128)} fusion(%get-tuple-element.1), kind=kLoop, calls=%c.2, \
metadata={op_name="jit(_fun)/transpose(jvp(Net))/conv1/pointwise/dot_general"}, \
backend_config={"window_config":{"estimated_cycles":"30"}}
  ROOT %fusion.3 = bf16[4,8]{1,0:T(8,128)} fusion(%fusion.2), kind=kLoop, calls=%c.3, \
metadata={op_name="jit(_fun)/mul"}, backend_config={"window_config":{"estimated_cycles":"5"}}
}
"""

LAYERS = ["conv1", "conv1/pointwise"]
FAST = Chip(hbm=1, flops=1, bandwidth=1, clock=None, push=16, topologies=())
SLOW = dataclasses.replace(FAST, bandwidth=160, clock=10)  # 16 bytes of HBM in a cycle


def by_layer(program, works, chip, cores=1):
    return shares(instructions(program, LAYERS), works, chip, cores, lambda one: one.layer)


def test_shares_of_a_program():
    """Only HBM counts: 64 bytes for each bf16[4,8], and 32 for the f32[8] that is copied once."""
    assert by_layer(STEP, {}, FAST) == (
        Share(COPIES, 0, 0, 32),
        Share("conv1/pointwise", 0, 100, 64 + 64 + 64 + 64),
        Share(OTHER, 0, 5, 64 + 64),
    )


def test_code_takes_the_largest_of_bundles_pushes_and_bytes():
    works = {"fusion.1": Work(100, 2), "fusion.2": Work(30, 10), "fusion.3": Work(7, 0), "TLP": Work(20, 0)}
    codes = {share.name: share.code for share in by_layer(STEP, works, SLOW, cores=2)}
    assert codes == {COPIES: 0, "conv1/pointwise": 100 + 160, OTHER: max(7, 128 // 8) + 20}


def test_code_that_is_written_once_counts_for_each_instruction_of_its_signature():
    """fusion.3 computes on the types of fusion.2 what that one does, but its operand is no part of a tuple."""
    alike = STEP.replace("(%get-tuple-element.1), kind", "(%p0), kind").replace("fusion(%fusion.2)", "fusion(%p0)")
    codes = {share.name: share.code for share in by_layer(alike, {"fusion.2": Work(30, 0)}, FAST)}
    assert codes == {COPIES: 0, "conv1/pointwise": 30, OTHER: 30}
    other = alike.replace("multiply(%p.3", "add(%p.3")
    assert {share.name: share.code for share in by_layer(other, {"fusion.2": Work(30, 0)}, FAST)}[OTHER] == 0


LINE = "  %x.1 = bf16[4,8]{1,0} OPERATION(%p0)"


@pytest.mark.parametrize(
    ("operation", "kind"),
    [
        ("convolution", PRODUCTS),
        ("reduce-window", WINDOWS),
        ("select-and-scatter", WINDOWS),
        ("gather", GATHERS),
        ("reshape", RELAYOUT),
        ("pad", RELAYOUT),
        ("copy-done", COPIES),
        ("reduce", ELEMENTS),
    ],
)
def test_kinds_of_instructions(operation, kind):
    program = "\nENTRY %main (p0: bf16[4,8]) -> bf16[4,8] {\n" + LINE.replace("OPERATION", operation) + "\n}"
    assert [one.kind for one in instructions(program, [])] == [kind]


def test_kinds_of_fusions_are_those_of_what_they_hold():
    kinds = {one.name: one.kind for one in instructions(STEP, [])}
    assert kinds == {"copy-done.1": COPIES, "fusion.1": PRODUCTS, "fusion.2": ELEMENTS, "fusion.3": ELEMENTS}
    grouped = STEP.replace("feature_group_count=1", "batch_group_count=16")
    assert instructions(grouped, [])[1].kind == GROUPED
    moving = STEP.replace("multiply(", "transpose(")
    assert instructions(moving, [])[2].kind == RELAYOUT


def test_scalars_are_a_kind():
    program = "\nENTRY %main (p0: s32[]) -> s32[] {\n  %x.1 = s32[]{:T(128)} add(%p0, %p0)\n}"
    assert [one.kind for one in instructions(program, [])] == [CALLS]


LOOP = """
%c (p: (s32[], bf16[4,8])) -> pred[] {
  %p.8 = (s32[], bf16[4,8]{1,0}) parameter(0)
  %i = s32[] get-tuple-element(%p.8), index=0
  %n = s32[]{:T(128)} constant(5)
  ROOT %lt = pred[] compare(%i, %n), direction=LT
}

%body (p: (s32[], bf16[4,8])) -> (s32[], bf16[4,8]) {
  %p.9 = (s32[], bf16[4,8]{1,0}) parameter(0)
  %x = bf16[4,8]{1,0} get-tuple-element(%p.9), index=1
  %y = bf16[4,8]{1,0} negate(%x)
}

ENTRY %main (p0: (s32[], bf16[4,8])) -> (s32[], bf16[4,8]) {
  %p0 = (s32[], bf16[4,8]{1,0}) parameter(0)
  ROOT %while = (s32[], bf16[4,8]{1,0}) while(%p0), condition=%c, body=%body
}
"""


def test_instructions_in_a_loop_of_the_program_run_on_each_trip():
    found = instructions(LOOP, [])
    assert [(one.name, one.runs, one.moved) for one in found] == [("y", 5, 128)]
    works = {"y": Work(10, 0)}
    assert shares(found, works, FAST, 1, lambda one: one.kind) == (Share(ELEMENTS, 50, 0, 640),)
    longer = [dataclasses.replace(one, runs=7) for one in found]
    assert shares(longer, works, FAST, 1, lambda one: one.kind) == (Share(ELEMENTS, 70, 0, 896),)


GATHER = """
%c (p: u8[500,64], q: s32[4]) -> u8[4,64] {
  %p.1 = u8[500,64]{1,0} parameter(0)
  %q.1 = s32[4]{0} parameter(1)
  ROOT %gather.1 = u8[4,64]{1,0} gather(%p.1, %q.1), slice_sizes={1,64}
}

ENTRY %main (p0: u8[500,64], p1: s32[4]) -> u8[4,64] {
  %p0 = u8[500,64]{1,0} parameter(0)
  %p1 = s32[4]{0} parameter(1)
  ROOT %fusion.1 = u8[4,64]{1,0:S(1)} fusion(%p0, %p1), kind=kCustom, calls=%c
}
"""

OUTER = """
%d (p: u8[500,64], q: s32[4]) -> u8[4,64] {
  %p.2 = u8[500,64]{1,0} parameter(0)
  %q.2 = s32[4]{0} parameter(1)
  %bitcast.2 = u8[500,64]{1,0} bitcast(%p.2)
  ROOT %fusion.2 = u8[4,64]{1,0} fusion(%bitcast.2, %q.2), kind=kLoop, calls=%c
}

"""


def test_rows_that_are_taken_count_and_not_what_they_are_taken_from():
    """Four rows of 64 bytes are read, and four indices."""
    assert [one.moved for one in instructions(GATHER, [])] == [4 * 64 + 16]
    alone = GATHER.replace("fusion(%p0, %p1), kind=kCustom, calls=%c", "gather(%p0, %p1), slice_sizes={1,64}")
    assert [one.moved for one in instructions(alone, [])] == [4 * 64 + 16]
    nested = GATHER.replace("ENTRY", OUTER + "ENTRY").replace("kind=kCustom, calls=%c\n", "kind=kOutput, calls=%d\n")
    assert [one.moved for one in instructions(nested, [])] == [4 * 64 + 16]
    summed = GATHER.replace("gather(%p.1, %q.1)", "add(%p.1, %q.1)")
    assert [one.moved for one in instructions(summed, [])] == [500 * 64 + 16]
