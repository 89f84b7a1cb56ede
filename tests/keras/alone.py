"""Keras without TensorFlow, where that is not its backend.

The first time that Keras writes down an activation it looks whether there is TensorFlow, by
importing it, which takes longer than most tests. It looks once.
"""

import os
import sys

import keras

if os.environ["KERAS_BACKEND"] != "tensorflow":
    sys.modules["tensorflow"] = None  # type: ignore[assignment]
    keras.activations.serialize(keras.activations.tanh)
    del sys.modules["tensorflow"]
