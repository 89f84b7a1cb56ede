"""Ready problems: data, model, training, metrics."""
