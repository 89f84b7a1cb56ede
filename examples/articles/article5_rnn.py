"""The first program of the fifth article, 《深度学习实战:递归神经网络与LSTM》, its section 4.1.

`RNNModel` is as printed. Its mistakes:

- `call` takes a state that `fit` does not give: training ends before it begins;
- `call` returns the state besides the output, which `mse` cannot compare with `y_train`;
- `reset_state` makes the first state, but nothing calls it;
- both `W_ih` and `W_hh` have a bias, where the article's equation has one, b_h.

`RightModel` puts them right. It is the simple recurrent network, so one `SimpleRNN` computes the
same. The data, which the article leaves out: five spoken commands, 10 numbers a step.
"""

from time import perf_counter
from types import SimpleNamespace

import keras
import numpy as np
from data import commands, draw
from keras import ops

from anyrnn.keras import SimpleRNN

# printed: import tensorflow as tf. What the program takes of it, on every backend of Keras:
tf = SimpleNamespace(keras=keras, nn=ops)


# 定义RNN模型
class RNNModel(tf.keras.Model):
    def __init__(self, input_dim, hidden_dim, output_dim):
        super(RNNModel, self).__init__()
        self.hidden_dim = hidden_dim
        self.W_ih = tf.keras.layers.Dense(hidden_dim, input_shape=(input_dim,))
        self.W_hh = tf.keras.layers.Dense(hidden_dim)
        self.output_layer = tf.keras.layers.Dense(output_dim)

    def call(self, inputs, state):
        h_prev = state
        for i in range(inputs.shape[1]):
            h_prev = self.W_ih(inputs[:, i]) + self.W_hh(h_prev)
            h_prev = tf.nn.tanh(h_prev)
        outputs = self.output_layer(h_prev)
        return outputs, [h_prev]

    def reset_state(self, batch_size):
        return np.zeros((batch_size, self.hidden_dim))


class RightModel(keras.Model):
    """The same, put right: it begins with a zero state and returns the output only."""

    def __init__(self, input_dim, hidden_dim, output_dim):
        super().__init__()
        self.hidden_dim = hidden_dim
        self.W_ih = keras.layers.Dense(hidden_dim)
        self.W_hh = keras.layers.Dense(hidden_dim, use_bias=False)
        self.output_layer = keras.layers.Dense(output_dim)

    def call(self, inputs):
        h_prev = ops.zeros((ops.shape(inputs)[0], self.hidden_dim))
        for i in range(inputs.shape[1]):
            h_prev = ops.tanh(self.W_ih(inputs[:, i]) + self.W_hh(h_prev))
        return self.output_layer(h_prev)


X_train, y_train, X_test, y_test = commands()

# 训练RNN模型
input_dim = 10
hidden_dim = 20
output_dim = 5
batch_size = 32
epochs = 100

model = RNNModel(input_dim, hidden_dim, output_dim)
model.compile(optimizer='adam', loss='mse')
try:
    model.fit(X_train, y_train, batch_size=batch_size, epochs=epochs)
except Exception as error:
    print("as printed, fit:", str(error).splitlines()[-1])
outputs, _ = model(X_train[:2], model.reset_state(2))
print("as printed, with a state: outputs", *outputs.shape, "and the last state")

right = RightModel(input_dim, hidden_dim, output_dim)
layer = SimpleRNN(hidden_dim)
fast = keras.Sequential([keras.Input(X_train.shape[1:]), layer, keras.layers.Dense(output_dim)])

right(X_test[:1])
weights = [right.W_ih.kernel, right.W_hh.kernel, right.W_ih.bias, *right.output_layer.weights]
fast.set_weights([ops.convert_to_numpy(weight) for weight in weights])
difference = np.abs(right.predict(X_test, verbose=0) - fast.predict(X_test, verbose=0)).max()
print(f"with the same weights the outputs differ by {difference:.1g}")

for name, model in {"put right": right, "with SimpleRNN": fast}.items():
    keras.utils.set_random_seed(0)  # both see the examples in the same order
    model.compile(optimizer='adam', loss='mse')
    start = perf_counter()
    model.fit(X_train, y_train, batch_size=batch_size, epochs=epochs, verbose=0)
    seconds = perf_counter() - start
    words = model.predict(X_test, verbose=0).argmax(axis=1)
    accuracy = (words == y_test.argmax(axis=1)).mean()
    mse = model.evaluate(X_test, y_test, verbose=0)
    print(f"{name}: mse {mse:.3f}, {accuracy:.0%} of the words, in {seconds:.1f} s of training")

draw("article5_rnn", **{"put right": right.history.history, "with SimpleRNN": fast.history.history})
