"""Images with captions: which caption an image has, tables with sheets and files, attributes, and bad input."""

import dataclasses
import json

import numpy as np
import pytest
from PIL import Image

from jaxlm.data.captions.attributes import COLOURS, CaptionedAttributes
from jaxlm.data.captions.classes import DIGIT_WORDS, CaptionedClasses
from jaxlm.data.captions.files import CaptionFile
from jaxlm.data.images.augment import HorizontalFlip
from jaxlm.data.images.sources import ArrayImages, Digits
from jaxlm.data.tokenizers.specs import Characters
from jaxlm.errors import BadInput
from jaxlm.models.bert import BERT
from jaxlm.models.dit import DiT

WORDS = ("cat", "dog", "bird")
TEMPLATES = ("a {}", "{} here", "one {}")


@pytest.fixture
def labelled(tmp_path):
    """Images whose pixels are all 10 times their label."""
    for name, count in (("train", 30), ("test", 9)):
        labels = np.arange(count) % 3
        images = np.broadcast_to((10 * labels[:, None, None]).astype(np.uint8), (count, 4, 4))
        np.savez(tmp_path / f"{name}.npz", images=images, labels=labels)
    return CaptionedClasses(
        images=ArrayImages(folder=str(tmp_path), batch=6, eval_batch=4), templates=TEMPLATES, words=WORDS, width=3
    )


def captions(spec, batch):
    """The captions of a batch, decoded."""
    tokenizer = spec.build_tokenizer()
    rows = zip(batch["tokens"], batch["segments"], strict=True)
    return [tokenizer.decode(tokens[: segments.sum()]) for tokens, segments in rows]


def test_a_caption_is_a_template_with_the_word_of_the_class(labelled):
    seen = set()
    for index in range(10):
        batch = labelled.train(seed=3)[index]
        assert batch["image"].shape == (6, 4, 4, 1)
        assert batch["image"].dtype == np.uint8
        assert batch["keys"].shape == (6, 2)
        for image, caption in zip(batch["image"], captions(labelled, batch), strict=True):
            word = WORDS[image[0, 0, 0] // 10]
            seen.add(caption)
            assert caption in [template.format(word) for template in TEMPLATES]
    assert len(seen) == 9


def by_key(spec, seed, noise, batches):
    """Each example's caption by its key, which identifies row and epoch."""
    found = {}
    for index in range(batches):
        batch = spec.train(seed, noise)[index]
        for key, caption in zip(batch["keys"], captions(spec, batch), strict=True):
            found[tuple(key)] = caption
    return found


def test_which_caption_an_image_has_depends_on_the_noise_and_the_row_and_on_no_batch(labelled):
    whole = by_key(labelled, 1, None, 10)
    images = dataclasses.replace(labelled.images, batch=10)
    assert by_key(dataclasses.replace(labelled, images=images), 1, None, 6) == whole
    assert by_key(labelled, 2, 1, 10) == whole  # another order
    assert by_key(labelled, 1, 5, 10).keys().isdisjoint(whole)


def test_an_evaluation_has_every_image_once_with_the_same_captions(labelled):
    first, again = ([labelled.eval()[i] for i in range(3)] for _ in range(2))
    assert [captions(labelled, a) for a in first] == [captions(labelled, b) for b in again]
    assert sum(batch["mask"].sum() for batch in first) == 9
    assert len({caption for batch in first for caption in captions(labelled, batch)}) >= 3


def test_padding_is_zero_and_a_long_caption_is_cut_and_counted(labelled):
    short = dataclasses.replace(labelled, width=1)
    assert captions(labelled, labelled.eval()[0])[0] == "a cat"
    assert captions(short, short.eval()[0])[0] == "a"
    assert "18 cut to 1 tokens" in short.log_lines()[-1]  # both splits know all nine captions
    batch = dataclasses.replace(labelled, width=5).eval()[0]
    assert not batch["tokens"][batch["segments"] == 0].any()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"templates": ("a thing",)}, r"give captions with one .*\{\}"),
        ({"templates": ()}, r"give captions with one"),
        ({"words": ("cat",)}, r"data.words has 1 names and the images 3 classes"),
        ({"tokenizer": Characters(), "words": ("", "", ""), "templates": ("{}",)}, "an empty caption: write one"),
    ],
)
def test_bad_templates_are_one_line(labelled, change, message):
    with pytest.raises(BadInput, match=message):
        dataclasses.replace(labelled, **change).eval()


