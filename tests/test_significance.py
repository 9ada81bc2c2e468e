"""The tests of significance, held to values that an independent implementation (SciPy 1.16) gave."""

import pytest

from kd.significance import holm, judged, mcnemar, paired_difference, t_quantile, t_tail

# scipy.stats.t.sf(t, degrees)
TAILS = [
    (1, 1.0, 0.25), (1, 2.5, 0.12111894159084341), (2, 1.0, 0.2113248654051871), (3, 7.0, 0.0029931278488535486),
    (4, 2.776445105197793, 0.025), (5, 0.1, 0.4621150705773302), (8, 2.5, 0.01847101885681206),
    (31, 2.5, 0.008960113406693103), (9, 0.0, 0.5),
]  # fmt: skip


def verdict_of(difference):
    """The verdict of a study's only comparison."""
    return judged([difference._asdict()])[0]["verdict"]


@pytest.mark.parametrize(("degrees", "t", "tail"), TAILS)
def test_tail_of_students_t_is_scipys(degrees, t, tail):
    assert t_tail(t, degrees) == pytest.approx(tail, rel=1e-12)


def test_quantiles_are_those_of_the_tables():
    # The columns for 95 % and 99 % of any table of the t distribution.
    for degrees, quantile in [(1, 12.7062), (2, 4.30265), (4, 2.77645), (9, 2.26216), (30, 2.04227)]:
        assert t_quantile(0.975, degrees) == pytest.approx(quantile, rel=1e-5)
    assert t_quantile(0.995, 4) == pytest.approx(4.60409, rel=1e-5)


def test_paired_difference_is_scipys():
    # scipy.stats.ttest_rel([1, 2, 3.5], [.5, 1.7, 3.4]) and its confidence_interval()
    found = paired_difference([1, 2, 3.5], [0.5, 1.7, 3.4])
    assert (found.n, found.mean, found.sd) == (3, pytest.approx(0.3), pytest.approx(0.2))
    assert found.p == pytest.approx(0.12168993434632)
    assert (found.low, found.high) == (pytest.approx(-0.19682754235), pytest.approx(0.79682754235))
    assert verdict_of(found) == "NOT SHOWN"


def test_only_the_pairs_differences_count():
    spread_out = [0.70, 0.75, 0.80, 0.85]
    found = paired_difference(
        [x + d for x, d in zip(spread_out, [0.011, 0.009, 0.010, 0.010], strict=True)], spread_out
    )
    assert verdict_of(found) == "BETTER"
    assert found.p < 0.001


def test_verdict_has_the_sign_of_the_difference():
    ours, theirs = [0.80, 0.81, 0.80, 0.81], [0.78, 0.79, 0.779, 0.788]
    assert verdict_of(paired_difference(ours, theirs)) == "BETTER"
    assert verdict_of(paired_difference(theirs, ours)) == "WORSE"
    assert paired_difference(theirs, ours).mean == -paired_difference(ours, theirs).mean
    assert paired_difference(theirs, ours).p == paired_difference(ours, theirs).p


def test_one_pair_and_equal_differences_prove_nothing():
    assert verdict_of(paired_difference([0.9], [0.1])) == "ONE SEED"
    # By the same, which tells of no spread: much, by rounding's breadth, within the margin, or not at all.
    for ours, theirs in (([2, 3], [1, 2]), ([0.8, 0.9], [0.7, 0.8]), ([0.502, 0.504], [0.5, 0.502]), ([0.9, 0.8],) * 2):
        assert verdict_of(paired_difference(ours, theirs)) == "NOT SHOWN"


def test_few_seeds_that_vary_show_neither_a_difference_nor_that_there_is_none():
    assert verdict_of(paired_difference([0.30, 0.50, 0.32], [0.51, 0.52, 0.51])) == "NOT SHOWN"
    assert verdict_of(paired_difference([0.801, 0.799, 0.800], [0.800, 0.800, 0.799])) == "NO DIFFERENCE"
    near = paired_difference([0.801, 0.799, 0.800], [0.800, 0.800, 0.799])
    assert judged([near._asdict()], margin=None)[0]["verdict"] == "NOT SHOWN"
    assert judged([near._asdict()], margin=near.high - 1e-9)[0]["verdict"] == "NOT SHOWN"


def test_several_comparisons_are_corrected_for_together():
    # statsmodels.stats.multitest.multipletests([.01, .04, .03, .005], method="holm")
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.8]) == [1.0, 1.0] and holm([]) == []
    differences = [{"n": 3, "mean": 0.02, "low": 0.001, "high": 0.04, "p": p} for p in (0.04, 0.001)]
    alone = {"n": 1, "mean": 0.5, "low": None, "high": None, "p": None}
    assert [found["verdict"] for found in judged([differences[0], alone, differences[1]])] == [
        "BETTER", "ONE SEED", "BETTER",
    ]  # fmt: skip
    differences.append(differences[0] | {"p": 0.045})
    assert [found["verdict"] for found in judged(differences)] == ["NOT SHOWN", "BETTER", "NOT SHOWN"]


def test_pairs_have_to_be_pairs():
    with pytest.raises(ValueError):
        paired_difference([1, 2], [1])
    with pytest.raises(ValueError, match="no pairs"):
        paired_difference([], [])


def test_mcnemar_is_the_exact_binomial_test():
    # scipy.stats.binomtest(3, 12).pvalue and binomtest(400, 900).pvalue
    assert mcnemar(3, 9) == mcnemar(9, 3) == pytest.approx(0.14599609375)
    assert mcnemar(400, 500) == pytest.approx(0.0009564441369189373)
    assert mcnemar(0, 0) == mcnemar(10, 10) == 1
    assert mcnemar(0, 1) == 1
    assert mcnemar(0, 10) == pytest.approx(2 / 2**10)
