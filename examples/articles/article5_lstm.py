"""The second program of the fifth article, 《深度学习实战:递归神经网络与LSTM》, its section 4.2.

`LSTMModel` is as printed. Its mistakes:

- `call` takes a state that `fit` does not give, and returns one that `mse` cannot compare, as in
  the article's RNN; nothing calls `reset_state`;
- there is no `self.sigmoid`;
- `c_t` is read before it has a value: it has to be a state, as h is;
- all four gates share `W_ix` and `W_hh`, so that i, f and o are one and the same; the article's
  equations have matrices for each;
- `W_ix_out` and `W_hh_out` are never used.

`RightModel` puts them right. It is the article's system of equations, so one `LSTM` computes the
same. The data, which the article leaves out: five spoken commands, 10 numbers a step.
"""

from time import perf_counter
from types import SimpleNamespace

import keras
import numpy as np
from data import commands, draw
from keras import ops

from anyrnn.keras import LSTM

# printed: import tensorflow as tf. What the program takes of it, on every backend of Keras:
tf = SimpleNamespace(keras=keras, nn=ops)


# 定义LSTM模型
class LSTMModel(tf.keras.Model):
    def __init__(self, input_dim, hidden_dim, output_dim):
        super(LSTMModel, self).__init__()
        self.hidden_dim = hidden_dim
        self.W_ix = tf.keras.layers.Dense(hidden_dim, input_shape=(input_dim,))
        self.W_hh = tf.keras.layers.Dense(hidden_dim)
        self.W_ix_out = tf.keras.layers.Dense(output_dim)
        self.W_hh_out = tf.keras.layers.Dense(output_dim)
        self.output_layer = tf.keras.layers.Dense(output_dim)

    def call(self, inputs, state):
        h_prev = state
        for i in range(inputs.shape[1]):
            i_t = self.sigmoid(self.W_ix(inputs[:, i]) + self.W_hh(h_prev))
            f_t = self.sigmoid(self.W_ix(inputs[:, i]) + self.W_hh(h_prev))
            o_t = self.sigmoid(self.W_ix(inputs[:, i]) + self.W_hh(h_prev))
            g_t = tf.nn.tanh(self.W_ix(inputs[:, i]) + self.W_hh(h_prev))
            c_t = f_t * c_t + i_t * g_t
            h_prev = o_t * tf.nn.tanh(c_t)
        outputs = self.output_layer(h_prev)
        return outputs, [h_prev]

    def reset_state(self, batch_size):
        return np.zeros((batch_size, self.hidden_dim))


class RightModel(keras.Model):
    """The same, put right: weights for each gate, and c as a state that begins at zero."""

    def __init__(self, input_dim, hidden_dim, output_dim):
        super().__init__()
        self.hidden_dim = hidden_dim
        self.W_x = keras.layers.Dense(4 * hidden_dim)  # of i, f, g and o, side by side
        self.W_h = keras.layers.Dense(4 * hidden_dim, use_bias=False)
        self.output_layer = keras.layers.Dense(output_dim)

    def call(self, inputs):
        h_t = c_t = ops.zeros((ops.shape(inputs)[0], self.hidden_dim))
        for i in range(inputs.shape[1]):
            gates = ops.split(self.W_x(inputs[:, i]) + self.W_h(h_t), 4, axis=-1)
            i_t, f_t, o_t = (ops.sigmoid(gates[k]) for k in (0, 1, 3))
            c_t = f_t * c_t + i_t * ops.tanh(gates[2])
            h_t = o_t * ops.tanh(c_t)
        return self.output_layer(h_t)


X_train, y_train, X_test, y_test = commands()

# 训练LSTM模型
input_dim = 10
hidden_dim = 20
output_dim = 5
batch_size = 32
epochs = 100

model = LSTMModel(input_dim, hidden_dim, output_dim)
model.compile(optimizer='adam', loss='mse')
try:
    model.fit(X_train, y_train, batch_size=batch_size, epochs=epochs)
except Exception as error:
    print("as printed, fit:", str(error).splitlines()[-1])
for given in ("a state", "a sigmoid too"):
    if given == "a sigmoid too":
        model.sigmoid = ops.sigmoid
    try:
        model.call(X_train[:2], model.reset_state(2))
    except Exception as error:
        print(f"as printed, with {given}:", error)

right = RightModel(input_dim, hidden_dim, output_dim)
layer = LSTM(hidden_dim)
fast = keras.Sequential([keras.Input(X_train.shape[1:]), layer, keras.layers.Dense(output_dim)])

right(X_test[:1])
weights = [right.W_x.kernel, right.W_h.kernel, right.W_x.bias, *right.output_layer.weights]
fast.set_weights([ops.convert_to_numpy(weight) for weight in weights])
difference = np.abs(right.predict(X_test, verbose=0) - fast.predict(X_test, verbose=0)).max()
print(f"with the same weights the outputs differ by {difference:.1g}")

for name, model in {"put right": right, "with LSTM": fast}.items():
    keras.utils.set_random_seed(0)  # both see the examples in the same order
    model.compile(optimizer='adam', loss='mse')
    start = perf_counter()
    model.fit(X_train, y_train, batch_size=batch_size, epochs=epochs, verbose=0)
    seconds = perf_counter() - start
    words = model.predict(X_test, verbose=0).argmax(axis=1)
    accuracy = (words == y_test.argmax(axis=1)).mean()
    mse = model.evaluate(X_test, y_test, verbose=0)
    print(f"{name}: mse {mse:.3f}, {accuracy:.0%} of the words, in {seconds:.1f} s of training")

draw("article5_lstm", **{"put right": right.history.history, "with LSTM": fast.history.history})
