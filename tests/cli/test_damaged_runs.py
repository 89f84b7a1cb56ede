"""Run folders that are damaged, missing, or not what they seem."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from toy_classifier import Outcome


def damage_json(**changes: object) -> Callable[[Path], None]:
    def damage(run: Path) -> None:
        config = json.loads((run / "config.json").read_text())
        (run / "config.json").write_text(json.dumps(config | changes))

    return damage


def damage_model(**changes: object) -> Callable[[Path], None]:
    def damage(run: Path) -> None:
        config = json.loads((run / "config.json").read_text())
        config["options"]["model"] |= changes
        (run / "config.json").write_text(json.dumps(config))

    return damage


def damage_tokenizer(change: Callable[[dict], object]) -> Callable[[Path], None]:
    def damage(run: Path) -> None:
        tokenizer = json.loads((run / "tokenizer.json").read_text())
        change(tokenizer)
        (run / "tokenizer.json").write_text(json.dumps(tokenizer))

    return damage


def fill_weights(name: str, value: float) -> Callable[[Path], None]:
    def damage(run: Path) -> None:
        weights = load_file(run / "gru.safetensors")
        for other, tensor in weights.items():
            if other == name:
                tensor.fill_(value)
        save_file(weights, run / "gru.safetensors")

    return damage


def too_large_weights(run: Path) -> None:
    """Finite ones, of which one class's sum is infinite less infinite."""
    weights = load_file(run / "gru.safetensors")
    for name, tensor in weights.items():
        if name.startswith("dense"):
            tensor.fill_(3e38)
        elif "b_" in name or "d_" in name or name.startswith("embedding"):
            tensor.copy_(torch.linspace(-9, 9, tensor.numel()).reshape(tensor.shape))
    save_file(weights, run / "gru.safetensors")


def in_its_place(name: str, change: Callable[[Path], object]) -> Callable[[Path], None]:
    def damage(run: Path) -> None:
        (run / name).unlink()
        change(run / name)

    return damage


def damage_weights(run: Path) -> None:
    weights = load_file(run / "gru.safetensors")
    weights["dense.weight"] = torch.zeros(3, 8)
    save_file(weights, run / "gru.safetensors")


DAMAGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "no config": (lambda run: (run / "config.json").unlink(), r"no config\.json"),
    "empty config": (lambda run: (run / "config.json").write_text(""), r"config\.json is not JSON"),
    "list": (lambda run: (run / "config.json").write_text("[]"), "JSON object"),
    "binary config": (lambda run: (run / "config.json").write_bytes(b"\xff\x00"), "not JSON"),
    "foreign": (
        lambda run: (run / "config.json").write_text('{"model": "bert"}'),
        "no run of anyrnn",
    ),
    "version": (damage_json(version=99), "version 99"),
    "task": (damage_json(task="dance"), "task 'dance'"),
    "labels": (damage_json(state={"labels": 3}), "'labels'"),
    "label types": (damage_json(state={"labels": [1, 2]}), "'labels'"),
    "more labels": (damage_json(state={"labels": ["a", "b", "c"]}), "'dense"),
    "model": (damage_model(embedding_size="wide"), "embedding_size is 'wide'"),
    "sizes": (damage_model(embedding_size=-1), "embedding_size is -1"),
    "pooling": (damage_model(pool="median"), "median"),
    "best cell": (damage_json(best_cell="lstm"), "no cell 'lstm'"),
    "unknown cell": (damage_json(best_cell="lstn", cells=["lstn"]), "describes no network"),
    "no tokenizer": (lambda run: (run / "tokenizer.json").unlink(), r"tokenizer\.json is missing"),
    "tokenizer": (lambda run: (run / "tokenizer.json").write_text("{}"), "no tokenizer"),
    "no weights": (lambda run: (run / "gru.safetensors").unlink(), r"gru\.safetensors is missing"),
    "weights": (lambda run: (run / "gru.safetensors").write_bytes(b"12345678"), "holds no weights"),
    "shapes": (damage_weights, r"'dense.weight' has the shape \(3, 8\)"),
    "more layers": (damage_model(layers=900), "too few for the 900 layers"),
    "more layers than numbers": (
        damage_model(layers=10**30),
        "model.layers is 1000.* 1000 or less",
    ),
    "one layer more": (damage_model(layers=2), "'recurrent.U_l1' has the shape none"),
    "larger layers": (damage_model(hidden_size=10**8), "asks for"),
    "largest layers": (damage_model(hidden_size=10**30), "model.hidden_size is 1000.* or less"),
    "larger vectors": (damage_model(embedding_size=2**31 - 1), "asks for"),
    "more classes": (damage_json(state={"labels": [str(n) for n in range(10**5)]}), "asks for"),
    "one label twice": (damage_json(state={"labels": ["a", "a"]}), "twice under 'labels'"),
    "path as cell": (damage_json(best_cell="../a", cells=["../a"]), "describes no network"),
    "deep config": (lambda run: (run / "config.json").write_text("[" * 10**6), "not JSON"),
    "deep tokenizer": (lambda run: (run / "tokenizer.json").write_text("[" * 10**6), "tokenizer"),
    "token outside": (
        damage_tokenizer(lambda found: found["model"]["vocab"].update(good=10**6)),
        "does not number its",
    ),
    "token twice": (
        damage_tokenizer(lambda found: found["model"]["vocab"].update(good=5, bad=5)),
        "does not number its",
    ),
    "NaN": (fill_weights("dense.bias", float("nan")), "'dense.bias' holds what is no number"),
    "infinity": (fill_weights("dense.bias", float("inf")), "'dense.bias' holds what is no number"),
    "NaN in the end": (too_large_weights, "results that are no number"),
    "escapes": (damage_json(task="\x1b[2J"), r"\\x1b\[2J"),
    "folder as config": (in_its_place("config.json", Path.mkdir), "Is a directory"),
    "folder as tokenizer": (in_its_place("tokenizer.json", Path.mkdir), "Is a directory"),
    "folder as weights": (in_its_place("gru.safetensors", Path.mkdir), "Is a directory"),
    "link to itself": (
        in_its_place("gru.safetensors", lambda path: path.symlink_to(path)),
        "symbolic links",
    ),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_damaged_run(anyrnn: Callable[..., Outcome], copied: Path, data: Path, name: str) -> None:
    damage, message = DAMAGES[name]
    config = json.loads((copied / "config.json").read_text())
    (copied / "config.json").write_text(json.dumps(config | {"best_cell": "gru"}))
    damage(copied)
    for outcome in (anyrnn("predict", copied, "good"), anyrnn("evaluate", copied, "--data", data)):
        assert re.search(message, outcome.error), outcome.error
        assert str(copied) in outcome.error or "no number" in message


def test_no_run(anyrnn: Callable[..., Outcome], data: Path, tmp_path: Path) -> None:
    assert "no run folder" in anyrnn("predict", tmp_path / "none", "x").error
    assert "is a file" in anyrnn("predict", data, "x").error
    (tmp_path / "half.partial").mkdir()
    assert "--resume" in anyrnn("predict", tmp_path / "half", "x").error


def test_labels_cannot_steer_the_terminal(
    anyrnn: Callable[..., Outcome], copied: Path, tmp_path: Path
) -> None:
    escape = "\x1b[2J\x9b\u202e"
    damage_json(state={"labels": [escape, "pos"]}, best_cell="gru")(copied)
    path = tmp_path / "odd.jsonl"
    rows = [{"review": "good", "sentiment": escape}, {"review": "bad", "sentiment": "pos"}]
    path.write_text("\n".join(map(json.dumps, rows)))
    for more in ([], ["--json"]):
        outcome = anyrnn("evaluate", copied, "--data", path, *more)
        assert outcome.code == 0, outcome.err
        assert not {"\x1b", "\x9b", "\u202e"} & set(outcome.out)
        assert "u202e" in outcome.out
    outcome = anyrnn("predict", copied, f"good {escape}", "--probabilities")
    assert not {"\x1b", "\x9b", "\u202e"} & set(outcome.out)
    answer = json.loads(outcome.out)
    assert answer["text"] == f"good {escape}"
    assert list(answer["probabilities"]) == [escape, "pos"]
