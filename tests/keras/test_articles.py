"""The articles' programs run, briefly; on each backend of Keras one or two, of each kind."""

from __future__ import annotations

import re
from pathlib import Path

from child import on_each_backend, run_job

FOLDER = Path(__file__).parents[2] / "examples" / "articles"
PROGRAMS = {  # the other backends compile every model
    "torch": ("article2_lstm", "article5_rnn"),
    "jax": ("article5_lstm",),
    "tensorflow": ("article4_lstm",),
}
BRIEFLY = f"""
import runpy, sys
sys.path.insert(0, {str(FOLDER)!r})
import data, keras

def brief(load):
    def parts(**options):
        return [part[:40] if part.ndim < 3 else part[:40, -6:] for part in load(**options)]
    return parts

data.surnames, data.commands = brief(data.surnames), brief(data.commands)
fit = keras.Model.fit
keras.Model.fit = lambda self, *given, **named: fit(self, *given, **{{**named, "epochs": 2}})
for program in sys.argv[1:]:
    print("==", program)
    names = runpy.run_path({str(FOLDER)!r} + "/" + program + ".py")
    layer = names.get("layer") or names["model"].layers[0]
    print("path:", layer.compute_path)
"""


@on_each_backend("backend")
def test_articles(backend: str, tmp_path: Path) -> None:
    code, out, err = run_job(backend, tmp_path, [*PROGRAMS[backend]], code=BRIEFLY)
    assert code == 0, err
    printed = dict(part.split("\n", 1) for part in out.split("== ")[1:])
    assert tuple(printed) == PROGRAMS[backend]
    for program, lines in printed.items():
        assert "path: compiled: float32 on this CPU" in lines
        assert f"learning curve: runs/{program}.png" in lines
        picture = (tmp_path / "runs" / f"{program}.png").read_bytes()
        assert picture.startswith(b"\x89PNG")
        if program in ("article2_lstm", "article4_lstm"):
            assert "Accuracy: 0." in lines
            continue
        assert re.search(r"as printed, fit: .*missing .* argument: '?state", lines)
        differ = lines.split("the outputs differ by ")[1].split()[0]
        assert float(differ) < 1e-6
        assert "put right: mse" in lines
        if program == "article5_lstm":
            assert "with a state: 'LSTMModel' object has no attribute 'sigmoid'" in lines
            assert "with a sigmoid too: cannot access local variable 'c_t'" in lines
