"""How good a network is: what is measured (`figures`), by torchmetrics and `metrics`; classes."""
