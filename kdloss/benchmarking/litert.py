"""Networks as LiteRT files in 32 bits, and as functions that run such a file."""


def export_litert(model, path):
    """Writes a Keras model as a LiteRT file; the back end must be TensorFlow."""
    model.export(str(path), format="litert", verbose=False)


def litert_function(path, threads):
    """A LiteRT file as a function of one image (1, S, S, 3) float32 to its points (1, N, 2)."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(str(path), num_threads=threads)
    interpreter.allocate_tensors()
    entry, result = interpreter.get_input_details()[0]["index"], interpreter.get_output_details()[0]["index"]

    def run(image):
        interpreter.set_tensor(entry, image)
        interpreter.invoke()
        return interpreter.get_tensor(result)

    return run
