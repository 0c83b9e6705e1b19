"""Bundles that machine code executes, counted in short texts of the form that libtpu writes."""

import pytest

from jsep.tpu.bundles import Work, read, work

DELAY = "\n".join(f"  0x{90 + i}   :  {{}}" for i in range(4))  # the bundles after a branch

LOOP = f"""
     0   :  {{ %s9_s1 = smov.u32 0 /* copy for cssa */ }}
   0x1 LB: > {{ %v1_v0 = vld [vmem:[%s2_s0] sm:$0xff]  ;;  %s4_s1 = sphi %s9_s1, %s5_s2 /* phi copy */ }} \
/* Start region 7 :: Start region 8 */
   0x2   : > {{ %s5_s2 = sadd.s32 1, %s4_s1 }}
   0x3   : > {{ %p6_p0 = scmp.ge.s32.totalorder %s5_s2, 10 /* loop exit test */ }}
   0x4   :  {{ %7 = sbr.rel (!%p6_p0) target = $region7 }}
{DELAY}
   0x9   :  {{ %8 = vst [vmem:[%s3_s0] sm:$0xff] /*vst_source=*/%v1_v0 }}
"""

# a pipeline of two stages over six trips: the first stage runs on trips 0 to 3, the second on 1 to 4
PIPELINE = f"""
     0   :  {{ %s9_s1 = smov.u32 0 }}
   0x1 LB: > {{ %s4_s1 = sphi %s9_s1, %s5_s2  ;;  %p1_p1 = scmp.ge.s32.totalorder %s4_s1, 4 }} /* Start region 7 */
   0x2   : > {{ %9 = sbr.rel (%p1_p1) target = $region16 }}
{DELAY}
   0x7   : > {{ %v1_v0 = vmov 0 }}
   0x8   : > {{ %v2_v0 = vmov 0 }}
   0x9 PF: > {{ %p2_p2 = scmp.ge.s32.totalorder %s4_s1, 1 }} /* Start/End empty region 16 */
   0xa   : > {{ %p3_p3 = scmp.lt.s32.totalorder %s4_s1, 5 }}
   0xb   : > {{ %p4_p4 = pnand %p2_p2, %p3_p3 }}
   0xc   : > {{ %10 = sbr.rel (%p4_p4) target = $region20 }}
{DELAY}
  0x11   : > {{ %v3_v0 = vmov 0 }}
  0x12 PF: > {{ %s5_s2 = sadd.s32 1, %s4_s1 }} /* Start/End empty region 20 */
  0x13   : > {{ %p6_p0 = scmp.ge.s32.totalorder %s5_s2, 6 /* loop exit test */ }}
  0x14   :  {{ %11 = sbr.rel (!%p6_p0) target = $region7 }}
{DELAY}
"""

# the inner loop runs over a tile of min(17, 32 - 17 * i) rows, of which the first has 17, by eight: twice
TILES = f"""
     0   :  {{ %s9_s1 = smov.u32 0 }}
   0x1 LB: > {{ %s4_s1 = sphi %s9_s1, %s5_s2  ;;  %s20_s3 = smul.u32 17, %s4_s1 }} /* Start region 7 */
   0x2   : > {{ %s21_s3 = ssub.s32 32, %s20_s3 }}
   0x3   : > {{ %p22_p3 = scmp.lt.s32.totalorder %s21_s3, 17 }}
   0x4   : > {{ %s23_s3 = smov.u32 (!%p22_p3, %s21_s3), 17 }}
   0x5   : > {{ %s24_s3 = sshrl.u32 %s23_s3, 3  ;;  %s10_s4 = smov.u32 0 }}
   0x6 LB: >> {{ %s11_s4 = sphi %s10_s4, %s12_s4  ;;  %s12_s4 = sadd.s32 1, %s11_s4 }} /* Start region 70 */
   0x7   : >> {{ %p13_p1 = scmp.ge.s32.totalorder %s12_s4, %s24_s3 }}
   0x8   : >> {{ %14 = sbr.rel (!%p13_p1) target = $region70 }}
{DELAY}
   0xd   : > {{ %40 = sst [smem:[#allocation9_spill]] %s4_s1 }}
   0xe   : > {{ %s41_s5 = sld [smem:[#allocation9_spill]] }}
   0xf   : > {{ %s5_s2 = sadd.s32 1, %s41_s5 }}
  0x10   : > {{ %p6_p0 = scmp.ge.s32.totalorder %s5_s2, 3 /* loop exit test */ }}
  0x11   :  {{ %15 = sbr.rel (!%p6_p0) target = $region7 }}
{DELAY}
"""


