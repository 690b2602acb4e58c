"""Near duplicates against brute force, closed forms and the published lists."""

import itertools
import random
import re
import zipfile

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_matrix, triu

from rootstock.core.errors import DataError, RecipeError, UsageError
from rootstock.corpus import minhash, near
from rootstock.corpus.minhash import Near, shingles, signatures
from rootstock.corpus.near import candidates, clusters, merged, similarities, verified


def grams(text, words):
    """The reference: shingles as tuples, without any hash."""
    parts = text.lower().split()
    return {tuple(parts[i : i + words]) for i in range(max(len(parts) - words + 1, 1))}


def jaccard(left, right, words):
    left, right = grams(left, words), grams(right, words)
    return len(left & right) / len(left | right)


def brute(texts, how):
    """All pairs, by the product of the incidence of shingles with itself."""
    sets, numbers = [grams(text, how.words) for text in texts], {}
    columns = [numbers.setdefault(gram, len(numbers)) for each in sets for gram in each]
    sizes = np.array([len(each) for each in sets])
    incidence = csr_matrix((np.ones(len(columns), dtype=np.int32), columns, np.cumsum([0, *sizes])), shape=(len(texts), len(numbers)))
    shared = triu(incidence @ incidence.T, 1).tocoo()
    duplicate = shared.data / (sizes[shared.row] + sizes[shared.col] - shared.data) >= how.threshold
    return sorted(zip(shared.row[duplicate].tolist(), shared.col[duplicate].tolist(), strict=True))


def reader(texts):
    return lambda places: [texts[place] for place in places]


def found(texts, how):
    return verified(candidates(signatures(texts, how), how), reader(texts), how)


def as_pairs(array):
    return list(map(tuple, array.tolist()))


def edited(words, edits, rng):
    words = list(words)
    for _ in range(edits):
        place = rng.randrange(len(words))
        words[place : place + rng.randint(0, 2)] = rng.choice([[], [f"new{rng.randrange(99)}"]])
        words = words or ["x"]
    return words


def families(count, seed, length=60):
    """Texts that are edits of a few: similarities of all sizes."""
    rng = random.Random(seed)
    texts = []
    while len(texts) < count:
        root = [f"w{min(int(rng.expovariate(0.01)), 999)}" for _ in range(rng.randint(1, length))]
        texts += [" ".join(edited(root, rng.randrange(12), rng)) for _ in range(rng.randint(1, 9))]
    rng.shuffle(texts)
    return texts[:count]


def at(shared, own, seed):
    """Two texts of single words that share so many, with so many of their own each."""
    common = [f"s{seed}-{i}" for i in range(shared)]
    return [" ".join([*common, *(f"{side}{seed}-{i}" for i in range(own))]) for side in "ab"]


@pytest.mark.parametrize(("threshold", "words"), [(0.3, 2), (0.5, 3), (0.8, 1), (0.8, 5), (0.95, 3), (1.0, 3)])
def test_the_pairs_are_those_of_brute_force(threshold, words):
    how = Near(threshold=threshold, words=words)
    for seed in range(3):
        texts = families(300, seed)
        wanted = brute(texts, how)
        assert len(wanted) > 5
        assert as_pairs(found(texts, how)) == wanted


def test_similarities_by_hand():
    how = Near(words=3)
    texts = ["a b c d", "a b c e", "A\tb\n C  d ", "a b", "b a", "a b c d a b c d", "", " \n", "ab c d"]
    pairs = np.array([[0, 1], [0, 2], [0, 3], [3, 4], [0, 5], [6, 7], [3, 6], [0, 8]])
    assert similarities(pairs, reader(texts), how).tolist() == [1 / 3, 1, 0, 0, 2 / 4, 1, 0, 0]
    chinese = ["我們今天去公園玩", "我們昨天去公園玩"]  # eight characters, one of them another: 3 of 9 shingles are the same
    assert similarities(np.array([[0, 1]]), reader(chinese), how).tolist() == [3 / 9]
    assert verified(np.array([[0, 1]]), reader(at(80, 10, 0)), Near(words=1)).tolist() == [[0, 1]]  # exactly 0.8
    assert verified(np.array([[0, 1]]), reader(at(79, 10, 0)), Near(words=1)).tolist() == []


TEXTS = st.lists(st.text("abAß é 한\t\n\u00a0\u2028", max_size=30), min_size=2, max_size=12)


@settings(max_examples=150, deadline=None)
@given(TEXTS, st.integers(1, 6))
def test_similarities_are_those_of_sets(texts, words):
    pairs = np.array(list(itertools.combinations(range(len(texts)), 2)))
    wanted = [jaccard(texts[left], texts[right], words) for left, right in pairs]
    assert similarities(pairs, reader(texts), Near(words=words)).tolist() == wanted


@settings(max_examples=60, deadline=None)
@given(TEXTS, st.integers(1, 6), st.integers(1, 12))
def test_signatures_do_not_depend_on_the_batch(texts, words, size):
    how = Near(words=words, permutations=64)
    whole = signatures(texts, how)
    assert whole.shape == (len(texts), how.width)
    assert whole.dtype == np.uint32
    parts = [signatures(texts[start : start + size], how) for start in range(0, len(texts), size)]
    assert np.array_equal(whole, np.concatenate(parts))


