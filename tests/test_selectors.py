"""Arms of a study, chosen by their fields."""

import pytest

from kd.studies.declared import STUDIES
from kd.studies.runs import StudyError
from kd.studies.selectors import chosen, means, read_selector, selector_of
from kd.studies.words import arm_name


@pytest.mark.parametrize("study", STUDIES.values(), ids=STUDIES)
def test_every_arm_has_a_selector_of_its_own_that_means_it(study):
    selectors = [selector_of(arm, study) for arm in study.arms]
    assert len(set(selectors)) == len(selectors)
    for text, arm in zip(selectors, study.arms, strict=True):
        assert means(read_selector(text), arm)


@pytest.mark.parametrize(
    ("study", "selectors", "names"),
    [
        (
            "ten-omitted-classes",
            ["omitted_class=frog", "role=teacher"],
            ["teacher", "no frog, student alone", *(f"no frog, T = {t}" for t in (4, 8))],
        ),
        ("ten-omitted-classes", ["role=teacher", "omitted_class=frog,temperature=8"], ["teacher", "no frog, T = 8"]),
        (
            "few-labels",
            ["role=teacher,label_fraction=1", "label_fraction=.04,keep_unlabelled=true,teacher.label_fraction=1"],
            ["teacher", "4%, all images, full teacher"],
        ),
        ("augmentation", ["blur=0.2,crop_scale=none"], ["blur"]),
        ("losses", ["role=teacher", "loss=kd,temperature=4"], ["teacher", "kd, T = 4"]),
        ("settings", ["varies=muon_learning_rate,muon_learning_rate=3e-2"], ["student alone, muon learning rate 0.03"]),
    ],
)
def test_arms_are_those_of_which_all_of_a_selector_is_so_in_the_studys_order(study, selectors, names):
    assert [arm_name(arm) for arm in chosen(STUDIES[study], selectors)] == names


@pytest.mark.parametrize(
    ("selector", "refusal"),
    [
        ("teacher", "--arms teacher: 'teacher' is no FIELD=VALUE, like role=teacher"),
        ("omited_class=frog", "an arm has no field 'omited_class': choose from role, label_fraction, .* temperature, "),
        ("teacher.teacher.role=teacher", "an arm has no field 'teacher.teacher.role'"),
        ("seed=0", "an arm has no field 'seed'"),
        ("temperature=warm", "--arms temperature=warm: temperature is a number, not 'warm'"),
        ("role=distilled,epochs=.5", "epochs is a whole number, not '.5'"),
        ("keep_unlabelled=1", "keep_unlabelled is true or false, not '1'"),
        (
            "role=student,temperature=8",
            "--arms role=student,temperature=8 means none of the study's arms: choose from role=teacher "
            "role=student,omitted_class=frog role=distilled,omitted_class=frog,temperature=4.0 ",
        ),
        (
            "temperature=8",
            "arm role=distilled,omitted_class=frog,temperature=8.0 needs its teacher: add role=teacher to --arms",
        ),
    ],
)
def test_a_selector_that_cannot_be_is_refused_with_what_there_is(selector, refusal):
    with pytest.raises(StudyError, match=refusal):
        chosen(STUDIES["omitted-class"], [selector])
