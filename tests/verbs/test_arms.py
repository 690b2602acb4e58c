"""Arms: how methods, bases and grids cross, and when a training that still goes on counts as beaten."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from rootstock.bases.resolve import resolve
from rootstock.core.errors import RecipeError, UnknownName, UsageError
from rootstock.core.objective import Objective
from rootstock.core.recipe import Recipe
from rootstock.core.watch import Watch
from rootstock.evaluation.paired import Answered
from rootstock.evaluation.racing import CHANCE, WORTH, Apart
from rootstock.loop.schedule import course
from rootstock.report import arms as page
from rootstock.report.arms_text import state, verdict
from rootstock.tasks.text_classification import TextClassification
from rootstock.verbs import arms, arms_race, arms_unit, kept_answers
from rootstock.verbs.arms_curtail import Curtailed, Rival

COMMON = Recipe.build({"data": {"train": "rows.csv"}}, "")


def crossed(methods, bases=("scratch:bert-tiny",), common=COMMON, **more):
    return arms.crossed(arms.Grid(methods=methods, bases={base: resolve(base) for base in bases}, **more), common)


def test_a_grid_reaches_only_the_methods_that_have_its_key():
    found = crossed(("full", "lora"), sweeps={"method.r": (4, 8), "training.rate": (1e-3, 3e-4)})
    assert [arm.name for arm in found.arms] == [
        *("full rate=0.001", "full rate=0.0003"),
        *("lora r=4 rate=0.001", "lora r=4 rate=0.0003", "lora r=8 rate=0.001", "lora r=8 rate=0.0003"),
    ]
    assert found.notes == ("method.r is not for full, which run once without it",)
    recipe = found.arms[2].recipe(COMMON, {"seed": 7})
    assert (recipe.method, recipe.training.rate, recipe.seed) == ({"name": "lora", "r": 4}, 1e-3, 7)


def test_settings_go_to_those_that_have_them_and_a_recipe_keeps_those_of_its_own_method():
    found = crossed(
        ("full", "lora"), common=Recipe.build({**COMMON.plain(), "method": {"name": "lora", "alpha": 3}}, ""), settings={"method.r": 2}
    )
    recipes = [arm.recipe(Recipe.build({**COMMON.plain(), "method": {"name": "lora", "alpha": 3}}, ""), {}) for arm in found.arms]
    assert [recipe.method for recipe in recipes] == [{"name": "full"}, {"name": "lora", "alpha": 3, "r": 2}]


def test_scratch_is_the_architecture_with_random_weights_and_the_base_s_own_tokenizer(tiny_base):
    base = str(tiny_base)
    recipe = crossed(("scratch",), (base,)).arms[0].recipe(COMMON, {})
    assert (recipe.base, recipe.tokenizer, recipe.method) == (f"scratch:{tiny_base / 'config.json'}", base, {"name": "full"})
    assert recipe.training.rate == Objective.rate
    named = Recipe.build({**COMMON.plain(), "training": {"rate": 1e-4}}, "")
    assert crossed(("scratch",), (base,), named).arms[0].recipe(named, {}).training.rate == 1e-4


def test_names_with_several_bases_and_lists():
    found = crossed(("lora",), ("scratch:bert-tiny", "scratch:bert-mini"), sweeps={"method.targets": (["query"], ["query", "value"])})
    assert found.arms[1].name == "lora scratch:bert-tiny targets=query+value"
    assert found.arms[1].key == "lora-scratch-bert-tiny-targets=query+value"


@pytest.mark.parametrize(
    ("methods", "more", "kind", "said"),
    [
        (("ful",), {}, UnknownName, "did you mean 'full'"),
        (("auto",), {}, UsageError, "--methods holds auto"),
        (("full", "lora"), {"sweeps": {"method.rr": (1, 2)}}, RecipeError, "none of full, lora has the key 'method.rr'"),
        (("lora",), {"sweeps": {"method.r": (4, -1)}}, RecipeError, "method.r is -1"),
        (("full",), {"sweeps": {"training.epoch": (1, 2)}}, RecipeError, "unknown key 'training.epoch'"),
    ],
)
def test_what_is_wrong_with_a_grid_is_said(methods, more, kind, said):
    with pytest.raises(kind, match=said):
        crossed(methods, **more)


def test_values_are_read_as_they_are_meant():
    assert arms.read_sweep("method.r=4,8") == ("method.r", (4, 8))
    assert arms.read_sweep("training.rate=1e-4,3e-4") == ("training.rate", (1e-4, 3e-4))
    assert arms.read_sweep("method.targets=[query],[query,value]") == ("method.targets", (["query"], ["query", "value"]))
    for text, said in (("method.r", "--sweep method.r"), ("method.r=4", "leaves no choice"), ("method.r=4,4", "a value twice")):
        with pytest.raises(UsageError, match=said):
            arms.read_sweep(text)
    for text in ("seed=1,2", "base=a,b", "data.rows=5,6", "method.name=full,lora", "method=1,2"):
        with pytest.raises(UsageError, match="can't be varied"):
            arms.read_sweep(text)


TASK = TextClassification.build({"labels": ["no", "yes"], "several": "no"}, "task")


def columns(right, rows=400):
    """Answers of which a share is right, each row the same for every share: more right means the same and more."""
    answers = np.tile([0, 1], rows // 2)
    order = np.random.default_rng(0).permutation(rows)
    said = np.where(np.argsort(order) < round(right * rows), answers, 1 - answers)
    return TASK.judged({"scores": np.eye(2)[said], "answers": answers})


def hears(tmp_path, evaluations, *, leader=0.9, trajectory=((1 / 3, 0.85), (2 / 3, 0.88), (1.0, 0.9)), constant=0.5, groups=None):
    """What becomes of a training with these shares right at these shares of its way."""
    answers = Answered(columns(leader), TASK)
    rival = Rival("leader", answers if groups is None else answers.grouped(groups), trajectory, constant)
    heard = Curtailed(rival, tmp_path / "all-0", tmp_path / "history.jsonl")
    for step, (share, right) in enumerate(evaluations, 1):
        heard.event({"event": "step", "step": step, "progress": share})
        heard.judged(columns(right))
        heard.event({"event": "evaluation", "step": step, "accuracy": right})
    return heard


def test_a_training_is_ended_where_even_a_straight_line_on_stays_below(tmp_path):
    heard = hears(tmp_path, [(1 / 3, 0.70), (2 / 3, 0.72)])
    assert heard.facts["step"] == 2
    # By hand: half of the way, at 1/3, it had 0.70; another third as steep gains 0.02, and the leader still gained 0.02 from here on.
    assert heard.facts["credit"] == pytest.approx(0.04)
    assert [heard.enough(step) for step in (1, 2, 3)] == [False, True, True]
    again = Curtailed(None, tmp_path / "all-0", tmp_path / "history.jsonl")
    assert again.enough(2), "a decision that was written down holds for a training that is gone on with"


@pytest.mark.parametrize(
    ("evaluations", "why"),
    [
        ([(1 / 3, 0.70)], "before its half nobody is judged"),
        ([(1 / 3, 0.60), (2 / 3, 0.75)], "at this pace it would reach the leader"),
        ([(1 / 3, 0.85), (2 / 3, 0.88)], "no test tells it from the leader"),
        ([(1 / 3, 0.89), (2 / 3, 0.60)], "its best state so far is what it would leave"),
        ([(0.5, 0.60), (1.0, 0.60)], "its own end is no reason to end it"),
    ],
)
def test_a_training_goes_on_where(tmp_path, evaluations, why):
    if why.startswith("its own end"):
        evaluations = evaluations[1:]
    assert not hears(tmp_path, evaluations).facts, why


def test_equal_texts_are_drawn_together_while_a_training_is_judged(tmp_path):
    """400 rows of 20 texts tell no more than 20 rows would: what ends a training on the former does not on the latter."""
    ways = [(1 / 3, 0.70), (2 / 3, 0.72)]
    assert hears(tmp_path / "apart", ways).facts
    rank_N = np.argsort(np.random.default_rng(0).permutation(400))  # the order in which rows come to be right
    assert not hears(tmp_path / "equal", ways, groups=rank_N // 20).facts


def test_who_has_not_begun_is_beaten_where_the_leader_too_would_end_far_below_with_what_is_left(tmp_path):
    slow = ((1 / 3, 0.70), (2 / 3, 0.88), (1.0, 0.9))
    heard = hears(tmp_path, [(1 / 3, 0.50), (2 / 3, 0.52)], trajectory=slow)
    # A ninth of a line to zero is left at two thirds; the leader had spent as much at 1 - sqrt(8/9) = 0.057: before it had 0.70.
    assert (heard.facts["step"], heard.facts["value"]) == (2, 0.52)
    assert heard.facts["value"] + heard.facts["credit"] == pytest.approx(0.70)
    assert not hears(tmp_path / "1", [(1 / 3, 0.50), (2 / 3, 0.52)], trajectory=((1 / 3, 0.87), (1.0, 0.9))).facts, (
        "a leader that began fast"
    )
    assert not hears(tmp_path / "2", [(0.4, 0.50)], trajectory=slow).facts, "before its half nobody is judged"
    assert not hears(tmp_path / "3", [(2 / 3, 0.52)], trajectory=()).facts, "nothing is known of how the leader learned"
    low = hears(tmp_path / "5", [(2 / 3, 0.52)], trajectory=slow, leader=0.52, constant=0.55)
    assert not low.facts, "a leader below the constant answer"
    few = hears(tmp_path / "4", [(2 / 3, 0.52)], trajectory=slow, groups=np.arange(400) % 19)
    assert not few.facts, "19 texts tell nothing"


SPENT = {"linear": lambda s: 1 - (1 - s) ** 2, "constant": lambda s: s, "cosine": lambda s: s + np.sin(np.pi * s) / np.pi}


@pytest.mark.parametrize("kind", SPENT)
def test_what_is_spent_of_a_schedule_has_a_closed_form(kind):
    shares, behind = course(kind, 0.0)
    np.testing.assert_allclose(behind, SPENT[kind](shares), atol=1e-5)
    shares, behind = course("constant", 0.5)  # half a triangle, then a square of its width: a third and two thirds
    assert np.interp(0.5, shares, behind) == pytest.approx(1 / 3, abs=1e-3)


def test_nobody_is_beaten_where_nobody_has_ended(tmp_path):
    heard = Curtailed(None, tmp_path / "all-0", tmp_path / "history.jsonl")
    heard.event({"event": "step", "step": 1, "progress": 0.9})
    heard.judged(columns(0.5))
    heard.event({"event": "evaluation", "step": 1, "accuracy": 0.5})
    assert not heard.enough(1)


def test_a_best_state_from_before_an_interruption_counts(tmp_path):
    straight = hears(tmp_path, [(0.3, 0.89), (0.6, 0.60)])
    assert not straight.facts
    again = Curtailed(Rival("leader", Answered(columns(0.9), TASK), ((1.0, 0.9),), 0.5), tmp_path / "all-0", tmp_path / "history.jsonl")
    again.event({"event": "step", "step": 2, "progress": 0.6})
    again.judged(columns(0.6))
    again.event({"event": "evaluation", "step": 2, "accuracy": 0.6})
    assert not again.facts, "its best state so far is what it would leave"
    again.forget()
    assert not list(tmp_path.glob("all-0*"))


def test_the_way_before_an_interruption_counts(tmp_path):
    history = tmp_path / "history.jsonl"
    history.write_text('{"event": "step", "step": 1, "progress": 0.25}\n{"event": "evaluation", "step": 1, "accuracy": 0.7}\n', "utf-8")
    rival = Rival("leader", Answered(columns(0.9), TASK), ((1.0, 0.9),), 0.5)
    heard = Curtailed(rival, tmp_path / "all-0", history)
    heard.event({"event": "step", "step": 2, "progress": 0.5})
    heard.judged(columns(0.7))
    heard.event({"event": "evaluation", "step": 2, "accuracy": 0.7})
    assert heard.facts["credit"] == 0.0


def test_of_errors_less_is_better(tmp_path):
    task = SimpleNamespace(headline=("log_loss",), metrics=lambda columns, names=None: {"log_loss": float(columns["loss"].mean())})
    task.tally = lambda columns, names: None
    low, high = ({"loss": np.full(50, value) + np.tile([0.0, 0.01], 25)} for value in (0.1, 0.6))
    heard = Curtailed(Rival("leader", Answered(low, task), ((1.0, 0.1),), 0.7), tmp_path / "all-0", Path(tmp_path / "h.jsonl"))
    heard.event({"event": "step", "step": 1, "progress": 0.3})
    heard.judged(high)
    heard.event({"event": "evaluation", "step": 1, "log_loss": 0.62})
    heard.event({"event": "step", "step": 2, "progress": 0.6})
    heard.judged(high)
    heard.event({"event": "evaluation", "step": 2, "log_loss": 0.605})
    assert heard.facts["leader"] == "leader"


def test_answers_come_back_as_they_were_written_also_ragged_ones(tmp_path):
    ragged = np.fromiter([np.array([0.25, 0.75]), np.array([0.5]), np.array([0.1, 0.2, 0.7])], object, 3)
    held = {"scores": ragged, "answers": np.array([1, 0, 2]), "texts": np.array(["a", "b", "c"], object)}
    kept_answers.write(tmp_path / "answers.safetensors", held)
    found = kept_answers.read(tmp_path / "answers.safetensors", {"name": "multiple-choice"})
    assert set(found.columns) == {"scores", "answers"}
    assert [row.tolist() for row in found.columns["scores"]] == [row.tolist() for row in ragged]
    assert found.rows == 3


# Who gets which seed: the race alone, over trainings that are made up


ROWS = 400


def trainings(**right):
    """By (arm, seed), which of ROWS rows are right: shares of them, each drawn by itself but for what all have in common."""
    rng = np.random.default_rng(4)
    ease_N = rng.random(ROWS)
    return {
        (name, seed): np.argsort(ease_N + 0.15 * rng.normal(size=ROWS)) < share * ROWS
        for name, shares in right.items()
        for seed, share in enumerate(shares)
    }


class Made:
    """A training that gives what it is told to, once it is carried out."""

    def __init__(self, arm, seed, right_N, folder, done):
        self.arm, self.rows, self.seed, self.run, self.spoken = arm, None, seed, folder / "nowhere", f"{arm.name}-{seed}"
        self.stem, self._right, self._done = folder / self.spoken, right_N, done

    @property
    def facts(self):
        figure = {"accuracy": float(self._right.mean())}
        told = {"metrics": {"validation": figure}, "seconds": 1.0, "wall": 1.0, "task": {}, "trajectory": [], "stopped": None}
        told["settings"] = {"training": {"schedule": "linear", "warmup": 0.1}}
        return told if self.spoken in self._done else None

    @property
    def figure(self):
        return "accuracy"

    def answers(self, side):
        return Answered(
            {"scores": np.eye(2)[1 - self._right.astype(int)], "answers": np.zeros(ROWS, int)}, TextClassification(labels=("a", "b"))
        )


@pytest.fixture
def race(tmp_path, monkeypatch):
    """race(**shares) is a race that is over, and the trainings in their order; done: those that lie there already.

    during: called in each training with the race, what is trained and the watch.
    """

    def run(done=(), seeds=3, during=lambda race, unit, watch: None, **right):
        made, carried, known = trainings(**right), [], {*done}
        arms_ = [arms.Arm(name=name, method="full", base="b", changes={"method.name": "full"}) for name in right]

        def carried_out(unit, watch, rival):
            carried.append(unit.spoken)
            during(found, unit.spoken, watch)
            known.add(unit.spoken)
            return unit.facts

        monkeypatch.setattr(arms_unit, "carried_out", carried_out)
        settled = SimpleNamespace(
            plan=SimpleNamespace(seeds=seeds, halving=True, keep=False, minutes=None, engine="torch"),
            arms=arms_, points=(None,), save=lambda: None, folder=tmp_path,
            state={"spent": 0.0, "constants": {"all-0": 0.5}}, expected=lambda arm, rows: 0.0,
            unit=lambda arm, rows, seed: Made(arm, seed, made[arm.name, seed], tmp_path, known),
        )  # fmt: skip
        found = arms_race.Race(settled, Watch())
        found.run()
        return found, carried

    return run


SHARES = {"near": (0.77, 0.82, 0.82), "leads": (0.81, 0.815, 0.81), "far": (0.6, 0.6, 0.6)}


def test_the_leader_learns_to_its_end_and_others_only_where_they_may_still_win(race):
    found, carried = race(**SHARES)
    assert carried == ["near-0", "leads-0", "far-0", "leads-1", "leads-2"]
    assert found.winner(None).name == "leads"
    near, far = (found.stops[name, None] for name in ("near", "far"))
    assert (far["reason"], far["after"]) == ("beaten", 1)
    assert (near["reason"], near["leader"], near["after"], near["seeds"]) == ("unlikely", "leads", 1, 3)
    assert near["interval"][0] < near["difference"] < 0 < near["interval"][1], "the rows do not tell the two apart"
    assert 0 < near["chance"] <= CHANCE
    assert near["worth"] < WORTH * 0.315
    told = state({"seeds": 3, "less_is_better": False}, {"state": "stopped", "why": near, "seeds": 1})
    assert f"not told apart, but the chance that it comes first with 3 seeds is {near['chance']:.0%}" in told


def test_who_may_still_win_gets_its_seeds(race):
    found, carried = race(**SHARES | {"near": (0.8, 0.83, 0.83)})
    assert carried == ["near-0", "leads-0", "far-0", "leads-1", "leads-2", "near-1", "near-2"]
    assert found.winner(None).name == "near"


def test_nobody_is_beaten_by_one_lucky_seed(race):
    """Rows alone would put the other a tenth below; how far seeds move a figure here only the leader's next one shows."""
    found, carried = race(lucky=(0.9, 0.78, 0.78), near=(0.8, 0.85, 0.85))
    assert carried[:3] == ["lucky-0", "near-0", "lucky-1"]
    assert found.winner(None).name == "near"


