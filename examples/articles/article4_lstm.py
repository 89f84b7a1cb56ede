"""The program of the fourth article (on RNNs, with questions and answers), its section 4.

As printed, but for the import lines and for the data and the numbers, which the article leaves out:
surnames, letter by letter; the program learns the language of each, one of 18.

`tensorflow.keras` is Keras, and Keras runs on PyTorch and JAX as well: so `keras` stands here. The
line that the article has is `from tensorflow.keras.layers import LSTM, Dense`.
"""

from data import draw, surnames
from keras.layers import Dense
from keras.models import Sequential

from anyrnn.keras import LSTM

X_train, y_train, X_test, y_test = surnames()
_, timesteps, input_dim = X_train.shape
output_dim = y_train.shape[1]
epochs, batch_size = 10, 32

# 创建 LSTM 模型
model = Sequential()
model.add(LSTM(128, input_shape=(timesteps, input_dim)))
model.add(Dense(output_dim, activation='softmax'))

# 编译模型
model.compile(optimizer='adam', loss='categorical_crossentropy', metrics=['accuracy'])

# 训练模型
model.fit(X_train, y_train, epochs=epochs, batch_size=batch_size)

loss, accuracy = model.evaluate(X_test, y_test)
print("Loss:", loss)
print("Accuracy:", accuracy)
print("the most frequent class:", y_test.mean(axis=0).max())
draw("article4_lstm", LSTM=model.history.history)
