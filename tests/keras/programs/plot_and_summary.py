"""Print the layers of a model and draw them."""

from nnfast.keras.layers import Conv2D, Dense, Flatten, Input, MaxPooling2D
from nnfast.keras.models import Sequential
from nnfast.keras.utils import plot_model

model = Sequential(
    [
        Input(shape=(28, 28, 1), name="digits"),
        Conv2D(8, 3, activation="relu", name="conv"),
        MaxPooling2D(2, name="pool"),
        Flatten(name="flat"),
        Dense(10, activation="softmax", name="probabilities"),
    ],
    name="digits_model",
)
model.compile("adam", "categorical_crossentropy")
lines = []
model.summary(line_length=80, print_fn=lambda text, line_break=False: lines.append(text))
print("\n".join(lines))
print(model.count_params(), [layer.name for layer in model.layers])
print(model.input_shape, model.output_shape)

plot_model(model, to_file="model.png", show_shapes=True, show_layer_names=True)