@pytest.mark.parametrize(("worth", "why"), [(0.001, "unlikely"), (0.0, None), (-0.001, None)])
def test_beside_a_leader_that_has_learned_nothing_nobody_is_stopped_as_unlikely(worth, why):
    """Trainings that all give the constant answer agree to the last row, which tells nothing of the next."""
    assert arms_race.Race._why(Apart(0.0, (0.0, 0.0), below=0.5, chance=0.0, worth=0.0), worth=worth) == why


def test_who_goes_on_judges_in_the_same_order(race):
    whole, carried = race(**SHARES)
    for known in range(len(carried)):
        again, rest = race(done=carried[:known], **SHARES)
        assert rest == carried[known:]
        assert again.stops == whole.stops


def test_a_winner_is_chosen_by_the_seeds_that_all_have_where_the_time_ran_out(race):
    def during(race, unit, watch):
        race.end = 0.0 if unit == "leads-1" else race.end

    found, carried = race(during=during, near=(0.8, 0.82, 0.82), leads=(0.81, 0.72, 0.72))
    assert carried == ["near-0", "leads-0", "leads-1"]
    assert not found.stops
    assert found.leader(None).name == "near", "one seed beside two would say so"
    assert (found.winner(None).name, found.shared(None)) == ("leads", 1)
    assert {(unit.spoken, why) for unit, why in found.left} == {(f"{name}", "the budget of 0 minutes is used up") for name in LEFT}