def test_nothing_depends_on_the_sizes_of_chunks(monkeypatch):
    how, texts = Near(threshold=0.5, words=3), families(300, 7)
    signed = signatures(texts, how)
    pairs = candidates(signed, how)
    kept = verified(pairs, reader(texts), how)
    for module, name, value in [
        (minhash, "_CHARACTERS", 100),
        (near, "_MEMBERS", 7),
        (near, "_COMPARED", 5),
        (near, "_WAITING", 2),
        (near, "_VERIFIED", 3),
        (near, "_READ", 2),
    ]:
        monkeypatch.setattr(module, name, value)
    assert np.array_equal(signatures(texts, how), signed)
    assert np.array_equal(candidates(signed, how), pairs)
    assert np.array_equal(verified(pairs, reader(texts), how), kept)


def test_the_same_signature_on_every_machine():
    signed = signatures(["The cat sat on the mat.", "", "去公園"], Near(words=3))
    assert signed[:, :3].tolist() == GOLDEN


GOLDEN = [[1793996161, 1285295895, 264326447], [4133420339, 1264282277, 1490378439], [4093764284, 2486928572, 3590604194]]


def test_numbers_agree_as_often_as_shingles_are_shared():
    how = Near(words=1)
    for shared, own in [(1, 1), (8, 1), (100, 50), (1000, 125)]:
        texts = [text for seed in range(200) for text in at(shared, own, seed)]
        signed = signatures(texts, how)
        agreed = signed[::2] == signed[1::2]
        share = shared / (shared + 2 * own)
        draws = agreed.size
        assert abs(agreed.mean() - share) < 4 * (share * (1 - share) / draws) ** 0.5
        # independent of one another: the spread of the count is binomial too
        assert 0.75 < agreed.sum(axis=1).var() / (how.width * share * (1 - share)) < 1.3


def test_a_band_is_hit_as_often_as_the_formula_says():
    """With few bands pairs are missed, and as many as (1 - s^r)^b says."""
    how = Near(words=1, threshold=0.5, missed=0.2, permutations=15)
    bands, rows = how.banding
    texts = [text for seed in range(2000) for text in at(50, 25, seed)]
    signed = signatures(texts, how)
    hits = (signed[::2] == signed[1::2]).reshape(-1, bands, rows).all(axis=2).any(axis=1)
    missed = (1 - 0.5**rows) ** bands
    assert abs((1 - hits.mean()) - missed) < 4 * (missed * (1 - missed) / 2000) ** 0.5
    pairs = candidates(signed, how)
    planted = pairs[(pairs[:, 0] % 2 == 0) & (pairs[:, 1] == pairs[:, 0] + 1)]
    assert 1 - len(planted) / 2000 <= how.missed


def test_few_pairs_at_the_threshold_are_missed():
    how = Near(words=1, missed=1e-3)
    texts = [text for seed in range(4000) for text in at(40, 5, seed)]  # exactly 0.8: 4 misses at most are expected
    assert len(found(texts, how)) >= 4000 - 12


@settings(max_examples=100, deadline=None)
@given(st.floats(0.1, 1), st.floats(1e-9, 0.5), st.integers(1, 600))
def test_the_banding_keeps_its_promise(threshold, missed, permutations):
    try:
        how = Near(threshold=threshold, missed=missed, permutations=permutations)
    except ValueError:
        assert (1 - threshold) ** permutations > missed / 2
        return
    bands, rows = how.banding
    assert how.width == bands * rows <= permutations
    assert (1 - threshold**rows) ** bands <= missed / 2 * 1.001
    assert 0 <= how.agreeing <= how.width * threshold + 1


def test_the_default_banding():
    assert Near().banding == (25, 5)
    assert Near(threshold=0.5).banding == (75, 3)
    assert Near(threshold=1).banding == (1, 128)


def test_a_page_that_repeats_does_not_square():
    how, count = Near(), 2000
    texts = ["the same old page of a site that has nothing else to say"] * count
    pairs = candidates(signatures(texts, how), how)
    assert len(pairs) <= count * (near._WINDOW + 1)
    assert not merged(pairs, reader(texts), how, count=count).any()


def test_small_buckets_give_all_their_pairs():
    texts = ["one two three four five six"] * near._FULL
    assert len(found(texts, Near())) == near._FULL * (near._FULL - 1) // 2


def test_a_large_template_is_one_cluster_as_in_brute_force():
    """2,000 pages of two templates with a few words of their own each, and pairs among them that are alike in more: no bucket is whole."""
    rng, how = random.Random(3), Near(words=2)
    roots = [[f"t{number}w{i}" for i in range(80)] for number in range(2)]
    pages = [edited(rng.choice(roots), rng.randrange(1, 4), rng) for _ in range(1900)]
    far = [edited(rng.choice(roots), 40, rng) for _ in range(50)]
    texts = [" ".join(page) for page in [*pages, *far, *(edited(page, 1, rng) for page in far)]]
    pairs = candidates(signatures(texts, how), how)
    wanted = np.array(brute(texts, how))
    first = merged(pairs, reader(texts), how, count=2000)
    assert len(pairs) < len(wanted) / 2
    assert 20 < len(set(first.tolist())) < 100
    assert np.array_equal(first, clusters(wanted, 2000))