def test_what_is_for_classification_alone_is_refused():
    with pytest.raises(BadInput, match=r"augment or folds is set"):
        CaptionedClasses(images=Digits(augment=(HorizontalFlip(),))).eval()


def test_a_model_that_does_not_fit_is_refused(labelled):
    small = DiT(encoder=BERT(vocab=4, depth=1, width=8, heads=1, context=8), patch=2, depth=1, width=8, heads=1)
    with pytest.raises(BadInput, match="vocabulary 4"):
        labelled.check(small)
    with pytest.raises(BadInput, match=r"longer than the model's context of 2"):
        labelled.check(small.clone(encoder=small.encoder.clone(vocab=20, context=2)))
    with pytest.raises(BadInput, match=r"images are 4 x 4, and the model takes multiples of 3"):
        labelled.check(small.clone(encoder=small.encoder.clone(vocab=20), patch=3))


def write_table(folder, rows, columns="caption,kind"):
    (folder / "captions.csv").write_text("\n".join([columns, *rows]) + "\n")
    sheet = np.zeros((2, 2, 3, 2), np.uint8) + 10 * np.arange(6).reshape(2, 1, 3, 1).astype(np.uint8)
    Image.fromarray(sheet.reshape(4, 6)).save(folder / "sheet.png")
    return CaptionFile(path=str(folder / "captions.csv"), sheet="sheet.png", size=2, channels=1, batch=2, width=4)


def test_tiles_of_a_sheet_have_the_captions_of_the_table_in_its_order(tmp_path):
    spec = write_table(tmp_path, [f"picture {n},{n}" for n in range(6)])
    spec = dataclasses.replace(spec, eval_fraction=0.5, eval_batch=3)
    found = {}
    for part in (spec.loaded().train, spec.loaded().eval):
        images = part.images.take(np.arange(3), None)["image"]
        for row, image in enumerate(images):
            assert (image == image[0, 0, 0]).all()
            found[part.texts[part.choices[row, 0]]] = int(image[0, 0, 0])
    assert found == {f"picture {n}": 10 * n for n in range(6)}


def test_a_table_that_changes_is_read_again(tmp_path):
    spec = write_table(tmp_path, [f"picture {n},{n}" for n in range(6)])
    spec = dataclasses.replace(spec, eval_fraction=0.5)
    before = spec.train(0).fingerprint()
    assert spec.train(0).fingerprint() == before
    write_table(tmp_path, [f"a picture {n},{n}" for n in range(6)])
    assert spec.train(0).fingerprint() != before