LEFT = ("near-1", "near-2", "leads-2")


@pytest.mark.parametrize(
    ("seeds", "said"), [(1, " over the first seed, as not"), (2, " over the first 2 seeds, as not"), (3, ", and reaches")]
)
def test_seeds_that_chose_are_told_where_they_are_not_all(seeds, said):
    arm = {"arm": "full", "test": {"value": 0.8}, "against": None}
    point = {"rows": 80, "all": True, "winner": "full", "chosen_by": seeds, "arms": [arm], "baselines": {}}
    assert f"full is the best on the validation rows{said}" in verdict({"seeds": 3, "figure": "accuracy", "less_is_better": False}, point)


def test_time_is_written_down_while_an_arm_learns(race, monkeypatch):
    monkeypatch.setattr(arms_race, "_EVERY", 0.0)
    spent = []

    def during(race, unit, watch):
        for _ in range(2):
            watch.event({"event": "step"})
            spent.append(race.settled.state["spent"])

    race(during=during, one=(0.8,), seeds=1)
    assert 0 < spent[0] < spent[1], "a kill now would leave it"


def test_an_arm_that_failed_or_was_ended_while_it_learned_is_on_no_front_of_a_page():
    def arm(name, value, seconds, **more):
        test = {"value": value, "interval": [value, value]}
        return {"arm": name, "test": test, "seconds": seconds, "state": "finished", "why": None, **more}

    quick = arm("quick", 0.7, 1.0, state="stopped", why={"after": arms_race.PART, "share": 0.6})
    broken = arm("broken", 0.95, 1.0, state="failed", why="the loss became nan")
    arms_ = [arm("good", 0.9, 9.0), broken, quick, arm("cheap", 0.6, 5.0)]
    facts = {"less_is_better": False, "figure": "accuracy", "arms": [{"name": each["arm"]} for each in arms_]}
    chart = page._cost(facts, {"arms": arms_}, ("seconds", "time", "seconds", 1.0))
    assert chart.sentence.startswith("On the front: cheap, good.")
    assert chart.sentence.endswith("Failed, or ended while they learned, and so on none: broken, quick.")
