"""What the tables say, in the languages of the documents."""

from __future__ import annotations

from collections.abc import Mapping

Words = Mapping[str, str]

ENGLISH: Words = {
    "readme": "README.md",
    "page": "docs/benchmarks.md",
    "inference": "inference",
    "training": "training",
    "other": "other cells",
    "range": "**{:.2f}** ({:.2f} to {:.2f})",
    "intro": "Measured with `make bench`, {date}: the time of the fastest peer ({peers}; for other "
    "cells the loops in torch and JAX only) divided by ours; then of torch.nn alone, or torch's "
    "loop. Geometric mean over up to {shapes} shapes, and extremes.",
    "options": "Layers with options: our time for a step that counts, in times of our plain layer; "
    "and the time of the fastest peer that can do it, divided by ours.",
    "to plain": "{}: of plain",
    "to peers": "{}: to the fastest peer",
    "linear": "linear cells; of products and a copy",
    "models": "Models of Keras, an LSTM, a GRU and a SimpleRNN of 128 units: the time of Keras' "
    "own layer divided by ours, by backend.",
    "machine": "{cores} cores of {cpu}; {versions}.",
    "more": "[Every row, and which of them are below our aims](docs/benchmarks.md).",
    "conditions": "{date}, {cores} cores of {cpu}; {versions}.",
    "missing": "Not installed: {}.",
    "wrong": "Went wrong: {}.",
    "aim": "Aim: every row",
    "torch alone": "{}, torch alone",
    "none": "No row misses its aim.",
    "ratio": "Ratio below the aim:",
    "share": "Share of the matrix-product rate below the aim:",
    "memory": "More memory than torch, times:",
    "stream": "A stream's step in more than 20 µs:",
    "step": "A step takes more than it may, in times of our plain layer's:",
    "floor": "More than it may, in times of products and a copy:",
    "load": "Other programs kept {0:.1f} cores busy before the first row, and more than {2} before "
    "{1} rows.",
    "random": "{count} shapes drawn from the seed {seed}.",
    "one thread": "one thread",
    "threads": "{} threads",
    "threads column": "Threads",
    "means": "Cell | Mode | Ratio | Ratio, prepared | Worst row | Aim: mean | Aim: every row",
    "layers columns": "Cell | Mode | Shape | Ours, ms | Prepared, ms | Fastest peer | Its, ms "
    "| Ratio | Ratio, prepared | To loops | Of sgemm | MB, torch's",
    "options columns": "Cell | Option | Mode | Shape "
    "| Steps that count | Ours, ms | To plain, a step "
    "| To products and a copy | Fastest peer | Its, ms | Ratio",
    "keras columns": "Cell | Option | Mode | Backend | Ours, ms | Keras', ms | Ratio",
    "training means": "Cell | Ratio | To Keras | Aim: every row",
    "trainings columns": "Training | Cell | Largest layer | Ours, ms a batch "
    "| Without recurrent layers | Peer | Its, ms | Ratio | Keras on | Its, ms | Ratio",
}
CHINESE: Words = {
    "readme": "README.zh-CN.md",
    "page": "docs/benchmarks.zh-CN.md",
    "inference": "推理",
    "training": "训练",
    "other": "其他单元",
    "range": "**{:.2f}**（{:.2f} 到 {:.2f}）",
    "intro": "用 `make bench` 测得（{date}）：最快的对手（{peers}；"
    "其他单元只比 torch 和 JAX 的循环）的时间除以我们的时间；"
    "然后只与 torch.nn（或 torch 的循环）相比。"
    "至多 {shapes} 种形状的几何平均，以及最小、最大值。",
    "options": "带选项的层：有效的每一步的时间，是我们自己的普通层的几倍；"
    "以及能做同样事情的最快的对手的时间除以我们的时间。",
    "to plain": "{}：普通层的倍数",
    "to peers": "{}：与最快的对手相比",
    "linear": "线性单元；乘积加复制的倍数",
    "models": "Keras 模型（128 个单元的 LSTM、GRU、SimpleRNN）："
    "Keras 自己的层的时间除以我们的时间，按后端。",
    "machine": "{cpu}，{cores} 核；{versions}。",
    "more": "[全部数据，以及未达到目标的行](docs/benchmarks.zh-CN.md)。",
    "conditions": "{date}，{cpu}，{cores} 核；{versions}。",
    "missing": "没有安装：{}。",
    "wrong": "出错：{}。",
    "aim": "每一行的目标",
    "torch alone": "{}，只比 torch",
    "none": "没有一行未达到目标。",
    "ratio": "比值未达到目标的：",
    "share": "占矩阵乘法速率的比例未达到目标的：",
    "memory": "内存比 torch 多的（倍数）：",
    "stream": "流式一步超过 20 微秒的：",
    "step": "每一步比允许的慢的（普通层的倍数）：",
    "floor": "比允许的慢的（乘积加复制的倍数）：",
    "load": "第一行之前其他程序占用 {0:.1f} 个核；有 {1} 行在测量之前被占用超过 {2} 个核。",
    "random": "由种子 {seed} 抽出的 {count} 种形状。",
    "one thread": "一个线程",
    "threads": "{} 个线程",
    "threads column": "线程",
    "means": "单元 | 模式 | 比值 | 比值，预备过的 | 最差的一行 | 平均的目标 | 每一行的目标",
    "layers columns": "单元 | 模式 | 形状 | 我们，毫秒 | 预备过的，毫秒 "
    "| 最快的对手 | 它，毫秒 | 比值 | 比值，预备过的 | 与循环比 | 占 sgemm | MB，torch 的",
    "options columns": "单元 | 选项 | 模式 | 形状 | 计入的步 "
    "| 我们，毫秒 | 每一步，普通层的倍数 "
    "| 乘积加复制的倍数 | 最快的对手 | 它，毫秒 | 比值",
    "keras columns": "单元 | 选项 | 模式 | 后端 | 我们，毫秒 | Keras，毫秒 | 比值",
    "training means": "单元 | 比值 | 与 Keras 相比 | 每一行的目标",
    "trainings columns": "训练 | 单元 | 最大的层 | 我们，每批毫秒 "
    "| 没有循环层时 | 对手 | 它，毫秒 | 比值 | Keras 的后端 | 它，毫秒 | 比值",
}