def test_files_have_the_captions_of_the_table(tmp_path):
    for number in range(4):
        Image.fromarray(np.full((3, 3, 3), 50 * number, np.uint8)).save(tmp_path / f"{number}.png")
    spec = write_table(tmp_path, [f"shade {n},{n}.png" for n in range(4)], "caption,file")
    spec = dataclasses.replace(spec, sheet=None, eval_fraction=0.25, channels=3)
    part = spec.loaded().train
    for row, image in enumerate(part.images.take(np.arange(3), None)["image"]):
        assert part.texts[row] == f"shade {image[0, 0, 0] // 50}"
    lines = [{"caption": None if n == 1 else "a", "file": f"{n}.png"} for n in range(4)]
    (tmp_path / "nulls.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    with pytest.raises(BadInput, match=r"nulls.jsonl line 2: 'caption' is null: give"):
        dataclasses.replace(spec, path=str(tmp_path / "nulls.jsonl")).eval()
    (tmp_path / "2.png").write_bytes(b"no image")
    with pytest.raises(BadInput, match=r"2\.png is not a readable image"):
        dataclasses.replace(spec, batch=1).eval()


def test_images_of_one_group_are_in_one_part(tmp_path):
    spec = write_table(tmp_path, [f"a {n} {n},{n // 2}" for n in range(6)])
    loaded = dataclasses.replace(spec, eval_fraction=0.34, group="kind").loaded()
    texts = [{text.split()[1] for text in part.texts} for part in (loaded.train, loaded.eval)]
    groups = [{int(number) // 2 for number in part} for part in texts]
    assert len(groups[1]) == 1
    assert groups[0].isdisjoint(groups[1])


@pytest.mark.parametrize(
    ("rows", "change", "message"),
    [
        (["a,1", ",2", "c,3"], {}, r"captions.csv line 3: an empty caption: write one"),
        (["a,1", "b,2"], {"caption": "text"}, r"captions.csv line 2 has no 'text' \(it has caption, kind\)"),
        ([f"a,{n}" for n in range(7)], {}, r"sheet.png is 6 x 4 and has 6 tiles of 2 x 2, and .* has 7 captions"),
        (["a,1", "b,2"], {"eval_fraction": 0.0}, r"data.eval_fraction 0.0 of 2 images or groups leaves a part empty"),
        (["a,1", "b,2"], {"sheet": "none.png"}, r"none.png"),
        (["a,1", "b,2"], {"sheet": "captions.csv"}, r"captions.csv is not a readable image"),
        ([], {}, r"captions.csv has no captions"),
    ],
)
def test_bad_tables_are_one_line_that_names_the_place(tmp_path, rows, change, message):
    spec = write_table(tmp_path, rows)
    with pytest.raises(BadInput, match=message) as error:
        dataclasses.replace(spec, **{"eval_fraction": 0.5, **change}).eval()
    assert "\n" not in str(error.value)


def test_attributes_are_what_the_caption_says():
    spec = CaptionedAttributes(images=Digits(batch=64), shrink=1, size=16, width=6)
    batch = spec.eval()[0]
    for image, caption in zip(batch["image"].astype(int), captions(spec, batch), strict=True):
        _, colour, digit, _, _, place = caption.split()
        ink = np.array(COLOURS[colour])
        bright = image[image.max(-1) > 128]
        assert np.abs(bright / bright.max(-1, keepdims=True) - ink / ink.max()).max() < 0.05
        assert digit in DIGIT_WORDS
        rows, columns = np.nonzero(image.max(-1))
        span = {
            "left": columns.max() < 8,
            "right": columns.min() >= 8,
            "top": rows.max() < 8,
            "bottom": rows.min() >= 8,
        }
        assert span[place]


def test_attributes_depend_on_the_seed_and_the_row():
    spec = CaptionedAttributes(images=Digits(batch=8), shrink=1, size=16, width=6)
    other = dataclasses.replace(spec, images=Digits(batch=16))
    np.testing.assert_array_equal(spec.eval()[1]["image"], other.eval()[0]["image"][8:])
    assert (dataclasses.replace(spec, seed=1).eval()[0]["image"] != spec.eval()[0]["image"]).any()


def test_pairs_that_are_held_out_are_in_the_evaluation_alone():
    spec = CaptionedAttributes(images=Digits(), shrink=1, size=16, held_out=("red three", "blue one"), width=6)

    def pairs(part):
        return {" ".join(part.texts[number].split()[1:3]) for number in part.choices[:, 0]}

    train, evaluation = (pairs(part) for part in (spec.loaded().train, spec.loaded().eval))
    assert len(train) == 38
    assert evaluation - train == {"red three", "blue one"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"held_out": ("pink three",)}, r"data.held_out has 'pink three': give pairs such as 'red zero'"),
        ({"shrink": 3}, r"data.shrink 3 and data.size 16 do not fit digits of 8 x 8"),
        ({"size": 6}, r"do not fit digits of 8 x 8"),
    ],
)
def test_bad_attributes_are_one_line(change, message):
    spec = CaptionedAttributes(images=Digits(), shrink=1, size=16)
    with pytest.raises(BadInput, match=message):
        dataclasses.replace(spec, **change).eval()


def test_prompts_are_captions_whose_words_training_has(tmp_path):
    spec = write_table(tmp_path, [f"a b{n},x" for n in range(6)])
    spec = dataclasses.replace(spec, eval_fraction=0.5)
    assert spec.prompts(2) == [""]  # every caption has a word of its own
    spec = write_table(tmp_path, [f"{'a b c'[: 1 + 2 * (n % 3)]},x" for n in range(6)])
    spec = dataclasses.replace(spec, eval_fraction=0.5, batch=1, width=2)
    assert {"a b c"}.isdisjoint(spec.prompts(9))  # it is cut


def test_real_emoji_are_read_and_split_by_their_base(real_data):
    spec = CaptionFile(path=str(real_data / "emoji32" / "captions.csv"), sheet="emoji32.webp", group="base", width=16)
    loaded = spec.loaded()
    assert len(loaded.train.choices) + len(loaded.eval.choices) == 3786
    assert spec.shape() == (32, 32, 3)
    assert loaded.train.texts[0] == "grinning face"
    face = loaded.train.images.take(np.zeros(1, np.int64), None)["image"][0]
    assert face[0, 0].min() == 255  # white around it
    assert face[16, 4, 0] > face[16, 4, 2] + 50  # and yellow
