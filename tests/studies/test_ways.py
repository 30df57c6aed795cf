"""From a recipe to the runs of a study: pure functions of what was asked."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from polyhead.errors import PolyheadError
from polyhead.recipe import make_recipe
from polyhead.studies.question import MOST_TIMES, Question
from polyhead.studies.ways import Lesson, check_ways, lesson, part, points, ways_of, work

TABLE: dict[str, Any] = {
    "data": {
        "ud": {"train": "train.conllu", "dev": "dev.conllu", "test": "test.conllu"},
        "said": {"train": "said.tsv", "layers": ["text", "mood"], "test": "said-test.tsv"},
    },
    "tasks": {
        "pos": {"type": "tagging", "data": "ud", "layer": "upos"},
        "trees": {"type": "parsing", "data": "ud"},
        "mood": {"type": "classification", "data": "said", "layer": "mood"},
    },
}


def question(target: str = "mood", **changes: Any) -> Question:
    counts = {"ud": 12_000, "said": 3000}
    whole = counts[TABLE["tasks"][target]["data"]]
    made = make_recipe({**TABLE, **changes}, base=Path("/corpora"))
    return Question(made, target, whole, ("bad", "good"), {"ud": "u", "said": "s"}, counts)


def chain(one: Lesson) -> list[Lesson]:
    return [one] if one.before is None else [*chain(one.before), one]


def test_ways_that_a_recipe_can_go() -> None:
    assert ways_of(question()) == [
        *("scratch", "frozen", "fine-tuned", "lora", "joint", "joint-fine-tuned", "from:pos", "from:trees")
    ]
    alone = {"tasks": {"mood": TABLE["tasks"]["mood"]}}
    assert ways_of(question(**alone)) == ["scratch", "frozen", "fine-tuned", "lora"]
    untrained = question(encoder={"layers": 2, "width": 32})
    assert ways_of(untrained) == ["fine-tuned", "joint", "joint-fine-tuned", "from:pos", "from:trees"]
    two = question(stages=[{"tasks": ["pos"]}, {"tasks": ["mood"]}])
    assert ways_of(two)[-1] == "own"


@pytest.mark.parametrize(
    ("changes", "way", "what"),
    [
        ({}, "frozne", "no way 'frozne'.*\n.*'frozen'"),
        ({}, "from:tree", "no task to go the way 'from:tree' with.*\n.*'trees'"),
        ({"tasks": {"mood": TABLE["tasks"]["mood"]}}, "joint", "no task to go.*\n.*Add a source"),
        ({"encoder": {"layers": 2, "width": 32}}, "lora", "needs a pretrained encoder"),
    ],
)
def test_ways_that_cannot_be_gone_are_told(changes: dict[str, Any], way: str, what: str) -> None:
    with pytest.raises(PolyheadError, match=what):
        check_ways(question(**changes), [way])


def test_small_sizes_are_random_draws_of_the_target_alone() -> None:
    made = lesson(question(), "fine-tuned", 100, 2).recipe
    assert (made["data"].keys(), made["tasks"].keys(), made["seed"]) == ({"said"}, {"mood"}, 2)
    assert (made["data"]["said"]["limit"], made["data"]["said"]["draw"]) == (100, 2)
    assert made["data"]["said"]["train"] == "/corpora/said.tsv"
    assert made["tasks"]["mood"]["more_labels"] == ["bad", "good"], "a draw may lack some"
    (stage,) = made["stages"]
    assert stage["keep"] == "last" and "learning_rate" not in stage
    assert "limit" not in lesson(question(), "fine-tuned", 3000, 2).recipe["data"]["said"], "all is no draw"
    make_recipe(made)  # which refuses what no recipe may hold


def test_fewer_examples_get_more_epochs() -> None:
    epochs = [lesson(question(), "fine-tuned", size, 1).recipe["stages"][0]["epochs"] for size in (10, 100, 500, 3000)]
    assert epochs == [5 * MOST_TIMES, 5 * MOST_TIMES, 10, 5]
    assert lesson(question(), "scratch", 3000, 1).recipe["stages"][0]["epochs"] == 10, "it has more to learn"


def test_what_learns_is_the_ways() -> None:
    of = {way: lesson(question(), way, 100, 1) for way in ways_of(question())}
    assert of["frozen"].recipe["stages"][0]["freeze"] == "encoder"
    assert of["lora"].recipe["stages"][0]["adapter"] == {"kind": "lora"}
    assert of["scratch"].recipe["encoder"]["layers"] == 2
    assert set(of["joint"].recipe["tasks"]) == {"mood", "pos", "trees"}
    source, target = chain(of["from:trees"])
    assert (set(source.recipe["tasks"]), set(target.recipe["tasks"])) == ({"trees"}, {"mood"})
    joint, special = chain(of["joint-fine-tuned"])
    assert joint.key == of["joint"].key and special.fresh == ("mood",)
    assert special.recipe_in(Path("/runs"))["start"] == {"run": f"/runs/{joint.key}", "fresh": ["mood"]}
    assert "encoder" not in special.recipe_in(Path("/runs"))
    for one in of.values():
        for each in chain(one):
            make_recipe(each.recipe_in(Path("/runs")))


def test_a_source_is_learnt_once_for_all_sizes() -> None:
    asked = points(question(), ["from:pos", "joint", "joint-fine-tuned"], [50, 100, 200], [1, 2])
    keys = {each.key for point in asked for each in chain(point.lesson)}
    assert len(asked) == 18 and len(keys) == 2 + 6 + 6 + 6, "two sources, and three runs of six sizes and seeds"
    assert [point.size for point in asked] == sorted(point.size for point in asked)


def test_tasks_on_the_targets_own_data_keep_all_of_it() -> None:
    made = lesson(question("pos"), "joint", 100, 1).recipe
    assert made["tasks"]["pos"]["data"] == "ud" and made["data"]["ud"]["limit"] == 100
    assert made["tasks"]["trees"]["data"] == "ud-whole" and "limit" not in made["data"]["ud-whole"]
    assert "test" in made["data"]["ud"] and "test" not in made["data"]["ud-whole"], "only the target is asked about"
    assert work(question("pos"), lesson(question("pos"), "joint", 100, 1)) == 5 * (100 + 12_000 + 3000)


def test_a_key_changes_with_all_that_a_run_depends_on() -> None:
    base = lesson(question(), "from:pos", 100, 1).key
    assert lesson(question(), "from:pos", 100, 1).key == base
    others = [
        lesson(question(), "from:pos", 100, 2),
        lesson(question(), "from:pos", 200, 1),
        lesson(question(stages=[{"epochs": 3}]), "from:pos", 100, 1),
        lesson(question(encoder="roberta-base"), "from:pos", 100, 1),
        lesson(Question(question().recipe, "mood", 3000, (), {"ud": "changed", "said": "s"}, {}), "from:pos", 100, 1),
    ]
    assert len({base, *(one.key for one in others)}) == 6


def test_what_stages_say_is_carried_over() -> None:
    stages = [
        {"tasks": ["pos", "mood"], "epochs": 7, "learning_rate": 3e-5, "combine": "pcgrad", "batch_pieces": 99},
        {"tasks": ["mood"], "epochs": 3, "freeze": 2, "learning_rate": 1e-5, "patience": 2},
    ]
    asked = question(stages=stages)
    (tuned,) = lesson(asked, "fine-tuned", 3000, 1).recipe["stages"]
    assert (tuned["epochs"], tuned["learning_rate"]) == (3, 1e-5) and "freeze" not in tuned and "patience" not in tuned
    (joint,) = lesson(asked, "joint", 3000, 1).recipe["stages"]
    assert (joint["epochs"], joint["combine"], joint["batch_pieces"]) == (7, "pcgrad", 99)
    small = lesson(asked, "fine-tuned", 500, 1).recipe["stages"][0]
    assert tuned["score_every"] == 1 and small["score_every"] == small["epochs"] == 6, (
        "dev is large beside few examples"
    )
    assert "learning_rate" not in lesson(asked, "scratch", 3000, 1).recipe["stages"][0]
    own = lesson(asked, "own", 3000, 1).recipe["stages"]
    assert [stage["epochs"] for stage in own] == [7, 3] and own[1]["freeze"] == 2


def test_nothing_is_chosen_on_what_is_scored() -> None:
    stages = [{"tasks": ["pos"]}, {"tasks": ["mood"], "keep": "best"}]
    plain = question(stages=stages)
    on_dev = Question(plain.recipe, "mood", 3000, (), {}, {}, scored="dev")
    assert [stage["keep"] for stage in lesson(plain, "own", 100, 1).recipe["stages"]] == ["best", "best"]
    assert [stage["keep"] for stage in lesson(on_dev, "own", 100, 1).recipe["stages"]] == ["last", "last"]


def test_parts_are_runs_that_lack_one_each() -> None:
    """The same way with all examples but the part, fewer epochs, and nothing to score; joint ways are fine-tuned."""
    asked = question("pos")
    whole = lesson(asked, "fine-tuned", asked.whole, 3)
    found = [part(asked, "fine-tuned", number, 4, 3) for number in (1, 2, 3, 4)]
    assert len({one.key for one in found}) == 4
    for number, one in enumerate(found, 1):
        spec = one.recipe["data"]["ud"]
        assert spec["fold"] == f"{number}/4" and not {"dev", "test", "limit"} & spec.keys()
        assert 1 <= one.recipe["stages"][0]["epochs"] < whole.recipe["stages"][0]["epochs"]
        assert one.recipe["tasks"] == whole.recipe["tasks"]
    assert [one.recipe for one in found] == [part(asked, "joint", n, 4, 3).recipe for n in (1, 2, 3, 4)]
    after = part(asked, "from:mood", 1, 4, 3)
    assert after.before is not None and after.before == lesson(asked, "from:mood", asked.whole, 3).before


def test_a_held_out_share_of_dev_stays_held_out() -> None:
    data = {"said": {"train": "said.tsv", "layers": ["text", "mood"], "dev": 0.1, "test": "t.tsv"}}
    asked = question(data=data, tasks={"mood": TABLE["tasks"]["mood"]})
    assert part(asked, "fine-tuned", 1, 2, 1).recipe["data"]["said"]["dev"] == 0.1


def test_another_encoder_is_a_way(tmp_path: Path, tiny_encoder: Path) -> None:
    way = f"with:{tiny_encoder}"
    check_ways(question(), [way, "fine-tuned"])
    here, usual = (lesson(question(), one, 50, 1) for one in (way, "fine-tuned"))
    assert here.recipe["encoder"] == {"name": str(tiny_encoder)} and here.before is None
    rest = [{key: value for key, value in one.recipe.items() if key != "encoder"} for one in (here, usual)]
    assert rest[0] == rest[1], "nothing else differs from fine-tuning the recipe's own"
    assert here.name == "with-tiny-50-1"
    run = tmp_path / "run"
    (run / "model").mkdir(parents=True)
    (run / "model" / "config.json").write_text('{"polyhead_format": 1, "encoder": {}, "tasks": [], "info": {}}')
    assert lesson(question(), f"with:{run}", 50, 1).recipe["start"] == {"run": str(run), "fresh": []}
    for wrong, what in (("with:minlim", "no encoder 'minlim'"), ("with:./none", "no encoder folder")):
        with pytest.raises(PolyheadError, match=what):
            check_ways(question(), [wrong])


def test_what_is_known_is_named_once() -> None:
    stages = [{"name": "all", "epochs": 1}, {"name": "mood", "tasks": ["mood"], "epochs": 1}]
    with pytest.raises(PolyheadError) as caught:
        check_ways(question(stages=stages), ["xyz"])
    known = str(caught.value).split("Known: ")[1].rstrip(".").split(", ")
    assert len(known) == len(set(known)) and "own" in known
