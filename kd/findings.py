"""What the studies found beyond accuracy, in sentences and tables drawn from their JSON."""

from kd.recipe import Recipe


def findings(study: dict) -> list[str]:
    """The paragraphs (Markdown) of a study's own analysis; none where it has none."""
    paragraphs = []
    if "never_seen" in study:
        paragraphs += [never_seen_sentence(study["never_seen"]), never_seen_table(study["never_seen"])]
    if study.get("human_doubt"):
        paragraphs += [human_doubt_table(study["human_doubt"]), *human_doubt_sentences(study["human_doubt"])]
    return paragraphs


def never_seen_table(found: dict) -> str:
    """A row a run: its accuracy on the class it never saw and on the nine others, before and after the correction."""
    rows = [
        ["never saw", "taught by", "unseen class, before", "after correction", "seen classes, before", "after", "bias"],
        ["---", "---"] + ["---:"] * 5,
    ]
    for run in found["runs"]:
        before, after = run["before"], run["after"]
        taught = "the labels alone" if run["temperature"] is None else f"the teacher, T = {run['temperature']:g}"
        shares = (before["unseen"], after["unseen"], before["seen"], after["seen"])
        rows.append([run["unseen"], taught, *(f"{share:.1%}" for share in shares), f"{run['bias']:+.2f}"])
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def never_seen_sentence(found: dict) -> str:
    """What a student distilled at the recipes' own T knows of a class it never saw, next to its control.

    The T is fixed beforehand and the class the study's first: the test images may not choose what is told.
    """
    taught = [run for run in found["runs"] if run["temperature"] is not None]
    if not taught:
        return f"Bias correction: {found['rule']}."
    told = next((run for run in taught if run["temperature"] == Recipe.temperature), taught[0])
    alone = [run for run in found["runs"] if run["temperature"] is None and run["unseen"] == told["unseen"]]
    control = f"; taught by the labels alone, {alone[0]['after']['unseen']:.1%}" if alone else ""
    before, after = (f"{told[key]['unseen']:.1%}" for key in ("before", "after"))
    temperature = f"T = {told['temperature']:g}"
    return (
        f"A student that was never shown a {told['unseen']} recognises {after} of them when it was distilled at "
        f"{temperature} and its bias is corrected ({before} before){control}. Bias correction: {found['rule']}."
    )


def human_doubt_table(found: dict) -> str:
    """A row an arm: how near its doubts come to people's, and at which T."""
    rows = [
        [
            "network",
            "KL from people at T = 1 (nats)",
            "least KL",
            "at T =",
            "rank correlation of its entropy with people's",
        ],
        ["---"] + ["---:"] * 4,
    ]
    at_one = found["temperatures"].index(1.0)
    for name, arm in found["arms"].items():
        numbers = (arm["kl"][at_one], arm["kl_at_best"], arm["best_temperature"], arm["rank_correlation"])
        rows.append([name, *(f"{number:.3f}" for number in numbers)])
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def human_doubt_sentences(found: dict) -> list[str]:
    """Who doubts most like people, and whether the distilled student has its teacher's doubts."""
    nearest = min(found["arms"], key=lambda name: found["arms"][name]["kl_at_best"])
    sentences = [
        f"Each softened by the T that suits it best, the network that doubts most like people is: {nearest} "
        f"(KL {found['arms'][nearest]['kl_at_best']:.3f} nats; people's own entropy is {found['people_entropy']:.3f})."
    ]
    inherited = found.get("inherited")
    if inherited:
        alone, distilled = (
            sum(inherited["rank_correlation"][name]) / len(inherited["seeds"])
            for name in ("student alone", "distilled")
        )
        interval = ""
        if inherited["p"] is not None:
            interval = f", 95 % interval {inherited['low']:+.3f} to {inherited['high']:+.3f}"
        sentences.append(
            f"On images that all three networks have right, the distilled student's entropy goes with the teacher's at "
            f"a rank correlation of {distilled:.3f}, the student's alone at {alone:.3f}: {inherited['verdict']} "
            f"({inherited['mean']:+.3f}{interval}, {inherited['n']} seeds)."
        )
    return sentences