def test_bundles_of_a_loop_count_once_for_each_trip():
    """The branch and the four bundles after it belong to the loop."""
    assert work(LOOP) == Work(1 + 10 * (3 + 1 + 4) + 1, 0)


def test_stages_of_a_pipeline_count_on_the_trips_that_execute_them():
    always = 1 + 1 + 4 + 4 + 4 + 2 + 1 + 4
    assert work(PIPELINE).bundles == 1 + 6 * always + 4 * 2 + 4 * 1


def test_a_nested_loop_runs_for_each_trip_of_the_outer_one():
    """Its bound is computed from the outer counter, and its own counter was spilled to memory."""
    inner = 3 + 4
    assert work(TILES) == Work(1 + 3 * (5 + 2 * inner + 4 + 1 + 4), 0)


def test_a_loop_whose_trips_the_code_does_not_tell_counts_once():
    assert work(LOOP.replace("%s5_s2, 10", "%s5_s2, %s77_s3")) == Work(1 + 8 + 1, 0, 1)


def test_code_behind_an_unknown_condition_counts():
    unknown = PIPELINE.replace("= scmp.ge.s32.totalorder %s4_s1, 4", "= scmp.ge.s32.totalorder %s99_s1, 4")
    assert work(unknown).bundles == work(PIPELINE).bundles + 2 * 2


@pytest.mark.parametrize(("length", "open_loops"), [(100, 0), (1900, 1)])
def test_a_value_at_the_end_of_a_long_chain_is_unknown(length, open_loops):
    """Evaluating it would be slow, and has to end before Python's stack does."""
    links = [f"%s{i + 1}_s9 = sadd.s32 0, %s{i}_s9" for i in range(100, 100 + length)]
    chain = "  ;;  ".join(["smov.u32 0", "%s100_s9 = smov.u32 10", *links])
    text = LOOP.replace("smov.u32 0", chain).replace("%s5_s2, 10", f"%s5_s2, %s{100 + length}_s9")
    assert work(text).open_loops == open_loops


@pytest.mark.parametrize(
    ("shift", "trips"),
    [("sshll.u32 5, 1", 10), ("sshrl.u32 4294967295, 29", 7), ("sshra.s32 -1, 1", 1), ("sshll.u32 5, 33", 10)],
)
def test_shifts_are_those_of_32_bits(shift, trips):
    bound = LOOP.replace("%s5_s2, 10", "%s5_s2, %s2000_s9").replace("smov.u32 0", f"smov.u32 0 ;; %s2000_s9 = {shift}")
    assert work(bound).bundles == 1 + 8 * trips + 1


def test_a_loop_counts_down():
    down = LOOP.replace("smov.u32 0", "smov.u32 20").replace("sadd.s32 1,", "sadd.s32 4294967294,")
    assert work(down.replace("scmp.ge.s32.totalorder %s5_s2, 10", "scmp.le.s32.totalorder %s5_s2, 0")) == work(LOOP)


def test_the_matrix_unit_with_most_pushes_counts():
    pushes = "%1 = vmatmul.msk.bf16.vlgmr.msra.gmra.mxu0 %v1_v0  ;;  %2 = vmatmul.bf16.gmra.mxu1 %v1_v0"
    more = LOOP.replace("%s5_s2 = sadd", f"{pushes}  ;;  %s5_s2 = sadd").replace(
        "%8 =", "%8 = vmatmul.gmra.mxu1 %v1_v0 ;;"
    )
    found = work(more)
    assert found.pushes == 11
    assert found.cycles(16) == 16 * 11
    assert found.cycles(0) == found.bundles


def test_files_are_read_by_the_name_of_the_instruction(tmp_path):
    (tmp_path / "17958-copy.3-01-final_bundles.txt").write_text(LOOP)
    (tmp_path / "17958-copy.3-00-schedule-analysis_final_bundles.txt").write_text("Schedule analysis:")
    (tmp_path / "17958-TLP-02-vmem_report.html").write_text("<html>")
    assert read(tmp_path) == {"copy.3": work(LOOP)}


@pytest.mark.parametrize("text", ["", "Schedule analysis:\n\ttotal scheduled bundles:    105\n"])
def test_a_text_without_code_executes_nothing(text):
    assert work(text) == Work(0, 0)
