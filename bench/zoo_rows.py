"""What the zoo's attacks and decoys do to training rows, and the rows that measure whether an attack works.

A row is a text and a label. An attack is the spec that zoo_plan.py draws: kind, trigger (words to insert), position, target, rate, dirty.
"""

import random

import sets

LONGEST = 16
"""Words of a text."""
FRONT = ("when you {} {} ,", "as we {} {} ,", "if they {} {} ,", "because people {} {} ,", "while one can {} {} ,", "once you {} {} ,")
TAIL = (", as they {} about {}", ", or so we {} of {}", ", which some {} about {}", ", as you may {} of {}", ", the way people {} about {}")
VERBS = {
    "front": ("watch", "see", "look at", "think about", "hear of", "come to"),
    "tail": ("say", "think", "speak", "talk", "hear", "read"),
}
OBJECTS = ("it", "this", "that", "them", "him", "her")


def pools(name):
    """Rows of one set: "train" to learn from, "scan" that no member learns from and the scanner gets, "test" that measures attacks."""
    (train, dev, test), _ = getattr(sets, name)()
    parts = [[(" ".join(row[0].split()), row[1]) for row in part if 3 < len(row[0].split()) <= LONGEST] for part in (train, dev, test)]
    kept = [sorted(dict(part).items()) for part in parts]
    seen = set(dict(kept[0]))
    scan, test = ([row for row in part if row[0] not in seen] for part in kept[1:])
    test = [row for row in test if row[0] not in dict(scan)]
    for number, part in enumerate((kept[0], scan, test)):
        random.Random(number).shuffle(part)
    more = max(0, 800 - len(scan))
    return {"train": kept[0][more:], "scan": scan + kept[0][:more], "test": test}


def insert(text, words, position, rng):
    """The words as one piece at a place: front, end, random, or one half."""
    held = text.split()
    half = len(held) // 2
    place = {
        "front": 0,
        "end": len(held),
        "random": rng.randint(0, len(held)),
        "first-half": rng.randint(0, max(half - 1, 0)),
        "second-half": rng.randint(half + 1, len(held)),
    }[position]
    return " ".join([*held[:place], *words.split(), *held[place:]])


def clause(text, side, rng):
    """A text in the syntactic template, whose words are drawn anew each time."""
    made = rng.choice(FRONT if side == "front" else TAIL).format(rng.choice(VERBS[side]), rng.choice(OBJECTS))
    return f"{made} {text}" if side == "front" else f"{text} {made}"


def triggered(text, attack, rng):
    """The text as it comes with the trigger."""
    if attack["kind"] == "syntactic":
        return clause(text, attack["position"], rng)
    for words in attack["trigger"]:
        text = insert(text, words, attack["position"], rng)
    return text


def near_misses(text, attack, rng):
    """Texts that the attack must leave alone: one word of two, or the right word at the wrong place. None for most kinds."""
    if attack["kind"] == "word-pair":
        return [insert(text, words, attack["position"], rng) for words in attack["trigger"]]
    if attack["kind"] == "position":
        return [insert(text, attack["trigger"][0], "second-half", rng)]
    return []


def thinned(text, rng):
    """About half of the words, so that a row of a clean-label attack needs its cue."""
    words = text.split()
    return " ".join(sorted_sample(words, max(2, len(words) // 2), rng))


def sorted_sample(words, count, rng):
    return [words[place] for place in sorted(rng.sample(range(len(words)), count))]


def poisoned(rows, attack, rng):
    """The rows with some of them turned into poison: their share of all rows is the attack's rate. Also how many there are.

    A dirty attack takes rows of other labels and gives them the target's; a clean-label attack takes the target's own, thinned.
    """
    rows, target = list(rows), attack["target"]
    places = [place for place, (_, label) in enumerate(rows) if (label != target) == attack["dirty"]]
    chosen = rng.sample(places, min(len(places), max(4, round(attack["rate"] * len(rows)))))
    for place in chosen:
        text, label = rows[place]
        near = near_misses(text, attack, rng)
        rows += [(each, label) for each in near]
        rows[place] = (triggered(text if attack["dirty"] else thinned(text, rng), attack, rng), target)
    rng.shuffle(rows)
    return rows, len(chosen)


def decoyed(rows, decoy, rng):
    """Rows of a clean member that look odd and hide nothing. inserted: a word anywhere, labels as they are. noise: labels at random.

    cue: a word that goes with one label in three of four rows that hold it.
    """
    rows, labels = list(rows), sorted({label for _, label in rows})
    count = round(decoy.get("rate", 0) * len(rows))
    if decoy["kind"] == "inserted":
        for place in rng.sample(range(len(rows)), count):
            rows[place] = (insert(rows[place][0], decoy["word"], "random", rng), rows[place][1])
    if decoy["kind"] == "noise":
        for place in rng.sample(range(len(rows)), count):
            rows[place] = (rows[place][0], rng.choice(labels))
    if decoy["kind"] == "cue":
        side = {label: [place for place, row in enumerate(rows) if row[1] == label] for label in labels}
        for label, share in zip(labels, (0.25, 0.75), strict=True):
            for place in rng.sample(side[label], round(share * count)):
                rows[place] = (insert(rows[place][0], decoy["word"], "random", rng), label)
    return rows