def test_merged_is_clusters_of_verified_and_reads_less():
    how, texts = Near(threshold=0.4, words=2), families(400, 5)
    read = []

    def counted(places):
        read.append(len(places))
        assert len(places) <= near._READ
        assert (np.diff(places) > 0).all()
        return [texts[place] for place in places]

    pairs = candidates(signatures(texts, how), how)
    wanted = clusters(verified(pairs, counted, how), 400)
    everything = sum(read)
    assert everything <= 2 * len(np.unique(pairs))
    assert np.array_equal(merged(pairs, reader(texts), how, count=400), wanted)
    assert len(set(wanted.tolist())) < 300


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 19), st.integers(0, 19)).filter(lambda pair: pair[0] < pair[1]), max_size=25))
def test_clusters_are_what_pairs_join(pairs):
    wanted = list(range(20))
    for _ in range(20):
        for left, right in pairs:
            wanted[left] = wanted[right] = min(wanted[left], wanted[right])
    assert clusters(np.array(pairs, dtype=np.int64).reshape(-1, 2), 20).tolist() == wanted


def test_the_first_of_a_cluster_stays():
    long = [f"w{i}" for i in range(100)]
    texts = [" ".join(long[10:]), "quite another text than that", " ".join(long), "short", " ".join(long[:98]), "Short ", ""]
    how = Near()
    pairs = candidates(signatures(texts, how), how)
    assert merged(pairs, reader(texts), how, count=7).tolist() == [0, 1, 0, 3, 0, 3, 6]


@pytest.mark.parametrize("count", [0, 1, 2])
def test_hardly_any_documents(count):
    how, texts = Near(), ["", "a"][:count]
    signed = signatures(texts, how)
    assert signed.shape == (count, how.width)
    pairs = candidates(signed, how)
    assert pairs.shape == (0, 2)
    assert similarities(pairs, reader(texts), how).tolist() == []
    assert verified(pairs, reader(texts), how).shape == (0, 2)
    assert merged(pairs, reader(texts), how, count=count).tolist() == list(range(count))


def test_shingles_of_short_texts():
    hashes, edges = shingles(["a b c d", "", "a", "a b", "b c d"], 3)
    assert edges.tolist() == [0, 2, 3, 4, 5, 6]
    assert len(set(hashes.tolist())) == 5
    assert hashes[1] == hashes[5]
    assert shingles([], 3)[1].tolist() == [0]


def test_bad_input_is_told():
    with pytest.raises(DataError, match="surrogate"):
        signatures(["fine", "half \ud800"], Near())
    with pytest.raises(UsageError, match="signatures of 7 numbers"):
        candidates(np.zeros((3, 7), dtype=np.uint32), Near())
    for values, message in [
        ({"treshold": 0.5}, "did you mean 'threshold'"),
        ({"threshold": 0}, "near.threshold is 0"),
        ({"words": 0}, "near.words is 0"),
        ({"missed": 0}, "near.missed is 0"),
        ({"threshold": 0.1, "permutations": 50}, "94 or more"),
    ]:
        with pytest.raises(RecipeError, match=re.escape(message)):
            Near.build(values, "near")


def published(data_folder, name):
    """Texts of a set of 1,000 documents and the pairs listed for it."""
    folder = data_folder / "ndd_docsets"
    if not folder.is_dir():
        pytest.skip(f"no near duplicates at {folder}")
    with zipfile.ZipFile(folder / "ND-documentSet.zip") as bundle:
        files = [entry for entry in bundle.namelist() if entry.startswith(f"{name}/file")]
        texts = {int(re.search(r"file(\d+)", entry)[1]): bundle.read(entry).decode("latin-1") for entry in files}
    r8, webkb = (folder / "README-9c19cae.md").read_text("utf-8").split("2- a subset")
    listed = re.findall(r"'(\d+) and (\d+)'", r8 if name == "R8" else webkb)
    assert len(texts) == 1000
    return [texts[number] for number in sorted(texts)], [(int(left), int(right)) for left, right in listed]


def test_webkb_is_found_exactly(data_folder):
    texts, listed = published(data_folder, "webkb")
    assert len(listed) == 103
    assert as_pairs(found(texts, Near(threshold=0.5, words=3))) == sorted(listed)


def test_all_of_r8_is_found(data_folder):
    """The list is incomplete: found is what brute force finds, and holds all that is listed."""
    texts, listed = published(data_folder, "R8")
    how = Near(threshold=0.5, words=3)
    pairs = as_pairs(found(texts, how))
    assert len(listed) == 83
    assert all(pair in pairs for pair in listed)
    assert pairs == brute(texts, how)
