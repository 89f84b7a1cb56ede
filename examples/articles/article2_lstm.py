"""The program of the second article (on LSTM and GRU, with a text classifier), its section 4.

As printed, but for the import lines and for the data, which the article leaves out: surnames of 18
languages, letter by letter; the program learns to tell the Russian ones.

`tensorflow.keras` is Keras, and Keras runs on PyTorch and JAX as well: so `keras` stands here. The
line that the article has is `from tensorflow.keras.layers import Dense, LSTM, GRU`.
"""

from data import draw, surnames
from keras.layers import Dense
from keras.models import Sequential

from anyrnn.keras import GRU, LSTM  # noqa: F401

# 准备数据
X_train, y_train, X_test, y_test = surnames(of_language="Russian")

# 构建模型
model = Sequential()
model.add(LSTM(128, input_shape=(X_train.shape[1], X_train.shape[2])))
model.add(Dense(1, activation='sigmoid'))

# 编译模型
model.compile(loss='binary_crossentropy', optimizer='adam', metrics=['accuracy'])

# 训练模型
model.fit(X_train, y_train, epochs=10, batch_size=32)

# 评估模型
loss, accuracy = model.evaluate(X_test, y_test)
print('Loss:', loss)
print('Accuracy:', accuracy)

print("the most frequent class:", max(y_test.mean(), 1 - y_test.mean()))
draw("article2_lstm", LSTM=model.history.history)
